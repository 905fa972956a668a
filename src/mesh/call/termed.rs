//! A call whose policy asks for more than most do, or whose request does.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::{
    Pinned,
    overrides::{Bound, Overrides},
    path::{PathProj, StateProj},
    rare::Rare,
};
use crate::{
    balance::verdict::Failures,
    config,
    core::{Body, Call, Instant, Sent, earliest},
    mesh::{service::Policy, terms::Terms},
    resilience::{
        deadline::{self, Bounds, Scope},
        retry::Met,
    },
};

/// How many attempts there were, this one included (Envoy).
pub(super) const ATTEMPTS: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// What a call keeps of its terms.
#[derive(Clone, Default)]
pub(crate) struct Termed {
    /// A policy of its own, by its headers.
    policy: Option<Arc<Policy>>,
    /// Notes the end of the request of the attempt under way; nothing where it has no body.
    sent: Option<Arc<Sent>>,
    /// Attempts that its response tells of.
    reported: Option<u32>,
}

// === impl Termed ===

impl Termed {
    /// The policy that the call obeys instead of its route's.
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.policy.as_deref()
    }

    /// Tells the caller how many attempts there were.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(attempts) = self.reported {
            headers.insert(ATTEMPTS, attempts.into());
        }
    }
}

impl fmt::Debug for Termed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Termed").field("reported", &self.reported).finish_non_exhaustive()
    }
}

/// The policy of a request that changes it by its headers, which are taken out; nothing, if it does not.
#[cold]
pub(super) fn overridden(policy: &Policy, headers: &mut HeaderMap) -> Option<Arc<Policy>> {
    Some(Arc::new(under(policy, &Overrides::take(headers)?)))
}

/// The policy under what a request asks for.
fn under(policy: &Policy, overrides: &Overrides) -> Policy {
    let mut own = policy.clone();
    if let Some(Bound(timeout)) = overrides.timeout {
        own.scope.timeout = timeout;
    }
    if let Some(Bound(timeout)) = overrides.attempt_timeout {
        own.attempt_timeout = timeout;
    }
    if let Some(timeout) = overrides.response_timeout {
        own.terms.get_or_insert_default().response_timeout = Some(timeout);
    }
    own.retry.asked(overrides.attempts, &overrides.retry, overrides.asks_for_retries());
    own
}

/// What a request asks for by its headers, where its policy allows it, and the policy that comes of it.
pub(crate) fn asked(policy: &Policy, headers: &HeaderMap) -> Option<(Overrides, Policy)> {
    if !policy.terms.as_ref().is_some_and(|terms| terms.caller_overrides) {
        return None;
    }
    let overrides = Overrides::take(&mut headers.clone())?;
    let own = under(policy, &overrides);
    Some((overrides, own))
}

/// The timeout that bounds a call before its own policy is known: what its headers say is not taken out.
pub(super) fn scope(policy: &Policy, headers: &HeaderMap) -> Scope {
    let scope = policy.scope;
    if !policy.terms.as_ref().is_some_and(|terms| terms.caller_overrides) {
        return scope;
    }
    let said = Overrides::take(&mut headers.clone()).and_then(|overrides| overrides.timeout);
    said.map_or(scope, |Bound(timeout)| Scope { timeout, ..scope })
}

/// The bounds of a call before its own policy is known.
#[cold]
pub(super) fn early_bounds<B>(
    policy: &Policy,
    request: &Request<B>,
    is_grpc: bool,
    started: Instant,
) -> Bounds {
    let call = request.extensions().get::<Call>();
    let scope = scope(policy, request.headers());
    let rpc = is_grpc.then(|| request.headers());
    match (&policy.terms, rpc) {
        (Some(terms), rpc) => terms.extent.bounds(rpc, call, scope, started),
        (None, Some(headers)) => deadline::of(headers, call, scope, started),
        (None, None) => deadline::of_http(call, scope, started),
    }
}

/// The bounds of a call under terms.
#[cold]
pub(super) fn bounds(
    terms: &Terms,
    policy: &Policy,
    rpc: Option<&HeaderMap>,
    call: Option<&Call>,
    started: Instant,
) -> Bounds {
    terms.extent.bounds(rpc, call, policy.scope, started)
}

/// Whether how the attempts of a call that began then end is told to its budget, and whether the duration of
/// its stream bounds its body. What more it keeps of its terms, as most do not, is put to what is rare;
/// `policy` is one of its own.
#[cold]
pub(super) fn begin(
    terms: &Terms,
    policy: Option<&Arc<Policy>>,
    (bounds, started): (Bounds, Instant),
    rare: &mut Option<Box<Rare>>,
) -> (bool, bool) {
    if policy.is_some() || terms.are_kept() {
        let termed = Termed { policy: policy.cloned(), ..Termed::default() };
        rare.get_or_insert_default().termed = Some(termed);
    }
    let stream = terms.extent.stream.and_then(|stream| started.checked_add(stream));
    (terms.throttled, stream.is_some() && bounds.body == stream)
}

/// Tells an endpoint the number of an attempt.
pub(crate) fn count(headers: &mut HeaderMap, number: u32) {
    let mut value = HeaderValue::from(number);
    // Mostly the same, and different where it matters.
    value.set_sensitive(number > 1);
    headers.insert(ATTEMPTS, value);
}

