//! The picking policies, over one set of endpoints.

mod avoid;
mod best;
mod choices;
mod first;
mod hashed;
mod mode;
mod p2c;
mod pinned;
#[cfg(feature = "orca")]
mod prequal;
mod random;
mod rank;
mod sharded;
mod turn;

use std::sync::Arc;

use self::best::Best;
#[cfg(feature = "orca")]
pub(super) use self::prequal::DECAY;
pub(crate) use self::{
    avoid::Avoid,
    pinned::{HealthSet, Over},
};
pub(super) use self::{
    choices::Choices,
    first::{First, Sequence},
    hashed::Hashed,
    mode::{Edge, Mode},
    p2c::Signal,
    pinned::{Pinned, Pins},
    rank::{Rank, is_bad, is_failing, is_ready, standing},
    turn::step_of,
};
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
/// What a look at a lone endpoint comes to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Met {
    Good,
    /// It is the one that this call probes, and nobody else does.
    Probe,
    Less,
}

/// One pick in progress.
pub(super) struct Picker<'a, X> {
    pub(super) set: &'a Set<X>,
    pub(super) now: u64,
    pub(super) random: &'a Random,
    pub(super) tried: &'a [Arc<Endpoint<X>>],
    /// What the plan asks, where that is more than any endpoint.
    pub(super) mode: Option<&'a Mode<'a, X>>,
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

impl<'a, X: Upstream> Picker<'a, X> {
    #[inline]
    pub(super) fn new(set: &'a Set<X>, ask: &Ask<'a, X>) -> Self {
        Self { set, now: ask.now, random: ask.random, tried: ask.tried, mode: None }
    }

    /// Of a call that has met nothing yet, where any endpoint will do.
    #[inline(always)]
    pub(super) fn untried(set: &'a Set<X>, now: u64, random: &'a Random) -> Self {
        Self { set, now, random, tried: &[], mode: None }
    }

    pub(super) fn rank(self, endpoint: &Arc<Endpoint<X>>) -> Rank {
        if self.mode.is_some_and(|mode| mode.passes_over(endpoint, self.now)) {
            return Rank::Never;
        }
        if !self.tried.is_empty()
            && self.tried.iter().any(|tried| tried.is(endpoint))
            && endpoint.spec().health() != Health::Draining
        {
            return Rank::Tried;
        }
        let rank = standing(endpoint, self.now);
        match self.mode {
            None => rank,
            Some(mode) => mode.adjust(rank, endpoint, self.now, self.random),
        }
    }

    /// The worst rank that is picked.
    fn worst(self) -> Rank {
        self.mode.map_or(Rank::Tried, |mode| mode.worst.get())
    }

    /// The state of an endpoint that ranks as good, apart from what this call has tried. None
    /// says only that it must be ranked.
    #[inline(always)]
    fn good(self, endpoint: &'a Endpoint<X>) -> Option<&'a Live<X>> {
        // The plan may see it otherwise.
        if self.mode.is_some() {
            return None;
        }
        let live = endpoint.live()?;
        // What its source says is a part of its state.
        (live.load.state.is_good() && live.extra.available(self.now)).then_some(live)
    }

    /// A lone endpoint that may be called without further ado.
    #[inline(always)]
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
    fn consider(self, endpoint: &'a Arc<Endpoint<X>>, best: &mut Best<'a, X>) -> bool {
        self.met(endpoint, best) != Met::Less
    }

    /// The same, and whether it is this call's to probe: no other may be chosen then.
    fn met(self, endpoint: &'a Arc<Endpoint<X>>, best: &mut Best<'a, X>) -> Met {
        let rank = self.rank(endpoint);
        if rank == Rank::Good {
            return Met::Good;
        }
        if self.is_probe(rank, endpoint) {
            return Met::Probe;
        }
        best.note(rank, endpoint);
        Met::Less
    }

    /// Whether this call is the one that probes a suspect, or one that is ejected.
    fn is_probe(self, rank: Rank, endpoint: &Endpoint<X>) -> bool {
        self.is_probe_of(rank, endpoint, 2)
    }

    /// The same of a pick that looks at so many.
    fn is_probe_of(self, rank: Rank, endpoint: &Endpoint<X>, looks: usize) -> bool {
        let Some(live) = endpoint.live() else { return false };
        let state = &live.load.state;
        match rank {
            // Of a pick that is tried out, nothing is claimed.
            Rank::Suspect if self.random.is_dry() => {
                state.suspect_due(self.now, meetings(self.set.len(), looks)).is_some()
            }
            Rank::Suspect => live.load.claim_probe(self.now, meetings(self.set.len(), looks)),
            Rank::Ejected if !live.extra.available(self.now) => false,
            Rank::Ejected if self.random.is_dry() => state.probe_due(self.now).is_some(),
            Rank::Ejected => state.claim_probe(self.now),
            _ => false,
        }
    }

    /// Looks at endpoints in a row for one that is better than `best`: at a bounded number of
    /// them, but at all before it says that none may be called. In panic, whatever is best is
    /// called.
    fn scan(self, from: usize, mut best: Best<'a, X>) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len();
        let worst = self.worst();
        for step in 0..len {
            if step >= SCAN && best.reaches(worst) {
                break;
            }
            let endpoint = self.set.get((from + step) % len)?;
            let rank = self.rank(endpoint);
            if rank == Rank::Good {
                return Some(endpoint);
            }
            best.note(rank, endpoint);
            // It has left, so that there is a newer set, and nobody in this one may be called so
            // far, perhaps of thousands: who finds nothing looks there.
            if rank == Rank::Never && endpoint.is_retired() && !best.reaches(worst) {
                break;
            }
        }
        best.of(worst)
    }
}

/// So many picks that meet a suspect must there be between its probes at most: of picks that look at
/// so many, which meet each endpoint with so many times its share, 1 % of the calls are probes of it,
/// and no more than a quarter of its even share.
fn meetings(endpoints: usize, looks: usize) -> u32 {
    let (looks, endpoints) = (looks.min(endpoints).max(1), endpoints.max(1));
    let meetings = (100 * looks / endpoints).clamp((4 * looks).min(100), 100);
    u32::try_from(meetings).unwrap_or(u32::MAX)
}

/// A random word's upper half, scaled to `0..len` without a division.
///
/// An index is a `u32`: no product overflows.
#[inline]
pub(super) fn scale(word: u64, len: usize) -> usize {
    ((word >> 32).wrapping_mul(len as u64) >> 32) as usize
}

/// A random word, scaled to `0..all`, of sums that may be over 32 bits.
fn share_of(word: u64, all: u64) -> u64 {
    let product = u128::from(word) * u128::from(all);
    u64::try_from(product >> 64).unwrap_or(0)
}
