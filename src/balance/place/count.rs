//! Counts how the endpoints of a plan are doing, and writes what each part of it gets.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    locality::{self, Weighed},
    plan::{Level, Plan, rings_of},
    priority::{self, Census, Class, Load, Tally},
    rings::Ring,
    settings::{ByRing, Placing, Sharing},
    zone::{self, Zone, Zones},
};
use crate::{
    balance::{
        endpoint::{Endpoint, Upstream},
        pick::{Rank, is_failing, standing},
        view::Group,
    },
    config::{Locality, Place},
};

/// Callers of the own service in one locality: those that are well.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Callers {
    pub(crate) locality: Locality,
    pub(crate) number: u64,
    pub(crate) weight: u64,
}

/// What is counted by.
pub(in crate::balance) struct Counting<'a> {
    pub(in crate::balance) placing: &'a Placing,
    pub(in crate::balance) place: &'a Place,
    pub(in crate::balance) callers: &'a [Callers],
    pub(in crate::balance) now: u64,
}

/// What has become of a priority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Shift {
    pub(crate) priority: u32,
    /// By how much of the caller's place it differs.
    pub(crate) distance: u32,
    /// Of the calls of the cluster.
    pub(crate) percent: u32,
    pub(crate) panic: bool,
}

/// The endpoints of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::balance) struct Count {
    pub(in crate::balance) census: Census,
    /// The sum of their loads.
    load: f64,
}

/// How the endpoints of a group are counted.
struct By {
    /// Calls in flight that make a load of 1.
    full_load: f64,
    /// One whose first check is not over does not count.
    waits: bool,
}

impl By {
    fn of(placing: &Placing) -> Self {
        let full_load = match &placing.sharing {
            Sharing::Rings(rings) => rings.full_load,
            _ => 1.0,
        };
        Self { full_load, waits: placing.waits_for_check }
    }
}

/// Nothing: it takes no new calls.
fn class_of<X: Upstream>(endpoint: &Endpoint<X>, now: u64, waits: bool) -> Option<Class> {
    let unchecked = || endpoint.live().is_some_and(|live| live.load.state.is_unchecked());
    match standing(endpoint, now) {
        Rank::Good | Rank::Young if is_failing(endpoint) => Some(Class::Unhealthy),
        Rank::Good | Rank::Young => Some(Class::Healthy),
        Rank::Degraded => Some(Class::Degraded),
        Rank::Never => None,
        Rank::Suspect | Rank::Unavailable if waits && unchecked() => Some(Class::Excluded),
        _ => Some(Class::Unhealthy),
    }
}

impl Count {
    /// The endpoints of a group as its plan counts them.
    pub(in crate::balance) fn counted<X: Upstream>(
        group: &Group<X>,
        placing: &Placing,
        now: u64,
    ) -> Tally {
        Self::of(group, &By::of(placing), now).census.counted
    }

    fn of<X: Upstream>(group: &Group<X>, by: &By, now: u64) -> Self {
        let mut count = Self::default();
        for endpoint in group.set.iter() {
            let Some(class) = class_of(endpoint, now, by.waits) else { continue };
            count.census.add(class, endpoint.spec().weight());
            if let Some(live) = endpoint.live() {
                count.load += f64::from(live.load.in_flight()) / by.full_load;
            }
        }
        count
    }

    /// Whether there are endpoints, none of which is well.
    fn is_lost(&self) -> bool {
        let counted = self.census.counted;
        counted.total > 0 && counted.healthy + counted.degraded == 0
    }

    fn add(&mut self, other: &Self) {
        self.census.join(&other.census);
        self.load += other.load;
    }
}

