//! What a call's errors say beyond their kind. All of it is made when the error is, of what the call
//! has pinned: a call that succeeds pays nothing for it.

use std::time::Duration;

use super::{Pinned, path::PathProj};
use crate::{
    config,
    core::{Error, ErrorKind, Instant, Origin, Phase, RetryRefusal},
    resilience::{
        deadline::Extent,
        retry::{self, Arms},
    },
};

impl PathProj<'_> {
    /// The deadline that passed: how long it was, and who has said it.
    pub(super) fn of_deadline(&self) -> String {
        let at = self.pinned.as_ref().and_then(|pinned| pinned.bounds.head);
        let policy = self.pinned.as_ref().and_then(Pinned::policy);
        let (Some(started), Some(at)) = (*self.started, at) else { return String::new() };
        let timeout = policy.and_then(|policy| policy.scope.timeout);
        let extent = policy.and_then(|policy| policy.terms.as_ref()).map(|terms| terms.extent);
        match bound(timeout, extent, started, at) {
            Some(name @ TIMEOUT) => {
                self.told(name, |policy| policy.scope.timeout, |policy| policy.timeout)
            }
            Some(name @ STREAM) => self.told(
                name,
                |policy| policy.terms.as_ref()?.extent.stream,
                |policy| policy.max_stream_duration,
            ),
            Some(name) => self.told(
                name,
                |policy| policy.terms.as_ref()?.extent.max,
                |policy| policy.grpc_timeout.as_ref()?.max,
            ),
            None => {
                let allowed = length(at.saturating_duration_since(started));
                match self.bounding(started, at) {
                    Some(cluster) => format!("{allowed}, `{STREAM}` of cluster {cluster}"),
                    None => format!("{allowed}, {ITS_OWN}"),
                }
            }
        }
    }

    /// The cluster of the call, if it is what bounds it until then.
    fn bounding(&self, started: Instant, at: Instant) -> Option<&str> {
        let cluster = &self.pinned.as_ref()?.cluster;
        let longest = cluster.core.load().longest()?;
        (started.checked_add(longest) == Some(at)).then_some(&*cluster.name)
    }

    /// How long a call that found no service, or no endpoints, has waited for a source.
    pub(super) fn of_resolve(&self) -> String {
        let started = self.started.unwrap_or_else(Instant::now);
        match self.own_wait() {
            Some(own) => {
                format!("within the {} of the call", length(own.saturating_duration_since(started)))
            }
            None => {
                format!("within {} (`resolve_timeout`)", length(self.caller.inner.resolve_timeout))
            }
        }
    }

    /// The call's own bound, where it ends the wait for a source no later than `resolve_timeout` does.
    fn own_wait(&self) -> Option<Instant> {
        let is_first = |own: &Instant| self.resolve_by.is_none_or(|at| *own <= at);
        self.own_bound.filter(is_first)
    }

    /// No source has delivered the service in time.
    #[cold]
    pub(super) fn of_silence(&self) -> Error {
        let error = undelivered(self.own_wait().is_some());
        error.detail(format!("no source delivered the service {}", self.of_resolve()))
    }

    /// Who has said a setting of the policy: the code, or which source.
    pub(super) fn setter(&self, of: impl Fn(&config::Policy) -> Option<Duration>) -> String {
        let route = self.pinned.as_ref().and_then(Pinned::route);
        let layers = route.into_iter().flat_map(|route| route.layers.iter());
        let sayer = layers.into_iter().find(|layer| of(&layer.policy).is_some());
        match sayer.and_then(|layer| layer.source.as_deref()) {
            Some(name) => format!("source {name}"),
            None => "the code".to_owned(),
        }
    }

    /// Why a retry that was wanted was not made.
    pub(super) fn of_refusal(&self, reason: RetryRefusal, attempt: u32) -> String {
        let policy = self.pinned.as_ref().and_then(Pinned::policy);
        reason.told(attempt, policy.map(|policy| policy.max_body_bytes).unwrap_or_default())
    }

    /// Why a retry was not even wanted.
    pub(super) fn of_unwanted(&self, met: retry::Met<'_>) -> &'static str {
        let (armed, call) = match &*self.armed {
            None => (Arms::Nothing, None),
            Some(armed) if armed.safe_only => (Arms::Safe, armed.head.call()),
            Some(armed) => (Arms::Everything, armed.head.call()),
        };
        match self.pinned.as_ref().and_then(Pinned::policy) {
            Some(policy) => policy.retry.unwanted(met, armed, call),
            None => "the route is gone",
        }
    }
}

/// What a call that waits for a source ends with: the deadline of its own that passed, or else a source that
/// does not speak, which is no deadline of the caller's.
//= gRPC `statuscodes.md`: DEADLINE_EXCEEDED is of the call's deadline, UNAVAILABLE of what may be back later
#[cold]
pub(crate) fn undelivered(own_deadline: bool) -> Error {
    if own_deadline {
        return Error::new(ErrorKind::Timeout, Phase::Resolve);
    }
    Error::new(ErrorKind::Config, Phase::Resolve)
        .with_origin(Origin::Control)
        .check("that the source has delivered the service's configuration")
}

const TIMEOUT: &str = "timeout";
const STREAM: &str = "max_stream_duration";

/// The setting that bounds a call until then, if it is one of these.
pub(super) fn bound(
    timeout: Option<Duration>,
    extent: Option<Extent>,
    started: Instant,
    at: Instant,
) -> Option<&'static str> {
    let is_it =
        |time: Option<Duration>| time.and_then(|time| started.checked_add(time)) == Some(at);
    if is_it(timeout) {
        Some(TIMEOUT)
    } else if is_it(extent.and_then(|extent| extent.stream)) {
        Some(STREAM)
    } else if is_it(extent.and_then(|extent| extent.max)) {
        Some("grpc_timeout.max")
    } else {
        None
    }
}

/// A time as a person writes it.
pub(super) fn length(time: Duration) -> String {
    let is_even = time.subsec_nanos().is_multiple_of(1_000_000);
    if is_even { format!("{time:?}") } else { format!("{time:.1?}") }
}

/// Whose deadline it is that no policy has set.
pub(super) const ITS_OWN: &str = "said by the call or inherited";
