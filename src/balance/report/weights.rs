//! Weights from load reports (gRFC A58): of one endpoint over time, and of all against each other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    metrics::Metric,
    orca::{Report, usable},
};

/// What no weight exceeds, and what none falls below: no sum overflows, none is lost.
const MOST: f64 = 1e30;
const LEAST: f64 = 1e-30;
/// The largest weight of a turn.
const FULL: f64 = u16::MAX as f64;
/// A weight counts for at most so many times the mean, and for so much of it at least.
//= gRPC C-core `static_stride_scheduler.cc`: kMaxRatio, kMinRatio
const MAX_RATIO: f64 = 10.0;
const MIN_RATIO: f64 = 0.01;

/// How reports become weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// How long an endpoint must have reported before its weight counts. Nanoseconds.
    pub(crate) blackout: u64,
    /// How long a report counts. Nanoseconds.
    pub(crate) expiration: u64,
    /// What a share of errors of 1 adds to the utilisation.
    pub(crate) penalty: f64,
    /// What stands for the utilisation where the application says nothing of it.
    pub(crate) metrics: Vec<Metric>,
}

/// What an endpoint has reported. A race loses one report of two that come at once.
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

impl Rules {
    /// The weight that a report gives; nothing for one that says too little.
    pub(crate) fn weight(&self, report: &Report) -> Option<f64> {
        let qps = report.qps()?;
        let utilization = self.utilization(report)?;
        //= gRFC A58: weight = qps / (utilization + eps / qps * error_utilization_penalty)
        let errors = usable(report.eps).map_or(0.0, |eps| eps / qps * self.penalty);
        Some((qps / (utilization + errors)).clamp(LEAST, MOST))
    }

    //= gRFC A114: application_utilization; else the largest of the metrics; else cpu_utilization
    fn utilization(&self, report: &Report) -> Option<f64> {
        let largest =
            || self.metrics.iter().filter_map(|metric| metric.of(report)).reduce(f64::max);
        Metric::Application.of(report).or_else(largest).or_else(|| Metric::Cpu.of(report))
    }
}

impl Weight {
    /// Takes a report's weight.
    pub(crate) fn report(&self, now: u64, weight: f64) {
        // Another thread may have expired it in between: then it is new again, which is right.
        if self.since.load(Relaxed) == NEVER {
            self.since.store(now, Relaxed);
        }
        self.updated.store(now, Relaxed);
        self.value.store(weight.to_bits(), Relaxed);
    }

    /// The weight as it counts now.
    pub(crate) fn get(&self, now: u64, rules: &Rules) -> Option<f64> {
        let since = self.since.load(Relaxed);
        if since == NEVER {
            return None;
        }
        if now.saturating_sub(self.updated.load(Relaxed)) >= rules.expiration {
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

/// How weights become those of a turn, of which the largest is 65535.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    largest: f64,
    factor: f64,
    /// What an endpoint without a weight gets.
    pub(crate) mean: u16,
    least: u16,
}

impl Scale {
    /// Over all weights of a cluster; nothing for fewer than two, which makes plain turns.
    //= gRFC A58: unweighted endpoints get the mean; fewer than two with load info is round robin
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub(crate) fn of(weights: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (mut sum, mut count, mut largest) = (0.0, 0_usize, 0.0_f64);
        for weight in weights {
            sum += weight;
            count += 1;
            largest = largest.max(weight);
        }
        if count < 2 {
            return None;
        }
        let mean = sum / count as f64;
        let largest = largest.min(mean * MAX_RATIO);
        let factor = FULL / largest;
        let mean = whole(mean * factor);
        Some(Self { largest, factor, mean, least: whole(f64::from(mean) * MIN_RATIO).max(1) })
    }

    /// The weight in turns.
    pub(crate) fn turns(self, weight: Option<f64>) -> u16 {
        match weight {
            None => self.mean,
            Some(weight) => whole(weight.min(self.largest) * self.factor).max(self.least),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(weight: f64) -> u16 {
    weight.round() as u16
}
