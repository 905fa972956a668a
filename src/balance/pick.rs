//! The picking policies, over one snapshot.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    endpoint::{Endpoint, Upstream},
    set::Set,
};
use crate::{config::Health, core::Random};

/// Finagle's `maxEffort` for half of the endpoints bad: (1/2)^(2·4) < 1 %.
const EFFORT: usize = 4;
/// After that, so many endpoints are looked at one after the other.
const SCAN: usize = 64;
/// So often a weighted choice is tried by rejection, which costs nothing while weights are alike.
const REJECTIONS: usize = 16;
/// Then it is made by walking over so many endpoints.
const WALK: usize = 512;

/// How well an endpoint may be called; the better rank wins before any load is compared.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    Good,
    /// Failing lately, or unhealthy by its source's word.
    Suspect,
    /// It could not be connected to, and the back-off lasts.
    Unavailable,
    /// This call has met it already.
    Tried,
    /// It takes no new calls.
    Never,
}

/// What ranks and compares.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    PeakEwma { decay: u64 },
    LeastRequest,
}

/// One pick in progress.
pub(super) struct Picker<'a, X> {
    pub(super) set: &'a Set<X>,
    pub(super) now: u64,
    pub(super) random: &'a Random,
    pub(super) tried: &'a [Arc<Endpoint<X>>],
}

type Ranked<'a, X> = (Rank, &'a Arc<Endpoint<X>>);

impl<'a, X: Upstream> Picker<'a, X> {
    fn rank(&self, endpoint: &Arc<Endpoint<X>>) -> Rank {
        let health = endpoint.spec().health();
        if health == Health::Draining {
            return Rank::Never;
        }
        if !self.tried.is_empty() && self.tried.iter().any(|tried| tried.is(endpoint)) {
            return Rank::Tried;
        }
        let Some(live) = endpoint.live() else {
            return if health == Health::Unhealthy { Rank::Suspect } else { Rank::Good };
        };
        if !live.extra.available(self.now) {
            Rank::Unavailable
        } else if live.load.is_suspect() || health == Health::Unhealthy {
            Rank::Suspect
        } else {
            Rank::Good
        }
    }

