//! Hedged requests: a second attempt before the first has failed.

use std::time::Duration;

/// Hedged requests: a call that takes long is sent to another endpoint, too, and the first good
/// answer wins. Only calls that may be repeated are hedged, inside of the retry budget.
///
/// It says when by one of its fields: [`max_extra_percent`](Self::max_extra_percent),
/// [`delay`](Self::delay), [`initial_attempts`](Self::initial_attempts),
/// [`additional_percent`](Self::additional_percent) or
/// [`on_attempt_timeout`](Self::on_attempt_timeout). Laid over the hedge of the layer behind it, field
/// by field.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Hedge {
    /// The extra load allowed, counted exactly; sends the hedge at the percentile that it leaves,
    /// after 1 ms at least. 0: no hedging, whatever else is said. Unit: percent. Default: none.
    /// Range: 0..=100. Source: Finagle `BackupRequestFilter`.
    pub max_extra_percent: Option<f64>,
    /// The wait before each further attempt; an attempt that fails, and not for good, is replaced
    /// at once. Default: by percentile. Range: 0 to 365 days. Source: gRPC `hedgingDelay`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub delay: Option<Duration>,
    /// Attempts in all. Default: 2, or as many as may begin at once if those are more. Range:
    /// 2..=5. Source: gRPC `maxAttempts`.
    pub max_attempts: Option<u32>,
    /// gRPC codes that do not end the hedge. Default: those that the retry policy retries. Range:
    /// 1..=16. Source: gRPC `nonFatalStatusCodes`.
    pub non_fatal_grpc: Vec<i32>,
    /// Attempts sent at once. Default: 1. Range: 1..=5, at most `max_attempts`. Source: xDS
    /// `initial_requests`.
    pub initial_attempts: Option<u32>,
    /// The share of calls with one more attempt at once. Unit: percent. Default: 0. Range:
    /// 0..=100. Source: xDS `additional_request_chance`.
    pub additional_percent: Option<f64>,
    /// Whether an attempt that meets the attempt timeout goes on beside its successor. Default:
    /// false. Source: xDS `hedge_on_per_try_timeout`.
    pub on_attempt_timeout: Option<bool>,
}

/// Attempts in all, where nothing is said.
const ATTEMPTS: u32 = 2;
/// At most.
pub(crate) const MOST: u32 = 5;

impl Hedge {
    /// Hedges at the percentile that yields this much extra load. Unit: percent. Range: 0..=100.
    #[must_use]
    pub fn within(max_extra_percent: f64) -> Self {
        Self { max_extra_percent: Some(max_extra_percent), ..Self::default() }
    }

    /// Hedges after this long, as gRPC does.
    #[must_use]
    pub fn after(delay: Duration) -> Self {
        Self { delay: Some(delay), ..Self::default() }
    }

    /// Sets the attempts in all, the first included. Range: 2..=5.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets the extra load allowed. Unit: percent. Range: 0..=100.
    #[must_use]
    pub fn max_extra_percent(mut self, percent: f64) -> Self {
        self.max_extra_percent = Some(percent);
        self
    }

    /// Sets the gRPC codes that do not end the hedge. Range: 1..=16.
    #[must_use]
    pub fn non_fatal_grpc(mut self, codes: impl Into<Vec<i32>>) -> Self {
        self.non_fatal_grpc = codes.into();
        self
    }

    /// Sets the attempts that are sent at once. Range: 1..=5.
    #[must_use]
    pub fn initial_attempts(mut self, attempts: u32) -> Self {
        self.initial_attempts = Some(attempts);
        self
    }

    /// Sets the share of calls with one more attempt at once. Unit: percent. Range: 0..=100.
    #[must_use]
    pub fn additional_percent(mut self, percent: f64) -> Self {
        self.additional_percent = Some(percent);
        self
    }

    /// Sets whether an attempt that meets the attempt timeout goes on beside its successor.
    #[must_use]
    pub fn on_attempt_timeout(mut self, goes_on: bool) -> Self {
        self.on_attempt_timeout = Some(goes_on);
        self
    }

    /// Attempts in all.
    pub(crate) fn attempts(&self) -> u32 {
        let initial = self.initial_attempts.unwrap_or(1);
        let more = u32::from(self.additional_percent.is_some_and(|percent| percent > 0.0));
        let usual = ATTEMPTS.max(initial.saturating_add(more)).min(MOST);
        self.max_attempts.unwrap_or(usual)
    }

    /// Whether it says when, and allows any extra load.
    pub(crate) fn is_on(&self) -> bool {
        self.says_when() && self.max_extra_percent != Some(0.0)
    }

    /// Whether it says when an attempt is sent beside another.
    pub(crate) fn says_when(&self) -> bool {
        self.max_extra_percent.is_some()
            || self.delay.is_some()
            || self.initial_attempts.is_some_and(|attempts| attempts > 1)
            || self.additional_percent.is_some_and(|percent| percent > 0.0)
            || self.on_attempt_timeout == Some(true)
    }

    /// Whether the wait is a percentile of the latencies.
    pub(crate) fn is_by_percentile(&self) -> bool {
        self.delay.is_none() && self.max_extra_percent.is_some()
    }
}
