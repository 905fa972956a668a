//! Since when nothing is available, and whether that has lasted too long: a lock-free state machine.
//!
//! ```text
//!               nothing is available            `timeout` later
//!   (available) ───────────────────> waiting ──────────────────> failing fast
//!        ^                              │                             │
//!        └──────────────────────────────┴──── something is available ─┘
//! ```

use super::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct State {
    /// 1 + when it began, in nanoseconds; 0: something is available.
    since: AtomicU64,
}

// === impl State ===

impl State {
    pub(super) fn new() -> Self {
        Self { since: AtomicU64::new(0) }
    }

    /// Something is available; whether nothing was before.
    pub(super) fn found(&self) -> bool {
        self.since.load(Ordering::Relaxed) != 0 && self.since.swap(0, Ordering::AcqRel) != 0
    }

    /// Nothing is available now; since when that is so.
    pub(super) fn missed(&self, now: u64) -> u64 {
        let began = now.saturating_add(1);
        match self.since.compare_exchange(0, began, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => now,
            Err(since) => since - 1,
        }
    }

    /// Since when nothing is available, if that is so.
    pub(super) fn since(&self) -> Option<u64> {
        self.since.load(Ordering::Acquire).checked_sub(1)
    }
}
