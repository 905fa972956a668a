//! When a failed attempt is repeated.

use std::{collections::BTreeMap, time::Duration};

use super::{Extension, HeaderMatch, IntegerRange, Overlay};

/// When, how often and how fast a failed attempt is repeated.
///
/// A request that was never sent is always sent again. One that the endpoint refused without working on it
/// (`REFUSED_STREAM`, GOAWAY) is sent again from a copy, which is not kept with one attempt, nor of an
/// undeclared `POST` before its cluster is known to speak HTTP/2, nor over `max_body_bytes`. Anything else
/// only when the request is idempotent.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Retry {
    /// Attempts in all, the first included. Default: 3. Range: 1..=100.
    pub attempts: Option<u32>,
    /// Statuses that are retried. Default: 502, 503, 504. Range: 400..=599.
    pub on_status: Option<Vec<u16>>,
    /// gRPC codes that are retried. Default: 14 (`UNAVAILABLE`). Range: 1..=16.
    pub on_grpc: Option<Vec<i32>>,
    /// Whether a lost connection is retried. Default: true.
    pub on_reset: Option<bool>,
    /// Whether an attempt that met the attempt timeout is retried. Default: true.
    pub on_timeout: Option<bool>,
    /// Whether requests may be repeated. Default: by method (RFC 9110 §9.2.2); gRPC: no.
    pub idempotent: Option<bool>,
    /// The first back-off, doubled each time, fully jittered. Default: 25 ms (Envoy).
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub backoff_base: Option<Duration>,
    /// The longest back-off. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub backoff_max: Option<Duration>,
    /// The share of calls that may be retried.
    pub budget: Option<Budget>,
    /// Request bytes kept for a retry; of a body in many small frames, each counts 32 more. Default: 65536
    /// (Linkerd).
    pub max_body_bytes: Option<u64>,
    /// Whether `Retry-After` is honoured. Default: true.
    pub respect_retry_after: Option<bool>,
    /// The longest `Retry-After` that is waited for; a longer one is the caller's answer. Default:
    /// 15 s, which is what Envoy's route timeout leaves of its own 300 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub retry_after_max: Option<Duration>,
    /// Conditions by Envoy's names; they take the place of `on_grpc`, `on_reset` and `on_timeout`,
    /// and `on_status` and `on_headers` are read only by the conditions that name them. They say what
    /// is retried, not whose requests: what is not idempotent must be declared so all the same.
    /// Default: none.
    pub on: Vec<RetryOn>,
    /// Ranges of statuses that are retried, beside those of `on_status`. Default: none; the default
    /// of `on_status` holds only where no range is given. Range: within 400..600.
    pub on_status_ranges: Vec<IntegerRange>,
    /// Response headers, one of which asks for a retry, whatever the status (`retriable-headers`).
    /// Default: none.
    pub on_headers: Vec<HeaderMatch>,
    /// Request headers, one of which must match for a retry to be allowed of what may have been
    /// worked on. Default: any request may be retried.
    pub request_headers: Vec<HeaderMatch>,
    /// Bounds the wait for each frame of an attempt's response, from the end of the request on.
    /// Default: none. Source: xDS `per_try_idle_timeout`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub attempt_idle_timeout: Option<Duration>,
    /// What each back-off is multiplied by. Default: 2. Range: 1..=100. Source: gRPC `backoffMultiplier`.
    pub backoff_multiplier: Option<f64>,
    /// The random part of a back-off. Default: 1 (all of it). Range: 0..=1. Source: Linkerd `ExponentialBackoff.jitter_ratio`.
    pub backoff_jitter: Option<f64>,
    /// Response headers that say when to retry, the first that can be understood first; they take the
    /// place of `Retry-After`. gRPC's pushback is honoured whatever they say. Up to half as long again
    /// is waited; longer than `retry_after_max` is not. Default: none. Source: xDS
    /// `rate_limited_retry_back_off`.
    pub reset_headers: Vec<ResetHeader>,
    /// Endpoints that a retry avoids, as far as there are others. Those that were tried are avoided
    /// whatever is said. Default: those alone.
    pub avoid: Vec<AvoidEndpoint>,
    /// Further conditions of another system (xDS `retry_options_predicates`). Not supported yet.
    pub predicates: Vec<Extension>,
    /// Picks that Envoy makes to avoid an endpoint. Here one pick looks at all of them: any number
    /// does the same. Range: from 1.
    pub host_selection_attempts: Option<u32>,
    /// How the priority of a retry is chosen. Default: as for a first attempt.
    pub priority: Option<RetryPriority>,
    /// The throttle of gRPC, one of the service. It takes the place of the default budget; one that is
    /// given has to grant, too. Default: none.
    pub throttle: Option<RetryThrottle>,
}

