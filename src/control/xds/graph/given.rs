//! What the mesh makes of what it is given: it may refuse a service or a cluster, and keeps the last good
//! one then. All that this one needs is kept and followed, too.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Do, Graph, Id, Lack, Published, Service, Why,
    known::{Filling, Known},
    secured::needs_of,
    walk,
};
use crate::control::xds::resource::{Cluster, EndpointsFrom};

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

    /// What it needs that nobody else may: the endpoints that it is filled from, and its secrets.
    fn needs(&self) -> Vec<Id> {
        needs_of(&self.cluster)
    }
}

// === impl Graph ===

impl Graph {
    /// The mesh has refused what was given last, for this reason: what was there before stays, unless it is a
    /// service of before its name was forgotten.
    pub(crate) fn refused(&mut self, reason: &str) {
        match self.given.take() {
            Some(Given::Cluster(cluster)) => self.refused_cluster(&cluster, reason),
            Some(Given::Service(name, _)) => {
                if let Some(refused) = self.removed_roots.get_mut(&name) {
                    *refused = Some(reason.into());
                }
            }
            Some(Given::NoCluster(_) | Given::NoService(_)) | None => {}
        }
    }

    fn refused_cluster(&mut self, cluster: &Arc<Cluster>, reason: &str) {
        if let Some(good) = self.good.get_mut(&cluster.name)
            && good.cluster != *cluster
        {
            good.stands_in = Some((reason.into(), None));
            // If it does not know these endpoints any more, they come.
            self.dirty_clusters.insert(Arc::clone(&cluster.name));
        }
    }

    /// The mesh has not refused what was given last.
    pub(super) fn accept(&mut self) {
        let (name, serves) = match self.given.take() {
            None => return,
            Some(Given::Cluster(cluster)) => return self.note_good(cluster),
            Some(Given::NoCluster(name)) => return self.no_good(&name),
            Some(Given::NoService(name)) => (name, None),
            Some(Given::Service(name, service)) => (name, Some(service)),
        };
        let Some(root) = self.roots.get_mut(&name) else { return };
        self.removed_roots.remove(&name);
        root.serves = serves;
        let needs = root.needs.clone();
        let served = root.serves.as_ref();
        let served = served.map(|service| walk::served(&self.known, service));
        self.needs(&name, needs, served.unwrap_or_default());
    }

    fn note_good(&mut self, cluster: Arc<Cluster>) {
        self.hold_line(&cluster);
        let name = Arc::clone(&cluster.name);
        let good = Good { cluster, stands_in: None };
        let after = good.needs();
        let before = self.good.insert(name, good);
        let before = before.map(|before| before.needs()).unwrap_or_default();
        self.held.replace(before.iter(), after.iter());
    }

    /// Whether what is known of a cluster has to wait: nobody can be asked for its endpoints or for one of
    /// its parts, which are not known yet, and calls go by another one of its name. That stands in until then.
    pub(super) fn make_wait(&mut self, cluster: &Cluster) -> bool {
        let Some(reason) = self.is_away(cluster) else { return false };
        self.stand_in(&cluster.name, reason, true)
    }

    /// Whether calls go by another cluster of this name, which stands in from now on for what waits, for this
    /// reason; it is told at once, or when it is brought up to date.
    pub(super) fn stand_in(&mut self, name: &Arc<str>, reason: Arc<str>, tells: bool) -> bool {
        let published = self.published.get(name);
        let serves = match published {
            Some(Published::Cluster { cluster, endpoints }) => {
                (!matches!(endpoints, Some(Err(_)))).then_some(cluster)
            }
            Some(Published::Nothing(_)) | None => None,
        };
        let Some(good) = self.good.get_mut(name) else { return false };
        let is_in_use = serves == Some(&good.cluster) || good.stands_in.is_some();
        if is_in_use && good.stands_in.is_none() {
            good.stands_in = Some((reason, published.filter(|_| !tells).cloned()));
        }
        is_in_use
    }

    /// Why a cluster waits for somebody who can be asked.
    fn is_away(&self, cluster: &Cluster) -> Option<Arc<str>> {
        let lacks = |name: &Arc<str>| match self.known.cluster(name)? {
            Err(lack) => Some(lack.clone()),
            Ok(part) => self.known.lack_of_endpoints(part),
        };
        let is_away = |lack: &Lack| lack.why == Why::Away;
        let lack = match &cluster.endpoints {
            EndpointsFrom::Aggregate(parts) => {
                let line = self.known.line(&cluster.name, parts)?.ok()?;
                let new = line.iter().filter(|name| !self.has_in_line(&cluster.name, name));
                new.filter_map(lacks).find(is_away)
            }
            _ => self.known.lack_of_endpoints(cluster).filter(is_away),
        };
        lack.map(|lack| lack.reason)
    }

    /// Whether this is the cluster that stands in for another one, and what was waited for is over.
    pub(super) fn is_back(&self, now: &Published) -> bool {
        let Published::Cluster { cluster, .. } = now else { return false };
        let good = self.good.get(&cluster.name);
        good.is_some_and(|good| good.stands_in.is_some() && good.cluster == *cluster)
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

    /// The clusters that stand in for refused ones and are filled from these endpoints, or secured by this
    /// secret.
    pub(super) fn stand_ins(&self, id: &Id) -> BTreeSet<Arc<str>> {
        let needs = |good: &Good| good.stands_in.is_some() && good.needs().contains(id);
        let good = self.good.iter().filter(|(_, good)| needs(good));
        good.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Brings the cluster up to date that stands in for a refused one.
    pub(super) fn publish_stand_in(&mut self, name: &Arc<str>) {
        let Some(good) = self.good.get(name) else { return };
        let Some((reason, before)) = &good.stands_in else { return };
        let cluster = self.known.with_secrets_of_now(&good.cluster);
        let Some(now) = cluster.and_then(|cluster| self.whole(&cluster)) else { return };
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
    /// Why there are no endpoints of a cluster.
    fn lack_of_endpoints(&self, cluster: &Cluster) -> Option<Lack> {
        match self.endpoints_of(cluster) {
            Filling::Known(Err(lack)) => Some(lack),
            Filling::Known(Ok(_)) | Filling::Awaited | Filling::Elsewhere => None,
        }
    }

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
