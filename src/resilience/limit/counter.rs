//! The lock-free count of what there may be so many of at a time: calls, connections, those who wait.

use super::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub(crate) struct Counter {
    taken: AtomicU32,
}

// === impl Counter ===

impl Counter {
    pub(crate) fn new() -> Self {
        Self { taken: AtomicU32::new(0) }
    }

    /// Counts one more, unless `most` are counted already.
    pub(crate) fn enter(&self, most: u32) -> bool {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < most).then(|| taken + 1)
            })
            .is_ok()
    }

    /// Counts one more, however many there are.
    pub(crate) fn force(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn leave(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}
