//! The picking policies, over one snapshot.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    endpoint::{Endpoint, Live, Upstream},
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
    /// Its failures, or its checks, have taken it out of use.
    Ejected,
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

/// By value: a pick that finds good endpoints keeps it in registers.
impl<X> Clone for Picker<'_, X> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<X> Copy for Picker<'_, X> {}

/// An endpoint and its state.
pub(super) type Picked<'a, X> = (&'a Arc<Endpoint<X>>, &'a Live<X>);
/// What a policy has drawn: two endpoints, or one twice.
pub(super) type Drawn<'a, X> = (&'a Arc<Endpoint<X>>, &'a Arc<Endpoint<X>>);
/// A pick of the plain case. Else what was drawn is to be ranked; nothing was drawn of nothing.
pub(super) type Plain<'a, X> = Result<Picked<'a, X>, Option<Drawn<'a, X>>>;
type Ranked<'a, X> = (Rank, &'a Arc<Endpoint<X>>);

impl<'a, X: Upstream> Picker<'a, X> {
    fn rank(self, endpoint: &Arc<Endpoint<X>>) -> Rank {
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
        let state = &live.load.state;
        if state.is_leaving() {
            Rank::Never
        } else if state.is_ejected() || state.is_unfit() {
            Rank::Ejected
        } else if !live.extra.available(self.now) {
            Rank::Unavailable
        } else if state.is_suspect() || state.is_doubted() {
            Rank::Suspect
        } else {
            Rank::Good
        }
    }

    /// The state of an endpoint that ranks as good, apart from what this call has tried. None
    /// says only that it must be ranked.
    #[inline]
    fn good(self, endpoint: &'a Endpoint<X>) -> Option<&'a Live<X>> {
        let live = endpoint.live()?;
        // What its source says is a part of its state.
        (live.load.state.is_good() && live.extra.available(self.now)).then_some(live)
    }

    /// A lone endpoint that may be called without further ado.
    #[inline]
    fn plain(self, endpoint: Option<&'a Arc<Endpoint<X>>>) -> Plain<'a, X> {
        let endpoint = endpoint.ok_or(None)?;
        if self.tried.is_empty()
            && let Some(live) = self.good(endpoint)
        {
            return Ok((endpoint, live));
        }
        Err(Some((endpoint, endpoint)))
    }

    /// Whether a lone endpoint is picked; if not it is noted if it is the best so far.
    fn consider(self, endpoint: &'a Arc<Endpoint<X>>, best: &mut Option<Ranked<'a, X>>) -> bool {
        let rank = self.rank(endpoint);
        if rank == Rank::Good || self.is_probe(rank, endpoint) {
            return true;
        }
        if best.is_none_or(|(least, _)| rank < least) {
            *best = Some((rank, endpoint));
        }
        false
    }

    /// A random endpoint, by weight.
    #[inline]
    fn sample(self) -> Option<&'a Arc<Endpoint<X>>> {
        if self.set.uniform {
            return self.set.get(scale(self.random.next(), self.set.len()));
        }
        self.sample_by_weight()
    }

    /// By rejection, and exactly if that takes long.
    #[inline(never)]
    fn sample_by_weight(self) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len();
        for _ in 0..REJECTIONS {
            let word = self.random.next();
            let endpoint = self.set.get(scale(word, len))?;
            if scale(word << 32, usize::from(self.set.max_weight))
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
    #[inline]
    fn pair(self) -> Option<Drawn<'a, X>> {
        if !self.set.uniform {
            return self.pair_by_weight();
        }
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

    #[inline(never)]
    fn pair_by_weight(self) -> Option<Drawn<'a, X>> {
        let first = self.sample_by_weight()?;
        let mut second = self.sample_by_weight()?;
        if Arc::ptr_eq(first, second) {
            second = self.sample_by_weight()?;
        }
        Some((first, second))
    }

    /// The better of two random endpoints.
    #[inline]
    pub(super) fn p2c(self, signal: Signal) -> Plain<'a, X> {
        let (first, second) = self.pair().ok_or(None)?;
        if self.tried.is_empty()
            && let Some(one) = self.good(first)
            && let Some(other) = self.good(second)
        {
            let swap = match signal {
                Signal::LeastRequest if self.set.uniform => {
                    other.load.in_flight() < one.load.in_flight()
                }
                _ => {
                    let swap = self.cost(second, other, signal) < self.cost(first, one, signal);
                    let (winner, loser) = if swap { (other, one) } else { (one, other) };
                    swap != self.is_stale(loser, winner, signal)
                }
            };
            return Ok(if swap { (second, other) } else { (first, one) });
        }
        Err(Some((first, second)))
    }

