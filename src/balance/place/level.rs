//! One priority at one distance, and its parts: localities or rings.
//!
//! How much each gets is a word of its own, which `count.rs` writes.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::{
    parts::{Endpoints, keyed},
    plan::Making,
    priority::Load,
    used::reduce,
};
use crate::{
    balance::{endpoint::Upstream, pick::Edge, set::Set, view::Group},
    config::Locality,
};

/// The endpoints of one priority at one distance.
pub(in crate::balance) struct Level<X> {
    pub(in crate::balance) priority: u32,
    /// By how much of the caller's place it differs.
    pub(in crate::balance) distance: u32,
    /// All of them; None where those are all of the view.
    pub(in crate::balance) whole: Option<Group<X>>,
    /// Them by locality or ring; empty where that does not matter.
    pub(in crate::balance) parts: Vec<Part<X>>,
    /// Endpoints that are used by a share alone.
    pub(in crate::balance) edges: Vec<Edge<X>>,
    /// A [`Load`] in one word.
    pub(super) load: AtomicU32,
    /// The parts share, and not all endpoints as one.
    pub(in crate::balance) is_split: AtomicBool,
}

/// One locality or ring of a priority.
pub(in crate::balance) struct Part<X> {
    pub(in crate::balance) locality: Locality,
    /// Which ring it is, where parts are rings.
    pub(in crate::balance) ring: Option<usize>,
    pub(in crate::balance) group: Group<X>,
    /// What it and those before it get, of 2^32.
    pub(super) upto: AtomicU32,
}

// === impl Level ===

impl<X: Upstream> Level<X> {
    pub(super) fn new(
        making: &Making<'_, X>,
        (priority, distance): (u32, u32),
        endpoints: Endpoints<'_, X>,
        alone: bool,
    ) -> (Self, bool) {
        let placing = making.placing;
        let before = making.before.and_then(|plan| {
            plan.levels.iter().find(|it| (it.priority, it.distance) == (priority, distance))
        });
        let mut keyed = keyed(making, priority, endpoints);
        let (mut is_subset, mut edges) = (false, Vec::new());
        if let Some(used) = placing.subsetting {
            for (_, endpoints) in &mut keyed {
                is_subset |= reduce(used, endpoints, &mut edges);
            }
        }
        let is_own = !alone || is_subset;
        let mut all = Vec::new();
        let mut parts = Vec::new();
        let many = keyed.len() > 1;
        for ((locality, ring), endpoints) in keyed {
            if is_own {
                all.extend_from_slice(&endpoints);
            }
            if many {
                let before = before
                    .and_then(|level| {
                        level.parts.iter().find(|it| it.locality == locality && it.ring == ring)
                    })
                    .map(|part| &part.group);
                let group = Group::new(
                    making.policy,
                    Set::of(endpoints.into_iter().cloned(), making.policy.finds_by_place()),
                    before,
                    (making.crowd, None),
                );
                parts.push(Part { locality, ring, group, upto: AtomicU32::new(u32::MAX) });
            }
        }
        let whole = is_own.then(|| {
            let before = before.and_then(|level| level.whole.as_ref());
            Group::new(
                making.policy,
                Set::of(all.into_iter().cloned(), making.policy.finds_by_place()),
                before,
                (making.crowd, making.weights()),
            )
        });
        let level = Self {
            priority,
            distance,
            whole,
            parts,
            edges,
            // Until it is counted, it is as it was.
            load: AtomicU32::new(before.map_or(0, |level| level.load.load(Relaxed))),
            is_split: AtomicBool::new(false),
        };
        (level, is_subset)
    }

    /// The same of other endpoints, which are all that there are and do not share by anything.
    pub(super) fn renewed(&self) -> Self {
        Self {
            priority: self.priority,
            distance: self.distance,
            whole: None,
            parts: Vec::new(),
            edges: Vec::new(),
            // Until it is counted, it is as it was.
            load: AtomicU32::new(self.load.load(Relaxed)),
            is_split: AtomicBool::new(false),
        }
    }

    /// The part that a random point of 2^32 falls on.
    pub(in crate::balance) fn part(&self, point: u32) -> usize {
        let at = self.parts.iter().position(|part| point <= part.upto.load(Relaxed));
        at.unwrap_or(0)
    }
}

impl<X> Level<X> {
    pub(in crate::balance) fn load(&self) -> Load {
        let word = self.load.load(Relaxed);
        Load { healthy: word & 0xff, degraded: word >> 8 & 0xff, panic: word >> 16 != 0 }
    }

    /// Whether every call is for its healthy endpoints.
    #[inline]
    pub(in crate::balance) fn gets_all(&self) -> bool {
        self.load.load(Relaxed) == ALL
    }

    /// Notes what it gets, and gives what it got before.
    pub(in crate::balance) fn set_load(&self, load: Load) -> Load {
        let before = self.load();
        self.load.store(pack(load), Relaxed);
        before
    }

    /// Notes how its parts share; None: their endpoints are as good as of one.
    pub(in crate::balance) fn set_shares(&self, shares: Option<&[f64]>) {
        if let Some(shares) = shares {
            let (mut upto, mut last) = (0.0, 0);
            for (index, (part, share)) in self.parts.iter().zip(shares).enumerate() {
                upto += share;
                if *share > 0.0 {
                    last = index;
                }
                part.upto.store(point(upto), Relaxed);
            }
            // The rounding is that of the last one that gets anything.
            for part in self.parts.iter().skip(last) {
                part.upto.store(u32::MAX, Relaxed);
            }
        }
        self.is_split.store(shares.is_some() && !self.parts.is_empty(), Relaxed);
    }

    /// How its parts share, as far as they do.
    pub(in crate::balance) fn shares(&self) -> Vec<f64> {
        let mut before = 0.0;
        let share = |part: &Part<X>| {
            let upto = f64::from(part.upto.load(Relaxed)) / f64::from(u32::MAX);
            let share = upto - before;
            before = upto;
            share
        };
        if self.is_split.load(Relaxed) {
            self.parts.iter().map(share).collect()
        } else {
            Vec::new()
        }
    }
}

/// What is packed of one that gets every call.
const ALL: u32 = 100;

fn pack(load: Load) -> u32 {
    load.healthy.min(100) | load.degraded.min(100) << 8 | u32::from(load.panic) << 16
}

/// The last of the points of 2^32 that are within a share; nothing is within no share, but for a
/// point of 2^32.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn point(upto: f64) -> u32 {
    (upto * f64::from(u32::MAX)) as u32
}
