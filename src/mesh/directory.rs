//! The clusters that a request may name, by name: read by calls, written by updates.
//!
//! It is a table of small maps, each swapped as a whole, so that a cluster that comes or goes costs the
//! copy of one small map, and a call neither locks nor waits. It is empty until a route asks for it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use twox_hash::XxHash64;

use super::{
    cluster::Cluster,
    state::{Standing, State},
};
use crate::discover::SourceId;

/// How many maps there are.
const MAPS: usize = 64;

type Map = HashMap<Arc<str>, Arc<Cluster>>;

/// The clusters that a source defines.
#[derive(Default)]
pub(crate) struct Directory(OnceLock<Box<[ArcSwap<Map>]>>);

// === impl Directory ===

impl Directory {
    /// The cluster of this name, without case.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Cluster>> {
        let name = name.to_ascii_lowercase();
        self.map(&name)?.load().get(name.as_str()).cloned()
    }

    /// A route names clusters by a header: they are listed from now on.
    pub(super) fn begin(&self, state: &State) {
        let mut is_new = false;
        self.0.get_or_init(|| {
            is_new = true;
            (0..MAPS).map(|_| ArcSwap::default()).collect()
        });
        if is_new {
            let names = state.clusters.keys();
            names.for_each(|name| self.note(state, name));
        }
    }

    /// A cluster may have come or gone.
    pub(super) fn note(&self, state: &State, name: &str) {
        let Some(map) = self.map(name) else { return };
        let entry = state.clusters.get(name).filter(|entry| {
            // What DNS alone knows is there because somebody has called it.
            state.cluster(name) == Standing::Defined
                && entry.settings.keys().any(|source| *source != SourceId::DNS)
        });
        let known = map.load();
        let is_same = match (known.get(name), entry) {
            (None, None) => true,
            (Some(known), Some(entry)) => Arc::ptr_eq(known, &entry.cell),
            _ => false,
        };
        if is_same {
            return;
        }
        let mut changed = Map::clone(&known);
        match entry {
            Some(entry) => {
                changed.insert(Arc::clone(&entry.cell.name), Arc::clone(&entry.cell));
            }
            None => {
                changed.remove(name);
            }
        }
        map.store(Arc::new(changed));
    }

    fn map(&self, name: &str) -> Option<&ArcSwap<Map>> {
        let maps = self.0.get()?;
        let hash = XxHash64::oneshot(0, name.as_bytes());
        maps.get(usize::try_from(hash % MAPS as u64).ok()?)
    }
}
