//! The policy of a service or a route.

use std::time::Duration;

use super::Retry;

/// How long a call waits for the first configuration unless told otherwise.
pub const DEFAULT_RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What calls on a service or route obey; what is not given comes from the level above.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Policy {
    /// Bounds a call to its response headers, all attempts included. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub timeout: Option<Duration>,
    /// Whether the timeout covers the response body too. Default: false.
    pub whole_response: Option<bool>,
    /// Bounds each attempt to its response headers. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub attempt_timeout: Option<Duration>,
    /// Bounds the wait for each frame of a response body. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub idle_timeout: Option<Duration>,
    /// When an attempt is repeated. Default: [`Retry::standard`].
    pub retry: Option<Retry>,
    /// Calls of the service in flight. Default: no limit.
    pub max_requests: Option<u32>,
    /// Hedged requests. Not supported yet.
    pub hedge: Option<Hedge>,
}

/// Hedged requests.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Hedge {
    /// The extra load allowed. Unit: percent.
    pub max_extra_percent: f64,
}

impl Policy {
    /// What is given here, and the rest from `lower`; of the retry policy, field by field.
    #[must_use]
    pub fn over(&self, lower: &Self) -> Self {
        Self {
            timeout: self.timeout.or(lower.timeout),
            whole_response: self.whole_response.or(lower.whole_response),
            attempt_timeout: self.attempt_timeout.or(lower.attempt_timeout),
            idle_timeout: self.idle_timeout.or(lower.idle_timeout),
            retry: match (&self.retry, &lower.retry) {
                (Some(near), Some(far)) => Some(near.over(far)),
                (near, far) => near.as_ref().or(far.as_ref()).cloned(),
            },
            max_requests: self.max_requests.or(lower.max_requests),
            hedge: self.hedge.clone().or_else(|| lower.hedge.clone()),
        }
    }
}
