//! The way of a call: from its first poll to its response head, under the one timer that bounds
//! it. Where it goes is found in `routed`, what follows an attempt is decided in `outcome`.

mod end;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body as _;
use pin_project::pin_project;
use tokio::time::Sleep;

use super::{
    Caller, Pinned,
    attempt::{Attempt, Beginning, Met, Way},
    faulty::Meeting,
    guarded::Passing,
    head::{self, Head},
    hedged::Hedged,
    passage::Passes,
    staged::StagedAttempt,
    traced::{self, Trace},
    trail::{Trail, Visit},
};
use crate::{
    core::{
        Body, BoxFuture, Error, ErrorKind, Held, Instant, Outgoing, Phase, ReplayBody, cut,
        earliest,
    },
    transport::SendFuture,
};

/// A call from its first poll to its response head.
#[pin_project(project = PathProj, PinnedDrop)]
pub(crate) struct Path {
    pub(super) caller: Caller,
    pub(super) request: Option<Request<Outgoing>>,
    pub(super) started: Option<Instant>,
    /// The same, and when the head that is returned came, in nanoseconds since the mesh's epoch.
    pub(super) began: u64,
    pub(super) ended: Option<u64>,
    pub(super) pinned: Option<Pinned>,
    #[pin]
    pub(super) state: State,
    /// What the attempt under way has sent.
    #[pin]
    pub(super) sent: Option<SendFuture>,
    /// The one timer of the call, armed only while something is awaited under a bound.
    #[pin]
    timer: Option<Sleep>,
    pub(super) armed: Option<Armed>,
    /// The places under the limits of its route and its service.
    pub(super) limit: Held,
    /// What guards keep of it.
    pub(super) passes: Option<Box<Passes>>,
    pub(super) trail: Trail,
    pub(super) trace: Trace,
    pub(super) resolve_by: Option<Instant>,
    /// What has changed so far, when endpoints were waited for last.
    pub(super) seen: Option<u64>,
    /// The caller's own bound, while no route is known.
    pub(super) own_bound: Option<Instant>,
    /// Where an answer comes from that is being looked at.
    pub(super) answering: Option<Visit>,
}

/// What a further attempt is made from.
pub(super) struct Armed {
    pub(super) head: Head,
    pub(super) body: ReplayBody,
    /// Only after what is known not to have been worked on.
    pub(super) safe_only: bool,
    /// It may be sent again beside the first, and was not yet.
    pub(super) hedges: bool,
}

#[pin_project(project = StateProj)]
pub(super) enum State {
    Begin,
    /// Waiting for configuration or endpoints. Boxed: only calls before the first one wait.
    Resolve(BoxFuture<()>),
    /// Waiting for one of the guards of its route. Boxed: few calls wait.
    Guards(Box<Passing>),
    /// On its way past the faults of its route, an attempt.
    Faulty(Box<Meeting>),
    Attempt(Attempt),
    /// Through the user's attempt layers, which cost a box anyway.
    Staged(Box<StagedAttempt>),
    /// Attempts beside each other. Boxed: only routes that hedge have it.
    Hedged(Box<Hedged>),
    /// A gRPC response whose status may still come in its first frame, until then. Boxed: only one
    /// that may be retried is held back.
    Peek(Option<Box<Response<Body>>>, Instant),
    /// Until then, or its mesh is over. Boxed: only a call that waits to be sent again has it.
    Backoff(Instant, BoxFuture<()>),
    Done,
}

/// What the loop does next.
pub(super) enum Step {
    Again,
    Return(Result<Response<Body>, Error>),
}

/// What an answer comes to.
pub(super) enum Next {
    Return,
    /// It is held back for its first frame, until then.
    Peek(Instant),
    /// It says no more than that the deadline has passed.
    Late(Error),
    Again,
}

/// What stands around the attempts of a hedged call.
macro_rules! around {
    ($path:expr, $pinned:expr) => {
        $crate::mesh::call::hedged::Around {
            caller: $path.caller,
            pinned: $pinned,
            armed: $path.armed.as_mut(),
            trail: $path.trail,
            trace: $path.trace,
            request: $path.request,
            sent: $path.sent.as_mut(),
        }
    };
}

