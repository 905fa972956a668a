//! The way of a call: the loop over its attempts and the one timer that bounds them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use pin_project::pin_project;
use tokio::time::Sleep;

use super::{
    Pinned,
    attempt::{Attempt, Failed, Met},
    head::{self, Head},
    staged::StagedAttempt,
};
use crate::{
    balance::Endpoint,
    core::{
        self, Body, BoxFuture, Call, Error, ErrorKind, Event, Held, Instant, Phase, ReplayBody,
        grpc,
    },
    mesh::{cluster::Node, inner::Inner, service::ServiceCell},
    resilience::{
        deadline::{self, earliest},
        limit::Limiter,
        retry::{self, Decision},
    },
};

/// Safe failures cost the endpoint nothing, but a call must end: so many are resent.
const MAX_NEVER_SENT: u32 = 16;

/// A call from its first poll to its response head.
#[pin_project(project = PathProj)]
pub(crate) struct Path {
    pub(crate) inner: Arc<Inner>,
    pub(crate) cell: Arc<ServiceCell>,
    pub(crate) request: Option<Request<Body>>,
    pub(crate) grpc: bool,
    pub(crate) started: Option<Instant>,
    pinned: Option<Pinned>,
    #[pin]
    state: State,
    /// The one timer of the call, armed only while something is awaited under a bound.
    #[pin]
    timer: Option<Sleep>,
    armed: Option<Armed>,
    limit: Held,
    number: u32,
    never_sent: u32,
    tried: Vec<Arc<Endpoint<Node>>>,
    log: Vec<core::Attempt>,
    resolve_by: Option<Instant>,
    /// The endpoint of an attempt whose answer is being looked at.
    current: Option<(Arc<Endpoint<Node>>, Instant)>,
}

/// What a further attempt is made from.
struct Armed {
    head: Head,
    body: ReplayBody,
}

#[pin_project(project = StateProj)]
enum State {
    Begin,
    /// Waiting for configuration or endpoints. Boxed: only calls before the first one wait.
    Resolve(BoxFuture<()>),
    Attempt(#[pin] Attempt),
    /// Through the user's attempt layers: their one box.
    Staged(StagedAttempt),
    /// A gRPC response whose status may still come in its first frame.
    Peek(Option<Response<Body>>),
    Backoff(Instant),
    Done,
}

/// What the loop does next.
enum Step {
    Again,
    Return(Result<Response<Body>, Error>),
}

// === impl Path ===

impl Path {
    pub(crate) fn new(
        inner: Arc<Inner>,
        cell: Arc<ServiceCell>,
        request: Request<Body>,
        is_grpc: bool,
    ) -> Self {
        Self {
            inner,
            cell,
            request: Some(request),
            grpc: is_grpc,
            started: None,
            pinned: None,
            state: State::Begin,
            timer: None,
            armed: None,
            limit: Held::Nothing,
            number: 0,
            never_sent: 0,
            tried: Vec::new(),
            log: Vec::new(),
            resolve_by: None,
            current: None,
        }
    }

