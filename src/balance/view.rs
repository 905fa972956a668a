//! What a pick reads: the endpoints of a cluster and how one of them is picked, at one moment.

use std::sync::{Arc, atomic::AtomicU64};

use super::{
    endpoint::Upstream,
    hash::{Crowd, Spread},
    pick::Hashed,
    policy::Policy,
    set::Set,
};

/// Immutable; replaced as a whole by an update.
pub(super) struct View<X> {
    /// Every endpoint.
    pub(super) all: Group<X>,
    pub(super) policy: Policy,
    /// The policy's: how fast latencies are forgotten. Nanoseconds; 0: no average is asked for.
    pub(super) decay: u64,
    /// The policy's: it bounds the load of each endpoint by the mean, and counts what is in flight.
    pub(super) bounded: bool,
}

/// Endpoints that one policy picks among.
pub(super) struct Group<X> {
    pub(super) set: Set<X>,
    /// Whose turn it is; it survives updates.
    pub(super) turn: Arc<AtomicU64>,
    /// The table of a policy that hashes.
    pub(super) spread: Option<Arc<Spread>>,
    /// The calls in flight to the cluster; it survives updates.
    pub(super) crowd: Arc<Crowd>,
}

impl<X> Group<X> {
    /// What a hash is picked by; there is a table where the policy hashes.
    #[inline]
    pub(super) fn hashed(&self, hash: Option<u64>) -> Option<Hashed<'_>> {
        Some(Hashed { spread: self.spread.as_deref()?, hash, crowd: &self.crowd })
    }
}

impl<X> View<X> {
    fn made(policy: Policy, all: Group<X>) -> Self {
        let (decay, bounded) = (policy.decay(), policy.is_bounded());
        Self { all, policy, decay, bounded }
    }

    pub(super) fn empty(policy: Policy) -> Self {
        let mut all =
            Group { set: Set::empty(), turn: Arc::default(), spread: None, crowd: Arc::default() };
        all.spread = policy.hashes().map(|kind| Spread::of(kind, &all.set, None));
        Self::made(policy, all)
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
        let before = &self.all;
        let kind = policy.hashes();
        let all = Group {
            spread: kind.map(|kind| Spread::of(kind, &set, before.spread.as_ref())),
            set,
            turn: Arc::clone(&before.turn),
            crowd: Arc::clone(&before.crowd),
        };
        Self::made(policy, all)
    }
}
