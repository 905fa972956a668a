//! How fast a body may go: a bucket of tokens, one for each byte.

use std::time::Duration;

/// A bucket that fills at a rate. Tokens are counted exactly: in bytes times nanoseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    /// Unit: bytes per second; at least 1.
    rate: u64,
    /// What is in it: so many bytes, times [`SECOND`].
    level: u128,
    /// When that was so, in nanoseconds.
    at: u64,
}

/// One second, in nanoseconds.
const SECOND: u128 = 1_000_000_000;

/// So much of a second fits into the bucket, and is passed on at once: 50 ms.
//= Envoy `StreamRateLimiter`: the bucket is filled every 50 ms
const PART: u64 = 20;

// === impl Pace ===

impl Pace {
    /// A full bucket.
    pub(crate) fn new(rate: u64, now: u64) -> Self {
        let rate = rate.max(1);
        Self { rate, level: u128::from(quantum(rate)) * SECOND, at: now }
    }

    /// How many of these bytes may go now: all, or a whole portion, or none.
    pub(crate) fn take(&mut self, now: u64, wanted: usize) -> usize {
        self.fill(now);
        let there = self.level / SECOND;
        let wanted = wanted as u128;
        if there < wanted.min(quantum(self.rate).into()) {
            return 0;
        }
        let given = there.min(wanted);
        self.level -= given * SECOND;
        // No more than what was wanted.
        usize::try_from(given).unwrap_or(usize::MAX)
    }

    /// How long until any of these bytes may go.
    pub(crate) fn wait(&mut self, now: u64, wanted: usize) -> Duration {
        self.fill(now);
        let portion = (wanted as u128).min(quantum(self.rate).into()) * SECOND;
        let missing = portion.saturating_sub(self.level);
        let nanos = missing.div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn fill(&mut self, now: u64) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let new = u128::from(passed) * u128::from(self.rate);
        self.level = (self.level + new).min(u128::from(quantum(self.rate)) * SECOND);
    }
}

/// What fits into the bucket. Unit: bytes.
fn quantum(rate: u64) -> u64 {
    (rate / PART).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_portion_at_once_and_then_one_every_50_ms() {
        let mut pace = Pace::new(1024, 0);
        assert_eq!(pace.take(0, 1000), 51);
        assert_eq!(pace.take(0, 1000), 0);
        let wait = pace.wait(0, 1000);
        assert_eq!(wait.as_millis(), 49);
        assert_eq!(pace.take(wait.as_nanos() as u64 - 1, 1000), 0);
        assert_eq!(pace.take(wait.as_nanos() as u64, 1000), 51);
        // What is less than a portion need not wait for a whole one.
        assert!(pace.wait(wait.as_nanos() as u64, 1) < Duration::from_millis(2));
    }

    #[test]
    fn what_is_not_used_is_not_saved_up() {
        let mut pace = Pace::new(10_000, 0);
        assert_eq!(pace.take(3_600 * 1_000_000_000, 1_000_000), 500);
        assert_eq!(pace.take(3_600 * 1_000_000_000, 1_000_000), 0);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_portion(
            rate in prop_oneof![1..100_000_u64, Just(u64::MAX)],
            asks in prop::collection::vec((0..2_000_000_000_u64, 1..100_000_usize), 1..50),
        ) {
            let mut pace = Pace::new(rate, 0);
            let (mut now, mut sent) = (0, 0);
            for (passed, wanted) in asks {
                now += passed;
                let given = pace.take(now, wanted);
                prop_assert!(given <= wanted);
                sent += given as u128;
                let most = u128::from(now) * u128::from(rate) / SECOND;
                prop_assert!(sent <= most + u128::from(quantum(rate)));
            }
        }

        #[test]
        fn who_waits_as_long_as_it_is_told_gets_something(
            rate in 1..10_000_000_u64,
            at in 0..1_000_000_000_u64,
            wanted in 1..10_000_000_usize,
        ) {
            let mut pace = Pace::new(rate, 0);
            pace.take(at, wanted);
            let wait = pace.wait(at, wanted);
            prop_assert!(wait <= Duration::from_secs(1));
            let later = at + u64::try_from(wait.as_nanos()).unwrap();
            prop_assert!(pace.take(later, wanted) > 0);
        }

        #[test]
        fn a_body_takes_as_long_as_its_rate_says(rate in 1024..1_000_000_u64, size in 1..200_000_usize) {
            let mut pace = Pace::new(rate, 0);
            let (mut now, mut left) = (0_u64, size);
            while left > 0 {
                left -= pace.take(now, left);
                if left > 0 {
                    now += u64::try_from(pace.wait(now, left).as_nanos()).unwrap();
                }
            }
            let seconds = now as f64 / 1e9;
            let expected = size as f64 / rate as f64;
            prop_assert!((seconds - expected).abs() <= 0.051 + expected * 0.01, "{seconds} {expected}");
        }
    }
}
