//! The periodic work of a cluster: what is due at a time, and not because of a call.
//!
//! A task of the mesh keeps a balancer: it asks what is due, sleeps until then, and parks when
//! only a call makes more work. A call wakes it; while nothing is called, nothing wakes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{
    balancer::Balancer,
    endpoint::{Environment, Upstream},
    parking::Asks,
};
#[cfg(feature = "orca")]
use super::{policy::Policy, probing::Probing};
use crate::core::earliest;

/// Whether a task keeps the balancer, and what a call does for it.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// It is there.
    present: AtomicBool,
    asks: Asks,
    #[cfg(feature = "orca")]
    pub(super) probing: Probing,
}

#[cfg(feature = "orca")]
impl Keeper {
    /// What a call owes under this policy.
    pub(super) fn settle(&self, policy: &Policy) {
        let probes = policy.probes();
        self.probing.set(probes);
        self.asks.set_probes(probes.is_some());
    }
}

impl<X: Upstream> Balancer<X> {
    /// Whether a task is to be started that keeps it: once, when there is work of this kind.
    pub(crate) fn takes_keeper(&self) -> bool {
        (self.view.load().is_kept() || self.health.is_kept())
            && !self.keeper.present.swap(true, Relaxed)
    }

    /// Does what is due at `now` and says when more will be; `None`: not before another call.
    ///
    /// Who is told `None` parks until [`Upstream::wake`].
    pub(crate) fn keep(&self, now: u64) -> Option<u64> {
        // Before the look: a call that comes between the two wakes for nothing, and none is missed
        // (`parking.rs`). An outcome is no call: of the last ones, the next call finds out.
        self.keeper.asks.park();
        let view = self.view.load_full();
        let (due, moved) = view.keep(&self.context, now);
        if moved {
            self.remake(now);
        }
        let members = view.all.set.iter().filter_map(|endpoint| endpoint.live());
        let due = earliest(due, self.health.keep(now, members));
        if due.is_some() {
            self.keeper.asks.unpark();
        }
        due
    }

    /// A call has come.
    #[inline]
    pub(super) fn called(&self) {
        if self.keeper.asks.any() {
            self.asked();
        }
    }

    #[cold]
    #[inline(never)]
    fn asked(&self) {
        #[cfg(feature = "orca")]
        if self.keeper.asks.owes_probes() && self.keeper.probing.owe() {
            self.context.probes_due();
        }
        if self.keeper.asks.is_parked() {
            self.wake();
        }
    }

    /// Settings or endpoints have changed, or a call has come.
    #[cold]
    #[inline(never)]
    pub(super) fn wake(&self) {
        self.keeper.asks.unpark();
        self.context.wake();
    }
}

/// The task must see that there is nothing left to keep.
impl<X: Upstream> Drop for Balancer<X> {
    fn drop(&mut self) {
        self.context.wake();
    }
}
