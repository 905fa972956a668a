//! Ejection of endpoints that fail more than their siblings.

use std::time::Duration;

use super::IntegerRange;

/// Ejection of outliers: Envoy's and gRPC's outlier detection, Linkerd's failure accrual, Consul's
/// passive health check.
///
/// An ejected endpoint gets no calls while others are better. When its time is over, one call finds
/// out whether it is well: if so, it takes calls as before; if not, it stays out for longer. Envoy and
/// gRPC let all of its calls in at once; that is not done here. When nothing better is left, ejected
/// endpoints are called all the same.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct OutlierDetection {
    /// Failed responses in a row. Default: 5, with `accrual` 0; 0 turns it off.
    pub consecutive_5xx: Option<u32>,
    /// Responses 502, 503 and 504 in a row. Default: as `consecutive_5xx`.
    pub consecutive_gateway_failure: Option<u32>,
    /// Failed connections and the like in a row, where they are counted apart. Default: as
    /// `consecutive_5xx`.
    pub consecutive_local_origin_failure: Option<u32>,
    /// How often it is enforced. Unit: percent. Default: 100. Range: 0..=100.
    pub enforcing_consecutive_5xx: Option<u32>,
    /// How often it is enforced. Unit: percent. Default: 0. Range: 0..=100.
    pub enforcing_consecutive_gateway_failure: Option<u32>,
    /// How often it is enforced. Unit: percent. Default: 100. Range: 0..=100.
    pub enforcing_consecutive_local_origin_failure: Option<u32>,
    /// How often success rates and shares of failures are compared, and how long an endpoint must be
    /// well for its next ejection to be one step shorter. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub interval: Option<Duration>,
    /// The first ejection; it grows with each one. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub base_ejection_time: Option<Duration>,
    /// The longest ejection. Default: 300 s, or the first if that is longer. Range: at least the
    /// first.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max_ejection_time: Option<Duration>,
    /// The most that is added at random. Default: 0.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max_ejection_time_jitter: Option<Duration>,
    /// The share that may be ejected. Unit: percent. Default: 10, with `accrual`
    /// 50, but always one (gRPC). Range:
    /// 0..=100.
    pub max_ejection_percent: Option<f64>,
    /// Whether one may always be ejected. Default: true (gRPC; Envoy: false).
    pub always_eject_one: Option<bool>,
    /// Endpoints that must stay well whatever happens. Unit: percent. Default: 0. Range:
    /// 0..=100. Source: Istio `minHealthPercent`.
    pub min_health_percent: Option<f64>,
    /// Endpoints that stay ready whatever is ejected: neither draining, unhealthy nor in connect
    /// back-off, and well by their checks. Default: 0. Source: Linkerd
    /// `EjectionConfig.min_ready_endpoints`.
    pub min_ready_endpoints: Option<u32>,
    /// Ejection by success rate against the siblings'. Default: none.
    pub success_rate: Option<SuccessRate>,
    /// Ejection by the share of failures. Default: none.
    pub failure_percentage: Option<FailurePercentage>,
    /// Ejection with one probing call at a time until it succeeds. Default: none.
    pub accrual: Option<FailureAccrual>,
    /// Whether failures of our own side are counted apart. Default: false. Source: xDS
    /// `split_external_local_origin_errors`.
    pub split_local_origin: Option<bool>,
    /// Whether a successful probe ends an ejection. Default: true. Source: xDS
    /// `successful_active_health_check_uneject_host`.
    pub uneject_on_check: Option<bool>,
    /// Statuses that count as failures. Default: 500..600. Range: within 100..1000. Source: Istio
    /// `outlier_detection_http_error_codes`.
    pub statuses: Option<Vec<IntegerRange>>,
    /// Whether `Retry-After`, or `grpc-retry-pushback-ms`, lengthens an ejection, up to 300 s. Default:
    /// false. Source: Linkerd
    /// `respect_retry_after_hint`.
    pub respect_retry_after: Option<bool>,
}

/// Ejection by success rate against the siblings'.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct SuccessRate {
    /// How often it is enforced. Unit: percent. Default: 100. Range: 0..=100.
    pub enforcing: Option<u32>,
    /// How often it is enforced for failures to reach an endpoint. Unit: percent. Default: 100. Range: 0..=100.
    pub enforcing_local_origin: Option<u32>,
    /// Endpoints with enough calls that are needed. Default: 5.
    pub minimum_hosts: Option<u32>,
    /// Calls in a sweep that are enough. Default: 100.
    pub request_volume: Option<u32>,
    /// Standard deviations below the mean. Unit: thousandths. Default: 1900.
    pub stdev_factor: Option<u32>,
}

/// Ejection by the share of failures.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FailurePercentage {
    /// The share. Unit: percent. Default: 85. Range: 0..=100.
    pub threshold: Option<u32>,
    /// How often it is enforced. Unit: percent. Default: 0 (gRPC: 100). Range: 0..=100.
    pub enforcing: Option<u32>,
    /// How often it is enforced for failures to reach an endpoint. Unit: percent. Default: 0. Range: 0..=100.
    pub enforcing_local_origin: Option<u32>,
    /// Endpoints with enough calls that are needed. Default: 5.
    pub minimum_hosts: Option<u32>,
    /// Calls in a sweep that are enough. Default: 50.
    pub request_volume: Option<u32>,
}

/// Ejection with a back-off and one probing call at its end (Linkerd `FailureAccrual`, Finagle).
///
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FailureAccrual {
    /// Failures in a row. Default: 7 (Linkerd; Finagle: 5); 0 turns it off.
    pub consecutive_failures: Option<u32>,
    /// The success ratio below which it is ejected. Default: none (Linkerd, Finagle: 0.8). Range:
    /// 0..=1.
    pub success_ratio: Option<f64>,
    /// The window of the ratio. Default: 10 s (Linkerd). Range: from 10 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub window: Option<Duration>,
    /// Calls in the window that are needed. Default: 5. Range: 1..=1000000.
    pub min_requests: Option<u32>,
    /// The first ejection; it doubles with each probe that fails. Default: 1 s (Linkerd).
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub min_penalty: Option<Duration>,
    /// The longest ejection. Default: 60 s (Linkerd). Range: at least `min_penalty`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max_penalty: Option<Duration>,
    /// The random part. Default: 0.5 (Linkerd). Range: 0..=1.
    pub jitter: Option<f64>,
}
