//! Failure accrual (Finagle, Linkerd): an endpoint goes out for failures in a row, or for a
//! success ratio over a window that is too low; each time it fails again it stays out for twice
//! as long, with equal jitter.

use super::{
    EjectReason,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};
use crate::{config::FailureAccrual, core::nanos};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rules {
    failures: u32,
    /// 0: no ratio is asked for.
    ratio: f64,
    /// A tenth of the window. Unit: nanoseconds.
    slice: u64,
    min_requests: u32,
    min_penalty: u64,
    max_penalty: u64,
    /// The random part of a penalty.
    jitter: f64,
}

/// Linkerd's ten.
const SLICES: usize = 10;
/// The number of a slice, then its successes, then its failures, in one word.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const STAMP: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

/// What is counted of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Tally {
    failures: AtomicU32,
    slices: [AtomicU64; SLICES],
    /// How often it went out since it was last well.
    times: AtomicU32,
}

// === impl Rules ===

impl Rules {
    pub(super) fn new(config: &FailureAccrual) -> Self {
        let min_penalty = config.min_penalty.map_or(1_000_000_000, nanos);
        Self {
            failures: config.consecutive_failures.unwrap_or(7),
            ratio: config.success_ratio.unwrap_or(0.0),
            slice: (config.window.map_or(10_000_000_000, nanos) / SLICES as u64).max(1),
            min_requests: config.min_requests.unwrap_or(5),
            min_penalty,
            max_penalty: config.max_penalty.map_or(60_000_000_000, nanos).max(min_penalty),
            jitter: config.jitter.unwrap_or(0.5).clamp(0.0, 1.0),
        }
    }

    /// How long it stays out for the *n*th time; `ratio` is random, in `[0, 1)`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "saturates; a part of itself"
    )]
    pub(super) fn penalty(&self, times: u32, ratio: f64) -> u64 {
        let doubled = self.min_penalty.saturating_mul(1 << times.saturating_sub(1).min(62));
        let whole = doubled.min(self.max_penalty);
        let random = (whole as f64 * self.jitter) as u64;
        whole.saturating_sub(random).saturating_add((random as f64 * ratio) as u64)
    }
}

// === impl Tally ===

impl Tally {
    /// Counts an outcome; what that makes of the endpoint.
    pub(super) fn count(&self, rules: &Rules, now: u64, good: bool) -> Option<EjectReason> {
        if rules.ratio > 0.0 {
            self.slice(rules, now, good);
        }
        if good {
            if self.failures.load(Relaxed) != 0 {
                self.failures.store(0, Relaxed);
            }
            return None;
        }
        let row = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if rules.failures > 0 && row >= rules.failures {
            return Some(EjectReason::AccruedFailures);
        }
        let (good, all) = if rules.ratio > 0.0 { self.window(rules, now) } else { (0, 0) };
        let few = all < rules.min_requests;
        (!few && f64::from(good) < rules.ratio * f64::from(all))
            .then_some(EjectReason::AccruedSuccessRatio)
    }

    fn slice(&self, rules: &Rules, now: u64, good: bool) {
        let number = now / rules.slice;
        let stamp = number & STAMP;
        let Some(cell) =
            usize::try_from(number % SLICES as u64).ok().and_then(|at| self.slices.get(at))
        else {
            return;
        };
        let shift = if good { COUNT_BITS } else { 0 };
        let _ = cell.fetch_update(Relaxed, Relaxed, |word| {
            let word =
                if word >> (2 * COUNT_BITS) == stamp { word } else { stamp << (2 * COUNT_BITS) };
            let full = (word >> shift) & COUNT == COUNT;
            Some(if full { word } else { word + (1 << shift) })
        });
    }

    /// Successes, and all outcomes, of the last ten slices, the one under way among them.
    #[expect(clippy::cast_possible_truncation, reason = "20 bits of ten slices")]
    fn window(&self, rules: &Rules, now: u64) -> (u32, u32) {
        let number = now / rules.slice;
        let mut sums = (0, 0);
        for cell in &self.slices {
            let word = cell.load(Relaxed);
            let age = number.wrapping_sub(word >> (2 * COUNT_BITS)) & STAMP;
            if age < SLICES as u64 {
                let (good, bad) = ((word >> COUNT_BITS) & COUNT, word & COUNT);
                sums.0 += good as u32;
                sums.1 += (good + bad) as u32;
            }
        }
        sums
    }

    /// It goes out once more: for how long.
    pub(super) fn ejected(&self, rules: &Rules, ratio: f64) -> u64 {
        let times = self.times.load(Relaxed).saturating_add(1);
        self.times.store(times, Relaxed);
        rules.penalty(times, ratio)
    }