    /// A random endpoint; with unequal weights, by rejection, and exactly if that takes long.
    fn sample(&self) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len();
        for _ in 0..REJECTIONS {
            let word = self.random.next();
            let endpoint = self.set.get(scale(word, len))?;
            if self.set.uniform
                || scale(word << 32, usize::from(self.set.max_weight))
                    < usize::from(endpoint.spec().weight())
            {
                return Some(endpoint);
            }
        }
        // So much is lost by rejection when one endpoint outweighs the rest. Of a large set it
        // is a part that is walked.
        let from = if len > WALK { scale(self.random.next(), len) } else { 0 };
        let walk = || (0..len.min(WALK)).filter_map(move |step| self.set.get((from + step) % len));
        let weight = |endpoint: &Arc<Endpoint<X>>| usize::from(endpoint.spec().weight());
        let mut point = scale(self.random.next(), walk().map(weight).sum());
        walk().find(|endpoint| {
            let weight = weight(endpoint);
            let found = point < weight;
            point = point.saturating_sub(weight);
            found
        })
    }

    /// Two different endpoints (or one twice, when there is no other).
    fn pair(&self) -> Option<(&'a Arc<Endpoint<X>>, &'a Arc<Endpoint<X>>)> {
        let len = self.set.len();
        if !self.set.uniform {
            let first = self.sample()?;
            let mut second = self.sample()?;
            if Arc::ptr_eq(first, second) {
                second = self.sample()?;
            }
            return Some((first, second));
        }
        let word = self.random.next();
        let first = scale(word, len);
        if len < 2 {
            let only = self.set.get(first)?;
            return Some((only, only));
        }
        // The second is drawn from the others: past the first it is shifted by one.
        let second = scale(word << 32, len - 1);
        let second = second + usize::from(second >= first);
        Some((self.set.get(first)?, self.set.get(second)?))
    }

    /// The better of two random endpoints.
    pub(super) fn p2c(&self, signal: Signal) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best: Option<Ranked<'a, X>> = None;
        for _ in 0..EFFORT {
            let (first, second) = self.pair()?;
            let (rank, other) = (self.rank(first), self.rank(second));
            for (rank, endpoint) in [(rank, first), (other, second)] {
                if rank == Rank::Suspect && self.is_probe(endpoint) {
                    return Some(endpoint);
                }
            }
            let better = if rank != other {
                if rank < other { (rank, first) } else { (other, second) }
            } else if self.cost(second, signal) < self.cost(first, signal) {
                (other, second)
            } else {
                (rank, first)
            };
            if better.0 == Rank::Good {
                let loser = if Arc::ptr_eq(better.1, first) { second } else { first };
                if rank == other && self.is_stale(loser, better.1) {
                    return Some(loser);
                }
                return Some(better.1);
            }
            if best.is_none_or(|(rank, _)| better.0 < rank) {
                best = Some(better);
            }
        }
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    pub(super) fn random(&self) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best: Option<Ranked<'a, X>> = None;
        for _ in 0..EFFORT {
            let endpoint = self.sample()?;
            let rank = self.rank(endpoint);
            if rank == Rank::Good || (rank == Rank::Suspect && self.is_probe(endpoint)) {
                return Some(endpoint);
            }
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, endpoint));
            }
        }
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    /// One after the other; with unequal weights by static stride (gRPC's scheduler).
    pub(super) fn round_robin(&self, cursor: &AtomicU64) -> Option<&'a Arc<Endpoint<X>>> {
        const FULL: u64 = 65_535;
        let len = self.set.len() as u64;
        let mut best: Option<Ranked<'a, X>> = None;
        let mut looked = 0;
        // A stride passes the largest weight at each round, so this ends.
        while looked < SCAN.min(self.set.len()) {
            let at = cursor.fetch_add(1, Relaxed);
            let place = usize::try_from(at % len).ok()?;
            let endpoint = self.set.get(place)?;
            if !self.set.uniform {
                let weight =
                    u64::from(endpoint.spec().weight()) * FULL / u64::from(self.set.max_weight);
                let offset = (FULL / 2).wrapping_mul(at % len);
                let step = (weight.wrapping_mul(at / len).wrapping_add(offset)) % FULL;
                if step < FULL - weight {
                    continue;
                }
            }
            let rank = self.rank(endpoint);
            if rank == Rank::Good || (rank == Rank::Suspect && self.is_probe(endpoint)) {
                return Some(endpoint);
            }
            looked += 1;
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, endpoint));
            }
        }
        // The strides may have met the same heavy endpoints again and again.
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    /// Whether this call is the one that probes a suspect.
    fn is_probe(&self, endpoint: &Endpoint<X>) -> bool {
        endpoint
            .live()
            .is_some_and(|live| live.load.is_suspect() && live.load.claim_probe(self.now))
    }

    /// Whether this call refreshes what is known of an endpoint that never wins.
    fn is_stale(&self, loser: &Endpoint<X>, winner: &Endpoint<X>) -> bool {
        match (loser.live(), winner.live()) {
            (Some(loser), Some(winner)) => loser.load.claim_stale(self.now, &winner.load),
            // A winner that has never been called is what this call is for.
            _ => false,
        }
    }

    fn cost(&self, endpoint: &Endpoint<X>, signal: Signal) -> f32 {
        let Some(live) = endpoint.live() else { return 0.0 };
        // Of weights it is what is in flight that is compared: idle ones differ in nothing.
        let share = if self.set.uniform {
            1.0
        } else {
            f32::from(self.set.max_weight) / f32::from(endpoint.spec().weight())
        };
        match signal {
            Signal::PeakEwma { decay } => live.load.cost(self.now, decay, share),
            #[expect(clippy::cast_precision_loss, reason = "calls in flight")]
            Signal::LeastRequest => live.load.in_flight() as f32 * share,
        }
    }

    /// Looks at endpoints in a row for one that is better than `best`: at a bounded number of
    /// them, but at all before it says that none may be called. In panic, whatever is best is
    /// called.
    fn scan(&self, from: usize, mut best: Option<Ranked<'a, X>>) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len();
        let callable = |(rank, _): &Ranked<'a, X>| *rank != Rank::Never;
        for step in 0..len {
            if step >= SCAN && best.as_ref().is_some_and(callable) {
                break;
            }
            let endpoint = self.set.get((from + step) % len)?;
            let rank = self.rank(endpoint);
            if rank == Rank::Good {
                return Some(endpoint);
            }
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, endpoint));
            }
        }
        best.filter(callable).map(|(_, endpoint)| endpoint)
    }
}

/// A random word's upper half, scaled to `0..len` without a division.
pub(super) fn scale(word: u64, len: usize) -> usize {
    let scaled = (u128::from(word >> 32) * len as u128) >> 32;
    usize::try_from(scaled).unwrap_or(0)
}