    /// The caller's own bound on the whole call, which binds the call layers too.
    pub(super) fn outer_deadline(&self, request: &Request<Body>) -> Option<Instant> {
        let call = request.extensions().get::<Call>();
        let now = Instant::now();
        let explicit = deadline::explicit(request.headers(), call, now);
        let service = self.cell.current.load();
        let timeout = service.as_ref().and_then(|service| service.table.get(0)?.policy.timeout);
        earliest(explicit, timeout.and_then(|timeout| now.checked_add(timeout)))
    }
}

impl Future for Path {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let step = match this.state.as_mut().project() {
                StateProj::Begin => this.begin(),
                StateProj::Resolve(changed) => match changed.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        this.state.set(State::Begin);
                        Step::Again
                    }
                    Poll::Pending => ready!(this.wait(cx)),
                },
                StateProj::Attempt(attempt) => {
                    let Some(pinned) = &*this.pinned else { return Poll::Pending };
                    match attempt.poll(cx, pinned) {
                        Poll::Ready(met) => this.met(met),
                        Poll::Pending => ready!(this.wait(cx)),
                    }
                }
                StateProj::Staged(attempt) => match attempt.poll(cx) {
                    Poll::Ready(met) => this.met(met),
                    Poll::Pending => ready!(this.wait(cx)),
                },
                StateProj::Peek(peeked) => {
                    let Some(response) = peeked else { return Poll::Pending };
                    match Pin::new(response.body_mut()).poll_frame(cx) {
                        Poll::Pending => ready!(this.wait(cx)),
                        Poll::Ready(frame) => match peeked.take() {
                            Some(response) => this.peeked(response, frame),
                            None => return Poll::Pending,
                        },
                    }
                }
                StateProj::Backoff(_) => ready!(this.wait(cx)),
                StateProj::Done => return Poll::Pending,
            };
            if let Step::Return(result) = step {
                this.state.set(State::Done);
                return Poll::Ready(this.end(result));
            }
        }
    }
}

