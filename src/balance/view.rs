//! What a pick reads: the endpoints of a cluster and how one of them is picked, at one moment.

use std::sync::{Arc, atomic::AtomicU64};

use super::{
    endpoint::Upstream,
    hash::{Crowd, Spread},
    pick::{Hashed, Pins},
    policy::Policy,
    set::Set,
    shard::Replicas,
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
    /// Where calls find the endpoint that they name.
    pub(super) pins: Pins,
    /// Who holds which shard, where the policy shards.
    pub(super) replicas: Option<Replicas>,
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
        let mut all = Group {
            set: Set::empty(),
            turn: Arc::default(),
            spread: None,
            crowd: Arc::default(),
            pins: Pins::default(),
            replicas: None,
        };
        all.spread = policy.hashes().map(|kind| Spread::of(kind, &all.set, None));
        all.replicas = policy.shards().map(|map| Replicas::of(map, &all.set, None));
        Self::made(policy, all)
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
        self.under(self.policy.clone(), set)
    }

    /// The view of a set, perhaps the same, under a policy, perhaps the same.
    pub(super) fn under(&self, policy: Policy, set: Set<X>) -> Self {
        let before = &self.all;
        let (kind, pins) = (policy.hashes(), before.pins.of(&set));
        let all = Group {
            spread: kind.map(|kind| Spread::of(kind, &set, before.spread.as_ref())),
            replicas: policy.shards().map(|map| Replicas::of(map, &set, before.replicas.as_ref())),
            set,
            turn: Arc::clone(&before.turn),
            crowd: Arc::clone(&before.crowd),
            pins,
        };
        Self::made(policy, all)
    }
}
