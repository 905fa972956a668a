//! Injected delays and failures.

use std::time::Duration;

use super::HeaderMatch;

/// Injects delays and failures, to test what callers make of them. It says one of them at least.
///
/// What headers ask for is told in `docs/FAULTS.md`.
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
    /// Calls that may be faulty at once: delayed, or with a slow response under way; beyond that, none
    /// is made faulty. Default: no limit. Source: xDS `max_active_faults`.
    pub max_active: Option<u32>,
    /// Headers that the request must have, all of them.
    pub headers: Vec<HeaderMatch>,
    /// The cluster that the request must go to. Default: any.
    pub cluster: Option<String>,
    /// Callers that it concerns, by their node ([`MeshBuilder::node`](crate::MeshBuilder::node)).
    /// Default: all. Source: xDS `downstream_nodes`.
    pub callers: Vec<String>,
    /// Whether each attempt meets it, to test retries. Default: false: once per call.
    pub per_attempt: Option<bool>,
}

/// A delay before anything is sent: a fixed one, or what a header says.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FaultDelay {
    /// How long.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub fixed: Option<Duration>,
    /// Whether a request header says how long: `x-envoy-fault-delay-request`, in milliseconds. A
    /// request without it is not delayed. Default: false. Source: gRFC A33.
    pub from_header: bool,
    /// The share of requests; the most that a header may ask for. Unit: percent. Default: 100. Range:
    /// 0..=100.
    pub percent: Option<f64>,
}

/// A failure instead of a call: a status, or what a header says.
///
/// A gRPC caller gets `grpc`, else what `status` means to it; any other the status, else what the code
/// means to HTTP.
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
    /// The text of the gRPC status, or the body of the response. Default: `injected fault`. Source:
    /// Linkerd `GrpcFailureInjector.message`.
    pub message: Option<String>,
    /// Whether a request header says which: `x-envoy-fault-abort-request`, an HTTP status, else
    /// `x-envoy-fault-abort-grpc-request`, a gRPC code. A request with neither goes on. Default:
    /// false. Source: gRFC A33.
    pub from_header: bool,
    /// The share of requests; the most that a header may ask for. Unit: percent. Default: 100. Range:
    /// 0..=100.
    pub percent: Option<f64>,
}

/// A slow response: its body is passed on at a rate.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FaultRate {
    /// The rate. Unit: bytes per second. Range: from 1024.
    pub bytes_per_second: Option<u64>,
    /// Whether a request header says the rate: `x-envoy-fault-throughput-response`, in KiB per
    /// second. Default: false.
    pub from_header: bool,
    /// The share of requests; the most that a header may ask for. Unit: percent. Default: 100. Range:
    /// 0..=100.
    pub percent: Option<f64>,
}

impl Fault {
    /// Delays each request so long.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        let delay = FaultDelay { fixed: Some(delay), ..FaultDelay::default() };
        Self { delay: Some(delay), ..Self::default() }
    }

    /// Answers each request with this HTTP status.
    #[must_use]
    pub fn abort(status: u16) -> Self {
        let abort = FaultAbort { status: Some(status), ..FaultAbort::default() };
        Self { abort: Some(abort), ..Self::default() }
    }

    /// Answers each request with this gRPC code.
    #[must_use]
    pub fn grpc(code: i32) -> Self {
        let abort = FaultAbort { grpc: Some(code), ..FaultAbort::default() };
        Self { abort: Some(abort), ..Self::default() }
    }

    /// Passes the body of each response on at this rate. Unit: bytes per second.
    #[must_use]
    pub fn response_rate(bytes_per_second: u64) -> Self {
        let bytes_per_second = Some(bytes_per_second);
        let rate = FaultRate { bytes_per_second, ..FaultRate::default() };
        Self { response_rate: Some(rate), ..Self::default() }
    }

    /// Does what it does to this share of the requests only. Unit: percent.
    #[must_use]
    pub fn percent(mut self, percent: f64) -> Self {
        if let Some(delay) = &mut self.delay {
            delay.percent = Some(percent);
        }
        if let Some(abort) = &mut self.abort {
            abort.percent = Some(percent);
        }
        if let Some(rate) = &mut self.response_rate {
            rate.percent = Some(percent);
        }
        self
    }
}