pub(super) use around;

// === impl Path ===

impl Path {
    #[inline(always)]
    pub(crate) fn new(caller: Caller, request: Request<Outgoing>) -> Self {
        Self {
            caller,
            request: Some(request),
            started: None,
            began: 0,
            ended: None,
            pinned: None,
            state: State::Begin,
            sent: None,
            timer: None,
            armed: None,
            limit: Held::Nothing,
            passes: None,
            trail: Trail::default(),
            trace: None,
            resolve_by: None,
            seen: None,
            own_bound: None,
            answering: None,
        }
    }

    /// It has begun at that time, as part of what had begun before: so it goes on, too, where no call
    /// begins any more.
    pub(crate) fn begun(&mut self, started: Instant) {
        (self.caller.number, _) = self.caller.cell.meter.call_started();
        (self.started, self.began) = (Some(started), self.caller.inner.epoch.nanos(started));
    }
}

impl Future for Path {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            // A response is large: this one place is where it is until it goes to the caller.
            let mut polled = match this.state.as_mut().project() {
                StateProj::Attempt(attempt) => {
                    let Some(pinned) = &*this.pinned else { return Poll::Pending };
                    let way = Way { request: this.request, sent: this.sent.as_mut() };
                    attempt.poll(cx, this.caller, pinned, way)
                }
                StateProj::Staged(attempt) => attempt.poll(cx, this.request),
                StateProj::Hedged(group) => {
                    let Some(pinned) = &*this.pinned else { return Poll::Pending };
                    group.poll(cx, around!(this, pinned))
                }
                _ => match ready!(this.step(cx)) {
                    Step::Again => continue,
                    Step::Return(result) => return Poll::Ready(this.done(result)),
                },
            };
            let step = match &mut polled {
                Poll::Pending => ready!(this.wait(cx)),
                Poll::Ready(Ok(response)) => match this.responded(response) {
                    Next::Return => {
                        if let Poll::Ready(result) = &mut polled {
                            this.end(result);
                        }
                        this.state.set(State::Done);
                        return polled;
                    }
                    Next::Peek(until) => {
                        let peeked = Box::new(std::mem::take(response));
                        this.state.set(State::Peek(Some(peeked), until));
                        continue;
                    }
                    Next::Late(error) => Step::Return(Err(error)),
                    Next::Again => continue,
                },
                Poll::Ready(Err(_)) => {
                    let Poll::Ready(Err(error)) = polled else { continue };
                    let met = this.met();
                    this.failed(met, error)
                }
            };
            if let Step::Return(result) = step {
                return Poll::Ready(this.done(result));
            }
        }
    }
}

