//! One call now and then, however bad it looks: else nobody sees that the service is back.

use super::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Forced {
    after: u64,
    /// When a call was last sent.
    passed: AtomicU64,
}

// === impl Forced ===

impl Forced {
    pub(super) fn new(after: u64) -> Self {
        Self { after, passed: AtomicU64::new(0) }
    }

    /// A call was sent.
    pub(super) fn passed(&self, now: u64) {
        // Written rarely: most calls find that one was sent just now.
        let passed = self.passed.load(Ordering::Relaxed);
        if now > passed.saturating_add(self.after / 16) {
            self.passed.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Whether none was sent for so long. Of many that ask at once, one is told so.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let passed = self.passed.load(Ordering::Relaxed);
        now >= passed.saturating_add(self.after)
            && self
                .passed
                .compare_exchange(passed, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
