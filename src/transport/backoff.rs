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
    /// When the last attempt failed, or was allowed within the back-off.
    tried: AtomicU64,
    failures: AtomicU32,
}

impl Backoff {
    /// Whether the balancer should look elsewhere.
    pub(super) fn lasts(&self, now: u64) -> bool {
        now < self.until.load(Relaxed)
    }

    /// Whether a caller that has nowhere else to go may try all the same: one per `base`, so that
    /// a server that is back is found at once.
    pub(super) fn may_try(&self, now: u64, base: Duration) -> bool {
        if !self.lasts(now) {
            return true;
        }
        let tried = self.tried.load(Relaxed);
        now >= tried.saturating_add(nanos(base))
            && self.tried.compare_exchange(tried, now, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn succeeded(&self) {
        if self.until.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.until.store(0, Relaxed);
        }
    }

    /// Notes a failure at `now`; returns how long the endpoint is avoided.
    ///
    /// Failures within a back-off are those of attempts that were under way together: they are
    /// the one failure that began it.
    pub(super) fn failed(
        &self,
        now: u64,
        base: Duration,
        max: Duration,
        random: &Random,
    ) -> Duration {
        let until = self.until.load(Relaxed);
        if now < until {
            return Duration::from_nanos(until - now);
        }
        let failures = self.failures.load(Relaxed);
        let plain = base.saturating_mul(1 << failures.min(20)).min(max);
        let wait = plain.mul_f64(0.4_f64.mul_add(random.ratio(), 0.8)).min(max);
        let next = now.saturating_add(nanos(wait)).max(1);
        if self.until.compare_exchange(until, next, Relaxed, Relaxed).is_ok() {
            self.failures.store(failures.saturating_add(1), Relaxed);
            self.tried.store(now, Relaxed);
        }
        wait
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn it_doubles_to_its_maximum_and_ends_with_a_success() {
        let backoff = Backoff::default();
        let random = Random::seeded(5);
        let mut now = 0;
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let wait = backoff.failed(now, BASE, MAX, &random);
            let millis = wait.as_millis();
            assert!((expected * 8 / 10..=expected * 12 / 10).contains(&millis), "{millis}");
            assert!(wait <= MAX);
            assert!(backoff.lasts(now + 1));
            now += nanos(wait);
            assert!(!backoff.lasts(now));
        }
        backoff.succeeded();
        let wait = backoff.failed(now, BASE, MAX, &random);
        assert!(wait <= BASE * 12 / 10, "it begins anew: {wait:?}");
    }

    #[test]
    fn attempts_that_fail_together_are_one_failure() {
        let backoff = Backoff::default();
        let random = Random::seeded(5);
        for _ in 0..50 {
            let wait = backoff.failed(0, BASE, MAX, &random);
            assert!(wait <= BASE * 12 / 10, "{wait:?}");
        }
    }

    #[test]
    fn within_the_back_off_one_caller_per_base_may_try() {
        let backoff = Backoff::default();
        let random = Random::seeded(5);
        assert!(backoff.may_try(0, BASE));
        for at in [0, 100_000_000, 200_000_000, 400_000_000] {
            backoff.failed(at, BASE, MAX, &random);
        }
        assert!(backoff.lasts(600_000_000));
        assert!(!backoff.may_try(499_999_999, BASE));
        assert!(backoff.may_try(500_000_000, BASE));
        assert!(!backoff.may_try(500_000_000, BASE), "the one try is taken");
        assert!(backoff.may_try(600_000_000, BASE));
    }

    proptest! {
        #[test]
        fn a_wait_is_a_fifth_around_its_doubling_and_ends(
            base in 1..10_000_u64,
            more in 0..1_000_000_u64,
            failures in 1..40_u32,
            start in 0..u64::MAX / 2,
            seed: u64,
        ) {
            let (base, max) = (Duration::from_millis(base), Duration::from_millis(base + more));
            let (backoff, random) = (Backoff::default(), Random::seeded(seed));
            let mut now = start;
            for failure in 0..failures {
                let wait = backoff.failed(now, base, max, &random);
                let plain = base.saturating_mul(1 << failure.min(20)).min(max);
                prop_assert!(wait >= plain.mul_f64(0.799), "{wait:?} of {plain:?}");
                prop_assert!(wait <= plain.mul_f64(1.201), "{wait:?} of {plain:?}");
                let nanos = u64::try_from(wait.as_nanos()).unwrap();
                prop_assert!(backoff.lasts(now) && backoff.lasts(now + nanos - 1));
                prop_assert!(!backoff.lasts(now + nanos));
                let tried = u64::try_from(base.as_nanos()).unwrap();
                prop_assert!(!backoff.may_try(now + tried - 1, base));
                prop_assert!(backoff.may_try(now + tried, base));
                now += nanos / 2;
            }
            backoff.succeeded();
            prop_assert!(!backoff.lasts(now) && backoff.may_try(now, base));
        }
    }

    #[test]
    fn the_largest_durations_do_not_overflow() {
        let backoff = Backoff::default();
        // The most that validation lets through.
        let year = Duration::from_secs(86_400 * 365);
        for seed in 0..100 {
            let random = Random::seeded(seed);
            let wait = backoff.failed(u64::MAX - 1, year, year, &random);
            assert!(wait > Duration::ZERO);
            assert!(backoff.lasts(u64::MAX - 1));
        }
    }
}
