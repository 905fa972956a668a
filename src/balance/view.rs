//! What a pick reads: the endpoints of a cluster and how one of them is picked, at one moment.

use std::sync::{Arc, atomic::AtomicU64};

use super::{endpoint::Upstream, policy::Policy, set::Set};

/// Immutable; replaced as a whole by an update.
pub(super) struct View<X> {
    /// Every endpoint.
    pub(super) all: Group<X>,
    pub(super) policy: Policy,
}

/// Endpoints that one policy picks among.
pub(super) struct Group<X> {
    pub(super) set: Set<X>,
    /// Whose turn it is; it survives updates.
    pub(super) turn: Arc<AtomicU64>,
}

impl<X> View<X> {
    pub(super) fn empty(policy: Policy) -> Self {
        Self { all: Group { set: Set::empty(), turn: Arc::default() }, policy }
    }
}

impl<X: Upstream> View<X> {
    /// Whether there is periodic work under these settings.
    pub(super) fn is_kept(&self) -> bool {
        false
    }

    /// Does what is due, and says when more will be.
    pub(super) fn keep(&self, _now: u64) -> Option<u64> {
        None
    }

    /// The view of a changed set.
    pub(super) fn of(&self, set: Set<X>) -> Self {
        self.under(self.policy, set)
    }

    /// The view of a set, perhaps the same, under a policy, perhaps the same.
    pub(super) fn under(&self, policy: Policy, set: Set<X>) -> Self {
        Self { all: Group { set, turn: Arc::clone(&self.all.turn) }, policy }
    }
}
