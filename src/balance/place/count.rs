//! Counts how the endpoints of a plan are doing, and writes what each part of it gets.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    plan::Plan,
    priority::{self, Census, Class, Tally},
    settings::{Placing, Sharing},
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
    pub(super) load: f64,
}

/// How the endpoints of a group are counted.
pub(super) struct By {
    /// Calls in flight that make a load of 1.
    full_load: f64,
    /// One whose first check is not over does not count.
    waits: bool,
}

impl By {
    pub(super) fn of(placing: &Placing) -> Self {
        let full_load = match &placing.sharing {
            Sharing::Rings(rings) => rings.full_load,
            _ => 1.0,
        };
        Self { full_load, waits: placing.waits_for_check }
    }
}

/// Nothing: it takes no new calls.
fn class_of<X: Upstream>(endpoint: &Endpoint<X>, now: u64, waits: bool) -> Option<Class> {
    match standing(endpoint, now) {
        Rank::Good | Rank::Young if is_failing(endpoint) => Some(Class::Unhealthy),
        Rank::Good | Rank::Young => Some(Class::Healthy),
        Rank::Degraded => Some(Class::Degraded),
        Rank::Never => None,
        Rank::Suspect | Rank::Unavailable if waits && endpoint.is_unchecked() => {
            Some(Class::Excluded)
        }
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

    pub(super) fn of<X: Upstream>(group: &Group<X>, by: &By, now: u64) -> Self {
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
        let used = loads.iter().rposition(|load| load.all() > 0).unwrap_or(0);
        lost.retain(|(level, _)| loads[*level].all() > 0);
        let gone = (0..used).filter(|level| loads[*level].all() == 0 && censuses[*level].hosts > 0);
        lost.extend(gone.map(|level| (level, 0)));
        self.try_next(&lost);
        for (level, load) in self.levels.iter().zip(loads) {
            let before = level.set_load(load);
            if (before.all() > 0, before.panic) != (load.all() > 0, load.panic) {
                tell(Shift {
                    priority: level.priority,
                    distance: level.distance,
                    percent: load.all(),
                    panic: load.panic,
                });
            }
        }
        self.counted.store(now, Relaxed);
        moved
    }

    /// Notes one of the groups that get nothing, for the next pick; they take turns.
    fn try_next(&self, lost: &[(usize, u64)]) {
        let turn = self.counts.fetch_add(1, Relaxed);
        let next = usize::try_from(turn).unwrap_or(0).checked_rem(lost.len());
        let trial = next.and_then(|next| lost.get(next));
        let trial = trial.map_or(0, |(level, part)| *level as u64 + 1 + (part << 32));
        self.trial.store(trial, Relaxed);
    }
}
