//! Why a call was refused on purpose: by a rule, a limit or an injected fault of this client.

use std::fmt;

/// Why this client refused a call, or an attempt of it, on purpose.
///
/// Such a call was not sent, takes nothing from the retry budget, and is not retried.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule of authorisation denies it, or none allows it.
    Denied,
    /// The rate limit of this process.
    RateLimited,
    /// The rate limit that many callers share.
    GlobalRateLimited,
    /// The service of shared rate limits did not answer, and its failure denies.
    RateLimitUnavailable,
    /// Too many calls are in flight.
    Concurrency,
    /// The limit of calls in flight that follows the latency.
    AdaptiveConcurrency,
    /// The endpoints refuse so many calls that this one is not sent (Google SRE).
    Throttled,
    /// The success rate has fallen (Envoy admission control).
    AdmissionControl,
    /// Its criticality is too low for the load.
    Shed,
    /// The cluster has its maximum of attempts in flight.
    MaxRequests,
    /// The cluster has its maximum of attempts that wait for a connection, which a limit of connections
    /// makes them do.
    MaxPending,
    /// No endpoint was available in time, or too many attempts wait for one.
    Queue,
    /// The control plane drops a share of the calls.
    Dropped,
    /// A fault was injected.
    Fault,
    /// A fault was injected: its delay was longer than the call had time.
    Delay,
}

// === impl Refusal ===

impl Refusal {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 15] = [
        Self::Denied,
        Self::RateLimited,
        Self::GlobalRateLimited,
        Self::RateLimitUnavailable,
        Self::Concurrency,
        Self::AdaptiveConcurrency,
        Self::Throttled,
        Self::AdmissionControl,
        Self::Shed,
        Self::MaxRequests,
        Self::MaxPending,
        Self::Queue,
        Self::Dropped,
        Self::Fault,
        Self::Delay,
    ];

    /// A limit of the cluster that the call goes to.
    pub(crate) fn is_of_cluster(self) -> bool {
        matches!(self, Self::MaxRequests | Self::MaxPending | Self::Queue | Self::Dropped)
    }

    /// Its place among them.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::RateLimited => "rate limited",
            Self::GlobalRateLimited => "rate limited by the shared service",
            Self::RateLimitUnavailable => "no answer of the rate limit service",
            Self::Concurrency => "concurrency limit",
            Self::AdaptiveConcurrency => "adaptive concurrency limit",
            Self::Throttled => "throttled",
            Self::AdmissionControl => "admission control",
            Self::Shed => "shed",
            Self::MaxRequests => "maximum of requests",
            Self::MaxPending => "maximum of pending requests",
            Self::Queue => "queue",
            Self::Dropped => "dropped",
            Self::Fault => "injected fault",
            Self::Delay => "injected delay",
        }
    }

    /// As the value of an attribute.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::GlobalRateLimited => "global_rate_limited",
            Self::RateLimitUnavailable => "rate_limit_unavailable",
            Self::Concurrency => "concurrency",
            Self::AdaptiveConcurrency => "adaptive_concurrency",
            Self::Throttled => "throttled",
            Self::AdmissionControl => "admission_control",
            Self::Shed => "shed",
            Self::MaxRequests => "max_requests",
            Self::MaxPending => "max_pending",
            Self::Queue => "queue",
            Self::Dropped => "dropped",
            Self::Fault => "fault",
            Self::Delay => "delay",
        }
    }

    /// Envoy's response flag for it; where Envoy has none, one of our own.
    ///
    /// Source: Envoy access log `%RESPONSE_FLAGS%`. Ours: `AZ`, `AC`, `CT`.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Denied => "AZ",
            Self::RateLimited | Self::GlobalRateLimited => "RL",
            Self::RateLimitUnavailable => "RLSE",
            Self::Throttled => "CT",
            Self::AdmissionControl => "AC",
            Self::Shed => "OM",
            Self::Concurrency
            | Self::AdaptiveConcurrency
            | Self::MaxRequests
            | Self::MaxPending
            | Self::Queue => "UO",
            Self::Dropped => "DO",
            Self::Fault => "FI",
            Self::Delay => "DI",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_the_places_in_the_list() {
        assert!(Refusal::ALL.iter().enumerate().all(|(place, it)| it.index() == place));
        assert_eq!(Refusal::Delay.index() + 1, Refusal::ALL.len());
    }
}
