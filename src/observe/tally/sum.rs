//! How often a number was told, and the sum of it.

use super::atomic::{AtomicU64, Ordering::Relaxed};

/// Both only grow for who reads them one after the other; a number that is told between is seen in one
/// of them now, and in both later.
#[derive(Debug)]
pub(super) struct Sum {
    count: AtomicU64,
    /// The bits of a `f64`.
    sum: AtomicU64,
}

// === impl Sum ===

impl Default for Sum {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), sum: AtomicU64::new(0.0_f64.to_bits()) }
    }
}

impl Sum {
    pub(super) fn add(&self, value: f64) {
        self.count.fetch_add(1, Relaxed);
        let mut now = self.sum.load(Relaxed);
        loop {
            let sum = (f64::from_bits(now) + value).to_bits();
            match self.sum.compare_exchange_weak(now, sum, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    pub(super) fn read(&self) -> (u64, f64) {
        (self.count.load(Relaxed), f64::from_bits(self.sum.load(Relaxed)))
    }
}
