//! One endpoint after the other; with unequal weights by static stride.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

#[cfg(feature = "orca")]
use super::share_of;
use super::{Best, Picker, Plain, SCAN, scale};
#[cfg(feature = "orca")]
use crate::balance::{set::Set, weighted::Weighted};
use crate::{
    balance::endpoint::{Endpoint, Upstream},
    core::Random,
};

/// 2^64 over the golden ratio: its multiples lie as evenly on the circle as can be.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A choice by turns looks at so many endpoints, where nobody had one in a whole round.
#[cfg(feature = "orca")]
const WALK: usize = 512;

/// Where the first place begins: so far from 0 that what the steps lack of a whole circle, a few
/// parts in 2^64 each round, costs nobody its first turn.
const FIRST: u64 = (1 << 31) - 1;

impl<'a, X: Upstream> Picker<'a, X> {
    /// One after the other.
    #[inline(always)]
    pub(in crate::balance) fn in_turn(self, cursor: &AtomicU64) -> Plain<'a, X> {
        self.plain(self.next_in_turn(cursor))
    }

    /// The same with unequal weights, by static stride (gRPC's scheduler, but for where each begins).
    #[inline(always)]
    pub(in crate::balance) fn in_turn_by_weight(self, cursor: &AtomicU64) -> Plain<'a, X> {
        self.plain(self.next_by_weight(cursor))
    }

    pub(in crate::balance) fn round_robin_ranked(
        self,
        endpoint: &'a Arc<Endpoint<X>>,
        cursor: &AtomicU64,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        if self.set.uniform {
            return self.turns_ranked(endpoint, || self.next_in_turn(cursor));
        }
        self.turns_ranked(endpoint, || self.next_by_weight(cursor))
    }

    /// The same by the weights that follow from what endpoints have told.
    #[cfg(feature = "orca")]
    #[inline(always)]
    pub(in crate::balance) fn weighted(
        self,
        cursor: &AtomicU64,
        weighted: &Weighted,
    ) -> Plain<'a, X> {
        self.plain(self.in_weighted_turn(cursor, weighted))
    }

    #[cfg(feature = "orca")]
    pub(in crate::balance) fn weighted_ranked(
        self,
        endpoint: &'a Arc<Endpoint<X>>,
        cursor: &AtomicU64,
        weighted: &Weighted,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        self.turns_ranked(endpoint, || self.in_weighted_turn(cursor, weighted))
    }

    fn turns_ranked(
        self,
        mut endpoint: &'a Arc<Endpoint<X>>,
        next: impl Fn() -> Option<&'a Arc<Endpoint<X>>>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best = Best::default();
        for looked in 0..SCAN.min(self.set.len()) {
            if looked > 0 {
                endpoint = next()?;
            }
            if self.consider(endpoint, &mut best) {
                return Some(endpoint);
            }
        }
        // The strides may have met the same heavy endpoints again and again.
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    /// The endpoint whose turn it is.
    #[inline(always)]
    fn next_in_turn(self, cursor: &AtomicU64) -> Option<&'a Arc<Endpoint<X>>> {
        let (_, place) = self.turn(cursor)?;
        self.set.get(place as usize)
    }

    /// The same by weight.
    #[inline(always)]
    fn next_by_weight(self, cursor: &AtomicU64) -> Option<&'a Arc<Endpoint<X>>> {
        let (unit, weight) = (self.set.stride, |endpoint: &Endpoint<X>| endpoint.spec().weight());
        // The largest weight of the set has every turn: this ends within a round.
        self.stride::<false>(cursor, unit, weight)
    }

    /// The same by reported weights. They are those of the whole cluster: of a part of it, or when the
    /// one with all turns has just left, nobody may have a turn in hundreds of rounds. When nobody had
    /// one in a whole round, one is drawn.
    #[cfg(feature = "orca")]
    #[inline(always)]
    fn in_weighted_turn(
        self,
        cursor: &AtomicU64,
        weighted: &Weighted,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        if weighted.is_plain() {
            return self.next_in_turn(cursor);
        }
        let turns = |endpoint: &Endpoint<X>| weighted.turns(endpoint);
        let turn = self.stride::<true>(cursor, step_of(u16::MAX), turns);
        turn.or_else(|| drawn_by_turns(self.set, self.random, weighted))
    }

    /// The next turn: in which round it is, and at which place.
    #[inline(always)]
    fn turn(self, cursor: &AtomicU64) -> Option<(u32, u32)> {
        let mut at = cursor.fetch_add(1, Relaxed);
        if at == 0 {
            at = first_turn(cursor, self.random, self.set.len());
        }
        // Half of it: that is one short division. Once in 2^32 turns a round ends early.
        let (at, len) = (low(at), low(self.set.len() as u64));
        Some((at.checked_div(len)?, at.checked_rem(len)?))
    }

    /// `ENDS`: nothing when nobody had a turn in a whole round.
    ///
    /// Of as many rounds as the largest weight has, each endpoint takes as many as its own weight:
    /// those in which its steps pass the end of a circle of 2^64. Where on the circle it begins is
    /// spread over all of it by its place, so that every round has as many turns as every other.
    #[inline(always)]
    fn stride<const ENDS: bool>(
        self,
        cursor: &AtomicU64,
        unit: u64,
        weight: impl Fn(&Endpoint<X>) -> u16,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut left = self.set.len();
        loop {
            let (round, place) = self.turn(cursor)?;
            let endpoint = self.set.get(place as usize)?;
            let step = unit.wrapping_mul(u64::from(weight(endpoint)));
            let passed = step.wrapping_mul(u64::from(round));
            let at = u64::from(place).wrapping_mul(SPREAD).wrapping_add(FIRST).wrapping_add(passed);
            if at.checked_add(step).is_none() {
                return Some(endpoint);
            }
            if ENDS {
                left -= 1;
                if left == 0 {
                    return None;
                }
            }
        }
    }
}

/// The step of weight 1 where the largest weight goes round a circle of 2^64 in one: all but once in as
/// many rounds as are never made.
pub(in crate::balance) const fn step_of(largest: u16) -> u64 {
    match u64::MAX.checked_div(largest as u64) {
        Some(step) => step,
        None => u64::MAX,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
#[inline(always)]
fn low(word: u64) -> u32 {
    word as u32
}

/// A random endpoint by its turns. Of a large set it is a part that is looked at.
#[cfg(feature = "orca")]
#[cold]
#[inline(never)]
fn drawn_by_turns<'a, X: Upstream>(
    set: &'a Set<X>,
    random: &Random,
    weighted: &Weighted,
) -> Option<&'a Arc<Endpoint<X>>> {
    let len = set.len();
    let from = if len > WALK { scale(random.next(), len) } else { 0 };
    let walk = || (0..len.min(WALK)).filter_map(move |step| set.get((from + step) % len));
    let sum = walk().map(|endpoint| u64::from(weighted.turns(endpoint))).sum();
    let mut point = share_of(random.next(), sum);
    let drawn = walk().find(|endpoint| {
        let turns = u64::from(weighted.turns(endpoint));
        let found = point < turns;
        point = point.saturating_sub(turns);
        found
    });
    // Turns that change meanwhile may sum to less.
    drawn.or_else(|| set.get(from))
}

/// Where the turns begin: anywhere. Processes that start together would go round the same
/// endpoints in step, each of which would get all of their calls at once.
#[cold]
#[inline(never)]
pub(super) fn first_turn(cursor: &AtomicU64, random: &Random, len: usize) -> u64 {
    let first = scale(random.next(), len) as u64;
    cursor.store(first + 1, Relaxed);
    first
}
