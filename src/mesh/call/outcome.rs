//! What follows an attempt: its answer is returned, or another attempt is made.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;

use super::{
    Pinned,
    attempt::{Failed, Met},
    path::{PathProj, State, StateProj, Step},
};
use crate::{
    core::{Body, Error, ErrorKind, Event, Instant, Phase, grpc},
    resilience::retry::{self, Decision},
};

/// Safe failures cost the endpoint nothing, but a call must end: so many are resent.
const MAX_NEVER_SENT: u32 = 16;

impl PathProj<'_> {
    /// An attempt has ended: returns it, or makes another.
    pub(super) fn met(&mut self, met: Result<Response<Body>, Box<Failed>>) -> Step {
        match met {
            Ok(response) => self.responded(response),
            Err(failed) => self.failed(failed),
        }
    }

    fn responded(&mut self, response: Response<Body>) -> Step {
        let status = response.status();
        self.attempt_ended(Some(status.as_u16()), None);
        if self.armed.as_ref().is_none_or(|armed| armed.safe_only) {
            return Step::Return(Ok(response));
        }
        let is_grpc = self.caller.grpc;
        let code = if is_grpc { grpc::status_of(response.headers()) } else { None };
        if is_grpc && code.is_none() && status.is_success() {
            // The status of a gRPC call may still come in trailers, before any message.
            *self.answering = self.visit();
            self.state.set(State::Peek(Some(response)));
            return Step::Again;
        }
        match self.answered(status, code, response.headers()) {
            Ok(()) => Step::Again,
            Err(()) => Step::Return(Ok(response)),
        }
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
        let text = || match code {
            Some(code) => format!("grpc {code}"),
            None => format!("status {}", status.as_u16()),
        };
        let refused = match self.decide(met).ok_or(())? {
            Decision::Return => return Err(()),
            Decision::Refuse { reason } => reason,
            Decision::Retry { after, .. } => {
                let text = text();
                match self.again(&text, after, &text, true) {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused,
                }
            }
        };
        self.refused(refused);
        Err(())
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
            && self.answered(response.status(), Some(code), trailers).is_ok()
        {
            return Step::Again;
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

    #[expect(clippy::boxed_local, reason = "an attempt returns it in its box")]
    pub(super) fn failed(&mut self, failed: Box<Failed>) -> Step {
        let Failed { met, error, request } = *failed;
        self.attempt_ended(None, Some(error.kind()));
        if let Some(request) = request {
            *self.request = Some(*request);
        }
        let waits = error.kind() == ErrorKind::NoEndpoints && !self.caller.inner.is_settled();
        let text = attempt_text(&error);
        match met {
            Met::Fatal if waits && self.request.is_some() => {
                self.trail.number -= 1;
                self.await_endpoints()
            }
            Met::NeverSent
                if self.trail.never_sent < MAX_NEVER_SENT
                    && self.may_resend(error.kind())
                    && self.has_request() =>
            {
                self.trail.never_sent += 1;
                let service = &self.caller.cell.name;
                self.caller.inner.events.emit(|| Event::Retry {
                    service: Arc::clone(service),
                    reason: "never sent".into(),
                    backoff: Duration::ZERO,
                });
                self.note(&text);
                self.state.set(State::Begin);
                Step::Again
            }
            Met::Fatal | Met::NeverSent => {
                self.note(&text);
                Step::Return(Err(error))
            }
            Met::Refused => self.lost(retry::Met::Refused, error, &text),
            Met::Reset => self.lost(retry::Met::Reset, error, &text),
        }
    }

    /// The attempt timeout or the call's own bound has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Step {
        let phase = self.phase();
        let Some(pinned) = &*self.pinned else {
            let error = Error::new(ErrorKind::Timeout, Phase::Resolve)
                .detail("no source delivered the service in time");
            return Step::Return(Err(error));
        };
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => attempt.expire(self.caller, now),
            StateProj::Staged(attempt) => attempt.expire(),
            _ => {}
        }
        let whole = pinned.bounds.head.is_none_or(|deadline| deadline <= now);
        self.attempt_ended(None, Some(ErrorKind::Timeout));
        let error = Error::new(ErrorKind::Timeout, phase);
        if whole {
            self.note("timeout");
            return Step::Return(Err(error.detail("the deadline of the call passed")));
        }
        let error = error.detail("the attempt timeout passed");
        self.lost(retry::Met::AttemptTimeout, error, "attempt timeout")
    }

    /// Asks the retry policy about an attempt without an answer.
    fn lost(&mut self, met: retry::Met<'static>, error: Error, text: &str) -> Step {
        let is_safe = met.is_safe();
        let again = match &*self.armed {
            Some(armed) => is_safe || !armed.safe_only,
            None => is_safe && self.request.is_some(),
        };
        if !again {
            self.note(text);
            return Step::Return(Err(error));
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
        Step::Return(Err(match refused {
            None => error,
            Some(reason) => {
                self.refused(reason);
                error.noted(&format!("not retried: {reason}"))
            }
        }))
    }

    fn decide(&self, met: retry::Met<'_>) -> Option<Decision> {
        let policy = self.pinned.as_ref().and_then(Pinned::policy)?;
        Some(policy.retry.decide(self.trail.counted(), met, &self.caller.inner.random))
    }

    /// Prepares one more attempt, or says why there is none.
    fn again(
        &mut self,
        reason: &str,
        after: Duration,
        met: &str,
        budgeted: bool,
    ) -> Result<(), &'static str> {
        let now = Instant::now();
        let resume = now.checked_add(after).unwrap_or(now);
        if self.is_late(resume) {
            return Err("deadline");
        }
        let request = match (&*self.armed, self.request.take()) {
            (_, Some(request)) => request,
            (Some(armed), None) => {
                let body = armed.body.next().map_err(|_| "body too large")?;
                armed.head.request(body)
            }
            (None, None) => return Err("no copy"),
        };
        let inner = &self.caller.inner;
        if budgeted
            && let Some(policy) = self.pinned.as_ref().and_then(Pinned::policy)
            && !policy.budget.withdraw(inner.epoch.nanos(now))
        {
            return Err("budget");
        }
        inner.events.emit(|| Event::Retry {
            service: Arc::clone(&self.caller.cell.name),
            reason: reason.into(),
            backoff: after,
        });
        self.note(met);
        *self.request = Some(request);
        self.state.set(if after.is_zero() { State::Begin } else { State::Backoff(resume) });
        Ok(())
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
        // A connection that was closed while idle says nothing about its endpoint.
        if met != ErrorKind::Connect {
            return true;
        }
        let Some((endpoint, _)) = self.visit() else { return false };
        let Some(pinned) = &*self.pinned else { return false };
        let met: Vec<_> = self.trail.tried.iter().chain([&endpoint]).map(|met| &**met).collect();
        pinned.cluster.core.load().balancer.has_other(&met)
    }

    /// Notes what the attempt under way has met, and excludes its endpoint from the next.
    fn note(&mut self, met: &str) {
        if let Some(visit) = self.visit() {
            self.trail.note(visit, met);
        }
    }

    fn attempt_ended(&mut self, status: Option<u16>, error: Option<ErrorKind>) {
        if !self.caller.inner.events.is_heard() {
            return;
        }
        let Some((endpoint, started)) = self.visit() else { return };
        let Some(node) = endpoint.extra() else { return };
        self.caller.inner.events.emit(|| Event::AttemptEnded {
            service: Arc::clone(&self.caller.cell.name),
            endpoint: Arc::clone(&node.name),
            number: self.trail.number,
            status,
            error,
            elapsed: started.elapsed(),
        });
    }

    fn refused(&self, reason: &'static str) {
        let service = &self.caller.cell.name;
        self.caller
            .inner
            .events
            .emit(|| Event::RetryRefused { service: Arc::clone(service), reason });
    }
}

/// What an attempt met, in a word or two.
fn attempt_text(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => format!("{:?}", error.kind()).to_lowercase(),
    }
}
