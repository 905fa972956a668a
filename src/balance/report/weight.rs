//! The weight of one endpoint over time, from its reports (gRFC A58): three words, without a lock.

use super::{
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    weights::Rules,
};

/// What an endpoint has reported. A race loses one report of two that come at once, or one that comes as the
/// last one expires.
#[derive(Debug)]
pub(crate) struct Weight {
    /// The bits of the weight.
    value: AtomicU64,
    /// When the last report came.
    updated: AtomicU64,
    /// When the first one came since there were none; `NEVER` while there is none.
    since: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Default for Weight {
    fn default() -> Self {
        Self { value: AtomicU64::new(0), updated: AtomicU64::new(0), since: AtomicU64::new(NEVER) }
    }
}

impl Weight {
    /// Takes a report's weight.
    pub(crate) fn report(&self, now: u64, weight: f64) {
        // Who sees when it came sees the weight, and who sees since when there are any sees when the
        // last one came: a first report is never taken for an old one, nor for a weight of 0.
        self.value.store(weight.to_bits(), Relaxed);
        self.updated.store(now, Release);
        if self.since.load(Relaxed) == NEVER {
            self.since.store(now, Release);
        }
    }

    /// Who reports next begins anew.
    pub(crate) fn forget(&self) {
        self.since.store(NEVER, Relaxed);
    }

    /// The weight as it counts now.
    pub(crate) fn get(&self, now: u64, rules: &Rules) -> Option<f64> {
        let since = self.since.load(Acquire);
        if since == NEVER {
            return None;
        }
        if now.saturating_sub(self.updated.load(Acquire)) >= rules.expiration {
            // What comes after it begins anew.
            self.since.store(NEVER, Relaxed);
            return None;
        }
        if now.saturating_sub(since) < rules.blackout {
            return None;
        }
        Some(f64::from_bits(self.value.load(Relaxed)))
    }
}
