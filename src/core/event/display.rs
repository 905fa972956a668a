//! Each event in one line, for logs.

use std::{fmt, time::Duration};

use super::Event;
use crate::core::{ErrorKind, legible};

impl fmt::Display for Event {
    /// One line: whom it is about, what happened, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        legible::part(f, format_args!("{}", Said(self)))
    }
}

/// An event in the words of those who named what it is about.
struct Said<'a>(&'a Event);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.say(f)
    }
}

impl Event {
    fn say(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallStarted { service, call } => write!(f, "{service}: call {call} started"),
            Self::CallEnded { service, call, status, error, attempts, elapsed } => {
                write!(f, "{service}: call {call} ")?;
                ended(f, *status, *error, *elapsed)?;
                write!(f, ", {attempts} {}", plural(*attempts, "attempt"))
            }
            Self::CallRefused { service, call, refusal } => {
                write!(f, "{service}: call {call} is refused: {refusal} ({})", refusal.flag())
            }
            Self::AttemptStarted { service, call, endpoint, number } => {
                write!(f, "{service}: call {call}: attempt {number} goes to {endpoint}")
            }
            Self::AttemptEnded { service, call, endpoint, number, status, error, elapsed } => {
                write!(f, "{service}: call {call}: attempt {number} to {endpoint} ")?;
                ended(f, *status, *error, *elapsed)
            }
            Self::Retry { service, call, reason, backoff } => {
                write!(f, "{service}: call {call} is retried in {backoff:.1?}: {reason}")
            }
            Self::RetryRefused { service, call, reason } => {
                write!(f, "{service}: call {call} is not retried: {reason}")
            }
            Self::Hedge { service, call, number, after } => {
                write!(f, "{service}: call {call} is hedged by attempt {number} after {after:.1?}")
            }
            Self::HedgeRefused { service, call, reason } => {
                write!(f, "{service}: call {call} is not hedged: {reason}")
            }
            Self::Authorization { service, call, verdict, rule } => {
                let rule = rule.as_deref().map(|rule| format!("rule {rule}"));
                let rule = rule.unwrap_or_else(|| "no rule allows it".to_owned());
                write!(f, "{service}: call {call} {verdict}: {rule}")
            }
            Self::FaultInjected { service, call, fault } => {
                write!(f, "{service}: call {call}: fault injected: {fault}")
            }
            Self::BodyFailed { service, error, phase } => {
                write!(f, "{service}: a response broke off: {} ({phase} phase)", error.what())
            }
            _ => self.of_no_call(f),
        }
    }

    /// Endpoints, connections and the configuration.
    fn of_no_call(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = Of(self);
        match self {
            Self::EndpointAdded { .. } => write!(f, "{of} added"),
            Self::EndpointRemoved { .. } => write!(f, "{of} removed"),
            Self::EndpointEjected { reason, duration, .. } => {
                write!(f, "{of} ejected for {duration:.1?}: {reason}")
            }
            Self::EndpointReturned { reason, .. } => write!(f, "{of} returned: {reason}"),
            Self::EndpointSuspected { .. } => write!(f, "{of} is suspect"),
            Self::EndpointTrusted { .. } => write!(f, "{of} is trusted again"),
            Self::EndpointMarked { health, .. } => write!(f, "{of} is {health}, says its source"),
            Self::CheckPassed { healthy, .. } => {
                write!(f, "{of} passed a check and is {}", health(*healthy))
            }
            Self::CheckFailed { cause, healthy, .. } => {
                write!(f, "{of} failed a check and is {}: {cause}", health(*healthy))
            }
            Self::Connected { protocol, secured, peer, elapsed, .. } => {
                write!(f, "{of} connected by {protocol:?} ")?;
                f.write_str(if *secured { "over TLS" } else { "in clear" })?;
                if let Some(peer) = peer {
                    write!(f, " to {peer}")?;
                }
                write!(f, " after {elapsed:.1?}")
            }
            Self::ConnectFailed { cause, backoff, .. } => {
                write!(f, "{of} cannot be reached, next try in {backoff:.1?}: {cause}")
            }
            Self::Disconnected { reason, .. } => write!(f, "{of} disconnected: {reason}"),
            Self::PriorityShifted { cluster, priority, distance, percent, panic } => {
                write!(f, "cluster {cluster}: priority {priority}")?;
                if *distance > 0 {
                    write!(f, " at distance {distance}")?;
                }
                write!(f, " gets {percent} %")?;
                f.write_str(if *panic { ", in panic" } else { "" })
            }
            Self::ConfigApplied { part } => write!(f, "{part}: in force"),
            Self::ConfigRefused { part, reason } => write!(f, "{part}: refused: {reason}"),
            Self::ConfigNoted { part, note } => write!(f, "{part}: noted: {note}"),
            Self::ConfigDoubted { part, reason } => write!(f, "{part}: doubtful: {reason}"),
            Self::CacheUsed { source, age } => {
                write!(f, "{source}: uses its cache, {age:.0?} old: nobody can be asked")
            }
            Self::CacheLeft { source } => write!(f, "{source}: uses its cache no more"),
            // Told by `say` itself.
            Self::CallStarted { .. }
            | Self::CallEnded { .. }
            | Self::CallRefused { .. }
            | Self::AttemptStarted { .. }
            | Self::AttemptEnded { .. }
            | Self::Retry { .. }
            | Self::RetryRefused { .. }
            | Self::Hedge { .. }
            | Self::HedgeRefused { .. }
            | Self::Authorization { .. }
            | Self::FaultInjected { .. }
            | Self::BodyFailed { .. } => Ok(()),
        }
    }
}

