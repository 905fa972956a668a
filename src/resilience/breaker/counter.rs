//! The lock-free counter under a limit that is on or off, and may be gone over where nothing else would
//! do.

use super::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub(crate) struct Counter {
    /// [`u32::MAX`]: no limit.
    most: AtomicU32,
    taken: AtomicU32,
}

// === impl Counter ===

impl Counter {
    pub(super) fn new() -> Self {
        Self { most: AtomicU32::new(u32::MAX), taken: AtomicU32::new(0) }
    }

    /// The limit from now on; what is counted stays.
    pub(super) fn set(&self, most: Option<u32>) {
        self.most.store(most.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The limit, if there is one.
    pub(super) fn most(&self) -> Option<u32> {
        let most = self.most.load(Ordering::Relaxed);
        (most < u32::MAX).then_some(most)
    }

    /// Counts one more, unless as many are counted as may be.
    pub(super) fn enter(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < most).then(|| taken + 1)
            })
            .is_ok()
    }

    /// Whether one more could be counted.
    pub(super) fn has_room(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.most.load(Ordering::Relaxed)
    }

    /// Counts one more, whatever the limit.
    pub(super) fn force(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}
