//! When a failed attempt is repeated.

use std::time::Duration;

/// When, how often and how fast a failed attempt is repeated.
///
/// What is known to be safe (a request that was never sent, or that the endpoint refused without
/// working on it) is always sent again. Anything else only when the request is idempotent.
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
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub backoff_base: Option<Duration>,
    /// The longest back-off. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub backoff_max: Option<Duration>,
    /// The share of calls that may be retried.
    pub budget: Option<Budget>,
    /// Request bytes kept for a retry. Default: 65536 (Linkerd).
    pub max_body_bytes: Option<u64>,
    /// Whether `Retry-After` is honoured. Default: true.
    pub respect_retry_after: Option<bool>,
    /// The longest `Retry-After` that is waited for. Default: 300 s (Envoy).
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub retry_after_max: Option<Duration>,
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
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::plain_duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
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

    /// Sets the statuses that are retried.
    #[must_use]
    pub fn on_status(mut self, statuses: impl Into<Vec<u16>>) -> Self {
        self.on_status = Some(statuses.into());
        self
    }

    /// Sets the gRPC codes that are retried.
    #[must_use]
    pub fn on_grpc(mut self, codes: impl Into<Vec<i32>>) -> Self {
        self.on_grpc = Some(codes.into());
        self
    }

    /// Sets the first and the longest back-off.
    #[must_use]
    pub fn backoff(mut self, base: Duration, max: Duration) -> Self {
        self.backoff_base = Some(base);
        self.backoff_max = Some(max);
        self
    }

    /// Sets the first back-off; it doubles each time, fully jittered.
    #[must_use]
    pub fn backoff_base(mut self, base: Duration) -> Self {
        self.backoff_base = Some(base);
        self
    }

    /// Sets the longest back-off.
    #[must_use]
    pub fn backoff_max(mut self, max: Duration) -> Self {
        self.backoff_max = Some(max);
        self
    }

    /// Sets the budget.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets whether a lost connection is retried.
    #[must_use]
    pub fn on_reset(mut self, retried: bool) -> Self {
        self.on_reset = Some(retried);
        self
    }

    /// Sets whether `Retry-After` is honoured.
    #[must_use]
    pub fn respect_retry_after(mut self, honoured: bool) -> Self {
        self.respect_retry_after = Some(honoured);
        self
    }

    /// Sets the request bytes kept for a retry.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = Some(bytes);
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

    pub(crate) fn after_max(&self) -> Duration {
        self.retry_after_max.unwrap_or(Duration::from_secs(300))
    }

    /// What is given here, and the rest from `lower`; a budget is one value.
    #[must_use]
    pub fn over(&self, lower: &Self) -> Self {
        Self {
            attempts: self.attempts.or(lower.attempts),
            on_status: self.on_status.clone().or_else(|| lower.on_status.clone()),
            on_grpc: self.on_grpc.clone().or_else(|| lower.on_grpc.clone()),
            on_reset: self.on_reset.or(lower.on_reset),
            on_timeout: self.on_timeout.or(lower.on_timeout),
            idempotent: self.idempotent.or(lower.idempotent),
            backoff_base: self.backoff_base.or(lower.backoff_base),
            backoff_max: self.backoff_max.or(lower.backoff_max),
            budget: self.budget.clone().or_else(|| lower.budget.clone()),
            max_body_bytes: self.max_body_bytes.or(lower.max_body_bytes),
            respect_retry_after: self.respect_retry_after.or(lower.respect_retry_after),
            retry_after_max: self.retry_after_max.or(lower.retry_after_max),
        }
    }
}
