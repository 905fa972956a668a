//! What the configuration asks of outlier detection, with every default in its place.

use super::accrual;
use crate::{
    config::{IntegerRange, OutlierDetection},
    core::nanos,
};

/// What ejects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// By [`Fault`](super::Fault), in its order: failures in a row (0: never), and how often that
    /// is enforced, in percent.
    pub(super) consecutive: [(u32, u32); 3],
    pub(super) success_rate: Option<SuccessRate>,
    pub(super) failure_percentage: Option<FailurePercentage>,
    pub(super) accrual: Option<accrual::Rules>,
    pub(super) time: Time,
    pub(super) floor: Floor,
    /// Failures of our own side are counted apart.
    pub(super) split: bool,
    pub(super) uneject_on_check: bool,
    pub(super) statuses: Option<Box<[IntegerRange]>>,
    pub(super) respect_retry_after: bool,
}

/// How long an ejection lasts. Unit: nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Time {
    pub(super) interval: u64,
    pub(super) base: u64,
    pub(super) max: u64,
    pub(super) jitter: u64,
}

/// What must stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Floor {
    /// Percent that may be out.
    pub(super) max_percent: f64,
    /// One may be out, whatever that percentage.
    pub(super) always_one: bool,
    /// Percent that must be well.
    pub(super) min_health: f64,
    /// So many must be well.
    pub(super) min_ready: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SuccessRate {
    /// Percent; of the failures of our own side, where they are counted apart.
    pub(super) enforcing: [u32; 2],
    pub(super) hosts: u32,
    pub(super) volume: u32,
    /// Standard deviations below the mean.
    pub(super) factor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FailurePercentage {
    pub(super) threshold: u32,
    pub(super) enforcing: [u32; 2],
    pub(super) hosts: u32,
    pub(super) volume: u32,
}

const SECOND: u64 = 1_000_000_000;
/// xDS `max_ejection_time`, if the first is not longer.
const MAX_EJECTION: u64 = 300 * SECOND;

// === impl Floor ===

impl Floor {
    /// Whether so many must stay ready that those have to be counted.
    pub(super) fn counts_ready(&self) -> bool {
        self.min_ready > 0 || self.min_health > 0.0
    }

    /// Whether so many may be ejected, where so many others are not ready.
    ///
    /// `100 · ejected / all` is at most the percentage, as Envoy has it, or it is the one that
    /// always may (gRPC); and enough are left, in any case.
    pub(super) fn holds(&self, ejected: u32, all: u32, unready: u32) -> bool {
        if ejected == 0 {
            return true;
        }
        let share = |of: u32| 100.0 * f64::from(of) / f64::from(all.max(1));
        let within = share(ejected) <= self.max_percent || (self.always_one && ejected == 1);
        let left = all.saturating_sub(unready).saturating_sub(ejected);
        within && left >= self.min_ready && share(left) >= self.min_health
    }
}

// === impl Rules ===

impl Rules {
    /// The rules that validated settings come to.
    pub(crate) fn new(config: &OutlierDetection) -> Self {
        // Who asks for accrual alone does not get Envoy's detectors beside it.
        let usual = if config.accrual.is_some() { 0 } else { 5 };
        let row = |count: Option<u32>, enforcing: Option<u32>, default: u32| {
            (count.unwrap_or(usual), enforcing.unwrap_or(default).min(100))
        };
        let base = config.base_ejection_time.map_or(30 * SECOND, nanos);
        let own = config.accrual.as_ref();
        let max_percent = if own.is_some() { 50.0 } else { 10.0 };
        Self {
            consecutive: [
                row(config.consecutive_5xx, config.enforcing_consecutive_5xx, 100),
                row(
                    config.consecutive_gateway_failure,
                    config.enforcing_consecutive_gateway_failure,
                    0,
                ),
                row(
                    config.consecutive_local_origin_failure,
                    config.enforcing_consecutive_local_origin_failure,
                    100,
                ),
            ],
            success_rate: config.success_rate.as_ref().map(|said| SuccessRate {
                enforcing: [said.enforcing, said.enforcing_local_origin]
                    .map(|percent| percent.unwrap_or(100)),
                hosts: said.minimum_hosts.unwrap_or(5),
                volume: said.request_volume.unwrap_or(100),
                factor: f64::from(said.stdev_factor.unwrap_or(1900)) / 1000.0,
            }),
            failure_percentage: config.failure_percentage.as_ref().map(|said| FailurePercentage {
                threshold: said.threshold.unwrap_or(85),
                enforcing: [said.enforcing, said.enforcing_local_origin]
                    .map(|percent| percent.unwrap_or(0)),
                hosts: said.minimum_hosts.unwrap_or(5),
                volume: said.request_volume.unwrap_or(50),
            }),
            accrual: own.map(accrual::Rules::new),
            time: Time {
                interval: config.interval.map_or(10 * SECOND, nanos).max(1),
                base,
                max: config.max_ejection_time.map_or(MAX_EJECTION, nanos).max(base),
                jitter: config.max_ejection_time_jitter.map_or(0, nanos),
            },
            floor: Floor {
                max_percent: config.max_ejection_percent.unwrap_or(max_percent).clamp(0.0, 100.0),
                always_one: config.always_eject_one.unwrap_or(true),
                min_health: config.min_health_percent.unwrap_or(0.0).clamp(0.0, 100.0),
                min_ready: config.min_ready_endpoints.unwrap_or(0),
            },
            split: config.split_local_origin.unwrap_or(false),
            uneject_on_check: config.uneject_on_check.unwrap_or(true),
            statuses: config.statuses.clone().map(Into::into),
            respect_retry_after: config.respect_retry_after.unwrap_or(false),
        }
    }

    /// Whether windows of calls are compared at every interval.
    pub(super) fn compares(&self) -> bool {
        self.success_rate.is_some() || self.failure_percentage.is_some()
    }

    /// Whether this status is a failure, if that was said.
    pub(super) fn is_failure(&self, status: u16) -> Option<bool> {
        let statuses = self.statuses.as_ref()?;
        let status = i64::from(status);
        Some(statuses.iter().any(|range| (range.start..range.end).contains(&status)))
    }
}
