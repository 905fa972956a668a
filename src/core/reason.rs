//! Why a retry was made or refused, and why a connection ended: words of events and of metrics.

use std::fmt;

use super::Unrepeatable;

/// Why another attempt of a call was made.
///
/// Its `Display` is what the event log of a person says: `never sent`, `status 503`, `grpc 14`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RetryReason {
    /// The request never left this process.
    NeverSent,
    /// The endpoint said that it did not work on it.
    Refused,
    /// The connection was lost after sending.
    ConnectionLost,
    /// The timeout of the attempt alone passed.
    AttemptTimeout,
    /// A response with a status that the policy retries.
    Status(u16),
    /// A gRPC status that the policy retries.
    Grpc(i32),
}

/// Why a retry that was wanted was not made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RetryRefusal {
    /// The policy allows no more attempts.
    Attempts,
    /// The retry budget is empty.
    Budget,
    /// The request's body is larger than what is kept of it.
    BodyTooLarge,
    /// The request's own body failed.
    BodyFailed,
    /// The call's deadline would pass before the attempt.
    Deadline,
    /// The endpoint asked for no retry, or for a later one than the policy waits for.
    Pushback,
    /// No copy of the request was kept.
    NoCopy,
}

// === impl RetryRefusal ===

impl RetryRefusal {
    /// In words, of a call of which so many attempts were made and so many bytes of the body are kept.
    pub(crate) fn told(self, attempts: u32, kept: usize) -> String {
        match self {
            Self::Attempts if attempts == 1 => "the 1 attempt is used".to_owned(),
            Self::Attempts => format!("all {attempts} attempts are used"),
            Self::Budget => "the retry budget is empty".to_owned(),
            Self::BodyTooLarge => {
                format!("the body is larger than the {kept} bytes that are kept (`max_body_bytes`)")
            }
            Self::BodyFailed => "the request's own body failed".to_owned(),
            Self::Deadline => "the deadline would pass before the next attempt".to_owned(),
            Self::Pushback => "the endpoint asked for none, or for a later one".to_owned(),
            Self::NoCopy => "no copy of the request was kept".to_owned(),
        }
    }
}

impl From<Unrepeatable> for RetryRefusal {
    fn from(why: Unrepeatable) -> Self {
        match why {
            Unrepeatable::TooLarge => Self::BodyTooLarge,
            Unrepeatable::Failed => Self::BodyFailed,
        }
    }
}

/// Why a hedge that was due was not sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum HedgeRefusal {
    /// The extra load that is allowed is used up.
    Share,
    /// The retry budget is empty.
    Budget,
    /// The request's body is larger than what is kept of it.
    BodyTooLarge,
    /// The request's own body failed.
    BodyFailed,
    /// There is no other endpoint than those that were tried, or none of them may be called.
    NoEndpoint,
    /// The attempt did not begin, or was not sent: a limit of its cluster is reached.
    Limit,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// No request was on it for the idle time.
    Idle,
    /// It had reached its age.
    Age,
    /// The peer has closed it.
    ClosedByPeer,
    /// Its endpoint has left the cluster, or the way to it has changed.
    Draining,
    /// A ping was not answered in time.
    Keepalive,
    /// It failed.
    Error,
    /// The root that had vouched for the endpoint is trusted no more.
    RootRemoved,
    /// A certificate of the endpoint's chain is revoked.
    Revoked,
    /// The own certificate names somebody else by now.
    IdentityChanged,
    /// It was cut at the end of the grace of [`Mesh::shutdown`](crate::Mesh::shutdown).
    Shutdown,
    /// It was given as many requests as one may be (`transport.max_requests_per_connection`).
    MaxRequests,
}