/// A condition for a retry, by Envoy's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum RetryOn {
    /// `5xx`: any such status, and no answer at all.
    #[cfg_attr(feature = "serde", serde(rename = "5xx"))]
    ServerError,
    /// `gateway-error`: 502, 503, 504.
    GatewayError,
    /// `reset`: no answer at all.
    Reset,
    /// `reset-before-request`: no answer, and the request's headers were not sent.
    ResetBeforeRequest,
    /// `connect-failure`.
    ConnectFailure,
    /// `envoy-ratelimited`: a header says that a limit answered.
    EnvoyRatelimited,
    /// `retriable-4xx`: 409.
    #[cfg_attr(feature = "serde", serde(rename = "retriable-4xx"))]
    RetriableClientError,
    /// `refused-stream`.
    RefusedStream,
    /// `retriable-status-codes`: those of [`Retry::on_status`].
    RetriableStatusCodes,
    /// `retriable-headers`: those of [`Retry::on_headers`].
    RetriableHeaders,
    /// `http3-post-connect-failure`.
    #[cfg_attr(feature = "serde", serde(rename = "http3-post-connect-failure"))]
    Http3PostConnectFailure,
    /// gRPC `cancelled` (1).
    Cancelled,
    /// gRPC `deadline-exceeded` (4).
    DeadlineExceeded,
    /// gRPC `internal` (13).
    Internal,
    /// gRPC `resource-exhausted` (8).
    ResourceExhausted,
    /// gRPC `unavailable` (14).
    Unavailable,
}

/// A response header that says when to retry.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ResetHeader {
    /// Its name.
    pub name: String,
    /// What its value means. Default: seconds from now.
    pub format: ResetFormat,
}

/// What the value of a reset header means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ResetFormat {
    /// Seconds from now.
    #[default]
    Seconds,
    /// Seconds since 1970.
    UnixTimestamp,
}

/// Endpoints that a retry avoids.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum AvoidEndpoint {
    /// Those that this call has tried (Envoy `previous_hosts`).
    Tried,
    /// Those of the localities in which this call has tried one: a retry goes to another locality
    /// while anything of it works, and to the same one when nothing does. Source: Istio
    /// `retry_remote_localities`, Envoy `previous_priorities`.
    TriedLocalities,
    /// Canaries, which carry the label `canary` of the value `true` (Envoy `omit_canary_hosts`).
    Canaries,
    /// Those that carry all of these labels (Envoy `omit_host_metadata`).
    Labels(BTreeMap<String, String>),
    /// Those that a predicate of another system names. Not supported yet.
    Extension(Extension),
}

/// How the priority of a retry is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RetryPriority {
    /// Tried priorities are avoided, and looked at again after so many attempts. Default: 2. Range:
    /// from 1. Source: Envoy `previous_priorities.update_frequency`.
    pub update_frequency: Option<u32>,
}

/// The throttle of gRPC (gRFC A6): retries only while more than half of the tokens are there.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RetryThrottle {
    /// The most tokens; each failure takes one. Range: over 0, at most 1000.
    pub max_tokens: f64,
    /// What each success gives back. Range: 0.001..=1000.
    pub token_ratio: f64,
}

/// The share of calls that may be retried (Finagle's retry budget), counted exactly.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Budget {
    /// Retries per call. Default: 0.2. Range: 0..=10.
    pub ratio: f64,
    /// Retries per second that are always allowed. Default: 10.
    pub min_per_second: u32,
    /// How long an unused share lives. Default: 10 s. Range: 1 s..=60 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::Time"))]
    pub ttl: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, ttl: Duration::from_secs(10) }
    }
}

impl Budget {
    /// A budget of this many retries per call. Range: 0..=10.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        Self { ratio, ..Self::default() }
    }

    /// Sets the retries per call. Range: 0..=10.
    #[must_use]
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }

    /// Sets how long an unused share lives. Range: 1 s..=60 s.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Retries per second that are always allowed.
    #[must_use]
    pub fn min_per_second(mut self, retries: u32) -> Self {
        self.min_per_second = retries;
        self
    }
}

const STATUSES: [u16; 3] = [502, 503, 504];
const CODES: [i32; 1] = [14];

impl Retry {
    /// Idempotent methods are retried: the default.
    #[must_use]
    pub fn standard() -> Self {
        Self::default()
    }

    /// Declares every request of the service idempotent.
    #[must_use]
    pub fn idempotent() -> Self {
        Self { idempotent: Some(true), ..Self::default() }
    }