/// `cluster users: endpoint 10.0.0.1:80`
struct Of<'a>(&'a Event);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::EndpointAdded { cluster, endpoint }
            | Event::EndpointRemoved { cluster, endpoint }
            | Event::EndpointEjected { cluster, endpoint, .. }
            | Event::EndpointReturned { cluster, endpoint, .. }
            | Event::EndpointSuspected { cluster, endpoint }
            | Event::EndpointTrusted { cluster, endpoint }
            | Event::EndpointMarked { cluster, endpoint, .. }
            | Event::CheckPassed { cluster, endpoint, .. }
            | Event::CheckFailed { cluster, endpoint, .. }
            | Event::Connected { cluster, endpoint, .. }
            | Event::ConnectFailed { cluster, endpoint, .. }
            | Event::Disconnected { cluster, endpoint, .. } => {
                write!(f, "cluster {cluster}: endpoint {endpoint}")
            }
            _ => Ok(()),
        }
    }
}

fn ended(
    f: &mut fmt::Formatter<'_>,
    status: Option<u16>,
    error: Option<ErrorKind>,
    elapsed: Duration,
) -> fmt::Result {
    match (status, error) {
        (Some(status), None) => write!(f, "ended with status {status}")?,
        (status, Some(error)) => {
            write!(f, "failed: {}", error.what())?;
            if let Some(status) = status {
                write!(f, ", status {status}")?;
            }
        }
        (None, None) => f.write_str("was given up by its caller")?,
    }
    write!(f, " after {elapsed:.1?}")
}

fn plural(count: u32, one: &str) -> String {
    if count == 1 { one.to_owned() } else { format!("{one}s") }
}

