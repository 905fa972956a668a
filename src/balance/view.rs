//! What a pick reads: the endpoints of a cluster and how one of them is picked, at one moment.

use std::sync::{Arc, atomic::AtomicU64};

use super::{endpoint::Upstream, policy::Policy, set::Set};

/// Immutable; replaced as a whole by an update.
pub(super) struct View<X> {
    /// Every endpoint.
    pub(super) all: Group<X>,
    pub(super) policy: Policy,
    /// The policy's: how fast latencies are forgotten. Nanoseconds; 0: no average is asked for.
    pub(super) decay: u64,
}

/// Endpoints that one policy picks among.
pub(super) struct Group<X> {
    pub(super) set: Set<X>,
    /// Whose turn it is; it survives updates.
    pub(super) turn: Arc<AtomicU64>,
}

impl<X> View<X> {
    pub(super) fn empty(policy: Policy) -> Self {
        let decay = policy.decay();
        Self { all: Group { set: Set::empty(), turn: Arc::default() }, policy, decay }
    }
}

impl<X: Upstream> View<X> {
    /// Whether there is periodic work under these settings.
    pub(super) fn is_kept(&self) -> bool {
        match &self.policy {
            #[cfg(feature = "orca")]
            Policy::Weighted(_) => true,
            _ => false,
        }
    }

    /// Does what is due, and says when more will be.
    pub(super) fn keep(&self, now: u64) -> Option<u64> {
        match &self.policy {
            #[cfg(feature = "orca")]
            Policy::Weighted(weighted) => weighted.keep(now, &self.all.set),
            _ => {
                let _nothing_is_due = now;
                None
            }
        }
    }

    /// The view of a changed set.
    pub(super) fn of(&self, set: Set<X>) -> Self {
        self.under(self.policy.clone(), set)
    }

    /// The view of a set, perhaps the same, under a policy, perhaps the same.
    pub(super) fn under(&self, policy: Policy, set: Set<X>) -> Self {
        let decay = policy.decay();
        Self { all: Group { set, turn: Arc::clone(&self.all.turn) }, policy, decay }
    }
}
