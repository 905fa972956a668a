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
    /// When the last report came; `NEVER` before the first one.
    updated: AtomicU64,
    /// When the first one came since there were none; `NEVER` while there is none.
    since: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// Why a weight does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unusable {
    /// There has been no report, or none for long enough.
    NotYet,
    /// The last report is too old.
    Stale,
}

impl Default for Weight {
    fn default() -> Self {
        let [updated, since] = [NEVER; 2].map(AtomicU64::new);
        Self { value: AtomicU64::new(0), updated, since }
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
    //= gRFC A78: not yet usable, stale; a weight is stale as long as no report has followed it
    pub(crate) fn get(&self, now: u64, rules: &Rules) -> Result<f64, Unusable> {
        let since = self.since.load(Acquire);
        if now.saturating_sub(self.updated.load(Acquire)) >= rules.expiration {
            if since != NEVER {
                // What comes after it begins anew.
                self.since.store(NEVER, Relaxed);
            }
            return Err(Unusable::Stale);
        }
        if since == NEVER || now.saturating_sub(since) < rules.blackout {
            return Err(Unusable::NotYet);
        }
        Ok(f64::from_bits(self.value.load(Relaxed)))
    }
}