impl<X: Upstream> Plan<X> {
    /// Counts anew and writes the shares; tells what has shifted between priorities. True when rings
    /// are not what they were: then the plan is to be made anew.
    pub(in crate::balance) fn count(
        &self,
        all: &Group<X>,
        counting: &Counting<'_>,
        mut tell: impl FnMut(Shift),
    ) -> bool {
        let (placing, now) = (counting.placing, counting.now);
        let by = By::of(placing);
        let mut moved = false;
        let mut censuses = Vec::with_capacity(self.levels.len());
        let mut lost = Vec::new();
        for (index, level) in self.levels.iter().enumerate() {
            let whole = level.whole.as_ref().unwrap_or(all);
            if let Sharing::Rings(rings) = &placing.sharing {
                moved |= level.has_moved(whole, rings);
            }
            if level.parts.is_empty() {
                censuses.push(Count::of(whole, &by, now).census);
                continue;
            }
            let counts: Vec<_> =
                level.parts.iter().map(|part| Count::of(&part.group, &by, now)).collect();
            let mut sum = Count::default();
            counts.iter().for_each(|count| sum.add(count));
            censuses.push(sum.census);
            let parts = (1..).zip(&counts).filter(|(_, count)| count.is_lost());
            lost.extend(parts.map(|(part, _)| (index, part)));
            let shares = self.shares(index, level, &counts, counting);
            level.set_shares(shares.as_deref());
        }
        let loads = priority::loads(&censuses, &placing.rule);
        // Of what is nearer than all that gets calls, and of what is lost of that.
        let used = loads.iter().rposition(|load| sum(*load) > 0).unwrap_or(0);
        lost.retain(|(level, _)| sum(loads[*level]) > 0);
        let gone = (0..used).filter(|level| sum(loads[*level]) == 0 && censuses[*level].hosts > 0);
        lost.extend(gone.map(|level| (level, 0)));
        self.try_next(&lost);
        for (level, load) in self.levels.iter().zip(loads) {
            let before = level.set_load(load);
            if sum(before) > 0 && sum(load) > 0 && before.panic == load.panic {
                continue;
            }
            if (sum(before) > 0, before.panic) != (sum(load) > 0, load.panic) {
                tell(Shift {
                    priority: level.priority,
                    distance: level.distance,
                    percent: sum(load),
                    panic: load.panic,
                });
            }
        }
        self.counted.store(now, Relaxed);
        moved
    }

    /// One line per priority, and one for each of its parts.
    pub(in crate::balance) fn told(
        &self,
        all: &Group<X>,
        placing: &Placing,
        now: u64,
    ) -> Vec<String> {
        let (by, mut lines) = (By::of(placing), Vec::new());
        for level in &self.levels {
            let whole = level.whole.as_ref().unwrap_or(all);
            let Census { counted, .. } = Count::of(whole, &by, now).census;
            let load = level.load();
            let mut line = format!("priority {}", level.priority);
            if level.distance > 0 {
                line += &format!(", distance {}", level.distance);
            }
            line += &format!(
                ": {} % of calls, {} of {} healthy",
                sum(load),
                counted.healthy,
                counted.total
            );
            if counted.degraded > 0 {
                line += &format!(", {} degraded", counted.degraded);
            }
            if load.panic {
                line += ", in panic: all are called";
            }
            lines.push(line);
            for (part, share) in level.parts.iter().zip(level.shares()) {
                let name = match part.ring {
                    Some(ring) => format!("ring {}", ring + 1),
                    None => name_of(&part.locality),
                };
                lines.push(format!(
                    "  {name}: {:.1} % of them, {} endpoints",
                    share * 100.0,
                    part.group.set.len()
                ));
            }
        }
        lines
    }

    /// Notes one of the groups that get nothing, for the next pick; they take turns.
    fn try_next(&self, lost: &[(usize, u64)]) {
        let turn = self.counts.fetch_add(1, Relaxed);
        let next = usize::try_from(turn).unwrap_or(0).checked_rem(lost.len());
        let trial = next.and_then(|next| lost.get(next));
        let trial = trial.map_or(0, |(level, part)| *level as u64 + 1 + (part << 32));
        self.trial.store(trial, Relaxed);
    }

