//! Clusters with what their secrets say (SDS).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Id, Lack, Why, known::Known};
use crate::control::xds::{
    kind::Kind,
    resource::{Cluster, Resource},
};

/// A cluster with its secrets, or why it is none.
type Filled = Result<Arc<Cluster>, Lack>;

#[derive(Debug, Default)]
pub(super) struct Secured {
    /// Of each cluster that names secrets, once all of them are known.
    clusters: HashMap<Arc<str>, Filled>,
    /// What each of these names, and the clusters that name each secret.
    secrets: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    named_by: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

/// What a cluster needs beside itself and those that it is made of.
pub(super) fn needs_of(cluster: &Cluster) -> Vec<Id> {
    let endpoints = cluster.filled_from().map(|name| (Kind::Endpoints, Arc::clone(name)));
    let secrets = cluster.secrets().map(|name| (Kind::Secret, Arc::clone(name)));
    endpoints.into_iter().chain(secrets).collect()
}

// === impl Secured ===

impl Secured {
    pub(super) fn cluster(&self, name: &Arc<str>) -> Option<Result<&Arc<Cluster>, &Lack>> {
        self.clusters.get(name).map(Result::as_ref)
    }

    /// Notes which secrets a cluster names now.
    fn name(&mut self, cluster: &Arc<str>, secrets: BTreeSet<Arc<str>>) {
        let before = if secrets.is_empty() {
            self.secrets.remove(cluster)
        } else {
            self.secrets.insert(Arc::clone(cluster), secrets.clone())
        };
        for secret in before.iter().flatten().filter(|it| !secrets.contains(*it)) {
            if let Some(clusters) = self.named_by.get_mut(secret) {
                clusters.remove(cluster);
                if clusters.is_empty() {
                    self.named_by.remove(secret);
                }
            }
        }
        for secret in secrets {
            self.named_by.entry(secret).or_default().insert(Arc::clone(cluster));
        }
    }
}

// === impl Known ===

impl Known {
    /// The clusters that name this secret.
    pub(super) fn secured_by(&self, secret: &Arc<str>) -> impl Iterator<Item = Arc<str>> {
        self.secured.named_by.get(secret).into_iter().flatten().cloned()
    }

    /// A resource has changed: brings up to date what depends on it.
    pub(super) fn secure(&mut self, id: &Id) {
        match id.0 {
            Kind::Cluster => {
                let secrets = self.said(&id.1).into_iter().flat_map(|it| it.secrets()).cloned();
                let secrets = secrets.collect();
                self.secured.name(&id.1, secrets);
                self.fill(&id.1);
            }
            Kind::Secret => {
                let clusters: Vec<_> = self.secured_by(&id.1).collect();
                clusters.iter().for_each(|name| self.fill(name));
            }
            Kind::Listener | Kind::Routes | Kind::Endpoints => {}
        }
    }

    fn fill(&mut self, name: &Arc<str>) {
        let cluster = self.said(name).filter(|it| it.secrets.is_some());
        match cluster.and_then(|cluster| self.filled(cluster)) {
            Some(filled) => drop(self.secured.clusters.insert(Arc::clone(name), filled)),
            None => drop(self.secured.clusters.remove(name)),
        }
    }

    /// A cluster with what its secrets say; nothing while one of them is on its way.
    fn filled(&self, cluster: &Cluster) -> Option<Filled> {
        let mut given = BTreeMap::new();
        for name in cluster.secrets() {
            match self.get(&(Kind::Secret, Arc::clone(name)))? {
                Ok(Resource::Secret(secret)) => {
                    given.insert(Arc::clone(name), Arc::clone(secret));
                }
                Ok(_) => return None,
                Err(lack) => return Some(Err(lack.clone())),
            }
        }
        let filled = cluster.with_secrets(given).map(Arc::new);
        Some(filled.map_err(|reason| Lack { reason: reason.into(), why: Why::Refused }))
    }

    /// A cluster that stands in for another one, with what its secrets say now; nothing where they are not
    /// there: what they said is in use, and is not said again, for others may have newer ones.
    pub(super) fn with_secrets_of_now(&self, cluster: &Arc<Cluster>) -> Option<Arc<Cluster>> {
        if cluster.secrets.is_none() {
            return Some(Arc::clone(cluster));
        }
        self.filled(cluster)?.ok()
    }
}