/// Why an endpoint was taken out of use for a while.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum EjectReason {
    /// It failed so often in a row (Envoy `consecutive_5xx`).
    ConsecutiveFailures,
    /// It answered 502, 503 or 504 so often in a row (Envoy `consecutive_gateway_failure`).
    ConsecutiveGatewayFailures,
    /// It could not be reached, or gave no answer, so often in a row (Envoy
    /// `consecutive_local_origin_failure`).
    ConsecutiveLocalOriginFailures,
    /// It succeeds less than its siblings.
    SuccessRate,
    /// It is reached less often than its siblings are.
    SuccessRateLocalOrigin,
    /// Too large a share of its calls failed.
    FailurePercentage,
    /// Too large a share of the attempts to reach it failed.
    FailurePercentageLocalOrigin,
    /// It failed so often in a row (Finagle, Linkerd).
    AccruedFailures,
    /// Too small a share of its calls in the window succeeded (Finagle, Linkerd).
    AccruedSuccessRatio,
    /// It was out already, and the call that was to find out whether it is well failed.
    ProbeFailed,
}

/// Why an endpoint takes calls again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ReturnReason {
    /// The one call that was to find out whether it is well succeeded.
    Probe,
    /// An active check passed.
    Check,
    /// Too few others are left.
    Floor,
    /// The rules that had taken it out are gone.
    Rules,
}

/// What a source says of the health of an endpoint.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SourceHealth {
    /// Nothing against it.
    Healthy,
    /// It works, and others are better.
    Degraded,
    /// It does not work.
    Unhealthy,
    /// It takes no new calls; those in flight go on.
    Draining,
}

// === impl RetryReason ===

impl RetryReason {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = 6;

    /// Its place among the kinds, whatever status it carries.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::NeverSent => 0,
            Self::Refused => 1,
            Self::ConnectionLost => 2,
            Self::AttemptTimeout => 3,
            Self::Status(_) => 4,
            Self::Grpc(_) => 5,
        }
    }

    /// The kinds as attribute values, by their index.
    pub(crate) const NAMES: [&'static str; Self::COUNT] =
        ["never_sent", "refused", "connection_lost", "attempt_timeout", "status", "grpc"];

    /// The kind as the value of an attribute.
    #[cfg(any(feature = "otel-033", feature = "tracing"))]
    pub(crate) fn code(self) -> &'static str {
        Self::NAMES.get(self.index()).copied().unwrap_or_default()
    }
}

impl fmt::Display for RetryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverSent => f.write_str("never sent"),
            Self::Refused => f.write_str("refused"),
            Self::ConnectionLost => f.write_str("connection lost"),
            Self::AttemptTimeout => f.write_str("attempt timeout"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc(code) => write!(f, "grpc {code}"),
        }
    }
}

// === impl RetryRefusal ===

impl RetryRefusal {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 7] = [
        Self::Attempts,
        Self::Budget,
        Self::BodyTooLarge,
        Self::BodyFailed,
        Self::Deadline,
        Self::Pushback,
        Self::NoCopy,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::BodyTooLarge => "body too large",
            Self::BodyFailed => "body failed",
            Self::Deadline => "deadline",
            Self::Pushback => "pushback",
            Self::NoCopy => "no copy",
        }
    }

    /// As the value of an attribute.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::BodyFailed => "body_failed",
            Self::NoCopy => "no_copy",
            Self::Attempts | Self::Budget | Self::Deadline | Self::Pushback => self.as_str(),
        }
    }
}

impl fmt::Display for RetryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl HedgeRefusal ===

impl HedgeRefusal {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 6] = [
        Self::Share,
        Self::Budget,
        Self::BodyTooLarge,
        Self::BodyFailed,
        Self::NoEndpoint,
        Self::Limit,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Budget => "budget",
            Self::BodyTooLarge => "body too large",
            Self::BodyFailed => "body failed",
            Self::NoEndpoint => "no endpoint",
            Self::Limit => "limit",
        }
    }

    /// As the value of an attribute.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::BodyFailed => "body_failed",
            Self::NoEndpoint => "no_endpoint",
            Self::Share | Self::Budget | Self::Limit => self.as_str(),
        }
    }
}