    /// It takes calls again; what was counted of the time before is no evidence any more.
    pub(super) fn returned(&self) {
        self.times.store(0, Relaxed);
        self.failures.store(0, Relaxed);
        for cell in &self.slices {
            cell.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rules(failures: u32, ratio: Option<f64>) -> Rules {
        Rules::new(&FailureAccrual {
            consecutive_failures: Some(failures),
            success_ratio: ratio,
            ..FailureAccrual::default()
        })
    }

    #[test]
    fn the_defaults_are_linkerds() {
        let rules = Rules::new(&FailureAccrual::default());
        assert_eq!((rules.failures, rules.slice, rules.min_requests), (7, SECOND, 5));
        assert_eq!((rules.min_penalty, rules.max_penalty), (SECOND, 60 * SECOND));
        assert!((rules.jitter - 0.5).abs() < 1e-9 && rules.ratio == 0.0);
    }

    #[test]
    fn failures_in_a_row_accrue_and_a_success_breaks_the_row() {
        let (tally, rules) = (Tally::default(), rules(3, None));
        assert_eq!(tally.count(&rules, 0, false), None);
        assert_eq!(tally.count(&rules, 0, false), None);
        assert_eq!(tally.count(&rules, 0, true), None);
        assert_eq!(tally.count(&rules, 0, false), None);
        assert_eq!(tally.count(&rules, 0, false), None);
        assert_eq!(tally.count(&rules, 0, false), Some(EjectReason::AccruedFailures));
        // One that could not be taken out is asked for again at once.
        assert_eq!(tally.count(&rules, 0, false), Some(EjectReason::AccruedFailures));
    }

    #[test]
    fn the_ratio_counts_from_enough_calls_within_the_window() {
        let (tally, rules) = (Tally::default(), rules(0, Some(0.8)));
        // 3 of 4 are below 0.8, and too few.
        for good in [true, true, true, false] {
            assert_eq!(tally.count(&rules, SECOND, good), None);
        }
        // 4 of 5 are not below.
        assert_eq!(tally.count(&rules, SECOND, true), None);
        assert_eq!(tally.count(&rules, 2 * SECOND, false), Some(EjectReason::AccruedSuccessRatio));
        // Ten seconds later, what came then is forgotten.
        assert_eq!(tally.count(&rules, 11 * SECOND, false), None);
        assert_eq!(tally.window(&rules, 11 * SECOND), (0, 2));
        assert_eq!(tally.window(&rules, 12 * SECOND), (0, 1));
    }

    #[test]
    fn penalties_double_with_equal_jitter() {
        let rules = rules(7, None);
        for (times, least) in [(1, 500), (2, 1_000), (3, 2_000), (6, 16_000), (7, 30_000)] {
            let least = least * 1_000_000;
            assert_eq!(rules.penalty(times, 0.0), least);
            assert!(rules.penalty(times, 0.999_999) < 2 * least);
            assert!(rules.penalty(times, 0.999) > least * 199 / 100);
        }
        assert_eq!(rules.penalty(u32::MAX, 0.0), 30 * SECOND);
    }

    #[test]
    fn what_came_before_its_return_is_no_evidence() {
        let (tally, rules) = (Tally::default(), rules(2, Some(0.8)));
        let reasons: Vec<_> = (0..9).map(|_| tally.count(&rules, 0, false)).collect();
        assert_eq!(reasons[1], Some(EjectReason::AccruedFailures));
        assert_eq!(tally.ejected(&rules, 0.0), SECOND / 2);
        assert_eq!(tally.ejected(&rules, 0.0), SECOND);
        tally.returned();
        assert_eq!(tally.count(&rules, 0, false), None);
        assert_eq!(tally.ejected(&rules, 0.0), SECOND / 2);
    }

    proptest! {
        /// The window is what a list of the outcomes of the last ten slices says.
        #[test]
        fn the_window_is_that_of_a_list(
            steps in prop::collection::vec((0..3 * SECOND, any::<bool>()), 1..200),
        ) {
            let (tally, rules) = (Tally::default(), rules(0, Some(0.5)));
            let (mut now, mut list) = (0, Vec::new());
            for (gap, good) in steps {
                now += gap;
                tally.count(&rules, now, good);
                list.push((now / SECOND, good));
                let recent = list.iter().filter(|(at, _)| now / SECOND - at < 10);
                let good = recent.clone().filter(|(_, good)| *good).count() as u32;
                prop_assert_eq!(tally.window(&rules, now), (good, recent.count() as u32));
            }
        }

        #[test]
        fn extreme_settings_and_times_neither_panic_nor_exceed_their_bounds(
            (min, max, window) in (any::<u64>(), any::<u64>(), any::<u64>()),
            jitter in prop::num::f64::ANY,
            now in any::<u64>(),
            times in any::<u32>(),
        ) {
            let config = FailureAccrual {
                window: Some(Duration::from_nanos(window)),
                min_penalty: Some(Duration::from_nanos(min)),
                max_penalty: Some(Duration::from_nanos(max)),
                jitter: Some(jitter),
                success_ratio: Some(0.5),
                ..FailureAccrual::default()
            };
            let (tally, rules) = (Tally::default(), Rules::new(&config));
            for at in [now, 0, u64::MAX, now] {
                tally.count(&rules, at, false);
            }
            prop_assert!(rules.penalty(times, 0.999) <= rules.max_penalty);
        }
    }
}
