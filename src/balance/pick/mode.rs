//! What a plan asks of a pick.

use std::{cell::Cell, sync::Arc};

use twox_hash::XxHash64;

use super::{
    Avoid, Rank,
    rank::{is_available, is_bad, is_failing},
};
use crate::{
    balance::{
        ask::Ask,
        endpoint::{Endpoint, Upstream},
        place::slow_start::SlowStart,
    },
    core::Random,
};

/// What a plan asks of a pick; it may change between two looks.
pub(in crate::balance) struct Mode<'a, X> {
    /// What ranks below is not picked; one that is probed is.
    pub(in crate::balance) worst: Cell<Rank>,
    /// What is said of their health counts for nothing.
    pub(in crate::balance) panic: Cell<bool>,
    /// It is the degraded endpoints that are meant.
    pub(in crate::balance) degraded: Cell<bool>,
    /// This pick may be the trial of an endpoint that could not be connected to.
    pub(in crate::balance) trial: Cell<bool>,
    pub(in crate::balance) edges: Cell<&'a [Edge<X>]>,
    /// What the call is hashed to, for a policy that hashes.
    pub(in crate::balance) hash: Option<u64>,
    /// Of endpoints that have just joined, or are well again.
    pub(in crate::balance) slow_start: Option<&'a SlowStart>,
    /// Endpoints whose localities this call is to leave.
    pub(in crate::balance) leaves: &'a [Arc<Endpoint<X>>],
    /// Endpoints that are known to be bad are passed over, and whether there was any.
    pub(in crate::balance) spares: Cell<bool>,
    pub(in crate::balance) has_spared: Cell<bool>,
    /// What else it avoids, and the endpoints whose priorities it is to leave.
    pub(in crate::balance) avoid: Option<(&'a Avoid, &'a [Arc<Endpoint<X>>])>,
}

/// An endpoint that is used by a share alone.
pub(in crate::balance) struct Edge<X> {
    pub(in crate::balance) endpoint: Arc<Endpoint<X>>,
    /// In 0..=1.
    pub(in crate::balance) share: f64,
}

// === impl Mode ===

impl<'a, X: Upstream> Mode<'a, X> {
    /// What is asked of a pick that no plan says anything of.
    pub(in crate::balance) fn new(ask: &Ask<'a, X>) -> Self {
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
            spares: Cell::new(false),
            has_spared: Cell::new(false),
            // Only what is sent again avoids anything.
            avoid: ask.avoid.filter(|_| !ask.tried.is_empty()).map(|it| (it, it.left(ask.tried))),
        }
    }

    /// Whether an endpoint is bad and such ones are not to be called: nor probed.
    pub(super) fn passes_over(&self, endpoint: &Endpoint<X>, now: u64) -> bool {
        let is_spared = self.spares.get() && is_bad(endpoint, now);
        if is_spared {
            self.has_spared.set(true);
        }
        is_spared
    }

    /// The rank of an endpoint as the plan sees it.
    pub(super) fn adjust(
        &self,
        rank: Rank,
        endpoint: &Arc<Endpoint<X>>,
        now: u64,
        random: &Random,
    ) -> Rank {
        let rank = self.planned(rank, endpoint, now, random);
        if rank <= Rank::Degraded && self.is_left(endpoint) { Rank::Left } else { rank }
    }

    /// Whether nothing is avoided but what the call has met.
    pub(in crate::balance) fn leaves_nothing(&self) -> bool {
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
    pub(in crate::balance) fn share(&self, endpoint: &Arc<Endpoint<X>>, now: u64) -> f64 {
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