impl PathProj<'_> {
    /// Resolves, routes and admits the call, then starts its first attempt.
    fn begin(&mut self) -> Step {
        let now = Instant::now();
        let started = *self.started.get_or_insert_with(|| {
            self.inner.events.emit(|| Event::CallStarted { service: Arc::clone(&self.cell.name) });
            now
        });
        if self.inner.is_closed() {
            return Step::Return(Err(Error::new(ErrorKind::Shutdown, Phase::Resolve)));
        }
        if self.pinned.is_some() {
            return self.start(now);
        }
        let Some(service) = self.cell.current.load_full() else {
            return self.unresolved(started);
        };
        let Some(request) = self.request.as_mut() else { return Step::Again };
        if request.uri().authority().is_none()
            && let Some(authority) = &self.cell.authority
        {
            head::set_authority(request, authority);
        }
        let (parts, body) = std::mem::take(request).into_parts();
        let route = service.table.find(&parts);
        let call = parts.extensions.get::<Call>().cloned();
        let explicit = deadline::explicit(&parts.headers, call.as_ref(), started);
        *self.request = Some(Request::from_parts(parts, body));
        let Some(index) = route else {
            return Step::Return(Err(Error::new(ErrorKind::NoRoute, Phase::Route)));
        };
        let Some(route) = service.table.get(index) else { return Step::Again };
        let word = if route.clusters.is_single() { 0 } else { self.inner.random.next() };
        let Some(cluster) = route.clusters.choose(word) else {
            return Step::Return(Err(Error::new(ErrorKind::Config, Phase::Route)
                .detail("every cluster of the route has weight 0")));
        };
        let policy = &route.policy;
        let configured = policy.timeout.and_then(|timeout| started.checked_add(timeout));
        let whole = if policy.whole_response { configured } else { None };
        let pinned = Pinned {
            inner: Arc::clone(self.inner),
            cell: Arc::clone(self.cell),
            cluster: Arc::clone(cluster),
            grpc: *self.grpc,
            head_deadline: earliest(explicit, configured),
            body_deadline: earliest(explicit, whole),
            route: index,
            service,
        };
        if let Some(limiter) = &pinned.service.limiter {
            match Limiter::hold(limiter) {
                Some(held) => *self.limit = held,
                None => {
                    return Step::Return(Err(Error::new(ErrorKind::Overloaded, Phase::Admission)
                        .detail("the service has its maximum of concurrent calls in flight")));
                }
            }
        }
        *self.pinned = Some(pinned);
        self.arm(call.as_ref());
        self.start(now)
    }

    /// Keeps what a retry needs, when and only when the policy may want one.
    fn arm(&mut self, call: Option<&Call>) {
        let Some(pinned) = &*self.pinned else { return };
        let (Some(policy), Some(request)) = (pinned.policy(), self.request.take()) else { return };
        policy.budget.deposit(self.inner.epoch.nanos(Instant::now()));
        *self.request = Some(if policy.retry.arms(request.method(), *self.grpc, call) {
            let head = Head::of(&request);
            let (parts, body) = request.into_parts();
            let (first, body) = ReplayBody::arm(body, policy.max_body_bytes);
            *self.armed = Some(Armed { head, body });
            Request::from_parts(parts, first)
        } else {
            request
        });
    }

    /// Waits for the first configuration, or says that no source knows the name.
    fn unresolved(&mut self, started: Instant) -> Step {
        if self.inner.is_synced() {
            return Step::Return(Err(self.inner.unknown(&self.cell.name)));
        }
        *self.resolve_by = started.checked_add(self.inner.resolve_timeout);
        let changed = self.inner.changed(self.cell);
        self.state.set(State::Resolve(changed));
        Step::Again
    }

    /// Starts the next attempt with the request in hand.
    fn start(&mut self, now: Instant) -> Step {
        let (Some(pinned), Some(mut request)) = (&*self.pinned, self.request.take()) else {
            return Step::Return(Err(Error::new(ErrorKind::InvalidRequest, Phase::Request)
                .detail("the request was not given back and no copy was kept")));
        };
        *self.current = None;
        *self.number += 1;
        if let Some(deadline) = pinned.head_deadline {
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return Step::Return(Err(Error::new(ErrorKind::Timeout, Phase::Admission)
                    .detail("no time was left to make an attempt")));
            }
            head::write_deadline(request.headers_mut(), *self.grpc, left);
        }
        if *self.number > 1 && *self.never_sent + 1 < *self.number {
            let earlier = *self.number - 1 - *self.never_sent;
            head::write_attempts(request.headers_mut(), *self.grpc, earlier);
        }
        if let Some(stage) = &self.inner.stages.attempt {
            let attempt = StagedAttempt::new(stage, pinned, request, self.tried, *self.number);
            self.state.set(State::Staged(attempt));
            return Step::Again;
        }
        match Attempt::start(pinned, request, self.tried, *self.number, now) {
            Ok(attempt) => {
                self.state.set(State::Attempt(attempt));
                Step::Again
            }
            Err(failed) => {
                self.state.set(State::Begin);
                self.failed(failed)
            }
        }
    }

    /// An attempt has ended: returns it, or makes another.
    fn met(&mut self, met: Result<Response<Body>, Box<Failed>>) -> Step {
        match met {
            Ok(response) => self.responded(response),
            Err(failed) => self.failed(failed),
        }
    }

    fn responded(&mut self, response: Response<Body>) -> Step {
        let status = response.status();
        self.attempt_ended(Some(status.as_u16()), None);
        if self.armed.is_none() {
            return Step::Return(Ok(response));
        }
        let code = if *self.grpc { grpc::status_of(response.headers()) } else { None };
        if *self.grpc && code.is_none() && status.is_success() {
            // The status of a gRPC call may still come in trailers, before any message.
            *self.current = self.endpoint().zip(self.attempt_started());
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
        let policy = self.pinned.as_ref().and_then(Pinned::policy).ok_or(())?;
        let met = match code {
            Some(code) => retry::Met::GrpcStatus { code, headers },
            None => retry::Met::Response { status, headers },
        };
        let refused = match policy.retry.decide(self.unsafe_number(), met, &self.inner.random) {
            Decision::Return => return Err(()),
            Decision::Refuse { reason } => reason,
            Decision::Retry { after, .. } => {
                let met = match code {
                    Some(code) => format!("grpc {code}"),
                    None => format!("status {}", status.as_u16()),
                };
                match self.again(&met, after, &met, true) {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused,
                }
            }
        };
        self.refused(refused);
        Err(())
    }

    /// The first frame of a gRPC response that may be retried: trailers may hold its status.
    fn peeked(
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
    fn failed(&mut self, failed: Box<Failed>) -> Step {
        let Failed { met, error, request } = *failed;
        self.attempt_ended(None, Some(error.kind()));
        if let Some(request) = request {
            *self.request = Some(*request);
        }
        let text = attempt_text(&error);
        match met {
            Met::Fatal => {
                let waits = error.kind() == ErrorKind::NoEndpoints && !self.inner.is_settled();
                if waits && self.request.is_some() {
                    *self.number -= 1;
                    return self.await_endpoints();
                }
                self.logged(&text);
                Step::Return(Err(error))
            }
            Met::NeverSent if *self.never_sent >= MAX_NEVER_SENT => {
                self.logged(&text);
                Step::Return(Err(error))
            }
            Met::NeverSent if self.request.is_some() && self.may_resend(error.kind()) => {
                *self.never_sent += 1;
                self.inner.events.emit(|| Event::Retry {
                    service: Arc::clone(&self.cell.name),
                    reason: "never sent".into(),
                    backoff: Duration::ZERO,
                });
                self.logged(&text);
                self.state.set(State::Begin);
                Step::Again
            }
            Met::NeverSent => {
                self.logged(&text);
                Step::Return(Err(error))
            }
            Met::Refused | Met::Reset => self.maybe_again(met, error, &text),
        }
    }

    /// Asks the retry policy about a failure without a response.
    fn maybe_again(&mut self, met: Met, error: Error, text: &str) -> Step {
        let Some(policy) = self.pinned.as_ref().and_then(Pinned::policy) else {
            return Step::Return(Err(error));
        };
        let is_safe = met != Met::Reset;
        if self.armed.is_none() && !(is_safe && self.request.is_some()) {
            self.logged(text);
            return Step::Return(Err(error));
        }
        let asked = match met {
            Met::Refused => retry::Met::Refused,
            Met::NeverSent | Met::Reset | Met::Fatal => retry::Met::Reset,
        };
        let refused = match policy.retry.decide(self.unsafe_number(), asked, &self.inner.random) {
            Decision::Retry { reason, after } => match self.again(reason, after, text, !is_safe) {
                Ok(()) => return Step::Again,
                Err(refused) => refused,
            },
            Decision::Refuse { reason } => reason,
            Decision::Return => {
                self.logged(text);
                return Step::Return(Err(error));
            }
        };
        self.refused(refused);
        self.logged(text);
        Step::Return(Err(error.noted(&format!("not retried: {refused}"))))
    }

    /// The attempt timeout or the call's own bound has passed.
    fn expired(&mut self, now: Instant) -> Step {
        let phase = self.phase();
        let Some(pinned) = &*self.pinned else {
            let error = Error::new(ErrorKind::Timeout, Phase::Resolve)
                .detail("no source delivered the service in time");
            return Step::Return(Err(error));
        };
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => attempt.expire(pinned, now),
            StateProj::Staged(attempt) => attempt.expire(),
            _ => {}
        }
        self.attempt_ended(None, Some(ErrorKind::Timeout));
        let Some(pinned) = &*self.pinned else { return Step::Again };
        let whole = pinned.head_deadline.is_none_or(|deadline| deadline <= now);
        let error = Error::new(ErrorKind::Timeout, phase).detail(if whole {
            "the deadline of the call passed"
        } else {
            "the attempt timeout passed"
        });
        if whole || self.armed.is_none() {
            self.logged("timeout");
            return Step::Return(Err(error));
        }
        let Some(policy) = pinned.policy() else { return Step::Return(Err(error)) };
        let number = self.unsafe_number();
        let refused =
            match policy.retry.decide(number, retry::Met::AttemptTimeout, &self.inner.random) {
                Decision::Retry { reason, after } => {
                    match self.again(reason, after, "attempt timeout", true) {
                        Ok(()) => return Step::Again,
                        Err(refused) => refused,
                    }
                }
                Decision::Refuse { reason } => reason,
                Decision::Return => {
                    self.logged("timeout");
                    return Step::Return(Err(error));
                }
            };
        self.refused(refused);
        self.logged("timeout");
        Step::Return(Err(error.noted(&format!("not retried: {refused}"))))
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
        let Some(pinned) = &*self.pinned else { return Err("no route") };
        let resume = now.checked_add(after).unwrap_or(now);
        if pinned.head_deadline.is_some_and(|deadline| resume >= deadline) {
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
        if budgeted
            && let Some(policy) = pinned.policy()
            && !policy.budget.withdraw(self.inner.epoch.nanos(now))
        {
            return Err("budget");
        }
        self.inner.events.emit(|| Event::Retry {
            service: Arc::clone(&self.cell.name),
            reason: reason.into(),
            backoff: after,
        });
        self.logged(met);
        *self.request = Some(request);
        self.state.set(if after.is_zero() { State::Begin } else { State::Backoff(resume) });
        Ok(())
    }

    /// Waits until a bound passes; arms the timer only now.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let Some(at) = self.bound() else { return Poll::Pending };
        match self.timer.as_mut().as_pin_mut() {
            None => self.timer.set(Some(tokio::time::sleep_until(at))),
            Some(timer) if timer.deadline() != at => timer.reset(at),
            Some(_) => {}
        }
        if let Some(timer) = self.timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
        }
        let now = Instant::now();
        Poll::Ready(match self.state.as_mut().project() {
            StateProj::Backoff(until) if *until <= now => {
                self.state.set(State::Begin);
                Step::Again
            }
            StateProj::Resolve(_) if self.pinned.is_some() => {
                let deadline = self.pinned.as_ref().and_then(|pinned| pinned.head_deadline);
                if deadline.is_some_and(|deadline| deadline <= now) {
                    self.expired(now)
                } else {
                    self.log.clear();
                    Step::Return(Err(Error::new(ErrorKind::NoEndpoints, Phase::Resolve)
                        .detail("no source delivered endpoints in time")))
                }
            }
            _ => self.expired(now),
        })
    }

    /// The next moment at which waiting must end.
    fn bound(&mut self) -> Option<Instant> {
        let deadline = self.pinned.as_ref().and_then(|pinned| pinned.head_deadline);
        let timeout = self.pinned.as_ref().and_then(Pinned::policy).and_then(|p| p.attempt_timeout);
        let own = match self.state.as_mut().project() {
            StateProj::Resolve(_) => *self.resolve_by,
            StateProj::Backoff(until) => Some(*until),
            StateProj::Attempt(attempt) => {
                timeout.and_then(|timeout| attempt.started().checked_add(timeout))
            }
            StateProj::Staged(attempt) => {
                timeout.and_then(|timeout| attempt.started().checked_add(timeout))
            }
            StateProj::Begin | StateProj::Peek(_) | StateProj::Done => None,
        };
        earliest(deadline, own)
    }

    fn phase(&mut self) -> Phase {
        match self.state.as_mut().project() {
            StateProj::Resolve(_) | StateProj::Begin => Phase::Resolve,
            StateProj::Attempt(attempt) => attempt.phase(),
            StateProj::Staged(_) | StateProj::Peek(_) | StateProj::Done => Phase::Headers,
            StateProj::Backoff(_) => Phase::Backoff,
        }
    }

    /// Waits for endpoints that a source has still to deliver.
    fn await_endpoints(&mut self) -> Step {
        let started = self.started.unwrap_or_else(Instant::now);
        *self.resolve_by = started.checked_add(self.inner.resolve_timeout);
        let changed = self.inner.endpoints_changed();
        self.state.set(State::Resolve(changed));
        Step::Again
    }

    /// Attempts that count against the policy: those that may have reached an endpoint.
    fn unsafe_number(&self) -> u32 {
        self.number.saturating_sub(*self.never_sent)
    }

    fn endpoint(&mut self) -> Option<Arc<Endpoint<Node>>> {
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => attempt.endpoint().cloned(),
            StateProj::Staged(attempt) => attempt.endpoint(),
            _ => self.current.as_ref().map(|(endpoint, _)| Arc::clone(endpoint)),
        }
    }

    fn attempt_started(&mut self) -> Option<Instant> {
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => Some(attempt.started()),
            StateProj::Staged(attempt) => Some(attempt.started()),
            _ => self.current.as_ref().map(|(_, started)| *started),
        }
    }

    /// Whether a request that never left may be sent elsewhere, or on another connection.
    fn may_resend(&mut self, met: ErrorKind) -> bool {
        // A connection that was closed while idle says nothing about its endpoint.
        if met != ErrorKind::Connect {
            return true;
        }
        let known = self.pinned.as_ref().map_or(0, |p| p.cluster.core.load().balancer.len());
        let endpoint = self.endpoint();
        let again = endpoint.is_some_and(|met| self.tried.iter().any(|tried| tried.is(&met)));
        known > self.tried.len() + usize::from(!again)
    }

    /// Notes what the attempt under way has met, and excludes its endpoint from the next.
    fn logged(&mut self, met: &str) {
        let started = self.attempt_started();
        let Some(endpoint) = self.endpoint() else { return };
        let name = endpoint.extra().map(|node| Arc::clone(&node.name));
        if !self.tried.iter().any(|tried| Arc::ptr_eq(tried, &endpoint)) {
            self.tried.push(endpoint);
        }
        if let (Some(endpoint), Some(started)) = (name, started) {
            self.log.push(core::Attempt { endpoint, met: met.into(), elapsed: started.elapsed() });
        }
    }

    fn attempt_ended(&mut self, status: Option<u16>, error: Option<ErrorKind>) {
        if !self.inner.events.is_heard() {
            return;
        }
        let Some(endpoint) = self.endpoint() else { return };
        let Some(name) = endpoint.extra().map(|node| Arc::clone(&node.name)) else { return };
        let elapsed = self.attempt_started().map(|at| at.elapsed()).unwrap_or_default();
        let (service, number) = (Arc::clone(&self.cell.name), *self.number);
        self.inner.events.emit(|| Event::AttemptEnded {
            service,
            endpoint: name,
            number,
            status,
            error,
            elapsed,
        });
    }

    fn refused(&self, reason: &'static str) {
        self.inner
            .events
            .emit(|| Event::RetryRefused { service: Arc::clone(&self.cell.name), reason });
    }

    /// The last words of the call: its place under the limit, its event, its error's context.
    fn end(&mut self, result: Result<Response<Body>, Error>) -> Result<Response<Body>, Error> {
        let result = match result {
            Ok(mut response) => {
                let limit = std::mem::replace(self.limit, Held::Nothing);
                if !matches!(limit, Held::Nothing) {
                    response.body_mut().hold(limit);
                }
                Ok(response)
            }
            Err(error) => Err(error.context(core::Context {
                service: Some(Arc::clone(&self.cell.name)),
                endpoint: self.log.last().map(|attempt| Arc::clone(&attempt.endpoint)),
                attempts: std::mem::take(self.log),
                elapsed: self.started.map(|started| started.elapsed()),
            })),
        };
        self.inner.events.emit(|| Event::CallEnded {
            service: Arc::clone(&self.cell.name),
            status: result.as_ref().ok().map(|response| response.status().as_u16()),
            error: result.as_ref().err().map(Error::kind),
            attempts: *self.number,
            elapsed: self.started.map(|started| started.elapsed()).unwrap_or_default(),
        });
        result
    }
}

/// What an attempt met, in a word or two.
fn attempt_text(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => format!("{:?}", error.kind()).to_lowercase(),
    }
}
