//! The plan of a pick: priorities, in each of them localities, in each of these the endpoints that
//! a policy picks among.
//!
//! Which endpoint stands where is fixed with the view; how much each part gets are atomics, which
//! `count.rs` writes when health has changed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    nearness,
    priority::Load,
    rings,
    settings::{Placing, Sharing, Used},
};
use crate::{
    balance::{
        endpoint::{Endpoint, Upstream},
        hash::Crowd,
        parking::Mark,
        pick::Edge,
        policy::Policy,
        set::Set,
        subset::{deterministic, rendezvous},
        view::Group,
    },
    config::{Endpoint as Said, Health, Locality, Place},
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
    /// Whether it is a part by labels, in which the weights of localities do not count.
    fn is_plain_part(&self) -> bool {
        let subsets = self.placing.subsets.as_ref();
        self.id != 0 && subsets.is_none_or(|subsets| subsets.locality_weighted != Some(true))
    }
}

// === impl Plan ===

impl<X: Upstream> Plan<X> {
    /// The plan of these endpoints; `all` says that they are all that there are.
    pub(in crate::balance) fn new(
        making: &Making<'_, X>,
        endpoints: &[Arc<Endpoint<X>>],
        all: bool,
    ) -> Self {
        let placing = making.placing;
        let mut levels = HashMap::<(u32, u32), Vec<Arc<Endpoint<X>>>>::new();
        let (mut young_until, mut is_subset) = (0, false);
        for endpoint in endpoints {
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
            levels.entry((priority, distance)).or_default().push(Arc::clone(endpoint));
        }
        let mut keys: Vec<_> = levels.keys().copied().collect();
        keys.sort_unstable();
        let alone = all && keys.len() == 1 && !is_subset;
        let levels = keys
            .into_iter()
            .enumerate()
            .map(|(index, key)| {
                let endpoints = levels.remove(&key).unwrap_or_default();
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

// === impl Level ===

impl<X: Upstream> Level<X> {
    fn new(
        making: &Making<'_, X>,
        (priority, distance): (u32, u32),
        endpoints: Vec<Arc<Endpoint<X>>>,
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
        let mut all = Vec::new();
        let mut parts = Vec::new();
        let many = keyed.len() > 1;
        for ((locality, ring), endpoints) in keyed {
            all.extend(endpoints.iter().cloned());
            if many {
                let before = before
                    .and_then(|level| {
                        level.parts.iter().find(|it| it.locality == locality && it.ring == ring)
                    })
                    .map(|part| &part.group);
                let group = Group::new(
                    making.policy,
                    Set::of(endpoints, making.policy.finds_by_place()),
                    before,
                    making.crowd,
                );
                parts.push(Part { locality, ring, group, upto: AtomicU32::new(u32::MAX) });
            }
        }
        let whole = (!alone || is_subset).then(|| {
            let before = before.and_then(|level| level.whole.as_ref());
            Group::new(
                making.policy,
                Set::of(all, making.policy.finds_by_place()),
                before,
                making.crowd,
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

fn pack(load: Load) -> u32 {
    load.healthy.min(100) | load.degraded.min(100) << 8 | u32::from(load.panic) << 16
}

/// The last of the points of 2^32 that are within a share; nothing is within no share, but for a
/// point of 2^32.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn point(upto: f64) -> u32 {
    (upto * f64::from(u32::MAX)) as u32
}

type Key = (Locality, Option<usize>);
type Endpoints<X> = Vec<Arc<Endpoint<X>>>;

/// The endpoints of a priority by what they share by, in a fixed order.
fn keyed<X: Upstream>(
    making: &Making<'_, X>,
    priority: u32,
    endpoints: Endpoints<X>,
) -> Vec<(Key, Endpoints<X>)> {
    let placing = making.placing;
    let here = &making.place.locality;
    let mut keyed = HashMap::<Key, Endpoints<X>>::new();
    match &placing.sharing {
        Sharing::Together => return vec![(Key::default(), endpoints)],
        Sharing::Weighted(_) if making.is_plain_part() => {
            return vec![(Key::default(), endpoints)];
        }
        // Only the first priority stays in its zone.
        Sharing::Zone { .. } if priority > 0 => return vec![(Key::default(), endpoints)],
        Sharing::Weighted(_) => {
            for endpoint in endpoints {
                keyed.entry((locality_of(&endpoint), None)).or_default().push(endpoint);
            }
        }
        Sharing::Zone { .. } => {
            for endpoint in endpoints {
                let mut locality = locality_of(&endpoint);
                // A caller that does not know its own part of the zone compares zones.
                if here.sub_zone.is_empty() {
                    locality.sub_zone.clear();
                }
                keyed.entry((locality, None)).or_default().push(endpoint);
            }
        }
        Sharing::Rings(by) => {
            for (endpoint, ring) in endpoints.iter().zip(rings_of(&endpoints, &by.bounds)) {
                let key = (Locality::default(), Some(ring));
                keyed.entry(key).or_default().push(Arc::clone(endpoint));
            }
        }
    }
    let mut keyed: Vec<_> = keyed.into_iter().collect();
    keyed.sort_unstable_by(|((one, ring), _), ((other, another), _)| {
        let order = |it: &Locality| (it.region.clone(), it.zone.clone(), it.sub_zone.clone());
        (ring, order(one)).cmp(&(another, order(other)))
    });
    keyed
}

pub(in crate::balance) fn locality_of<X>(endpoint: &Endpoint<X>) -> Locality {
    let said = endpoint.spec().said().and_then(|said: &Said| said.locality.as_deref());
    said.cloned().unwrap_or_default()
}

/// Which ring each endpoint is in, by what is measured of it, else of its locality.
pub(in crate::balance) fn rings_of<X: Upstream>(
    endpoints: &[Arc<Endpoint<X>>],
    bounds: &[std::time::Duration],
) -> Vec<usize> {
    let measured = |endpoint: &Endpoint<X>| endpoint.extra().and_then(Upstream::round_trip);
    let mut nearest = HashMap::<Locality, std::time::Duration>::new();
    for endpoint in endpoints {
        if let Some(time) = measured(endpoint) {
            let known = nearest.entry(locality_of(endpoint)).or_insert(time);
            *known = time.min(*known);
        }
    }
    let of = |endpoint: &Arc<Endpoint<X>>| {
        let time = measured(endpoint).or_else(|| nearest.get(&locality_of(endpoint)).copied());
        time.map_or(0, |time| rings::ring_of(time, bounds))
    };
    endpoints.iter().map(of).collect()
}

/// Leaves those that are used by this process; whether any were left out.
fn reduce<X: Upstream>(used: Used, endpoints: &mut Endpoints<X>, edges: &mut Vec<Edge<X>>) -> bool {
    let before = endpoints.len();
    // One that takes no new calls is in nobody's way.
    endpoints.retain(|endpoint| endpoint.spec().health() != Health::Draining);
    match used {
        Used::Random { size, above, seed } => {
            let keys = endpoints.iter().map(|endpoint| endpoint.spec().address().to_string());
            if let Some(places) = rendezvous::subset(keys, seed, size, above) {
                let chosen = places.into_iter().filter_map(|place| endpoints.get(place as usize));
                *endpoints = chosen.cloned().collect();
            }
        }
        Used::Deterministic { size, process, processes } => {
            if let Some(it) = deterministic::aperture(endpoints.len(), size, process, processes) {
                // Every process must have them in the same order.
                endpoints.sort_by_cached_key(|endpoint| endpoint.spec().address().to_string());
                let chosen = endpoints.iter().cycle().skip(it.first).take(it.len);
                *endpoints = chosen.cloned().collect();
                for (endpoint, share) in
                    [(endpoints.first(), it.of_first), (endpoints.last(), it.of_last)]
                {
                    if let Some(endpoint) = endpoint.filter(|_| share < 1.0) {
                        edges.push(Edge { endpoint: Arc::clone(endpoint), share });
                    }
                }
            }
        }
    }
    endpoints.len() < before
}
