//! What the sources have said so far. Locked by updates only, never by a call.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::cluster::Cluster;
use crate::{
    config::{self, Address},
    discover::SourceId,
};

/// The words of every source, by name.
#[derive(Default)]
pub(super) struct State {
    pub(super) services: BTreeMap<String, BTreeMap<SourceId, config::Service>>,
    pub(super) clusters: HashMap<String, Entry>,
    /// Parts that are refused now, with their reasons.
    pub(super) refused: BTreeMap<String, String>,
    pub(super) synced: HashSet<SourceId>,
}

/// One cluster, and who says what of it.
pub(super) struct Entry {
    pub(super) cell: Arc<Cluster>,
    /// The settings of each source; the first source that has any decides.
    pub(super) settings: BTreeMap<SourceId, config::Cluster>,
    /// Whose endpoints they are, kept only while several sources name the cluster.
    owners: BTreeMap<SourceId, HashSet<Address>>,
}

// === impl State ===

impl State {
    pub(super) fn knows(&self, name: &str) -> bool {
        self.services.get(name).is_some_and(|by| !by.is_empty()) || self.is_cluster(name)
    }

    /// Whether a source defines the cluster; one that is only named by a route is none.
    pub(super) fn is_cluster(&self, name: &str) -> bool {
        self.clusters.get(name).is_some_and(|entry| !entry.settings.is_empty())
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(cell: Cluster) -> Self {
        Self { cell: Arc::new(cell), settings: BTreeMap::new(), owners: BTreeMap::new() }
    }

    /// Notes what a source says of the cluster; from the second source on, endpoints have owners.
    pub(super) fn define(&mut self, source: SourceId, settings: config::Cluster) {
        if let (1, Some(first)) = (self.settings.len(), self.settings.keys().next().copied())
            && first != source
        {
            let specs = self.cell.core.load().balancer.specs();
            let owned = specs.into_iter().map(|endpoint| endpoint.address).collect();
            self.owners.insert(first, owned);
        }
        self.settings.insert(source, settings);
    }

    /// Replaces the endpoints of a source; those that others name, too, stay.
    pub(super) fn replace(&mut self, source: SourceId, set: Vec<config::Endpoint>) {
        let core = self.cell.core.load_full();
        if self.settings.len() <= 1 {
            self.owners.clear();
            core.balancer.replace(set);
            return;
        }
        let owned: HashSet<Address> = set.iter().map(|endpoint| endpoint.address.clone()).collect();
        let before = self.owners.insert(source, owned).unwrap_or_default();
        core.balancer.upsert(set);
        core.balancer.remove(&self.unowned(before));
    }

    /// Adds to the endpoints of a source.
    pub(super) fn upsert(&mut self, source: SourceId, set: Vec<config::Endpoint>) {
        if self.settings.len() > 1 {
            let owned = self.owners.entry(source).or_default();
            owned.extend(set.iter().map(|endpoint| endpoint.address.clone()));
        }
        self.cell.core.load().balancer.upsert(set);
    }

    /// Takes endpoints from a source; those that others name, too, stay.
    pub(super) fn remove(&mut self, source: SourceId, addresses: Vec<Address>) {
        if let Some(owned) = self.owners.get_mut(&source) {
            for address in &addresses {
                owned.remove(address);
            }
        }
        let gone = self.unowned(addresses);
        self.cell.core.load().balancer.remove(&gone);
    }

    /// Takes back what a source has said of the cluster.
    pub(super) fn forget(&mut self, source: SourceId) {
        self.replace(source, Vec::new());
        self.owners.remove(&source);
        self.settings.remove(&source);
    }

    fn unowned(&self, addresses: impl IntoIterator<Item = Address>) -> Vec<Address> {
        let owned = |address: &Address| self.owners.values().any(|set| set.contains(address));
        addresses.into_iter().filter(|address| !owned(address)).collect()
    }
}
