//! A copy of a plan of its own counters: what is tried out on it leaves the plan as it is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use super::{Level, Part, Plan};
use crate::balance::{parking::Mark, pick::Edge, view::Group};

impl<X> Plan<X> {
    /// The same plan of the same endpoints, of which no pick is to be a trial.
    pub(in crate::balance) fn copied(&self) -> Self {
        Self {
            levels: self.levels.iter().map(Level::copied).collect(),
            is_subset: self.is_subset,
            young_until: self.young_until,
            used: Mark::new(true),
            counted: AtomicU64::new(self.counted.load(Relaxed)),
            trial: AtomicU64::new(0),
            counts: AtomicU64::new(0),
            id: self.id,
        }
    }
}

impl<X> Level<X> {
    fn copied(&self) -> Self {
        let edge = |it: &Edge<X>| Edge { endpoint: Arc::clone(&it.endpoint), share: it.share };
        Self {
            priority: self.priority,
            distance: self.distance,
            whole: self.whole.as_ref().map(Group::copied),
            parts: self.parts.iter().map(Part::copied).collect(),
            edges: self.edges.iter().map(edge).collect(),
            load: AtomicU32::new(self.load.load(Relaxed)),
            is_split: AtomicBool::new(self.is_split.load(Relaxed)),
        }
    }
}

impl<X> Part<X> {
    fn copied(&self) -> Self {
        Self {
            locality: self.locality.clone(),
            ring: self.ring,
            group: self.group.copied(),
            upto: AtomicU32::new(self.upto.load(Relaxed)),
        }
    }
}
