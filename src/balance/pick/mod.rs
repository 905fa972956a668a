//! The picking policies, over one set of endpoints.

mod avoid;
mod choices;
mod first;
mod hashed;
mod p2c;
mod pinned;
#[cfg(feature = "orca")]
mod prequal;
mod random;
mod sharded;
mod turn;

use std::{cell::Cell, sync::Arc};

use twox_hash::XxHash64;

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
    p2c::Signal,
    pinned::{Pinned, Pins},
};
use super::{
    ask::Ask,
    endpoint::{Endpoint, Live, Upstream},
    place::slow_start::SlowStart,
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
    /// It is well, and takes a part of its calls alone, of which this one is none.
    Young,
    /// It works, and others are better, by its source's word.
    Degraded,
    /// It works, and is in a locality or a priority that this call is to leave, or is one that it avoids.
    Left,
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

/// What a look at a lone endpoint comes to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Met {
    Good,
    /// It is the one that this call probes, and nobody else does.
    Probe,
    Less,
}

/// What a plan asks of a pick; it may change between two looks.
pub(super) struct Mode<'a, X> {
    /// What ranks below is not picked; one that is probed is.
    pub(super) worst: Cell<Rank>,
    /// What is said of their health counts for nothing.
    pub(super) panic: Cell<bool>,
    /// It is the degraded endpoints that are meant.
    pub(super) degraded: Cell<bool>,
    /// This pick may be the trial of an endpoint that could not be connected to.
    pub(super) trial: Cell<bool>,
    pub(super) edges: Cell<&'a [Edge<X>]>,
    /// What the call is hashed to, for a policy that hashes.
    pub(super) hash: Option<u64>,
    /// Of endpoints that have just joined, or are well again.
    pub(super) slow_start: Option<&'a SlowStart>,
    /// Endpoints whose localities this call is to leave.
    pub(super) leaves: &'a [Arc<Endpoint<X>>],
    /// What else it avoids, and the endpoints whose priorities it is to leave.
    pub(super) avoid: Option<(&'a Avoid, &'a [Arc<Endpoint<X>>])>,
}

