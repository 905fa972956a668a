//! The lock-free counter under the limit.

use super::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub(super) struct Gate {
    taken: AtomicU32,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new() -> Self {
        Self { taken: AtomicU32::new(0) }
    }

    /// Counts one more, unless `max` are counted already.
    pub(super) fn enter(&self, max: u32) -> bool {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < max).then(|| taken + 1)
            })
            .is_ok()
    }

    pub(super) fn leave(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}