impl PathProj<'_> {
    /// Goes on where no attempt is under way.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match self.state.as_mut().project() {
            StateProj::Begin => Poll::Ready(self.begin()),
            StateProj::Resolve(changed) => match changed.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    self.state.set(State::Begin);
                    self.restick();
                    Poll::Ready(Step::Again)
                }
                Poll::Pending => self.wait(cx),
            },
            StateProj::Peek(peeked, _) => {
                let Some(response) = peeked else { return Poll::Pending };
                match Pin::new(response.body_mut()).poll_frame(cx) {
                    Poll::Pending => self.wait(cx),
                    Poll::Ready(frame) => match peeked.take() {
                        Some(response) => Poll::Ready(self.peeked(*response, frame)),
                        None => Poll::Pending,
                    },
                }
            }
            StateProj::Guards(_) => self.pass(cx),
            StateProj::Faulty(_) => self.met_faults(cx),
            StateProj::Backoff(_, over) => match over.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Step::Return(Err(cut(Phase::Backoff)))),
                Poll::Pending => self.wait(cx),
            },
            StateProj::Attempt(_)
            | StateProj::Staged(_)
            | StateProj::Hedged(_)
            | StateProj::Done => Poll::Pending,
        }
    }

    /// Starts the next attempt with the request in hand.
    pub(super) fn start(&mut self, now: Instant, at: u64) -> Step {
        let Some(pinned) = &*self.pinned else { return missing() };
        *self.answering = None;
        if pinned.bounds.expired(now) {
            return Step::Return(Err(Error::new(ErrorKind::Timeout, Phase::Admission)
                .detail(format!("no time was left to make an attempt: {}", self.of_deadline()))));
        }
        self.trail.number += 1;
        if pinned.route().is_some_and(|route| route.faults.is_some()) {
            return self.meet_faults(now);
        }
        self.launch(now, at)
    }

    /// Makes the attempt that has been started.
    #[inline]
    pub(super) fn launch(&mut self, now: Instant, at: u64) -> Step {
        if self.pinned.as_ref().is_some_and(|pinned| pinned.rare.is_some()) {
            self.begin_termed();
        }
        let (Some(pinned), Some(request)) = (&*self.pinned, &mut *self.request) else {
            return missing();
        };
        let (is_grpc, policy) = (self.caller.grpc, pinned.policy());
        let bounds =
            pinned.bounds.of_attempt(policy.and_then(|policy| policy.attempt_timeout), now);
        bounds.write(request.headers_mut(), is_grpc, now);
        let earlier = self.trail.earlier();
        if earlier > 0 {
            head::write_attempts(request.headers_mut(), is_grpc, earlier);
        }
        let (number, tried) = (self.trail.number, &self.trail.tried);
        if let Some(stage) = &self.caller.inner.stages.attempt {
            let Some(mut request) = self.request.take() else { return missing() };
            traced::attempt(self.trace, self.caller, &mut request, number, None);
            let attempt = StagedAttempt::new(stage, self.caller, pinned, request, tried, number);
            self.state.set(State::Staged(Box::new(attempt)));
            self.hedge(at);
            return Step::Again;
        }
        let way = Way { request: self.request, sent: self.sent.as_mut() };
        let of = Beginning { caller: self.caller, pinned, tried, number, now, at };
        match Attempt::start(of, way, self.trace) {
            Ok(attempt) => {
                self.state.set(State::Attempt(attempt));
                if self.armed.as_ref().is_some_and(|armed| armed.hedges) {
                    self.hedge(at);
                }
                Step::Again
            }
            Err(failed) => {
                self.state.set(State::Begin);
                self.failed(failed.met, failed.error)
            }
        }
    }

    /// Waits until a bound passes; arms the timer only now.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let Some(at) = self.bound(cx) else { return Poll::Pending };
        match self.timer.as_mut().as_pin_mut() {
            None => self.timer.set(Some(tokio::time::sleep_until(at))),
            Some(timer) if timer.deadline() != at => timer.reset(at),
            Some(_) => {}
        }
        if let Some(timer) = self.timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
        }
        let now = Instant::now();
        let late = self.is_late(now);
        Poll::Ready(match self.state.as_mut().project() {
            StateProj::Backoff(until, _) if *until <= now => {
                self.state.set(State::Begin);
                Step::Again
            }
            StateProj::Hedged(group) if !late => {
                let Some(pinned) = &*self.pinned else { return Poll::Pending };
                if group.fired(&mut around!(self, pinned), now) {
                    Step::Again
                } else {
                    self.expired(now)
                }
            }
            // The head is here, and with it the end of what a head's bound bounds.
            StateProj::Peek(response, _) => match response.take() {
                Some(response) => {
                    self.throttled_by(&response);
                    Step::Return(Ok(*response))
                }
                None => Step::Again,
            },
            StateProj::Resolve(_) if self.pinned.is_some() && !late => {
                self.trail.forget();
                let pinned = self.pinned.as_ref();
                let inner = &self.caller.inner;
                let withheld = pinned.and_then(|pinned| inner.withheld_of(&pinned.cluster));
                if let Some(withheld) = withheld {
                    return Poll::Ready(Step::Return(Err(withheld)));
                }
                let within = self.of_resolve();
                Step::Return(Err(Error::new(ErrorKind::NoEndpoints, Phase::Resolve)
                    .detail(format!("no source delivered endpoints {within}"))))
            }
            _ => self.expired(now),
        })
    }

    /// Whether the deadline of the call has passed.
    pub(super) fn is_late(&self, at: Instant) -> bool {
        self.pinned.as_ref().is_some_and(|pinned| pinned.bounds.expired(at))
    }

    /// The next moment at which waiting must end.
    fn bound(&mut self, cx: &Context<'_>) -> Option<Instant> {
        let deadline = match &*self.pinned {
            Some(pinned) => pinned.bounds.head,
            None => *self.own_bound,
        };
        let timeout = self.pinned.as_ref().and_then(Pinned::policy).and_then(|p| p.attempt_timeout);
        let own = match self.state.as_mut().project() {
            StateProj::Resolve(_) => *self.resolve_by,
            StateProj::Backoff(until, _) => Some(*until),
            StateProj::Attempt(attempt) => {
                timeout.and_then(|timeout| attempt.started().checked_add(timeout))
            }
            StateProj::Staged(attempt) => {
                timeout.and_then(|timeout| attempt.started().checked_add(timeout))
            }
            StateProj::Hedged(group) => {
                self.pinned.as_ref().and_then(|pinned| group.bound(self.caller, pinned))
            }
            StateProj::Faulty(meeting) => {
                timeout.and_then(|timeout| meeting.started.checked_add(timeout))
            }
            StateProj::Peek(_, until) => Some(*until),
            StateProj::Begin | StateProj::Guards(_) | StateProj::Done => None,
        };
        earliest(earliest(deadline, own), self.answer_bound(cx))
    }

    /// Why the attempt under way gave no response.
    fn met(&mut self) -> Met {
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => attempt.met(),
            StateProj::Staged(attempt) => attempt.met(),
            StateProj::Hedged(group) => group.met(),
            _ => Met::Fatal,
        }
    }

    pub(super) fn phase(&mut self) -> Phase {
        match self.state.as_mut().project() {
            StateProj::Resolve(_) | StateProj::Begin => Phase::Resolve,
            StateProj::Attempt(attempt) => attempt.phase(),
            StateProj::Hedged(group) => group.phase(),
            StateProj::Staged(_) | StateProj::Peek(..) | StateProj::Done => Phase::Headers,
            StateProj::Guards(_) => Phase::Admission,
            StateProj::Faulty(_) => Phase::Request,
            StateProj::Backoff(..) => Phase::Backoff,
        }
    }

    /// The endpoint of the attempt under way, or of the answer in hand.
    pub(super) fn visit(&mut self) -> Option<Visit> {
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => {
                Some((Arc::clone(attempt.endpoint()?), attempt.started()))
            }
            StateProj::Staged(attempt) => Some((attempt.endpoint()?, attempt.started())),
            StateProj::Hedged(group) => group.visit(),
            _ => self.answering.clone(),
        }
    }

    /// When the attempt under way met its head.
    pub(super) fn attempt_ended(&mut self) -> Option<u64> {
        match self.state.as_mut().project() {
            StateProj::Attempt(attempt) => Some(attempt.ended()),
            StateProj::Hedged(group) => group.ended_at(),
            _ => None,
        }
    }

    /// The call is over, with this.
    fn done(&mut self, mut result: Result<Response<Body>, Error>) -> Result<Response<Body>, Error> {
        self.state.set(State::Done);
        self.end(&mut result);
        result
    }

    /// What the call has paid in that its cluster refuses before anything of it was sent.
    //= Envoy: a retry budget is of the requests that are active or pending, and one that overflows is neither
    #[cold]
    fn take_back(&self, now: u64) {
        let Some(policy) = self.pinned.as_ref().and_then(Pinned::policy) else { return };
        policy.budget.take_back(now);
        if self.armed.as_ref().is_some_and(|armed| armed.hedges)
            && let Some(hedging) = &policy.hedging
        {
            hedging.take_back(now);
        }
    }
}

/// There is nothing to send: a fault of this crate.
pub(super) fn missing() -> Step {
    Step::Return(Err(Error::new(ErrorKind::InvalidRequest, Phase::Request)
        .detail("the request was not given back and no copy was kept")))
}
