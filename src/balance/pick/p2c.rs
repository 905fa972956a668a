//! The better of two random endpoints: least request and peak EWMA.

use std::sync::Arc;

use super::{Best, Drawn, EFFORT, Picked, Picker, Plain, Rank, random::by_weight, scale};
use crate::{
    balance::{
        endpoint::{Endpoint, Live, Upstream},
        load::assumed,
        set::Set,
    },
    core::Random,
};

/// What ranks and compares.
#[derive(Clone, Copy, Debug)]
pub(in crate::balance) enum Signal {
    PeakEwma {
        decay: u64,
        /// What an endpoint costs that was never called.
        first: u64,
    },
    LeastRequest,
}

impl<'a, X: Upstream> Picker<'a, X> {
    /// Two different endpoints (or one twice, when there is no other).
    #[inline(always)]
    fn pair(self) -> Option<Drawn<'a, X>> {
        if self.set.uniform { self.even_pair() } else { pair_by_weight(self.set, self.random) }
    }

    /// The same where each is as likely as every other.
    #[inline(always)]
    fn even_pair(self) -> Option<Drawn<'a, X>> {
        let len = self.set.len();
        let word = self.random.next();
        let first = scale(word, len);
        // The second is drawn from the others: past the first it is shifted by one.
        let second = scale(word << 32, len.wrapping_sub(1));
        let second = second + usize::from(second >= first);
        if len < 2 {
            let only = self.set.get(first)?;
            return Some((only, only));
        }
        Some((self.set.get(first)?, self.set.get(second)?))
    }

    /// The better of two random endpoints.
    #[inline(always)]
    pub(in crate::balance) fn p2c(self, signal: Signal) -> Plain<'a, X> {
        let drawn = self.pair().ok_or(None)?;
        if self.tried.is_empty()
            && let Some(better) = self.better(drawn, signal)
        {
            return Ok(better);
        }
        Err(Some(drawn))
    }

    /// The better of two, if both are good.
    #[inline(always)]
    fn better(self, (first, second): Drawn<'a, X>, signal: Signal) -> Option<Picked<'a, X>> {
        let (one, other) = (self.good(first)?, self.good(second)?);
        let swap = self.cost(second, other, signal) < self.cost(first, one, signal);
        let (winner, loser) = if swap { (other, one) } else { (one, other) };
        let swap = swap != refreshes((self.now, self.random), loser, winner, signal);
        Some(if swap { (second, other) } else { (first, one) })
    }

    /// Two random endpoints, the better one first where both are good.
    #[cfg(feature = "orca")]
    #[inline(always)]
    pub(super) fn better_first(self, signal: Signal) -> Option<Drawn<'a, X>> {
        let drawn = self.pair()?;
        Some(match self.better(drawn, signal) {
            Some((better, _)) if Arc::ptr_eq(better, drawn.1) => (drawn.1, drawn.0),
            _ => drawn,
        })
    }

    /// The one with the fewest calls in flight of two that are as likely as all others.
    #[inline(always)]
    pub(in crate::balance) fn less_busy(self) -> Plain<'a, X> {
        let (first, second) = self.even_pair().ok_or(None)?;
        if self.tried.is_empty()
            && let Some(one) = self.good(first)
            && let Some(other) = self.good(second)
        {
            let swap = other.load.in_flight() < one.load.in_flight();
            return Ok(if swap { (second, other) } else { (first, one) });
        }
        Err(Some((first, second)))
    }

    /// The same for endpoints that are not both good.
    pub(in crate::balance) fn p2c_ranked(
        self,
        mut drawn: Drawn<'a, X>,
        signal: Signal,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best = Best::default();
        for effort in 0..EFFORT {
            if effort > 0 {
                drawn = self.pair()?;
            }
            let (first, second) = drawn;
            let (rank, other) = (self.rank(first), self.rank(second));
            for (rank, endpoint) in [(rank, first), (other, second)] {
                if self.is_probe(rank, endpoint) {
                    return Some(endpoint);
                }
            }
            let better = if rank != other {
                if rank < other { (rank, first) } else { (other, second) }
            } else if self.cost_of(second, signal) < self.cost_of(first, signal) {
                (other, second)
            } else {
                (rank, first)
            };
            if better.0 == Rank::Good {
                let loser = if Arc::ptr_eq(better.1, first) { second } else { first };
                if rank == other
                    // A winner that has never been called is what this call is for.
                    && let Some(won) = better.1.live()
                    && match loser.live() {
                        Some(lost) => refreshes((self.now, self.random), lost, won, signal),
                        // One that was never called is called before one that is no better.
                        None => won.load.is_long_before(self.now, loser.joined()),
                    }
                {
                    return Some(loser);
                }
                return Some(better.1);
            }
            best.note(better.0, better.1);
        }
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    fn cost_of(self, endpoint: &Endpoint<X>, signal: Signal) -> f32 {
        match (endpoint.live(), signal) {
            (Some(live), _) => self.cost(endpoint, live, signal),
            (None, Signal::PeakEwma { decay, first }) if first > 0 => {
                assumed(first, self.now.saturating_sub(endpoint.joined()), decay)
            }
            (None, _) => 0.0,
        }
    }

    #[inline(always)]
    fn cost(self, endpoint: &Endpoint<X>, live: &Live<X>, signal: Signal) -> f32 {
        // Of weights it is what is in flight that is compared: idle ones differ in nothing.
        let share = if self.set.uniform {
            1.0
        } else {
            f32::from(self.set.max_weight) / f32::from(endpoint.spec().weight())
        };
        match signal {
            Signal::PeakEwma { decay, .. } => live.load.cost(self.now, decay, share),
            #[expect(clippy::cast_precision_loss, reason = "calls in flight")]
            Signal::LeastRequest => live.load.in_flight() as f32 * share,
        }
    }
}

/// Whether this call refreshes what is known of an endpoint that never wins. What is in flight is known
/// at any time.
#[inline(always)]
fn refreshes<X>(
    (now, random): (u64, &Random),
    loser: &Live<X>,
    winner: &Live<X>,
    signal: Signal,
) -> bool {
    matches!(signal, Signal::PeakEwma { .. })
        && loser.load.is_stale(now, &winner.load)
        && (random.is_dry() || loser.load.claim_stale(now, &winner.load))
}

/// Two endpoints, by weight: perhaps one twice.
#[inline(never)]
fn pair_by_weight<'a, X: Upstream>(set: &'a Set<X>, random: &Random) -> Option<Drawn<'a, X>> {
    let first = by_weight(set, random)?;
    let mut second = by_weight(set, random)?;
    if Arc::ptr_eq(first, second) {
        second = by_weight(set, random)?;
    }
    Some((first, second))
}