    /// Retries only what is known never to have been worked on.
    #[must_use]
    pub fn safe_only() -> Self {
        Self { idempotent: Some(false), ..Self::default() }
    }

    /// Sets the attempts in all, the first included. Range: 1..=100.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Sets the HTTP statuses that are retried. Default: 502, 503 and 504 (Envoy `gateway-error`). Range:
    /// 400..=599.
    #[must_use]
    pub fn on_status(mut self, statuses: impl Into<Vec<u16>>) -> Self {
        self.on_status = Some(statuses.into());
        self
    }

    /// Sets the gRPC codes that are retried. Default: 14, `UNAVAILABLE`. Range: 1..=16.
    #[must_use]
    pub fn on_grpc(mut self, codes: impl Into<Vec<i32>>) -> Self {
        self.on_grpc = Some(codes.into());
        self
    }

    /// Sets the first and the longest back-off. Unit: time. Default: 25 ms and 1 s. Range: `base` at most
    /// `max`.
    #[must_use]
    pub fn backoff(mut self, base: Duration, max: Duration) -> Self {
        self.backoff_base = Some(base);
        self.backoff_max = Some(max);
        self
    }

    /// Sets the first back-off; it doubles each time, fully jittered. Unit: time. Default: 25 ms (Envoy).
    /// Range: at most the longest one.
    #[must_use]
    pub fn backoff_base(mut self, base: Duration) -> Self {
        self.backoff_base = Some(base);
        self
    }

    /// Sets the longest back-off. Unit: time. Default: 1 s.
    #[must_use]
    pub fn backoff_max(mut self, max: Duration) -> Self {
        self.backoff_max = Some(max);
        self
    }

    /// Sets the budget of retries and hedges. Default: 20 % of the calls, and 10 per second beside them
    /// (Finagle).
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets whether a lost connection is retried, where the request may be repeated. Default: true.
    #[must_use]
    pub fn on_reset(mut self, retried: bool) -> Self {
        self.on_reset = Some(retried);
        self
    }

    /// Sets whether a retry waits for as long as the `Retry-After` of the answer says. Default: true.
    #[must_use]
    pub fn respect_retry_after(mut self, honoured: bool) -> Self {
        self.respect_retry_after = Some(honoured);
        self
    }

    /// Sets how much of a request body is kept for a retry; a longer one is not sent again. Unit: bytes.
    /// Default: 64 KiB (Linkerd).
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = Some(bytes);
        self
    }

    /// Sets the conditions by Envoy's names, instead of statuses and codes. Default: none.
    #[must_use]
    pub fn on(mut self, conditions: impl Into<Vec<RetryOn>>) -> Self {
        self.on = conditions.into();
        self
    }

    /// Sets gRPC's throttle (gRFC A6): the most tokens, and what each success gives back. Default: none.
    #[must_use]
    pub fn throttle(mut self, max_tokens: f64, token_ratio: f64) -> Self {
        self.throttle = Some(RetryThrottle { max_tokens, token_ratio });
        self
    }

    /// Sets the endpoints that a retry avoids. Default: those that were tried.
    #[must_use]
    pub fn avoid(mut self, avoid: impl Into<Vec<AvoidEndpoint>>) -> Self {
        self.avoid = avoid.into();
        self
    }

    pub(crate) fn body_cap(&self) -> usize {
        usize::try_from(self.max_body_bytes.unwrap_or(65_536)).unwrap_or(usize::MAX)
    }

    pub(crate) fn attempts_or_default(&self) -> u32 {
        self.attempts.unwrap_or(3)
    }

    pub(crate) fn statuses(&self) -> &[u16] {
        self.on_status.as_deref().unwrap_or(&STATUSES)
    }

    pub(crate) fn codes(&self) -> &[i32] {
        self.on_grpc.as_deref().unwrap_or(&CODES)
    }

    pub(crate) fn base(&self) -> Duration {
        self.backoff_base.unwrap_or(Duration::from_millis(25))
    }

    pub(crate) fn max(&self) -> Duration {
        self.backoff_max.unwrap_or(Duration::from_secs(1))
    }

    pub(crate) fn multiplier(&self) -> f64 {
        self.backoff_multiplier.unwrap_or(2.0)
    }

    pub(crate) fn jitter(&self) -> f64 {
        self.backoff_jitter.unwrap_or(1.0)
    }

    pub(crate) fn after_max(&self) -> Duration {
        self.retry_after_max.unwrap_or(Duration::from_secs(15))
    }

    /// What is given here, and the rest from `lower`; a budget is one value.
    #[must_use]
    pub fn over(&self, lower: &Self) -> Self {
        self.laid_over(lower)
    }
}
