//! Admission: limits that follow what the service bears.

use std::time::Duration;

use super::IntegerRange;

/// Limits concurrency by latency (Envoy's gradient controller). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AdaptiveConcurrency {
    /// Whether it acts. Default: true.
    pub enabled: Option<bool>,
    /// The percentile that is looked at. Unit: percent. Default: 50. Range: over 0, at most 100.
    pub percentile: Option<f64>,
    /// The most calls in flight. Default: 1000.
    pub max_concurrency: Option<u32>,
    /// The fewest. Default: 3.
    pub min_concurrency: Option<u32>,
    /// How often the limit is computed.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub update_interval: Option<Duration>,
    /// How often the smallest latency is measured.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub min_rtt_interval: Option<Duration>,
    /// The smallest latency, if it is known.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub fixed_min_rtt: Option<Duration>,
    /// Calls in a measurement. Default: 50.
    pub request_count: Option<u32>,
    /// The random part of the interval. Unit: percent. Default: 15. Range: 0..=100.
    pub jitter_percent: Option<f64>,
    /// What is added to the smallest latency. Unit: percent. Default: 25.
    pub buffer_percent: Option<f64>,
    /// The status of a refusal. Default: 503.
    pub status: Option<u16>,
}

/// Refuses at random as the success rate falls (Envoy's admission control, Google SRE's client
/// throttling). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AdmissionControl {
    /// Whether it acts. Default: true.
    pub enabled: Option<bool>,
    /// The window. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub window: Option<Duration>,
    /// The success rate below which calls are refused. Unit: percent. Default: 95. Range:
    /// over 0, at most 100.
    pub threshold_percent: Option<f64>,
    /// How sharply. Default: 1. Range: from 1.
    pub aggression: Option<f64>,
    /// Calls per second below which nothing is refused. Default: 0.
    pub min_per_second: Option<f64>,
    /// The most that is refused. Unit: percent. Default: 80. Range: 0..=100.
    pub max_rejection_percent: Option<f64>,
    /// Statuses that are successes. Default: 100..500.
    pub success_statuses: Option<Vec<IntegerRange>>,
    /// gRPC codes that are successes. Default: all but 4, 8, 10, 13, 14 and 15.
    pub success_grpc: Option<Vec<i32>>,
}