impl PathProj<'_> {
    /// Before an attempt: what its endpoint is told, and what is noted of its request.
    #[cold]
    pub(super) fn begin_termed(&mut self) {
        let number = self.trail.counted().max(1);
        let (Some(pinned), Some(request)) = (&mut *self.pinned, &mut *self.request) else { return };
        let Some(terms) = pinned.terms() else { return };
        let (counts, waits) = (terms.send_attempt_count, terms.wait().is_some());
        if counts {
            count(request.headers_mut(), number);
        }
        let sent = if waits { Sent::note(request) } else { None };
        if let Some(termed) = pinned.termed_mut() {
            termed.sent = sent;
        }
    }

    /// When the wait for a head ends that begins with the end of the request; none, while that is not
    /// sent.
    #[inline]
    pub(super) fn answer_bound(&mut self, cx: &Context<'_>) -> Option<Instant> {
        // Most calls have nothing of the kind.
        self.pinned.as_ref()?.rare.as_ref()?;
        self.answer_by(Some(cx.waker())).map(|(at, _)| at)
    }

    /// The same, and whether it is the bound of the attempt's frames.
    #[cold]
    pub(super) fn answer_by(&mut self, waker: Option<&Waker>) -> Option<(Instant, bool)> {
        let since = match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => attempt.sending_since()?,
            StateProj::Staged(attempt) => attempt.started(),
            _ => return None,
        };
        let pinned = self.pinned.as_ref()?;
        let (terms, termed) = (pinned.terms()?, pinned.termed()?);
        let wait = terms.wait()?;
        let end = match (&termed.sent, waker) {
            (None, _) => since,
            (Some(sent), Some(waker)) => sent.at(waker)?.max(since),
            (Some(sent), None) => sent.ended()?.max(since),
        };
        let of_frames = terms.response_timeout.is_none_or(|response| wait < response);
        Some((end.checked_add(wait)?, of_frames))
    }

    /// Tells gRPC's throttle what an attempt has met, where the route has one.
    #[inline]
    pub(super) fn throttled(&self, met: Met<'_>) {
        if self.pinned.as_ref().is_some_and(|pinned| pinned.is_throttled) {
            self.tell_throttle(met);
        }
    }

    /// The same of an answer that is the call's, whatever it is.
    #[inline]
    pub(super) fn throttled_by(&self, response: &Response<Body>) {
        if self.pinned.as_ref().is_some_and(|pinned| pinned.is_throttled) {
            self.tell_throttle(Met::of(response.status(), response.headers()));
        }
    }

    #[cold]
    fn tell_throttle(&self, met: Met<'_>) {
        if let Some(policy) = self.pinned.as_ref().and_then(Pinned::policy)
            && let Some(failed) = policy.retry.is_failure(met)
        {
            policy.budget.ended(failed);
        }
    }

    /// The bound of one attempt that passed: how long it was, its name and who has said it.
    pub(super) fn of_attempt_bound(&mut self) -> String {
        let answer = self.answer_by(None);
        let whole = match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => Some(attempt.started()),
            StateProj::Staged(attempt) => Some(attempt.started()),
            _ => None,
        };
        let policy = self.pinned.as_ref().and_then(Pinned::policy);
        let whole = policy
            .and_then(|policy| policy.attempt_timeout)
            .and_then(|timeout| whole?.checked_add(timeout));
        match answer {
            Some((at, of_frames)) if whole.is_none_or(|whole| at < whole) => {
                if of_frames {
                    self.told(
                        "retry.attempt_idle_timeout",
                        |policy| policy.terms.as_ref()?.attempt_idle_timeout,
                        |policy| policy.retry.as_ref()?.attempt_idle_timeout,
                    )
                } else {
                    self.told(
                        "response_timeout",
                        |policy| policy.terms.as_ref()?.response_timeout,
                        |policy| policy.response_timeout,
                    )
                }
            }
            _ => self.told(
                "attempt_timeout",
                |policy| policy.attempt_timeout,
                |policy| policy.attempt_timeout,
            ),
        }
    }

    /// A bound as errors name it: its length, its name and who has said it.
    pub(super) fn told(
        &self,
        name: &str,
        of: impl Fn(&Policy) -> Option<Duration>,
        said: impl Fn(&config::Policy) -> Option<Duration>,
    ) -> String {
        let Some(pinned) = &*self.pinned else { return String::new() };
        let Some(time) = pinned.policy().and_then(&of) else { return String::new() };
        let length = super::words::length(time);
        let of_route = pinned.route().and_then(|route| of(&route.policy));
        if of_route != Some(time) {
            return format!("{length}, `{name}` by a header of the request");
        }
        format!("{length}, `{name}` by {}", self.setter(said))
    }
}

impl Pinned {
    /// What its policy asks for beyond what most do.
    pub(super) fn terms(&self) -> Option<&Terms> {
        self.policy()?.terms.as_deref()
    }

    fn termed(&self) -> Option<&Termed> {
        self.rare.as_ref()?.termed.as_ref()
    }

    fn termed_mut(&mut self) -> Option<&mut Termed> {
        self.rare.as_mut()?.termed.as_mut()
    }

    /// Notes what its response tells of, if it tells of attempts.
    #[inline]
    pub(super) fn report(&mut self, attempts: u32) {
        if self.rare.is_some()
            && self.terms().is_some_and(|terms| terms.report_attempt_count)
            && let Some(termed) = self.termed_mut()
        {
            termed.reported = Some(attempts);
        }
    }

    /// Which answers its policy says are failures of their endpoint, if it says so.
    #[inline]
    pub(super) fn failures(&self) -> Option<&Failures> {
        self.termed()?;
        self.terms()?.failures.as_ref()
    }

    /// What bounds the wait for a frame of a response, and whether it is the attempt's.
    pub(super) fn idle(&self) -> (Option<Duration>, bool) {
        let Some(policy) = self.policy() else { return (None, false) };
        let of_attempt = policy.terms.as_ref().and_then(|terms| terms.attempt_idle_timeout);
        match of_attempt {
            None => (policy.idle_timeout, false),
            Some(own) => (
                earliest(Some(own), policy.idle_timeout),
                policy.idle_timeout.is_none_or(|usual| own < usual),
            ),
        }
    }
}
