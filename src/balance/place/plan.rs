//! The plan of a pick: priorities, in each of them localities, in each of these the endpoints that
//! a policy picks among.
//!
//! Which endpoint stands where is fixed with the view; how much each part gets are atomics, which
//! `count.rs` writes when health has changed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    level::{Level, Part},
    nearness,
    parts::Endpoints,
    priority::Load,
    settings::{LocalityWeights, Placing},
};
use crate::{
    balance::{
        endpoint::{Endpoint, Upstream},
        hash::Crowd,
        parking::Mark,
        policy::Policy,
    },
    config::Place,
};

/// Priorities, best first.
pub(in crate::balance) struct Plan<X> {
    pub(in crate::balance) levels: Vec<Level<X>>,
    /// Some endpoints that are known are not in it.
    pub(in crate::balance) is_subset: bool,
    /// Until when some endpoint is new. Nanoseconds since the mesh's epoch.
    pub(in crate::balance) young_until: u64,
    /// A pick has come since it was counted last.
    pub(in crate::balance) used: Mark,
    /// When that was.
    pub(in crate::balance) counted: AtomicU64,
    /// A group that gets nothing and is looked at by the next pick, lest it stays so: 1 + the index
    /// of its level, and that of its part from bit 32 on.
    pub(in crate::balance) trial: AtomicU64,
    /// How often it was counted.
    pub(in crate::balance) counts: AtomicU64,
    /// Of a part of the cluster by labels: its id.
    pub(in crate::balance) id: u64,
}

/// What is needed to make a plan.
pub(in crate::balance) struct Making<'a, X> {
    pub(in crate::balance) policy: &'a Policy,
    pub(in crate::balance) crowd: &'a Arc<Crowd>,
    pub(in crate::balance) placing: &'a Placing,
    pub(in crate::balance) place: &'a Place,
    /// The plan that it replaces: whose turn it is survives.
    pub(in crate::balance) before: Option<&'a Plan<X>>,
    pub(in crate::balance) id: u64,
}

impl<X> Making<'_, X> {
    /// What localities weigh in it, where they share by that.
    pub(super) fn weights(&self) -> Option<&LocalityWeights> {
        self.placing.weights().filter(|_| !self.is_plain_part())
    }

    /// Whether it is a part by labels, in which the weights of localities do not count.
    pub(super) fn is_plain_part(&self) -> bool {
        let subsets = self.placing.subsets.as_ref();
        self.id != 0 && subsets.is_none_or(|subsets| subsets.locality_weighted != Some(true))
    }
}

// === impl Plan ===

impl<X: Upstream> Plan<X> {
    /// The plan of these endpoints; `all` says that they are all that there are.
    pub(in crate::balance) fn new(
        making: &Making<'_, X>,
        endpoints: &[&Arc<Endpoint<X>>],
        all: bool,
    ) -> Self {
        let placing = making.placing;
        let mut levels = BTreeMap::<(u32, u32), Endpoints<'_, X>>::new();
        let (mut young_until, mut is_subset) = (0, false);
        for endpoint in endpoints.iter().copied() {
            if let Some(slow) = &placing.slow_start
                && endpoint.joined() > 0
            {
                young_until = young_until.max(endpoint.joined().saturating_add(slow.window));
            }
            let said = endpoint.spec().said();
            let distance = match said {
                Some(said) => nearness::distance(&placing.prefer, making.place, said),
                None => u32::try_from(placing.prefer.len()).unwrap_or(u32::MAX),
            };
            if placing.prefer_strictly && distance > 0 {
                is_subset = true;
                continue;
            }
            let priority = said.map_or(0, |said| said.priority);
            levels.entry((priority, distance)).or_default().push(endpoint);
        }
        let alone = all && levels.len() == 1 && !is_subset;
        let levels = levels
            .into_iter()
            .enumerate()
            .map(|(index, (key, endpoints))| {
                let level = Level::new(making, key, endpoints, alone);
                is_subset |= level.1;
                if making.before.is_none() && index == 0 {
                    level.0.set_load(Load { healthy: 100, ..Load::default() });
                }
                level.0
            })
            .collect();
        Self {
            levels,
            is_subset,
            young_until,
            used: Mark::new(false),
            counted: AtomicU64::new(0),
            trial: AtomicU64::new(0),
            counts: AtomicU64::new(0),
            id: making.id,
        }
    }

    /// The same of other endpoints that are one level, too, where it is one; it has not been counted yet.
    pub(in crate::balance) fn renewed(&self) -> Option<Self> {
        let level = self.levels.first().filter(|_| self.is_whole())?;
        Some(Self {
            levels: vec![level.renewed()],
            is_subset: false,
            young_until: 0,
            used: Mark::new(false),
            counted: AtomicU64::new(0),
            trial: AtomicU64::new(0),
            counts: AtomicU64::new(0),
            id: self.id,
        })
    }

    /// Takes over when the one that it was renewed from was counted; whether that is after this time, and serves.
    pub(in crate::balance) fn take_count_of(&self, before: &Self, since: u64) -> bool {
        let at = before.counted.load(Relaxed);
        self.counted.store(at, Relaxed);
        at > since
    }

    /// Whether it is one level of all endpoints, each as good a place for a call as any other.
    pub(in crate::balance) fn is_whole(&self) -> bool {
        let [level] = &*self.levels else { return false };
        !self.is_subset && level.whole.is_none() && level.parts.is_empty() && level.edges.is_empty()
    }

    /// Notes a pick; whether it may go to whoever is good, as the first level gets every call and
    /// nobody is to be tried out.
    #[inline]
    pub(in crate::balance) fn note_straight(&self) -> bool {
        self.used.leave();
        self.trial.load(Relaxed) == 0 && self.levels.first().is_some_and(Level::gets_all)
    }

    /// The level that a random word falls on, and whether its degraded endpoints are meant.
    pub(in crate::balance) fn level(&self, percent: u32) -> (usize, bool) {
        if self.levels.len() == 1 {
            let load = self.levels[0].load();
            return (0, load.degraded > 0 && percent > load.healthy);
        }
        let mut upto = 0;
        for (index, level) in self.levels.iter().enumerate() {
            upto += level.load().healthy;
            if percent <= upto {
                return (index, false);
            }
        }
        for (index, level) in self.levels.iter().enumerate() {
            upto += level.load().degraded;
            if percent <= upto {
                return (index, true);
            }
        }
        // Only while the loads are being written.
        (0, false)
    }
}

impl<X> Plan<X> {
    /// Takes the group that is to be looked at once, if there is one.
    #[inline]
    pub(in crate::balance) fn take_trial(&self) -> Option<(&Level<X>, Option<&Part<X>>)> {
        if self.trial.load(Relaxed) == 0 {
            return None;
        }
        let trial = self.trial.swap(0, Relaxed);
        let level = (trial & u64::from(u32::MAX)).checked_sub(1)?;
        let level = self.levels.get(usize::try_from(level).ok()?)?;
        let part = (trial >> 32).checked_sub(1).and_then(|part| usize::try_from(part).ok());
        Some((level, part.and_then(|part| level.parts.get(part))))
    }
}
