//! The picking policies, over one set of endpoints.

mod hashed;
mod p2c;
#[cfg(feature = "orca")]
mod prequal;
mod random;
mod turn;

use std::sync::Arc;

#[cfg(feature = "orca")]
pub(super) use self::prequal::DECAY;
pub(super) use self::{hashed::Hashed, p2c::Signal};
use super::{
    ask::Ask,
    endpoint::{Endpoint, Live, Upstream},
    set::Set,
};
use crate::{config::Health, core::Random};

/// Finagle's `maxEffort` for half of the endpoints bad: (1/2)^(2·4) < 1 %.
const EFFORT: usize = 4;
/// After that, so many endpoints are looked at one after the other.
const SCAN: usize = 64;
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
    #[inline]
    pub(super) fn new(set: &'a Set<X>, ask: &Ask<'a, X>) -> Self {
        Self { set, now: ask.now, random: ask.random, tried: ask.tried }
    }

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
        if !live.extra.available(self.now) {
            Rank::Unavailable
        } else if live.load.is_suspect() || health == Health::Unhealthy {
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
        let good = endpoint.spec().is_callable()
            && !live.load.is_suspect()
            && live.extra.available(self.now);
        good.then_some(live)
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
        if rank == Rank::Good || (rank == Rank::Suspect && self.is_probe(endpoint)) {
            return true;
        }
        if best.is_none_or(|(least, _)| rank < least) {
            *best = Some((rank, endpoint));
        }
        false
    }

    /// Whether this call is the one that probes a suspect.
    fn is_probe(self, endpoint: &Endpoint<X>) -> bool {
        endpoint
            .live()
            .is_some_and(|live| live.load.is_suspect() && live.load.claim_probe(self.now))
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