    /// The same for endpoints that are not both good.
    pub(super) fn p2c_ranked(
        self,
        mut drawn: Drawn<'a, X>,
        signal: Signal,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best: Option<Ranked<'a, X>> = None;
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
                    && let (Some(lost), Some(won)) = (loser.live(), better.1.live())
                    && self.is_stale(lost, won, signal)
                {
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

    #[inline]
    pub(super) fn random(self) -> Plain<'a, X> {
        self.plain(self.sample())
    }

    pub(super) fn random_ranked(
        self,
        mut endpoint: &'a Arc<Endpoint<X>>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best: Option<Ranked<'a, X>> = None;
        for effort in 0..EFFORT {
            if effort > 0 {
                endpoint = self.sample()?;
            }
            if self.consider(endpoint, &mut best) {
                return Some(endpoint);
            }
        }
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    /// One after the other; with unequal weights by static stride (gRPC's scheduler).
    #[inline]
    pub(super) fn round_robin(self, cursor: &AtomicU64) -> Plain<'a, X> {
        self.plain(self.in_turn(cursor))
    }

    pub(super) fn round_robin_ranked(
        self,
        mut endpoint: &'a Arc<Endpoint<X>>,
        cursor: &AtomicU64,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        let mut best: Option<Ranked<'a, X>> = None;
        for looked in 0..SCAN.min(self.set.len()) {
            if looked > 0 {
                endpoint = self.in_turn(cursor)?;
            }
            if self.consider(endpoint, &mut best) {
                return Some(endpoint);
            }
        }
        // The strides may have met the same heavy endpoints again and again.
        self.scan(scale(self.random.next(), self.set.len()), best)
    }

    /// The endpoint whose turn it is.
    #[inline]
    fn in_turn(self, cursor: &AtomicU64) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len() as u64;
        if len == 0 {
            return None;
        }
        // A stride passes the largest weight at each round, so this ends.
        loop {
            let at = cursor.fetch_add(1, Relaxed);
            let (round, place) = (at / len, at % len);
            let endpoint = self.set.get(usize::try_from(place).ok()?)?;
            if self.set.uniform {
                return Some(endpoint);
            }
            // Of as many rounds as the largest weight has, each endpoint takes as many as its own
            // weight: those in which its steps pass the end of a circle of 2^64.
            let weight = endpoint.spec().weight();
            let stride = u64::from(weight).wrapping_mul(self.set.stride);
            let start = place.wrapping_mul(u64::MAX / 2);
            let step = stride.wrapping_mul(round).wrapping_add(start);
            if weight == self.set.max_weight || step.checked_add(stride).is_none() {
                return Some(endpoint);
            }
        }
    }

    /// Whether this call is the one that probes a suspect, or one that is ejected.
    fn is_probe(self, rank: Rank, endpoint: &Endpoint<X>) -> bool {
        let Some(live) = endpoint.live() else { return false };
        match rank {
            Rank::Suspect => live.load.claim_probe(self.now),
            Rank::Ejected => {
                live.extra.available(self.now) && live.load.state.claim_probe(self.now)
            }
            _ => false,
        }
    }

    /// Whether this call refreshes what is known of an endpoint that never wins. What is in
    /// flight is known at any time.
    fn is_stale(self, loser: &Live<X>, winner: &Live<X>, signal: Signal) -> bool {
        matches!(signal, Signal::PeakEwma { .. }) && loser.load.claim_stale(self.now, &winner.load)
    }

    fn cost_of(self, endpoint: &Endpoint<X>, signal: Signal) -> f32 {
        endpoint.live().map_or(0.0, |live| self.cost(endpoint, live, signal))
    }

    #[inline]
    fn cost(self, endpoint: &Endpoint<X>, live: &Live<X>, signal: Signal) -> f32 {
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
    fn scan(self, from: usize, mut best: Option<Ranked<'a, X>>) -> Option<&'a Arc<Endpoint<X>>> {
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
///
/// An index is a `u32`: no product overflows.
#[inline]
pub(super) fn scale(word: u64, len: usize) -> usize {
    ((word >> 32).wrapping_mul(len as u64) >> 32) as usize
}
