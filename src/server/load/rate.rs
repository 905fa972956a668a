//! How many things happen per second, over the last ten.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SECOND: u64 = 1_000_000_000;
/// What is looked back at. Unit: seconds.
const WINDOW: u64 = 10;
/// A power of two over the window: a second's bucket is not the next one's that is read.
const BUCKETS: usize = 16;
const COUNT: u64 = u32::MAX as u64;

/// Buckets of a second each: the second in the upper half, the count in the lower one.
#[derive(Debug, Default)]
pub(super) struct Rate {
    buckets: [AtomicU64; BUCKETS],
}

impl Rate {
    /// Counts one.
    pub(super) fn count(&self, now: u64) {
        let second = now / SECOND;
        let Some(bucket) = self.buckets.get(index(second)) else { return };
        let mut before = bucket.load(Relaxed);
        loop {
            let after = if before >> 32 == second & COUNT {
                // A full bucket stays full.
                if before & COUNT == COUNT { before } else { before + 1 }
            } else {
                (second & COUNT) << 32 | 1
            };
            match bucket.compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }

    /// Per second, over the last ten, or as many as there were.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(super) fn per_second(&self, now: u64) -> f64 {
        let second = now / SECOND;
        // The seconds that are over, and what has passed of this one.
        let first = (second + 1).saturating_sub(WINDOW);
        let counted: u64 = (first..=second)
            .filter_map(|second| {
                let bucket = self.buckets.get(index(second))?.load(Relaxed);
                (bucket >> 32 == second & COUNT).then_some(bucket & COUNT)
            })
            .sum();
        let since = now.saturating_sub(first * SECOND).max(SECOND / 10);
        counted as f64 * SECOND as f64 / since as f64
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 16")]
fn index(second: u64) -> usize {
    (second % BUCKETS as u64) as usize
}
