//! How many endpoints of a cluster may be out.

use super::{
    atomic::{
        AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    rules::Floor,
};

/// How many there are, and how many are out.
#[derive(Debug, Default)]
pub(super) struct Ejected {
    all: AtomicU32,
    /// Not to be called by their sources' word.
    unready: AtomicU32,
    ejected: AtomicU32,
}

// === impl Floor ===

impl Floor {
    /// Whether so many may be ejected.
    ///
    /// `100 · ejected / all` is at most the percentage, as Envoy has it, or it is the one that
    /// always may (gRPC); and enough are left, in any case.
    fn holds(&self, ejected: u32, all: u32, unready: u32) -> bool {
        if ejected == 0 {
            return true;
        }
        let share = |of: u32| 100.0 * f64::from(of) / f64::from(all.max(1));
        let within = share(ejected) <= self.max_percent || (self.always_one && ejected == 1);
        let left = all.saturating_sub(unready).saturating_sub(ejected);
        within && left >= self.min_ready && share(left) >= self.min_health
    }
}

// === impl Ejected ===

impl Ejected {
    /// Notes how many there are by now.
    pub(super) fn set_members(&self, all: usize, unready: usize) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.all.store(count(all), Relaxed);
        self.unready.store(count(unready), Relaxed);
    }

    /// Counts one more, if so many may be out.
    pub(super) fn claim(&self, floor: &Floor) -> bool {
        self.ejected
            .fetch_update(AcqRel, Acquire, |ejected| {
                let next = ejected.saturating_add(1);
                floor
                    .holds(next, self.all.load(Relaxed), self.unready.load(Relaxed))
                    .then_some(next)
            })
            .is_ok()
    }

    /// One is not out any more.
    pub(super) fn release(&self) {
        // Never below zero: it would eject nobody any more, or all.
        let released = self.ejected.fetch_update(AcqRel, Acquire, |count| count.checked_sub(1));
        debug_assert!(released.is_ok(), "an ejection was released twice");
    }

    /// Whether more are out than may be: endpoints have left meanwhile.
    pub(super) fn exceed(&self, floor: &Floor) -> bool {
        let ejected = self.ejected.load(Acquire);
        !floor.holds(ejected, self.all.load(Relaxed), self.unready.load(Relaxed))
    }

    pub(super) fn count(&self) -> u32 {
        self.ejected.load(Acquire)
    }
}
