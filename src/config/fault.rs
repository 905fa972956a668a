//! Injected delays and failures.

use std::time::Duration;

use super::HeaderMatch;

/// Injects delays and failures. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Fault {
    /// Delays. Default: none.
    pub delay: Option<FaultDelay>,
    /// Failures. Default: none.
    pub abort: Option<FaultAbort>,
    /// A slow response. Default: none.
    pub response_rate: Option<FaultRate>,
    /// Calls that may be faulty at once. Default: no limit. Source: xDS `max_active_faults`.
    pub max_active: Option<u32>,
    /// Headers that the request must have, all of them.
    pub headers: Vec<HeaderMatch>,
    /// The cluster that the request must go to. Default: any.
    pub cluster: Option<String>,
    /// Callers that it concerns, by node. Default: all. Source: xDS `downstream_nodes`.
    pub callers: Vec<String>,
    /// Whether each attempt meets it, to test retries. Default: false: once per call.
    pub per_attempt: Option<bool>,
}

/// A delay. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FaultDelay {
    /// How long.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub fixed: Option<Duration>,
    /// Whether a request header says how long. Default: false. Source: gRFC A33.
    pub from_header: bool,
    /// The share of requests. Unit: percent. Default: 100. Range: 0..=100.
    pub percent: Option<f64>,
}

/// A failure. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FaultAbort {
    /// The status. Range: 200..=599.
    pub status: Option<u16>,
    /// The gRPC code. Range: 0..=16.
    pub grpc: Option<i32>,
    /// The text of the gRPC status. Source: Linkerd `GrpcFailureInjector.message`.
    pub message: Option<String>,
    /// Whether a request header says which. Default: false. Source: gRFC A33.
    pub from_header: bool,
    /// The share of requests. Unit: percent. Default: 100. Range: 0..=100.
    pub percent: Option<f64>,
}

/// A slow response. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FaultRate {
    /// The rate. Unit: bytes per second. Range: from 1024.
    pub bytes_per_second: Option<u64>,
    /// Whether a request header says the rate. Default: false.
    pub from_header: bool,
    /// The share of requests. Unit: percent. Default: 100. Range: 0..=100.
    pub percent: Option<f64>,
}
