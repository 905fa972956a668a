//! The clusters that a request may name, by name: read by calls, written by updates.
//!
//! It is a table of small maps, each swapped as a whole, so that a cluster that comes or goes costs the
//! copy of one small map, and a call neither locks nor waits. It is empty until a route asks for it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use twox_hash::XxHash64;

use super::{
    cluster::Cluster,
    state::{Entry, Standing, State},
};
use crate::discover::SourceId;

/// How many maps there are.
const MAPS: usize = 64;

type Map = HashMap<Arc<str>, Known>;

/// A cluster that a request may name.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) cluster: Arc<Cluster>,
    /// The services that lead there: that of its name, and those that name it or a cluster that it takes
    /// over from.
    pub(crate) services: Arc<[Arc<str>]>,
}

/// The clusters that a source defines.
#[derive(Default)]
pub(crate) struct Directory(OnceLock<Box<[ArcSwap<Map>]>>);

// === impl Directory ===

impl Directory {
    /// The cluster of this name, without case.
    pub(crate) fn get(&self, name: &str) -> Option<Known> {
        let name = name.to_ascii_lowercase();
        self.map(&name)?.load().get(name.as_str()).cloned()
    }

    pub(super) fn is_used(&self) -> bool {
        self.0.get().is_some()
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

    /// A cluster may have come or gone, or who leads there.
    pub(super) fn note(&self, state: &State, name: &str) {
        let Some(map) = self.map(name) else { return };
        let entry = state.clusters.get(name).filter(|entry| {
            // What DNS alone knows is there because somebody has called it.
            state.cluster(name) == Standing::Defined
                && entry.settings.keys().any(|source| *source != SourceId::DNS)
        });
        let now = entry.map(|entry| Known {
            cluster: Arc::clone(&entry.cell),
            services: leading_to(state, name, entry),
        });
        let known = map.load();
        let is_same = match (known.get(name), &now) {
            (None, None) => true,
            (Some(before), Some(now)) => {
                Arc::ptr_eq(&before.cluster, &now.cluster) && before.services == now.services
            }
            _ => false,
        };
        if is_same {
            return;
        }
        let mut changed = Map::clone(&known);
        match now {
            Some(now) => {
                changed.insert(Arc::clone(&now.cluster.name), now);
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

fn leading_to(state: &State, name: &str, entry: &Entry) -> Arc<[Arc<str>]> {
    let backed =
        entry.backs.iter().filter_map(|backed| Some((backed, state.clusters.get(backed)?)));
    let through = backed.flat_map(|(backed, entry)| entry.users.iter().chain([backed]));
    let users = entry.users.iter().map(String::as_str);
    let names = users.chain([name]).chain(through.map(String::as_str));
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(Into::into).collect()
}
