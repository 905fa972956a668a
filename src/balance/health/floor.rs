//! How many endpoints of a cluster may be out.

use super::{
    atomic::{
        AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    rules::Floor,
    state::State,
};

/// How many there are, and how many are out.
#[derive(Debug, Default)]
pub(super) struct Ejected {
    all: AtomicU32,
    ejected: AtomicU32,
}

// === impl Ejected ===

impl Ejected {
    /// Notes how many there are by now.
    pub(super) fn set_members(&self, all: usize) {
        self.all.store(u32::try_from(all).unwrap_or(u32::MAX), Relaxed);
    }

    /// Takes this one out, if it is not out already and so many may be: a place under the floor first,
    /// which is given back where it comes to nothing. `enforced` is asked once there is a place, and
    /// `until` of who has done it alone.
    pub(super) fn eject(
        &self,
        state: &State,
        floor: &Floor,
        unready: impl Fn() -> u32,
        enforced: impl FnOnce() -> bool,
        until: impl FnOnce() -> u64,
    ) -> bool {
        if state.is_ejected() || !self.claim(floor, unready) {
            return false;
        }
        // Another outcome may have been faster, or it has just left.
        let is_out = enforced() && state.eject(until);
        if !is_out {
            self.release();
        }
        is_out
    }

    /// Counts one more, if so many may be out. `unready` tells how many of those that are not out are
    /// not ready either, that one apart; it is asked only where that may be the reason why not.
    pub(super) fn claim(&self, floor: &Floor, unready: impl Fn() -> u32) -> bool {
        self.ejected
            .fetch_update(AcqRel, Acquire, |ejected| {
                let (next, all) = (ejected.saturating_add(1), self.all.load(Relaxed));
                // One that is being ejected may be counted twice, and never goes uncounted.
                let may = floor.holds(next, all, 0)
                    && (!floor.counts_ready() || floor.holds(next, all, unready()));
                may.then_some(next)
            })
            .is_ok()
    }

    /// One is not out any more.
    pub(super) fn release(&self) {
        // Never below zero: it would eject nobody any more, or all.
        let released = self.ejected.fetch_update(AcqRel, Acquire, |count| count.checked_sub(1));
        debug_assert!(released.is_ok(), "an ejection was released twice");
    }

    /// Whether more are out than may be: others have left meanwhile, or are not ready any more.
    pub(super) fn exceed(&self, floor: &Floor, unready: u32) -> bool {
        !floor.holds(self.ejected.load(Acquire), self.all.load(Relaxed), unready)
    }

    pub(super) fn count(&self) -> u32 {
        self.ejected.load(Acquire)
    }
}
