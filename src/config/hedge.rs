//! Hedged requests: a second attempt before the first has failed.

use std::time::Duration;

/// Hedged requests. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Hedge {
    /// The extra load allowed; sends the hedge at the percentile that it leaves. Unit: percent.
    /// Default: none. Range: 0..=100. Source: Finagle `BackupRequestFilter`.
    pub max_extra_percent: Option<f64>,
    /// The wait before each further attempt. Default: by percentile. Source: gRPC
    /// `hedgingDelay`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub delay: Option<Duration>,
    /// Attempts in all. Default: 2. Range: 2..=5. Source: gRPC `maxAttempts`.
    pub max_attempts: Option<u32>,
    /// gRPC codes that do not end the hedge. Range: 1..=16. Source: gRPC `nonFatalStatusCodes`.
    pub non_fatal_grpc: Vec<i32>,
    /// Attempts sent at once. Default: 1. Source: xDS `initial_requests`.
    pub initial_attempts: Option<u32>,
    /// The share of calls with one more attempt at once. Unit: percent. Default: 0. Range:
    /// 0..=100. Source: xDS `additional_request_chance`.
    pub additional_percent: Option<f64>,
    /// Whether an attempt that meets the attempt timeout goes on beside its successor. Default:
    /// false. Source: xDS `hedge_on_per_try_timeout`.
    pub on_attempt_timeout: Option<bool>,
}
