//! A histogram of durations: two additions per sample.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The upper bounds of the buckets, in seconds.
//= OpenTelemetry semantic conventions 1.44, `http.client.request.duration`
pub(super) const BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The same in nanoseconds.
const NANOS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// The upper bounds of the buckets of weights.
//= OpenTelemetry SDK, explicit bucket histogram aggregation: the default boundaries
#[cfg(any(feature = "orca", feature = "otel-033"))]
pub(super) const WEIGHTS: [f64; 15] = [
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1_000.0, 2_500.0, 5_000.0,
    7_500.0, 10_000.0,
];

/// The buckets, and the sum: in microseconds it lasts for 584,000 years of calls.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; 15],
    micros: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) buckets: [u64; 15],
    pub(super) micros: u64,
}

// === impl Histogram ===

impl Histogram {
    #[inline]
    pub(super) fn record(&self, nanos: u64) {
        // Most are fast: the first bounds decide.
        let bucket = NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(NANOS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(nanos.saturating_add(500) / 1_000, Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        Counts {
            buckets: std::array::from_fn(|n| self.buckets[n].load(Relaxed)),
            micros: self.micros.load(Relaxed),
        }
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum for reading")]
    pub(super) fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine = mine.wrapping_add(theirs);
        }
        self.micros = self.micros.wrapping_add(other.micros);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_lists_of_bounds_are_one() {
        for (seconds, nanos) in BOUNDS.iter().zip(NANOS) {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let same = (seconds * 1e9 - nanos as f64).abs() < 1.0;
            assert!(same, "{seconds} {nanos}");
        }
    }

    proptest! {
        #[test]
        fn a_sample_is_in_the_first_bucket_that_holds_it(nanos: u64) {
            let histogram = Histogram::default();
            histogram.record(nanos);
            let counts = histogram.read();
            prop_assert_eq!(counts.count(), 1);
            let bucket = counts.buckets.iter().position(|count| *count == 1).unwrap();
            prop_assert!(bucket == 14 || nanos <= NANOS[bucket]);
            prop_assert!(bucket == 0 || nanos > NANOS[bucket - 1]);
            prop_assert!(counts.micros.abs_diff(nanos / 1_000) <= 1);
        }
    }
}