impl fmt::Display for HedgeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl DisconnectReason ===

impl DisconnectReason {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 11] = [
        Self::Idle,
        Self::Age,
        Self::ClosedByPeer,
        Self::Draining,
        Self::Keepalive,
        Self::Error,
        Self::RootRemoved,
        Self::Revoked,
        Self::IdentityChanged,
        Self::Shutdown,
        Self::MaxRequests,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Age => "age",
            Self::ClosedByPeer => "closed by peer",
            Self::Draining => "draining",
            Self::Keepalive => "keepalive",
            Self::Error => "error",
            Self::RootRemoved => "root removed",
            Self::Revoked => "revoked",
            Self::IdentityChanged => "identity changed",
            Self::Shutdown => "shutdown",
            Self::MaxRequests => "max requests",
        }
    }

    /// As the value of an attribute.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::ClosedByPeer => "closed_by_peer",
            Self::RootRemoved => "root_removed",
            Self::IdentityChanged => "identity_changed",
            Self::MaxRequests => "max_requests",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl SourceHealth ===

impl SourceHealth {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 4] =
        [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Draining];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// In a word, which is also the value of an attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for SourceHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl EjectReason ===

impl EjectReason {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 10] = [
        Self::ConsecutiveFailures,
        Self::ConsecutiveGatewayFailures,
        Self::ConsecutiveLocalOriginFailures,
        Self::SuccessRate,
        Self::SuccessRateLocalOrigin,
        Self::FailurePercentage,
        Self::FailurePercentageLocalOrigin,
        Self::AccruedFailures,
        Self::AccruedSuccessRatio,
        Self::ProbeFailed,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive failures",
            Self::ConsecutiveGatewayFailures => "consecutive gateway failures",
            Self::ConsecutiveLocalOriginFailures => "consecutive local-origin failures",
            Self::SuccessRate => "success rate",
            Self::SuccessRateLocalOrigin => "local-origin success rate",
            Self::FailurePercentage => "failure percentage",
            Self::FailurePercentageLocalOrigin => "local-origin failure percentage",
            Self::AccruedFailures => "accrued failures",
            Self::AccruedSuccessRatio => "accrued success ratio",
            Self::ProbeFailed => "probe failed",
        }
    }

    /// As the value of an attribute.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::ConsecutiveGatewayFailures => "consecutive_gateway_failures",
            Self::ConsecutiveLocalOriginFailures => "consecutive_local_origin_failures",
            Self::SuccessRate => "success_rate",
            Self::SuccessRateLocalOrigin => "success_rate_local_origin",
            Self::FailurePercentage => "failure_percentage",
            Self::FailurePercentageLocalOrigin => "failure_percentage_local_origin",
            Self::AccruedFailures => "accrued_failures",
            Self::AccruedSuccessRatio => "accrued_success_ratio",
            Self::ProbeFailed => "probe_failed",
        }
    }
}

impl fmt::Display for EjectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl ReturnReason ===

impl ReturnReason {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Check => "check",
            Self::Floor => "floor",
            Self::Rules => "rules",
        }
    }
}

impl fmt::Display for ReturnReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_the_places_in_the_lists() {
        assert!(HedgeRefusal::ALL.iter().enumerate().all(|(n, reason)| reason.index() == n));
        assert!(RetryRefusal::ALL.iter().enumerate().all(|(n, reason)| reason.index() == n));
        assert!(DisconnectReason::ALL.iter().enumerate().all(|(n, reason)| reason.index() == n));
        assert!(SourceHealth::ALL.iter().enumerate().all(|(n, health)| health.index() == n));
        assert!(EjectReason::ALL.iter().enumerate().all(|(n, reason)| reason.index() == n));
        assert_eq!(RetryReason::Grpc(14).index() + 1, RetryReason::COUNT);
    }
}
