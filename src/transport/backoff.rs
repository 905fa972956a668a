//! The back-off of an endpoint that cannot be connected to.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::core::Random;

/// Doubling from `base` to `max`, 20 % jitter (gRPC connection back-off).
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Nanoseconds; 0 when the last attempt succeeded.
    until: AtomicU64,
    /// When the last attempt failed.
    failed: AtomicU64,
    failures: AtomicU32,
}

impl Backoff {
    /// Whether the balancer should look elsewhere.
    pub(super) fn lasts(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    /// Whether a caller that has nowhere else to go may try all the same: at most once per
    /// `base`, so that a server that is back is found at once.
    pub(super) fn may_try(&self, now: u64, base: Duration) -> bool {
        let failed = self.failed.load(Relaxed);
        let base = u64::try_from(base.as_nanos()).unwrap_or(u64::MAX);
        self.until.load(Relaxed) == 0 || now >= failed.saturating_add(base)
    }

    pub(super) fn succeeded(&self) {
        self.until.store(0, Relaxed);
        self.failures.store(0, Relaxed);
    }

    /// Notes a failure at `now`; returns how long the endpoint is avoided.
    pub(super) fn failed(
        &self,
        now: u64,
        base: Duration,
        max: Duration,
        random: &Random,
    ) -> Duration {
        let failures = self.failures.fetch_add(1, Relaxed).min(20);
        let plain = base.saturating_mul(1 << failures).min(max);
        let wait = plain.mul_f64(0.4_f64.mul_add(random.ratio(), 0.8));
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        self.failed.store(now, Relaxed);
        self.until.store(now.saturating_add(nanos), Relaxed);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_its_maximum_and_ends_with_a_success() {
        let backoff = Backoff::default();
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(30));
        let random = Random::seeded(5);
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let wait = backoff.failed(0, base, max, &random).as_millis();
            assert!((expected * 8 / 10..=expected * 12 / 10).contains(&wait), "{wait}");
        }
        assert!(backoff.lasts(1));
        assert!(!backoff.may_try(99_000_000, base));
        assert!(backoff.may_try(100_000_000, base));
        backoff.succeeded();
        assert!(!backoff.lasts(1));
    }
}