/// An endpoint that is used by a share alone.
pub(super) struct Edge<X> {
    pub(super) endpoint: Arc<Endpoint<X>>,
    /// In 0..=1.
    pub(super) share: f64,
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
type Ranked<'a, X> = (Rank, &'a Arc<Endpoint<X>>);

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
    fn consider(self, endpoint: &'a Arc<Endpoint<X>>, best: &mut Option<Ranked<'a, X>>) -> bool {
        self.met(endpoint, best) != Met::Less
    }

    /// The same, and whether it is this call's to probe: no other may be chosen then.
    fn met(self, endpoint: &'a Arc<Endpoint<X>>, best: &mut Option<Ranked<'a, X>>) -> Met {
        let rank = self.rank(endpoint);
        if rank == Rank::Good {
            return Met::Good;
        }
        if self.is_probe(rank, endpoint) {
            return Met::Probe;
        }
        if best.is_none_or(|(least, _)| rank < least) {
            *best = Some((rank, endpoint));
        }
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
    fn scan(self, from: usize, mut best: Option<Ranked<'a, X>>) -> Option<&'a Arc<Endpoint<X>>> {
        let len = self.set.len();
        let worst = self.mode.map_or(Rank::Tried, |mode| mode.worst.get());
        let callable = |(rank, _): &Ranked<'a, X>| *rank <= worst;
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
            // It has left, so that there is a newer set, and nobody in this one may be called so
            // far, perhaps of thousands: who finds nothing looks there.
            if rank == Rank::Never && endpoint.is_retired() && !best.as_ref().is_some_and(callable)
            {
                break;
            }
        }
        best.filter(callable).map(|(_, endpoint)| endpoint)
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

/// How an endpoint stands, whoever asks.
pub(super) fn standing<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> Rank {
    let said = match endpoint.spec().health() {
        Health::Draining => return Rank::Never,
        Health::Unhealthy => Rank::Suspect,
        Health::Degraded => Rank::Degraded,
        Health::Unknown | Health::Healthy => Rank::Good,
    };
    let Some(live) = endpoint.live() else { return said };
    let state = &live.load.state;
    if state.is_leaving() {
        Rank::Never
    } else if state.is_ejected() || state.is_unfit() {
        Rank::Ejected
    } else if !live.extra.available(now) {
        Rank::Unavailable
    } else if state.is_suspect() || state.is_doubted() {
        Rank::Suspect
    } else {
        said
    }
}

impl<'a, X: Upstream> Mode<'a, X> {
    /// What is asked of a pick that no plan says anything of.
    pub(super) fn new(ask: &Ask<'a, X>) -> Self {
        let leaves = if ask.apart && ask.tried.iter().any(|it| it.locality().is_some()) {
            ask.tried
        } else {
            &[]
        };
        Self {
            worst: Cell::new(Rank::Tried),
            panic: Cell::new(false),
            degraded: Cell::new(false),
            trial: Cell::new(false),
            edges: Cell::new(&[]),
            hash: ask.hash,
            slow_start: None,
            leaves,
            // Only what is sent again avoids anything.
            avoid: ask.avoid.filter(|_| !ask.tried.is_empty()).map(|it| (it, it.left(ask.tried))),
        }
    }

    /// The rank of an endpoint as the plan sees it.
    fn adjust(&self, rank: Rank, endpoint: &Arc<Endpoint<X>>, now: u64, random: &Random) -> Rank {
        let rank = self.planned(rank, endpoint, now, random);
        if rank <= Rank::Degraded && self.is_left(endpoint) { Rank::Left } else { rank }
    }

    /// Whether nothing is avoided but what the call has met.
    pub(super) fn leaves_nothing(&self) -> bool {
        self.leaves.is_empty() && self.avoid.is_none()
    }

    /// Whether it is where the call has met something, or what it avoids. One whose locality is not
    /// known is nowhere.
    fn is_left(&self, endpoint: &Endpoint<X>) -> bool {
        if self.avoid.is_some_and(|(avoid, left)| avoid.avoids(endpoint, left)) {
            return true;
        }
        if self.leaves.is_empty() {
            return false;
        }
        let Some(locality) = endpoint.locality() else { return false };
        self.leaves.iter().any(|met| met.locality() == Some(locality))
    }

    fn planned(&self, rank: Rank, endpoint: &Arc<Endpoint<X>>, now: u64, random: &Random) -> Rank {
        let rank = match rank {
            // A connection that cannot be made is no word of anybody's.
            Rank::Ejected if self.panic.get() && !is_available(endpoint, now) => Rank::Unavailable,
            Rank::Degraded | Rank::Suspect | Rank::Ejected if self.panic.get() => Rank::Good,
            Rank::Degraded if self.degraded.get() => Rank::Good,
            Rank::Good if self.degraded.get() => Rank::Degraded,
            rank => rank,
        };
        if rank == Rank::Good && !self.trial.get() && is_failing(endpoint) {
            return Rank::Unavailable;
        }
        if rank != Rank::Good {
            return rank;
        }
        let share = self.share(endpoint, now);
        let draw = || match self.hash {
            // As the share rises, more and more hashes come to it, and stay.
            Some(hash) => fraction(hash, endpoint.young_since()),
            None => random.ratio(),
        };
        if share < 1.0 && draw() >= share { Rank::Young } else { Rank::Good }
    }

    /// The part of its calls that an endpoint takes: it has just joined, or is used by a share alone.
    #[inline]
    pub(super) fn share(&self, endpoint: &Arc<Endpoint<X>>, now: u64) -> f64 {
        let mut share = 1.0;
        if let Some(slow) = self.slow_start
            && endpoint.young_since() > 0
        {
            share *= slow.factor(now.saturating_sub(endpoint.young_since()));
        }
        if let Some(edge) =
            self.edges.get().iter().find(|edge| Arc::ptr_eq(&edge.endpoint, endpoint))
        {
            share *= edge.share;
        }
        share
    }
}

/// In [0, 1), the same for the same words.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
fn fraction(hash: u64, salt: u64) -> f64 {
    let word = XxHash64::oneshot(salt, &hash.to_le_bytes());
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

/// Whether a connection may be made to it, or is there.
fn is_available<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> bool {
    endpoint.extra().is_none_or(|extra| extra.available(now))
}

/// Whether its next call is a trial.
pub(super) fn is_failing<X: Upstream>(endpoint: &Endpoint<X>) -> bool {
    endpoint.extra().is_some_and(Upstream::is_failing)
}

/// A random word's upper half, scaled to `0..len` without a division.
///
/// An index is a `u32`: no product overflows.
#[inline]
pub(super) fn scale(word: u64, len: usize) -> usize {
    ((word >> 32).wrapping_mul(len as u64) >> 32) as usize
}