fn health(healthy: bool) -> &'static str {
    if healthy { "healthy" } else { "unhealthy" }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;
    use crate::core::{
        AuthorizationVerdict, DisconnectReason, EjectReason, InjectedFault, Phase, Refusal,
        RetryReason, SourceHealth,
    };

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_others_have_named_breaks_no_line() {
        let part = "cluster a\n2026 ok\r\0\u{1b}[2J日本".into();
        let said = Event::ConfigApplied { part }.to_string();
        assert_eq!(said, r"cluster a\n2026 ok\r\0\u{1b}[2J日本: in force");
    }

    #[test]
    fn an_event_is_one_line_that_says_whom_it_is_about() {
        let (cluster, endpoint) = (|| "users".into(), || "10.0.0.1:80".into());
        let of_call = |status, error| Event::CallEnded {
            service: "users.prod".into(),
            call: 7,
            status,
            error,
            attempts: 2,
            elapsed: 5 * MS,
        };
        let events = [
            (
                of_call(Some(200), None),
                "users.prod: call 7 ended with status 200 after 5.0ms, 2 attempts",
            ),
            (
                of_call(None, Some(ErrorKind::Timeout)),
                "users.prod: call 7 failed: deadline exceeded after 5.0ms, 2 attempts",
            ),
            (
                of_call(None, None),
                "users.prod: call 7 was given up by its caller after 5.0ms, 2 attempts",
            ),
            (
                Event::AttemptEnded {
                    service: "users.prod".into(),
                    call: 7,
                    endpoint: endpoint(),
                    number: 1,
                    status: Some(503),
                    error: None,
                    elapsed: 2 * MS,
                },
                "users.prod: call 7: attempt 1 to 10.0.0.1:80 ended with status 503 after 2.0ms",
            ),
            (
                Event::Retry {
                    service: "users.prod".into(),
                    call: 7,
                    reason: RetryReason::Status(503),
                    backoff: 25 * MS,
                },
                "users.prod: call 7 is retried in 25.0ms: status 503",
            ),
            (
                Event::Authorization {
                    service: "users.prod".into(),
                    call: 7,
                    verdict: AuthorizationVerdict::Denied,
                    rule: None,
                },
                "users.prod: call 7 denied: no rule allows it",
            ),
            (
                Event::FaultInjected {
                    service: "users.prod".into(),
                    call: 7,
                    fault: InjectedFault::Delay(2000 * MS),
                },
                "users.prod: call 7: fault injected: delay of 2s",
            ),
            (
                Event::CallRefused {
                    service: "users.prod".into(),
                    call: 7,
                    refusal: Refusal::Throttled,
                },
                "users.prod: call 7 is refused: throttled (CT)",
            ),
            (
                Event::BodyFailed {
                    service: "users.prod".into(),
                    error: ErrorKind::Transport,
                    phase: Phase::Body,
                },
                "users.prod: a response broke off: connection failed (body phase)",
            ),
            (
                Event::EndpointEjected {
                    cluster: cluster(),
                    endpoint: endpoint(),
                    reason: EjectReason::ConsecutiveFailures,
                    duration: 30_000 * MS,
                },
                "cluster users: endpoint 10.0.0.1:80 ejected for 30.0s: consecutive failures",
            ),
            (
                Event::EndpointMarked {
                    cluster: cluster(),
                    endpoint: endpoint(),
                    health: SourceHealth::Draining,
                },
                "cluster users: endpoint 10.0.0.1:80 is draining, says its source",
            ),
            (
                Event::CheckFailed {
                    cluster: cluster(),
                    endpoint: endpoint(),
                    cause: "status 503".into(),
                    healthy: false,
                },
                "cluster users: endpoint 10.0.0.1:80 failed a check and is unhealthy: status 503",
            ),
            (
                Event::Connected {
                    cluster: cluster(),
                    endpoint: endpoint(),
                    protocol: Version::HTTP_2,
                    secured: true,
                    peer: Some("users".into()),
                    peer_names: ["users".to_owned()].into(),
                    peer_not_after: None,
                    elapsed: 3 * MS,
                },
                "cluster users: endpoint 10.0.0.1:80 connected by HTTP/2.0 over TLS to users after 3.0ms",
            ),
            (
                Event::ConnectFailed {
                    cluster: cluster(),
                    endpoint: endpoint(),
                    cause: "connection refused".into(),
                    backoff: 1000 * MS,
                },
                "cluster users: endpoint 10.0.0.1:80 cannot be reached, next try in 1.0s: \
                 connection refused",
            ),
            (
                Event::Disconnected {
                    cluster: cluster(),
                    endpoint: endpoint(),
                    reason: DisconnectReason::Idle,
                },
                "cluster users: endpoint 10.0.0.1:80 disconnected: idle",
            ),
            (
                Event::PriorityShifted {
                    cluster: cluster(),
                    priority: 1,
                    distance: 0,
                    percent: 40,
                    panic: true,
                },
                "cluster users: priority 1 gets 40 %, in panic",
            ),
            (
                Event::ConfigRefused { part: "cluster users".into(), reason: "weight = 0".into() },
                "cluster users: refused: weight = 0",
            ),
            (
                Event::CacheUsed { source: "xds a:1".into(), age: 90_000 * MS },
                "xds a:1: uses its cache, 90s old: nobody can be asked",
            ),
        ];
        for (event, text) in events {
            assert_eq!(event.to_string(), text);
        }
    }
}
