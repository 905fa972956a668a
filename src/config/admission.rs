//! Admission: limits that follow what the service bears.

use std::time::Duration;

use super::IntegerRange;

/// Limits the calls in flight by their latency.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AdaptiveConcurrency {
    /// Whether it acts. Default: true.
    pub enabled: Option<bool>,
    /// What computes the limit. Default: [`Gradient2`](ConcurrencyController::Gradient2).
    pub controller: Option<ConcurrencyController>,
    /// The limit to begin with. Default: 20; of the gradient `min_concurrency`. Range: in
    /// `min_concurrency..=max_concurrency`, as far as these are said.
    pub initial_concurrency: Option<u32>,
    /// The fewest calls in flight that are allowed. Default: 20; of Vegas 1, of the gradient 3.
    /// One that is not said is never over the others. Range: from 1.
    pub min_concurrency: Option<u32>,
    /// The most. Default: 200; of Vegas and of the gradient 1000. Range: at most 1000000.
    pub max_concurrency: Option<u32>,
    /// The limit is at most so many times the calls that were in flight (failsafe-go
    /// `maxLimitFactor`), so that a limit that nothing tested is not found to be too large when
    /// load comes. Default: 5. Range: from 1.
    pub max_limit_factor: Option<f64>,
    /// How often the limit is computed, at most. Default: 1 s; of the gradient 100 ms. Range: at
    /// least 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub update_interval: Option<Duration>,
    /// Answers that it takes to compute a limit. Default: 10; of the gradient 1. Range: from 1, at
    /// most 1000000.
    pub min_samples: Option<u32>,
    /// The status of a refusal. Default: 503. Range: 400..=599.
    pub status: Option<u16>,
}

/// What computes a limit from latencies.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ConcurrencyController {
    /// The latency now against the smallest one, which is measured at times with few calls in
    /// flight (Envoy).
    Gradient(GradientController),
    /// The latency now against a long average of it, which follows lasting changes (Netflix).
    Gradient2(Gradient2Controller),
    /// The queue that the latency tells of, as in TCP Vegas (Netflix).
    Vegas(VegasController),
    /// One more while all goes well, a part less after failures (Netflix).
    Aimd(AimdController),
}

/// Envoy's gradient controller.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct GradientController {
    /// The percentile that is looked at. Unit: percent. Default: 50. Range: over 0, at most 100.
    pub percentile: Option<f64>,
    /// How often the smallest latency is measured. Default: 60 s. Range: at least 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub min_rtt_interval: Option<Duration>,
    /// The smallest latency, if it is known: it is not measured then.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub fixed_min_rtt: Option<Duration>,
    /// Calls in a measurement. Default: 50. Range: from 1, at most 1000000.
    pub request_count: Option<u32>,
    /// The random part of the interval. Unit: percent. Default: 15. Range: 0..=100.
    pub jitter_percent: Option<f64>,
    /// What is added to the smallest latency. Unit: percent. Default: 25. Range: 0..=100.
    pub buffer_percent: Option<f64>,
}

/// Netflix' `Gradient2Limit`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Gradient2Controller {
    /// The part of a new limit that counts at once. Default: 0.2. Range: over 0, at most 1.
    pub smoothing: Option<f64>,
    /// Calls that may queue. Default: 4. Range: at most 1000.
    pub queue_size: Option<u32>,
    /// Updates that the long average is over. Default: 600. Range: from 1, at most 100000.
    pub long_window: Option<u32>,
    /// How far the latency may be over its long average. Unit: times. Default: 1.5. Range: from 1,
    /// at most 100.
    pub rtt_tolerance: Option<f64>,
}

/// Netflix' `VegasLimit`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct VegasController {
    /// The limit grows below a queue of so many calls. Unit: times the decimal logarithm of the
    /// limit. Default: 3. Range: over 0, at most 1000.
    pub alpha: Option<f64>,
    /// It shrinks above so many. The same unit. Default: 6. Range: from `alpha`, at most 1000.
    pub beta: Option<f64>,
    /// The smallest latency is forgotten after so many times the limit of updates. Default: 30.
    /// Range: from 1, at most 100000.
    pub probe_multiplier: Option<u32>,
}

/// Netflix' `AIMDLimit`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AimdController {
    /// What the limit is multiplied by after failures. Default: 0.9. Range: from 0.5, below 1.
    pub backoff_ratio: Option<f64>,
    /// An answer that took longer counts as a failure. Default: 5 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub timeout: Option<Duration>,
}

/// Refuses at random as the success rate falls (Envoy's admission control).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AdmissionControl {
    /// Whether it acts. Default: true.
    pub enabled: Option<bool>,
    /// The window. Default: 30 s. Range: 100 ms..=1 h.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub window: Option<Duration>,
    /// The success rate below which calls are refused. Unit: percent. Default: 95. Range:
    /// over 0, at most 100.
    pub threshold_percent: Option<f64>,
    /// How sharply. Default: 1. Range: from 1, at most 1000.
    pub aggression: Option<f64>,
    /// Calls per second below which nothing is refused. Default: 0. Range: at most 1000000.
    pub min_per_second: Option<f64>,
    /// The most that is refused. Unit: percent. Default: 80. Range: 0..=100.
    pub max_rejection_percent: Option<f64>,
    /// Statuses that are successes. Default: 100..500.
    pub success_statuses: Option<Vec<IntegerRange>>,
    /// gRPC codes that are successes. Default: all but 4, 8, 10, 13, 14 and 15. Range: 0..=16.
    pub success_grpc: Option<Vec<i32>>,
}

/// Refuses at random what the service would refuse (Google SRE's client-side throttling).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Throttle {
    /// Whether it acts. Default: true.
    pub enabled: Option<bool>,
    /// The window. It must be longer than calls take. Default: 2 min. Range: 1 s..=1 h.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub window: Option<Duration>,
    /// Calls that may be sent for each one that is accepted: `K` of the formula. Default: 2.
    /// Range: from 1, at most 1000.
    pub per_accept: Option<f64>,
    /// Calls of the window below which nothing is refused. Default: 100.
    pub min_requests: Option<u32>,
    /// The longest time without a call that is sent, however bad it looks. Default: 1 s. Range: at
    /// least 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub force_after: Option<Duration>,
    /// Statuses that say that the service did not accept a call. Default: 429 and 503.
    pub rejected_statuses: Option<Vec<IntegerRange>>,
    /// gRPC codes that say so. Default: 8 and 14. Range: 1..=16.
    pub rejected_grpc: Option<Vec<i32>>,
}
