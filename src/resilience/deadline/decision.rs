//! Which bound rules a call, how far it reaches, and what the endpoint is told of it.
//!
//! An explicit deadline, of the call or inherited from a gRPC caller, runs to the end of the
//! trailers. A configured timeout ends at the response head unless it is scoped to the whole
//! response, so that streams live; and so does what a plain HTTP caller has left, who tells of
//! either in one header.

use std::time::Duration;

use http::{HeaderMap, header::Entry};

use super::text;
use crate::core::{Call, Error, ErrorKind, Instant, Phase, earliest, grpc};

/// The configured part: a service's timeout and its scope.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) timeout: Option<Duration>,
    pub(crate) whole_response: bool,
}

/// The two bounds of one call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Bounds {
    /// Until the response head.
    pub(crate) head: Option<Instant>,
    /// Until the end of the trailers; never earlier than `head`.
    pub(crate) body: Option<Instant>,
}

/// The bounds of a call that starts `now`.
///
/// Explicit are the call's own timeout, what it inherited, and a `grpc-timeout` on the outgoing
/// request (tonic's `Request::set_timeout` writes it); the earliest rules.
pub(crate) fn of(headers: &HeaderMap, call: Option<&Call>, scope: Scope, now: Instant) -> Bounds {
    bounds(explicit(grpc_timeout(headers), call, now), scope, now)
}

/// The bounds of a call that is known not to speak gRPC.
pub(crate) fn of_http(call: Option<&Call>, scope: Scope, now: Instant) -> Bounds {
    bounds(explicit(None, call, now), scope, now)
}

pub(super) fn bounds(explicit: Bounds, scope: Scope, now: Instant) -> Bounds {
    let Bounds { head, body } = explicit;
    let configured = scope.timeout.and_then(|timeout| now.checked_add(timeout));
    let body = if scope.whole_response { earliest(body, configured) } else { body };
    Bounds { head: earliest(head, configured), body }
}

/// The caller's own bounds: its extension, what it inherited, or its `grpc-timeout`.
pub(super) fn explicit(wire: Option<Duration>, call: Option<&Call>, now: Instant) -> Bounds {
    let timeout = earliest(call.and_then(|call| call.timeout), wire);
    let own = timeout.and_then(|timeout| now.checked_add(timeout));
    let body = earliest(own, call.and_then(|call| call.deadline));
    Bounds { head: earliest(body, call.and_then(|call| call.head)), body }
}

/// The request's own `grpc-timeout`, if it is well-formed.
pub(super) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    if headers.contains_key(grpc::GRPC_TIMEOUT) { grpc::timeout_of(headers) } else { None }
}

// === impl Bounds ===

impl Bounds {
    /// Whether the call has no time left to send anything.
    pub(crate) fn expired(&self, now: Instant) -> bool {
        self.head.is_some_and(|at| at <= now)
    }

    /// The bounds of one attempt: its head comes within `timeout`, too.
    pub(crate) fn of_attempt(self, timeout: Option<Duration>, now: Instant) -> Self {
        let at = timeout.and_then(|timeout| now.checked_add(timeout));
        Self { head: earliest(self.head, at), body: self.body }
    }

    /// Tells the endpoint what is left of the call, before each attempt.
    ///
    /// A gRPC server ends the whole stream by `grpc-timeout`, so it learns only a bound that
    /// covers the trailers. `x-envoy-expected-rq-timeout-ms` is advice: it carries any bound, which
    /// whoever [inherits](Call::inherit) it takes for one of the head, and never grows, since an
    /// outer bound may have written it.
    pub(crate) fn write(&self, headers: &mut HeaderMap, is_grpc: bool, now: Instant) {
        if is_grpc {
            if let Some(at) = self.body {
                let left = at.saturating_duration_since(now);
                headers.insert(grpc::GRPC_TIMEOUT, grpc::timeout_value(left));
            }
        } else if let Some(at) = self.head {
            let left = at.saturating_duration_since(now);
            // Looked up once. A map that can take no more headers sends no advice.
            match headers.try_entry(grpc::HTTP_TIMEOUT) {
                Ok(Entry::Vacant(untold)) => {
                    untold.try_insert(text::millis(left)).ok();
                }
                Ok(Entry::Occupied(mut told)) => {
                    if grpc::millis_of(told.get()).is_none_or(|told| told > left) {
                        told.insert(text::millis(left));
                    }
                }
                Err(_) => {}
            }
        }
    }
}

