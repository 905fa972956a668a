//! Weights from load reports (gRFC A58): what a report gives, and all of them against each other.

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
