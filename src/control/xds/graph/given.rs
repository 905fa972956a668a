//! What the mesh makes of what it is given: it may refuse a service or a cluster, and keeps the last good
//! one then. All that this one needs is kept and followed, too.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Do, Graph, Id, Lack, Published, Service, Why,
    known::{Filling, Known},
    walk,
};
use crate::control::xds::{
    kind::Kind,
    resource::{Cluster, EndpointsFrom},
};

/// What was given to the mesh last.
#[derive(Debug)]
pub(super) enum Given {
    Service(Arc<str>, Service),
    NoService(Arc<str>),
    Cluster(Arc<Cluster>),
    NoCluster(Arc<str>),
}

/// The last cluster of a name that the mesh has not refused.
#[derive(Debug)]
pub(super) struct Good {
    cluster: Arc<Cluster>,
    /// Why it stands in for a newer one, and what was published of it as such.
    stands_in: Option<(Arc<str>, Option<Published>)>,
}

// === impl Given ===

impl Given {
    pub(super) fn of(it: &Do) -> Option<Self> {
        Some(match it {
            Do::Service { name, target } => Self::Service(Arc::clone(name), target.clone()),
            // The mesh keeps what it was given before where nobody says that it is over.
            Do::NoService { lack: Lack { why: Why::Away, .. }, .. } => return None,
            Do::NoService { name, .. } => Self::NoService(Arc::clone(name)),
            Do::Cluster { cluster, instead_of: None, .. } => Self::Cluster(Arc::clone(cluster)),
            Do::NoCluster { name, .. } => Self::NoCluster(Arc::clone(name)),
            _ => return None,
        })
    }
}

// === impl Good ===

impl Good {
    /// Whether it stands in for a newer one, and is made of other clusters.
    pub(super) fn is_made_of_others(&self) -> bool {
        self.stands_in.is_some() && matches!(self.cluster.endpoints, EndpointsFrom::Aggregate(_))
    }

    /// What it needs that nobody else may: the endpoints that it is filled from.
    fn needs(&self) -> Option<Id> {
        self.stands_in.as_ref()?;
        Some((Kind::Endpoints, Arc::clone(self.cluster.filled_from()?)))
    }
}

// === impl Graph ===

impl Graph {
    /// The mesh has refused what was given last, for this reason: what was there before stays.
    pub(crate) fn refused(&mut self, reason: &str) {
        if let Some(Given::Cluster(cluster)) = self.given.take()
            && let Some(good) = self.good.get_mut(&cluster.name)
            && good.cluster != cluster
        {
            let before = good.needs();
            good.stands_in = Some((reason.into(), None));
            let after = good.needs();
            self.held.replace(before.iter(), after.iter());
            // If it does not know these endpoints any more, they come.
            self.dirty_clusters.insert(Arc::clone(&cluster.name));
        }
    }

    /// The mesh has not refused what was given last.
    pub(super) fn accept(&mut self) {
        let (name, serves) = match self.given.take() {
            None => return,
            Some(Given::Cluster(cluster)) => return self.is_good(cluster),
            Some(Given::NoCluster(name)) => return self.no_good(&name),
            Some(Given::NoService(name)) => (name, None),
            Some(Given::Service(name, service)) => (name, Some(service)),
        };
        let Some(root) = self.roots.get_mut(&name) else { return };
        root.serves = serves;
        let needs = root.needs.clone();
        let served = root.serves.as_ref();
        let served = served.map(|service| walk::served(&self.known, &root.listener, service));
        self.needs(&name, needs, served.unwrap_or_default());
    }

    fn is_good(&mut self, cluster: Arc<Cluster>) {
        self.ungood(&cluster.name);
        self.hold_line(&cluster);
        self.good.insert(Arc::clone(&cluster.name), Good { cluster, stands_in: None });
    }

    /// Nothing good is known of the cluster any more.
    pub(super) fn no_good(&mut self, name: &Arc<str>) {
        self.ungood(name);
        self.let_go_of_line(name);
    }

    fn ungood(&mut self, name: &Arc<str>) {
        if let Some(good) = self.good.remove(name) {
            self.held.replace(good.needs().iter(), std::iter::empty());
        }
    }

    /// The clusters that stand in for refused ones and are filled from these endpoints.
    pub(super) fn stand_ins(&self, endpoints: &Arc<str>) -> BTreeSet<Arc<str>> {
        let good = self.good.iter().filter(|(_, good)| {
            good.stands_in.is_some() && good.cluster.filled_from() == Some(endpoints)
        });
        good.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Brings the cluster up to date that stands in for a refused one.
    pub(super) fn publish_stand_in(&mut self, name: &Arc<str>) {
        let Some(good) = self.good.get(name) else { return };
        let Some((reason, before)) = &good.stands_in else { return };
        let Some(now) = self.whole(&good.cluster) else { return };
        if before.as_ref() == Some(&now) {
            return;
        }
        let instead_of = Some(Arc::clone(reason));
        if let Some((_, before)) = self.good.get_mut(name).and_then(|it| it.stands_in.as_mut()) {
            *before = Some(now.clone());
        }
        if let Published::Cluster { cluster, endpoints } = now {
            self.hold_line(&cluster);
            self.todo.push_back(Do::Cluster { cluster, endpoints, instead_of });
        }
    }
}

impl Known {
    /// The cluster with its endpoints; nothing while they are on their way.
    pub(super) fn with_endpoints(&self, cluster: &Arc<Cluster>) -> Option<Published> {
        let endpoints = match self.endpoints_of(cluster) {
            Filling::Elsewhere => None,
            Filling::Awaited => return None,
            Filling::Known(endpoints) => Some(endpoints),
        };
        Some(Published::Cluster { cluster: Arc::clone(cluster), endpoints })
    }
}