    /// How the parts of a level share.
    fn shares(
        &self,
        index: usize,
        level: &Level<X>,
        counts: &[Count],
        counting: &Counting<'_>,
    ) -> Option<Vec<f64>> {
        match &counting.placing.sharing {
            Sharing::Together => None,
            Sharing::Weighted(weights) => {
                let weigh = |(part, count): (&super::plan::Part<X>, &Count)| Weighed {
                    weight: weights
                        .get(&(level.priority, part.locality.clone()))
                        .copied()
                        .unwrap_or(0),
                    available: count.census.counted.healthy,
                    total: count.census.counted.total,
                };
                let weighed: Vec<_> = level.parts.iter().zip(counts).map(weigh).collect();
                locality::shares(&weighed, counting.placing.rule.overprovisioning)
            }
            Sharing::Zone { rule, by_weight, .. } => {
                zone::shares(&zones(level, counts, counting, *by_weight), rule)
            }
            Sharing::Rings(by) => {
                let mut rings = vec![Ring::default(); by.len()];
                for (part, count) in level.parts.iter().zip(counts) {
                    if let Some(ring) = part.ring.and_then(|ring| rings.get_mut(ring)) {
                        // Those that are down take nothing over from the others.
                        let well = count.census.counted.healthy + count.census.counted.degraded;
                        *ring = Ring { endpoints: well, load: count.load };
                    }
                }
                let shares = by.with(index, self.id, |open| open.shares(&rings));
                if shares.iter().sum::<f64>() <= 0.0 {
                    return None;
                }
                let of = |part: &super::plan::Part<X>| {
                    part.ring.and_then(|ring| shares.get(ring)).copied().unwrap_or(0.0)
                };
                Some(level.parts.iter().map(of).collect())
            }
        }
    }
}

pub(in crate::balance) fn name_of(locality: &Locality) -> String {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let parts: Vec<&str> = parts.iter().filter(|it| !it.is_empty()).map(|it| it.as_str()).collect();
    if parts.is_empty() { "no locality".to_owned() } else { parts.join("/") }
}

fn sum(load: Load) -> u32 {
    load.healthy + load.degraded
}

fn zones<X>(level: &Level<X>, counts: &[Count], counting: &Counting<'_>, by_weight: bool) -> Zones {
    let mut here = counting.place.locality.clone();
    let coarse = here.sub_zone.is_empty();
    let same = |callers: &Callers, locality: &Locality| {
        let mut theirs = callers.locality.clone();
        if coarse {
            theirs.sub_zone.clear();
        }
        theirs == *locality
    };
    let amount = |callers: &Callers| if by_weight { callers.weight } else { callers.number };
    let in_locality = |locality: &Locality| -> u64 {
        counting.callers.iter().filter(|it| same(it, locality)).map(amount).sum()
    };
    let healthy = |count: &Count| count.census.counted.healthy;
    let own = level.parts.iter().position(|part| part.locality == here);
    // A caller that does not know where it is is nowhere.
    if here == Locality::default() {
        here.zone = "\0".to_owned();
    }
    let mut caller_zones: Vec<_> = counting
        .callers
        .iter()
        .filter(|callers| callers.number > 0)
        .map(|callers| {
            let it = &callers.locality;
            (&it.region, &it.zone, if coarse { "" } else { &*it.sub_zone })
        })
        .collect();
    caller_zones.sort_unstable();
    caller_zones.dedup();
    Zones {
        zones: level
            .parts
            .iter()
            .zip(counts)
            .map(|(part, count)| Zone {
                endpoints: if by_weight { count.census.weighed.healthy } else { healthy(count) },
                callers: in_locality(&part.locality),
            })
            .collect(),
        own: own.filter(|_| here.zone != "\0"),
        healthy: counts.iter().map(healthy).sum(),
        healthy_here: own.and_then(|own| counts.get(own)).map_or(0, healthy),
        callers: counting.callers.iter().map(amount).sum(),
        caller_zones: caller_zones.len(),
        callers_here: in_locality(&here),
    }
}

impl<X: Upstream> Level<X> {
    /// Whether some endpoint is in another ring than when the plan was made.
    fn has_moved(&self, whole: &Group<X>, by: &ByRing) -> bool {
        let endpoints: Vec<_> = whole.set.iter().cloned().collect();
        let mut now = vec![0_usize; by.len()];
        for ring in rings_of(&endpoints, &by.bounds) {
            if let Some(count) = now.get_mut(ring) {
                *count += 1;
            }
        }
        let mut before = vec![0_usize; by.len()];
        for part in &self.parts {
            if let Some(count) = part.ring.and_then(|ring| before.get_mut(ring)) {
                *count += part.group.set.len();
            }
        }
        if self.parts.is_empty() {
            // All of them were in one ring, whichever that was.
            return now.iter().filter(|count| **count > 0).count() > 1;
        }
        now != before
    }
}
