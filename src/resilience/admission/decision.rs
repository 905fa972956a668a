//! The decision: what is refused, by how many calls succeed.

use std::time::Duration;

use crate::{
    config::{self, Criticality},
    core::Random,
    resilience::{
        rolling::Rolling,
        shed::{self, LEVELS},
    },
};

/// The counters behind those of the levels: a pair.
const ENDED: usize = LEVELS;
const SUCCEEDED: usize = LEVELS + 1;

/// Admission control for one destination; calls share it without a lock.
///
/// The time is nanoseconds since an epoch of its owner's.
#[derive(Debug)]
pub(crate) struct Admission {
    threshold: f64,
    exponent: f64,
    most: f64,
    /// Calls of a window below which nothing is refused.
    least: f64,
    /// What was wanted by level, what has ended, and how many of those well.
    counts: Rolling,
}

// === impl Admission ===

impl Admission {
    pub(crate) fn new(config: &config::AdmissionControl) -> Self {
        Self {
            threshold: config.threshold_percent() / 100.0,
            exponent: 1.0 / config.aggression(),
            most: config.max_rejection_percent() / 100.0,
            least: config.min_per_second() * config.window().as_secs_f64(),
            counts: Rolling::new(crate::core::nanos(config.window())),
        }
    }

    /// Whether a call goes on; else with which probability it was refused.
    pub(crate) fn enter(
        &self,
        now: u64,
        criticality: Criticality,
        random: &Random,
    ) -> Result<(), f64> {
        self.counts.add(now, shed::level(criticality));
        let p = self.p(now);
        if p <= 0.0 {
            return Ok(());
        }
        let share = shed::share(p, criticality, &self.offered(now));
        if share > 0.0 && random.ratio() < share { Err(share) } else { Ok(()) }
    }

    /// A call that went on has ended. Refused ones are not counted here, or the rate of success
    /// would tend to nothing.
    pub(crate) fn ended(&self, now: u64, is_success: bool) {
        self.counts.add(now, ENDED);
        if is_success {
            self.counts.add(now, SUCCEEDED);
        }
    }

    /// The share of the calls of this criticality that is refused now.
    pub(crate) fn share(&self, now: u64, criticality: Criticality) -> f64 {
        let mut offered = self.offered(now);
        offered[shed::level(criticality)] += 1;
        shed::share(self.p(now), criticality, &offered)
    }

    /// The share of all calls that is refused now.
    #[cfg(test)]
    pub(super) fn refusing(&self, now: u64) -> f64 {
        self.p(now)
    }

    /// The share of all calls that is refused now.
    #[expect(clippy::cast_precision_loss, reason = "calls of one window")]
    fn p(&self, now: u64) -> f64 {
        let (ended, succeeded) = self.counts.pair(now, ENDED);
        if (ended as f64) < self.least {
            return 0.0;
        }
        probability(ended, succeeded, self.threshold, self.exponent).min(self.most)
    }

    /// What was wanted by level.
    fn offered(&self, now: u64) -> [u64; LEVELS] {
        let sums = self.counts.sums(now);
        [sums[0], sums[1], sums[2], sums[3]]
    }
}

/// The share of calls that is refused: ((n − s / threshold) / (n + 1)) ^ (1 / aggression), 0 below
/// the threshold.
///
//= Envoy admission control filter, "Rejection Probability"
#[expect(clippy::cast_precision_loss, reason = "calls of one window")]
pub(super) fn probability(ended: u64, succeeded: u64, threshold: f64, exponent: f64) -> f64 {
    let (ended, succeeded) = (ended as f64, succeeded as f64);
    let raw = ((ended - succeeded / threshold) / (ended + 1.0)).max(0.0);
    // A power that is none costs nothing, and most have none.
    if exponent < 1.0 { raw.powf(exponent) } else { raw }
}

// === impl config::AdmissionControl ===

impl config::AdmissionControl {
    pub(crate) fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    pub(crate) fn window(&self) -> Duration {
        self.window.unwrap_or(Duration::from_secs(30))
    }

    pub(crate) fn threshold_percent(&self) -> f64 {
        self.threshold_percent.unwrap_or(95.0)
    }

    pub(crate) fn aggression(&self) -> f64 {
        self.aggression.unwrap_or(1.0)
    }

    pub(crate) fn min_per_second(&self) -> f64 {
        self.min_per_second.unwrap_or(0.0)
    }

    pub(crate) fn max_rejection_percent(&self) -> f64 {
        self.max_rejection_percent.unwrap_or(80.0)
    }
}
