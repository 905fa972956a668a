//! What is known of the resources that are watched.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Id, Lack, secured::Secured};
use crate::control::xds::{
    kind::Kind,
    resource::{Cluster, Endpoints, EndpointsFrom, Listener, Resource, Routes},
};

#[derive(Debug, Default)]
pub(super) struct Known {
    all: HashMap<Id, Result<Resource, Lack>>,
    /// The clusters that each resource of endpoints fills.
    filled: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The clusters that are made of others.
    aggregates: BTreeSet<Arc<str>>,
    pub(super) secured: Secured,
}

/// The endpoints of a cluster.
pub(super) enum Filling {
    /// They are no resource.
    Elsewhere,
    Awaited,
    Known(Result<Arc<Endpoints>, Lack>),
}

// === impl Known ===

impl Known {
    /// Whether that is news.
    pub(super) fn set(&mut self, id: &Id, now: Result<Resource, Lack>) -> bool {
        if self.all.get(id) == Some(&now) {
            return false;
        }
        let from = |said: &Result<Resource, Lack>| match said {
            Ok(Resource::Cluster(cluster)) => cluster.filled_from().cloned(),
            _ => None,
        };
        let (before, after) = (self.all.get(id).and_then(from), from(&now));
        if before != after {
            if let Some(before) = before {
                self.unfill(&before, &id.1);
            }
            if let Some(after) = after {
                self.filled.entry(after).or_default().insert(Arc::clone(&id.1));
            }
        }
        match &now {
            Ok(Resource::Cluster(it)) if matches!(it.endpoints, EndpointsFrom::Aggregate(_)) => {
                self.aggregates.insert(Arc::clone(&id.1));
            }
            _ if id.0 == Kind::Cluster => drop(self.aggregates.remove(&id.1)),
            _ => {}
        }
        self.all.insert(id.clone(), now);
        self.secure(id);
        true
    }

    /// Whether it is there.
    pub(super) fn has(&self, id: &Id) -> bool {
        self.all.get(id).is_some_and(Result::is_ok)
    }

    pub(super) fn forget(&mut self, id: &Id) {
        if id.0 == Kind::Cluster {
            self.aggregates.remove(&id.1);
        }
        if let Some(Ok(Resource::Cluster(cluster))) = self.all.remove(id)
            && let Some(from) = cluster.filled_from()
        {
            self.unfill(from, &id.1);
        }
        self.secure(id);
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Result<Resource, Lack>> {
        self.all.get(id)
    }

    fn unfill(&mut self, endpoints: &Arc<str>, cluster: &Arc<str>) {
        if let Some(clusters) = self.filled.get_mut(endpoints) {
            clusters.remove(cluster);
            if clusters.is_empty() {
                self.filled.remove(endpoints);
            }
        }
    }

    /// The clusters that are made of others.
    pub(super) fn aggregates(&self) -> impl Iterator<Item = &Arc<str>> {
        self.aggregates.iter()
    }

    pub(super) fn is_aggregate(&self, name: &Arc<str>) -> bool {
        self.aggregates.contains(name)
    }

    /// The clusters that this resource of endpoints fills.
    pub(super) fn filled_by(&self, endpoints: &Arc<str>) -> impl Iterator<Item = Arc<str>> {
        self.filled.get(endpoints).into_iter().flatten().cloned()
    }

    pub(super) fn listener(&self, name: &Arc<str>) -> Option<Result<&Arc<Listener>, &Lack>> {
        Some(match self.all.get(&(Kind::Listener, Arc::clone(name)))? {
            Ok(Resource::Listener(listener)) => Ok(listener),
            Ok(_) => return None,
            Err(lack) => Err(lack),
        })
    }

    pub(super) fn routes(&self, name: &Arc<str>) -> Option<Result<&Arc<Routes>, &Lack>> {
        Some(match self.all.get(&(Kind::Routes, Arc::clone(name)))? {
            Ok(Resource::Routes(routes)) => Ok(routes),
            Ok(_) => return None,
            Err(lack) => Err(lack),
        })
    }

    /// A cluster, with what its secrets say; nothing while one of them is on its way.
    pub(super) fn cluster(&self, name: &Arc<str>) -> Option<Result<&Arc<Cluster>, &Lack>> {
        Some(match self.all.get(&(Kind::Cluster, Arc::clone(name)))? {
            Ok(Resource::Cluster(it)) if it.secrets.is_some() => return self.secured.cluster(name),
            Ok(Resource::Cluster(cluster)) => Ok(cluster),
            Ok(_) => return None,
            Err(lack) => Err(lack),
        })
    }

    /// A cluster as its resource says it.
    pub(super) fn said(&self, name: &Arc<str>) -> Option<&Arc<Cluster>> {
        match self.all.get(&(Kind::Cluster, Arc::clone(name)))? {
            Ok(Resource::Cluster(cluster)) => Some(cluster),
            _ => None,
        }
    }

    pub(super) fn endpoints_of(&self, cluster: &Cluster) -> Filling {
        let Some(name) = cluster.filled_from() else { return Filling::Elsewhere };
        match self.all.get(&(Kind::Endpoints, Arc::clone(name))) {
            Some(Ok(Resource::Endpoints(endpoints))) => Filling::Known(Ok(Arc::clone(endpoints))),
            Some(Err(lack)) => Filling::Known(Err(lack.clone())),
            Some(Ok(_)) | None => Filling::Awaited,
        }
    }
}
