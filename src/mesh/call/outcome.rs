//! What follows an attempt: its answer is returned, or another attempt is made.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;

use super::{
    Pinned,
    attempt::{Met, Way},
    entrance, failover,
    path::{Next, PathProj, State, StateProj, Step, around},
};
#[cfg(feature = "_tls")]
use crate::security::TlsError;
use crate::{
    core::{
        Body, Error, ErrorKind, Instant, Phase, Refusal, RetryReason, RetryRefusal, cut, grpc,
        is_cancelled,
    },
    resilience::{
        budget::Grant,
        deadline::Bounds,
        retry::{self, Decision},
    },
    transport::ConnectError,
};

/// So many connections may turn out to have been closed while idle.
const MAX_CLOSED: u32 = 16;
/// So many endpoints may turn out to be unreachable: each is tried once.
const MAX_UNREACHABLE: u32 = 256;

/// How long a gRPC response whose head says nothing of its status is held back for its first
/// frame. Trailers without messages follow their head at once; a stream may be quiet for long, and
/// its caller may wait for the head before it says more.
const PEEK: Duration = Duration::from_millis(2);

/// What gRPC servers end a call with whose deadline has passed.
const CANCELLED: i32 = 1;
const DEADLINE_EXCEEDED: i32 = 4;

impl PathProj<'_> {
    /// An attempt has been answered: returns it, looks at more of it, or makes another.
    pub(super) fn responded(&mut self, response: &Response<Body>) -> Next {
        let status = response.status();
        *self.ended = self.attempt_ended();
        self.trace_answer(response);
        if self.caller.grpc
            && let Some(error) = self.late(response)
        {
            return Next::Late(error);
        }
        if self.armed.as_ref().is_none_or(|armed| armed.safe_only) {
            self.throttled_by(response);
            return Next::Return;
        }
        let is_grpc = self.caller.grpc;
        let code = if is_grpc { grpc::status_of(response.headers()) } else { None };
        if is_grpc && code.is_none() && status.is_success() {
            // The status of a gRPC call may still come in trailers, before any message.
            *self.answering = self.visit();
            return Next::Peek(Instant::now() + PEEK);
        }
        match self.answered(status, code, response.headers()) {
            Ok(()) => Next::Again,
            Err(()) => Next::Return,
        }
    }

    /// The deadline of a gRPC call, where its endpoint says no more than that it has passed. One that was told
    /// the bound ends the call by its own clock: before the timer of this side fires, or at the same
    /// time. Of a bound of the head alone it was told nothing, and may have the like of its own.
    #[inline]
    fn late(&mut self, response: &Response<Body>) -> Option<Error> {
        let deadline = self.pinned.as_ref()?.bounds.head?;
        let epoch = self.caller.inner.epoch;
        let ended = (*self.ended).unwrap_or_else(|| epoch.nanos(Instant::now()));
        if ended < epoch.nanos(deadline) {
            return None;
        }
        let said = self.said_late(response.headers())?;
        Some(self.past_deadline(Some(said)))
    }

    /// The same of trailers, which have come now. A body that the bound covers, too, lets none of its endpoint's
    /// through by then: it has ended itself with its own.
    #[cold]
    fn trailed_late(&mut self, code: i32, trailers: &HeaderMap) -> Option<Error> {
        let Bounds { head, body } = self.pinned.as_ref()?.bounds;
        let now = Instant::now();
        if now < head? {
            return None;
        }
        let said = self.said_late(trailers)?;
        let is_own = body.is_some_and(|at| at <= now);
        if !is_own && let Some(trace) = self.trace {
            trace.status(code);
        }
        Some(self.past_deadline((!is_own).then_some(said)))
    }

    /// The status, where it says no more than that the deadline has passed.
    //= gRPC `statuscodes.md`: DEADLINE_EXCEEDED is the client's, whatever the server has come to
    #[cold]
    fn said_late(&self, headers: &HeaderMap) -> Option<&'static str> {
        // A fault is nobody's word of the deadline.
        if matches!(*self.state, State::Faulty(_)) {
            return None;
        }
        let code = grpc::status_of(headers)?;
        grpc::name(code).filter(|_| matches!(code, CANCELLED | DEADLINE_EXCEEDED))
    }

    /// The deadline of the call has passed, and its endpoint, if it has said anything, has ended it so.
    #[cold]
    fn past_deadline(&mut self, said: Option<&str>) -> Error {
        self.note("timeout");
        let mut detail = format!("the deadline of the call passed: {}", self.of_deadline());
        if let Some(said) = said {
            detail += &format!("; the endpoint ended it with {said}");
        }
        Error::new(ErrorKind::Timeout, Phase::Headers).detail(detail)
    }

    /// Asks the retry policy about an answer; `Ok` when another attempt is on its way.
    fn answered(
        &mut self,
        status: StatusCode,
        code: Option<i32>,
        headers: &HeaderMap,
    ) -> Result<(), ()> {
        let met = match code {
            Some(code) => retry::Met::GrpcStatus { code, headers },
            None => retry::Met::Response { status, headers },
        };
        self.throttled(met);
        let refused = match self.decide(met).ok_or(())? {
            Decision::Return => return Err(()),
            Decision::Refuse { reason } => reason,
            Decision::Retry { reason, after } => {
                match self.again(reason, after, &reason.to_string(), true) {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused,
                }
            }
        };
        self.refused(refused);
        Err(())
    }

    /// The same of a status that came in trailers.
    fn trailed(&mut self, status: StatusCode, code: i32, trailers: &HeaderMap) -> Result<(), ()> {
        if let Some(trace) = self.trace {
            trace.status(code);
        }
        self.answered(status, Some(code), trailers)
    }

    /// The first frame of a gRPC response that may be retried: trailers may hold its status.
    pub(super) fn peeked(
        &mut self,
        mut response: Response<Body>,
        frame: Option<Result<Frame<Bytes>, Error>>,
    ) -> Step {
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(code) = grpc::status_of(trailers)
        {
            if let Some(error) = self.trailed_late(code, trailers) {
                return Step::Return(Err(error));
            }
            if self.trailed(response.status(), code, trailers).is_ok() {
                return Step::Again;
            }
        }
        if !matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
            self.throttled_by(&response);
        }
        match frame {
            Some(Ok(frame)) => {
                let rest = std::mem::take(response.body_mut());
                *response.body_mut() = Body::peeked(frame, rest);
                Step::Return(Ok(response))
            }
            Some(Err(error)) => Step::Return(Err(error)),
            None => Step::Return(Ok(response)),
        }
    }

    pub(super) fn failed(&mut self, met: Met, error: Error) -> Step {
        if met == Met::Reset && self.is_late(Instant::now()) && is_cancelled(&error) {
            self.trace_failure(ErrorKind::Timeout, ErrorKind::Timeout.grpc_code());
            let said = Some("RST_STREAM (CANCEL)");
            return Step::Return(Err(self.past_deadline(said).caused_by(error)));
        }
        self.trace_failure(error.kind(), error.grpc_code());
        if error.refusal().is_some() {
            self.refund();
        }
        let text = attempt_text(&error);
        if self.caller.inner.is_closed() {
            self.note(&text);
            return Step::Return(Err(match error.kind() {
                ErrorKind::Shutdown => error,
                _ => cut(error.phase()).caused_by(error),
            }));
        }
        let inner = &self.caller.inner;
        let cluster = self.pinned.as_ref().map(|pinned| &pinned.cluster);
        let waits = match (error.kind(), error.phase()) {
            (ErrorKind::NoEndpoints, _) => cluster.is_some_and(|it| !inner.is_settled(it)),
            // A source may still say how its connections are secured.
            (ErrorKind::Config, Phase::Resolve) => !inner.is_synced(),
            _ => false,
        };
        match met {
            Met::Fatal if waits && self.request.is_some() => {
                self.trail.number -= 1;
                self.await_sources(error.kind() == ErrorKind::NoEndpoints)
            }
            Met::NeverSent => self.resend(error, &text),
            Met::Fatal => {
                self.note(&text);
                Step::Return(Err(error))
            }
            Met::Refused => self.lost(retry::Met::Refused, error, &text),
            Met::Reset => self.lost(retry::Met::Reset, error, &text),
        }
    }

    /// Makes another attempt after one that never left, if there is where to.
    fn resend(&mut self, error: Error, text: &str) -> Step {
        let most = if error.kind() == ErrorKind::Transport { MAX_CLOSED } else { MAX_UNREACHABLE };
        let may = self.trail.never_sent < most && self.may_resend(error.kind());
        if !(may && self.has_request()) {
            if repeatable(&error) && self.request.is_some() {
                // There is no other endpoint: this one may be just being replaced.
                let step = self.lost(retry::Met::Unreachable, error, text);
                if matches!(step, Step::Again) {
                    self.trail.never_sent += 1;
                }
                return step;
            }
            self.note(text);
            return Step::Return(Err(error));
        }
        self.trail.never_sent += 1;
        self.retried(RetryReason::NeverSent, Duration::ZERO);
        self.note(text);
        self.state.set(State::Begin);
        Step::Again
    }

    /// The attempt timeout or the call's own bound has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Step {
        let phase = self.phase();
        if phase == Phase::Admission {
            return self.expired_before();
        }
        if self.pinned.is_none() {
            return Step::Return(Err(self.of_silence()));
        }
        let whole = self.is_late(now);
        let bound = if whole { String::new() } else { self.of_attempt_bound() };
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => {
                let way = Way { request: self.request, sent: self.sent.as_mut() };
                attempt.expire(self.caller, way, now);
            }
            StateProj::Staged(attempt) => attempt.expire(),
            StateProj::Hedged(group) => {
                if let Some(pinned) = &*self.pinned {
                    group.expire(&mut around!(self, pinned), now);
                }
            }
            _ => {}
        }
        self.trace_failure(ErrorKind::Timeout, ErrorKind::Timeout.grpc_code());
        let mut error = Error::new(ErrorKind::Timeout, phase);
        let mut place = "";
        if matches!(*self.state, State::Faulty(_)) {
            // It has met no endpoint, and none is to blame.
            error =
                error.refused(Refusal::Delay).check("the faults of the service in mesh.describe()");
            place = " in an injected delay";
        }
        if whole {
            self.note("timeout");
            let detail = format!("the deadline of the call passed{place}: {}", self.of_deadline());
            return Step::Return(Err(error.detail(detail)));
        }
        let error = error.detail(format!("the attempt timeout passed{place}: {bound}"));
        if self.request.is_some() && self.may_resend(ErrorKind::Timeout) {
            return self.resend(error, "attempt timeout");
        }
        self.lost(retry::Met::AttemptTimeout, error, "attempt timeout")
    }

    /// Asks the retry policy about an attempt without an answer.
    fn lost(&mut self, met: retry::Met<'static>, error: Error, text: &str) -> Step {
        let is_safe = met.is_safe();
        self.throttled(met);
        if self.armed.is_none() && !(is_safe && self.request.is_some()) {
            self.note(text);
            let why = self.of_unwanted(met);
            return Step::Return(Err(error.noted(&format!("not retried: {why}"))));
        }
        let refused = match self.decide(met) {
            Some(Decision::Retry { reason, after }) => {
                match self.again(reason, after, text, !is_safe) {
                    Ok(()) => return Step::Again,
                    Err(refused) => Some(refused),
                }
            }
            Some(Decision::Refuse { reason }) => Some(reason),
            Some(Decision::Return) | None => None,
        };
        self.note(text);
        let why = match refused {
            None => self.of_unwanted(met).to_owned(),
            Some(reason) => {
                self.refused(reason);
                self.of_refusal(reason, self.counted(met))
            }
        };
        Step::Return(Err(error.noted(&format!("not retried: {why}"))))
    }

    /// The attempts that count towards the policy's, where this was met.
    fn counted(&self, met: retry::Met<'_>) -> u32 {
        match met {
            retry::Met::Unreachable => self.trail.number,
            _ => self.trail.counted(),
        }
    }

    fn decide(&self, met: retry::Met<'_>) -> Option<Decision> {
        if self.armed.as_ref().is_some_and(|armed| armed.safe_only) && !met.is_safe() {
            return None;
        }
        let policy = self.pinned.as_ref().and_then(Pinned::policy)?;
        Some(policy.retry.decide(self.counted(met), met, &self.caller.inner.random))
    }

    /// Prepares one more attempt, or says why there is none.
    fn again(
        &mut self,
        reason: RetryReason,
        after: Duration,
        met: &str,
        budgeted: bool,
    ) -> Result<(), RetryRefusal> {
        let now = Instant::now();
        let resume = now.checked_add(after).unwrap_or(now);
        if self.is_late(resume) {
            return Err(RetryRefusal::Deadline);
        }
        if self.request.is_none() {
            let armed = self.armed.as_ref().ok_or(RetryRefusal::NoCopy)?;
            armed.body.check()?;
        }
        if budgeted {
            self.pay(now)?;
        }
        self.trail.is_paid = budgeted;
        self.trail.worked_on |= budgeted;
        // Only now: what takes the body over breaks an upload that is still under way.
        let request = match (self.request.take(), &*self.armed) {
            (Some(request), _) => request,
            (None, Some(armed)) => match armed.body.next() {
                Ok(body) => armed.head.request(body),
                Err(why) => {
                    // It has grown, or failed, since it was looked at.
                    self.refund();
                    return Err(why.into());
                }
            },
            (None, None) => return Err(RetryRefusal::NoCopy),
        };
        self.retried(reason, after);
        self.note(met);
        *self.request = Some(request);
        self.state.set(if after.is_zero() {
            State::Begin
        } else {
            State::Backoff(resume, self.caller.inner.hub.end.wait())
        });
        Ok(())
    }

    /// Takes what one more attempt costs out of the budget.
    fn pay(&mut self, now: Instant) -> Result<(), RetryRefusal> {
        let Some(pinned) = &*self.pinned else { return Ok(()) };
        let Some(policy) = pinned.policy() else { return Ok(()) };
        // The attempt before, if it was a retry, is over.
        self.trail.grant = Grant::default();
        let core = pinned.cluster.core.load();
        let now = self.caller.inner.epoch.nanos(now);
        let granted = policy.budget.withdraw(now, core.slot(pinned.priority()));
        self.trail.grant = granted.ok_or(RetryRefusal::Budget)?;
        Ok(())
    }

    /// The attempt was refused before it was made: its retry has cost nothing.
    #[cold]
    fn refund(&mut self) {
        if !std::mem::take(&mut self.trail.is_paid) {
            return;
        }
        let grant = std::mem::take(&mut self.trail.grant);
        if let Some(policy) = self.pinned.as_ref().and_then(Pinned::policy) {
            policy.budget.refund(self.caller.inner.epoch.nanos(Instant::now()), grant);
        }
    }

    /// Whether the request is in hand: given back, or copied.
    fn has_request(&mut self) -> bool {
        if self.request.is_none()
            && let Some(armed) = &*self.armed
            && let Ok(body) = armed.body.next()
        {
            *self.request = Some(armed.head.request(body));
        }
        self.request.is_some()
    }

    /// Whether a request that never left may be sent elsewhere, or on another connection.
    fn may_resend(&mut self, met: ErrorKind) -> bool {
        // A connection that was closed while idle says nothing about its endpoint, nor does one
        // that has left its cluster.
        if matches!(met, ErrorKind::Transport | ErrorKind::NoEndpoints) {
            return true;
        }
        let Some((endpoint, _)) = self.visit() else { return false };
        let Some(pinned) = &*self.pinned else { return false };
        if pinned.over().is_some_and(|over| over.strict) {
            return false;
        }
        // A cluster with a queue is waited for.
        if met == ErrorKind::Connect
            && entrance::may_wait(pinned, self.caller.inner.epoch.nanos(Instant::now()))
        {
            return true;
        }
        if met == ErrorKind::Config && pinned.cluster.line().all(|it| it.secures_nothing()) {
            return false;
        }
        let met: Vec<_> = self.trail.tried.iter().chain([&endpoint]).cloned().collect();
        failover::has_other(self.caller, pinned, self.request.as_ref(), &met)
    }

    /// Notes what the attempt under way has met, and excludes its endpoint from the next.
    fn note(&mut self, met: &str) {
        if let Some(visit) = self.visit() {
            self.trail.note(visit, met);
        }
    }

    fn retried(&mut self, reason: RetryReason, backoff: Duration) {
        if let Some(trace) = self.trace {
            trace.retry(reason, backoff);
        }
        let meter = self.caller.meter(self.pinned.as_ref());
        meter.retry((&self.caller.cell.name, self.caller.number), reason, backoff);
    }

    fn refused(&mut self, reason: RetryRefusal) {
        if let Some(trace) = self.trace {
            trace.retry_refused(reason);
        }
        let call = (&self.caller.cell.name, self.caller.number);
        self.caller.meter(self.pinned.as_ref()).retry_refused(call, reason);
    }
}

/// Whether the same endpoint may be asked once more: not if that has taken its time already.
fn repeatable(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    let refused = source.and_then(|source| source.downcast_ref::<ConnectError>());
    error.kind() == ErrorKind::Connect && refused.is_none_or(|error| !error.is_timeout())
}

/// What an attempt met, in a word or two: the root of its causes.
pub(super) fn attempt_text(error: &Error) -> String {
    let mut root = std::error::Error::source(error);
    #[cfg(feature = "_tls")]
    if let Some(tls) = root.and_then(|root| root.downcast_ref::<TlsError>()) {
        return tls.cause();
    }
    while let Some(deeper) = root.and_then(std::error::Error::source) {
        root = Some(deeper);
    }
    match root {
        Some(root) => root.to_string(),
        None => error.kind().what().to_owned(),
    }
}
