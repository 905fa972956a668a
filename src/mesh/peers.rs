//! Clusters by name, for one that asks how many callers of the own service are in each zone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::cluster::Cluster;
use crate::balance::Callers;

/// Every cluster that is known. Locked off the path of calls alone.
#[derive(Default)]
pub(crate) struct Peers(Mutex<HashMap<String, Weak<Cluster>>>);

impl Peers {
    /// Notes a cluster; those that are gone are forgotten.
    pub(crate) fn note(&self, name: &str, cluster: &Arc<Cluster>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == known.capacity() {
            known.retain(|_, cluster| cluster.strong_count() > 0);
        }
        known.insert(name.to_owned(), Arc::downgrade(cluster));
    }

    /// Where the endpoints of a cluster are that are well.
    pub(crate) fn callers(&self, name: &str, now: u64) -> Vec<Callers> {
        let cluster = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(name).and_then(Weak::upgrade)
        };
        cluster.map(|cluster| cluster.core.load().balancer.callers(now)).unwrap_or_default()
    }
}