/// What a call that ran out of time fails with.
pub(crate) fn exceeded(phase: Phase, started: Instant, at: Instant) -> Error {
    let allowed = at.saturating_duration_since(started);
    Error::new(ErrorKind::Timeout, phase).detail(format!("{allowed:.1?} were allowed"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::CONTENT_TYPE};
    use proptest::{option, prelude::*};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (0..5_000_u64).prop_map(Duration::from_millis),
            any::<u32>().prop_map(|nanos| Duration::from_nanos(nanos.into())),
            any::<u32>().prop_map(|seconds| Duration::from_secs(seconds.into())),
            Just(Duration::MAX),
        ]
    }

    fn scope(timeout: Duration, whole_response: bool) -> Scope {
        Scope { timeout: Some(timeout), whole_response }
    }

    #[test]
    fn the_earliest_of_call_header_and_policy_rules() {
        let now = Instant::now();
        let wire = headers(&[("grpc-timeout", "3S")]);
        let call = Call::new().timeout(2 * SECOND);
        let at = |seconds| Some(now + seconds * SECOND);
        let bounds = of(&wire, Some(&call), scope(4 * SECOND, false), now);
        assert_eq!(bounds, Bounds { head: at(2), body: at(2) });
        let bounds = of(&wire, None, scope(4 * SECOND, false), now);
        assert_eq!(bounds, Bounds { head: at(3), body: at(3) });
        let bounds = of(&wire, Some(&call), scope(SECOND, false), now);
        assert_eq!(bounds, Bounds { head: at(1), body: at(2) });
    }

    #[test]
    fn a_configured_timeout_ends_at_the_head_unless_it_covers_the_response() {
        let now = Instant::now();
        let at = Some(now + SECOND);
        let empty = HeaderMap::new();
        assert_eq!(of(&empty, None, scope(SECOND, false), now), Bounds { head: at, body: None });
        assert_eq!(of(&empty, None, scope(SECOND, true), now), Bounds { head: at, body: at });
        assert_eq!(of(&empty, None, Scope::default(), now), Bounds::default());
    }

    #[test]
    fn what_is_inherited_reaches_as_far_as_it_is_said_to() {
        let rpc = Call::new().inherit(&headers(&[("grpc-timeout", "1500m")]));
        let bounds = of(&HeaderMap::new(), Some(&rpc), Scope::default(), Instant::now());
        assert!(bounds.head.is_some() && bounds.body == bounds.head, "{bounds:?}");
        let http = headers(&[("x-envoy-expected-rq-timeout-ms", "1500")]);
        let call = Call::new().inherit(&http);
        let now = Instant::now();
        // It may be a timeout of the head alone that the caller tells.
        for (whole_response, body) in [(false, None), (true, Some(now + 4 * SECOND))] {
            let bounds = of(&HeaderMap::new(), Some(&call), scope(4 * SECOND, whole_response), now);
            assert!(bounds.head.is_some_and(|at| at <= now + 2 * SECOND), "{bounds:?}");
            assert_eq!(bounds.body, body);
        }
        let both = call.timeout(SECOND / 2);
        let bounds = of(&HeaderMap::new(), Some(&both), Scope::default(), now);
        assert_eq!(bounds, Bounds { head: Some(now + SECOND / 2), body: Some(now + SECOND / 2) });
    }

    #[test]
    fn an_unreadable_grpc_timeout_bounds_nothing() {
        for value in ["soon", "123456789S", ""] {
            let mut wire = HeaderMap::new();
            wire.insert(grpc::GRPC_TIMEOUT, HeaderValue::from_static(value));
            let bounds = of(&wire, None, Scope::default(), Instant::now());
            assert_eq!(bounds, Bounds::default());
        }
    }

    #[test]
    fn an_enormous_timeout_is_no_bound_instead_of_an_overflow() {
        let call = Call::new().timeout(Duration::MAX);
        let bounds = of(&HeaderMap::new(), Some(&call), Scope::default(), Instant::now());
        assert_eq!(bounds, Bounds::default());
    }

    #[test]
    fn the_endpoint_learns_what_is_left() {
        let now = Instant::now();
        let bounds = Bounds { head: Some(now + SECOND), body: Some(now + 2 * SECOND) };
        let later = now + Duration::from_millis(250);
        let mut plain = HeaderMap::new();
        bounds.write(&mut plain, false, later);
        assert_eq!(plain["x-envoy-expected-rq-timeout-ms"], "750");
        bounds.write(&mut plain, false, now);
        assert_eq!(plain["x-envoy-expected-rq-timeout-ms"], "750");
        let mut rpc = headers(&[("grpc-timeout", "9S")]);
        rpc.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        bounds.write(&mut rpc, true, later);
        assert_eq!(rpc["grpc-timeout"], "1750000u");
        assert!(!rpc.contains_key("x-envoy-expected-rq-timeout-ms"));
    }

    #[test]
    fn a_grpc_stream_is_not_told_of_a_bound_that_ends_at_its_head() {
        let now = Instant::now();
        let mut rpc = headers(&[("content-type", "application/grpc")]);
        of(&rpc, None, scope(SECOND, false), now).write(&mut rpc, true, now);
        assert_eq!(rpc.len(), 1);
    }

    proptest! {
        #[test]
        fn the_bounds_are_the_least_of_what_is_said(
            call in option::of(any_duration()),
            inherited in option::of(0..100_000_u64),
            inherited_head in option::of(0..100_000_u64),
            wire in option::of(0..99_999_999_u32),
            configured in option::of(any_duration()),
            whole: bool,
        ) {
            let now = Instant::now();
            let mut headers = HeaderMap::new();
            if let Some(millis) = wire {
                headers.insert(grpc::GRPC_TIMEOUT, format!("{millis}m").parse().unwrap());
            }
            let mut over = Call::new();
            over.timeout = call;
            over.deadline = inherited.map(|millis| now + Duration::from_millis(millis));
            over.head = inherited_head.map(|millis| now + Duration::from_millis(millis));
            let scope = Scope { timeout: configured, whole_response: whole };
            let bounds = of(&headers, Some(&over), scope, now);
            let wire = wire.map(|millis| Duration::from_millis(millis.into()));
            // The earliest timeout may lie beyond all time: then it is none.
            let own = [call, wire].into_iter().flatten().min();
            let own = own.and_then(|timeout| now.checked_add(timeout));
            let explicit = [own, over.deadline].into_iter().flatten().min();
            let configured = configured.and_then(|timeout| now.checked_add(timeout));
            let body = [explicit, configured.filter(|_| whole)].into_iter().flatten().min();
            let head = [explicit, configured, over.head].into_iter().flatten().min();
            prop_assert_eq!(bounds, Bounds { head, body });
            if let (Some(head), Some(body)) = (bounds.head, bounds.body) {
                prop_assert!(head <= body);
            }
        }

        #[test]
        fn what_is_told_never_exceeds_what_is_left(
            head in any_duration(),
            elapsed in any_duration(),
            is_grpc: bool,
        ) {
            let now = Instant::now();
            let (Some(at), Some(later)) = (now.checked_add(head), now.checked_add(elapsed)) else {
                return Ok(());
            };
            let left = at.saturating_duration_since(later);
            let bounds = Bounds { head: Some(at), body: Some(at) };
            let mut headers = HeaderMap::new();
            bounds.write(&mut headers, is_grpc, later);
            let told = grpc::timeout_of(&headers).unwrap();
            // A millisecond is the least that a plain call can state.
            let least = if is_grpc { Duration::ZERO } else { Duration::from_millis(1) };
            prop_assert!(told <= left.max(least), "told {told:?}, left {left:?}");
            let rounded = left.mul_f64(0.999).saturating_sub(Duration::from_millis(1));
            prop_assert!(told >= rounded.min(Duration::from_secs(99_999_999)), "{told:?} of {left:?}");
            prop_assert_eq!(bounds.expired(later), left.is_zero());
        }
    }
}
