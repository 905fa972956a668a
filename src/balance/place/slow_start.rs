//! The ramp of an endpoint that has just come, or is well again: how much of its weight counts (Envoy).
//!
//! ```text
//! factor = max(least, (max(age, 1 ms) / window)^(1 / aggression))
//! ```

use std::time::Duration;

/// Nanoseconds.
const MILLI: u64 = 1_000_000;

/// How new endpoints are warmed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SlowStart {
    /// Nanoseconds.
    pub(crate) window: u64,
    /// 1 is a line; more rises faster.
    pub(crate) aggression: f64,
    /// The least factor, in 0..=1.
    pub(crate) least: f64,
    /// Whether the end of an ejection begins it.
    pub(crate) after_ejection: bool,
}

// === impl SlowStart ===

impl SlowStart {
    pub(crate) fn new(config: &crate::config::SlowStart) -> Self {
        let window = config.window.unwrap_or(Duration::from_secs(10));
        Self {
            window: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX),
            aggression: config.aggression.unwrap_or(1.0),
            least: config.min_weight_percent.unwrap_or(10.0) / 100.0,
            after_ejection: config.after_ejection.unwrap_or(true),
        }
    }

    /// The part of its weight that counts for an endpoint of this age, in nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn factor(&self, age: u64) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let time = age.max(MILLI) as f64 / self.window as f64;
        let ramp = if (self.aggression - 1.0).abs() < f64::EPSILON {
            time
        } else {
            time.powf(1.0 / self.aggression)
        };
        ramp.max(self.least).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000 * MILLI;

    fn of(window: u64, aggression: f64) -> SlowStart {
        SlowStart { window: window * SECOND, aggression, least: 0.1, after_ejection: true }
    }

    //= Envoy round_robin_lb_test.cc, SlowStart*
    #[test]
    fn factors_are_those_of_envoys_tests() {
        for (window, aggression, age, factor) in [
            (60, 1.0, 12.0, 0.2),
            (60, 1.0, 20.0, 1.0 / 3.0),
            (60, 1.0, 65.0, 1.0),
            (10, 1.0, 6.0, 0.6),
            (10, 1.0, 5.0, 0.5),
            (10, 1.5, 9.0, 0.932),
            (10, 1.5, 0.0, 0.1),
            (60, 2.0, 5.0, 0.288),
            (60, 2.0, 0.0, 0.1),
            (60, 2.0, 6.0, 0.316),
            (60, 2.0, 26.0, 0.658),
        ] {
            let age = (age * SECOND as f64) as u64;
            let met = of(window, aggression).factor(age);
            assert!((met - factor).abs() < 1e-3, "{window} s, {aggression}, {age}: {met}");
        }
    }

    #[test]
    fn the_defaults_are_envoys() {
        let usual = SlowStart::new(&crate::config::SlowStart::default());
        assert_eq!(usual, of(10, 1.0));
    }

    proptest! {
        #[test]
        fn it_rises_to_one(
            window in 1_u64..u64::MAX, aggression in 0.01_f64..100.0, least in 0.0_f64..=1.0,
            one in 0_u64..u64::MAX, other in 0_u64..u64::MAX,
        ) {
            let slow = SlowStart { window, aggression, least, after_ejection: true };
            let (young, old) = (one.min(other), one.max(other));
            prop_assert!(slow.factor(young) <= slow.factor(old));
            prop_assert!((least..=1.0).contains(&slow.factor(young)));
            prop_assert!((slow.factor(window) - 1.0).abs() < 1e-12);
        }
    }
}
