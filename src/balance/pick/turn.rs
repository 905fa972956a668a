//! One endpoint after the other; with unequal weights by static stride.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Best, Picker, Plain, SCAN, scale};
#[cfg(feature = "orca")]
use super::{random::WALK, share_of};
#[cfg(feature = "orca")]
use crate::balance::{set::Set, weighted::Weighted};
use crate::{
    balance::endpoint::{Endpoint, Upstream},
    core::Random,
};

impl<'a, X: Upstream> Picker<'a, X> {
    /// One after the other; with unequal weights by static stride (gRPC's scheduler).
    #[inline(always)]
    pub(in crate::balance) fn round_robin(self, cursor: &AtomicU64) -> Plain<'a, X> {
        self.plain(self.in_turn(cursor))
    }

    pub(in crate::balance) fn round_robin_ranked(
        self,
        endpoint: &'a Arc<Endpoint<X>>,
        cursor: &AtomicU64,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        self.turns_ranked(endpoint, || self.in_turn(cursor))
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
    fn in_turn(self, cursor: &AtomicU64) -> Option<&'a Arc<Endpoint<X>>> {
        let (set, weight) = (self.set, |endpoint: &Endpoint<X>| endpoint.spec().weight());
        // The largest weight of the set has every turn: this ends within a round.
        self.stride::<false>(cursor, set.uniform, (set.max_weight, set.stride), weight)
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
        const FULL: u64 = (u64::MAX / u16::MAX as u64).wrapping_add(1);
        let turns = |endpoint: &Endpoint<X>| weighted.turns(endpoint);
        let turn = self.stride::<true>(cursor, weighted.is_plain(), (u16::MAX, FULL), turns);
        turn.or_else(|| drawn_by_turns(self.set, self.random, weighted))
    }

    /// `ENDS`: nothing when nobody had a turn in a whole round.
    #[inline(always)]
    fn stride<const ENDS: bool>(
        self,
        cursor: &AtomicU64,
        uniform: bool,
        (largest, unit): (u16, u64),
        weight: impl Fn(&Endpoint<X>) -> u16,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len() as u64;
        if len == 0 {
            return None;
        }
        let mut left = len;
        loop {
            let mut at = cursor.fetch_add(1, Relaxed);
            if at == 0 {
                at = first_turn(cursor, self.random, self.set.len());
            }
            let (round, place) = (at / len, at % len);
            let endpoint = self.set.get(usize::try_from(place).ok()?)?;
            if uniform {
                return Some(endpoint);
            }
            // Of as many rounds as the largest weight has, each endpoint takes as many as its own
            // weight: those in which its steps pass the end of a circle of 2^64.
            let weight = weight(endpoint);
            let stride = u64::from(weight).wrapping_mul(unit);
            let start = place.wrapping_mul(u64::MAX / 2);
            let step = stride.wrapping_mul(round).wrapping_add(start);
            if weight == largest || step.checked_add(stride).is_none() {
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
