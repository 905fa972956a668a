//! One call and its attempts.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::HeaderMap;
use tokio::time::Sleep;
use tower_service::Service;

use super::{
    Arms, Decision, Met,
    layer::{NeverSent, Shared},
};
use crate::{
    core::{Body, BoxError, Error, ErrorKind, Held, Instant, RetryRefusal, grpc},
    resilience::{
        budget::Grant,
        deadline::Bounds,
        exchange::{
            classify,
            sealed::{Answer, Exchange, Replay},
        },
        repeating::{bounds_of, mark, not_repeated, worked_on},
    },
};

/// The response of [`Retry`](super::Retry).
///
/// Each attempt but the first waits for the service below to be ready again, after the earlier
/// attempt was dropped with all that it held. Dropping this drops the attempt in flight.
#[pin_project::pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S, R, B>
where
    R: Replay<B>,
    S: Service<R::Sent>,
{
    service: S,
    #[pin]
    state: State<S::Future>,
    /// The next attempt's request, while it waits.
    next: Option<R::Sent>,
    copy: Option<R::Copy>,
    into: fn(Body) -> B,
    course: Course,
}

#[pin_project::pin_project(project = StateProj)]
enum State<F> {
    Attempt {
        #[pin]
        future: F,
    },
    Backoff {
        #[pin]
        timer: Sleep,
    },
    /// The service below is asked whether it is ready for the next attempt.
    Ready,
}

/// How far a call has come.
struct Course {
    shared: Arc<Shared>,
    /// 1 for the first.
    attempt: u32,
    armed: bool,
    /// What ends the call: no attempt is worth starting after its head has to be there.
    bounds: Bounds,
    /// It is counted among the calls in flight.
    _in_flight: Held,
    /// What the retry under way has cost, and its place where these are limited.
    grant: Grant,
    /// An attempt before this one may have been worked on.
    worked_on: bool,
}

/// Why there is no further attempt.
#[derive(Clone, Copy)]
enum Why {
    /// None was due.
    Unwanted,
    /// One was, and was refused.
    Refused(RetryRefusal),
}

// === impl ResponseFuture ===

impl<S, R, B> ResponseFuture<S, R, B>
where
    R: Replay<B>,
    S: Service<R::Sent>,
{
    pub(super) fn new(
        mut service: S,
        request: R,
        shared: Arc<Shared>,
        into: fn(Body) -> B,
    ) -> Self {
        let policy = &shared.policy;
        let is_grpc = grpc::is_grpc(request.headers());
        let armed = policy.allows(request.headers())
            && policy.arms(request.method(), is_grpc, request.call()) == Arms::Everything;
        let bounds = bounds_of(&request);
        let in_flight = shared.begin();
        // A safe failure may be retried whether the call is armed or not: both need the copy.
        let (first, copy) = if policy.attempts() > 1 {
            let (first, copy) = request.split(shared.max_body_bytes, into);
            (first, Some(copy))
        } else {
            (request.once(into), None)
        };
        let state = State::Attempt { future: service.call(first) };
        let course = Course {
            shared,
            attempt: 1,
            armed,
            bounds,
            _in_flight: in_flight,
            grant: Grant::default(),
            worked_on: false,
        };
        Self { service, state, next: None, copy, into, course }
    }
}

impl<S, R, B> Future for ResponseFuture<S, R, B>
where
    R: Replay<B>,
    S: Service<R::Sent>,
    S::Response: Answer,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Attempt { future } => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    let Some(met) = met(&result, this.course.shared.never_sent) else {
                        return Poll::Ready(result.map_err(|error| this.course.ended(error)));
                    };
                    let copy = this.copy.as_ref();
                    let failure = met.failure();
                    let (after, next) = match this.course.another::<R, B>(met, copy, *this.into) {
                        Ok(another) => another,
                        Err(why) => {
                            return Poll::Ready(match (result, failure) {
                                (Err(error), Some(failure)) => {
                                    Err(this.course.told::<R, B>(error, failure, why, copy))
                                }
                                (result, _) => result,
                            });
                        }
                    };
                    *this.next = Some(next);
                    // The attempt goes with its response and all that they hold below (a permit,
                    // a stream): the next one may need it.
                    drop(result);
                    this.state.set(if after.is_zero() {
                        State::Ready
                    } else {
                        State::Backoff { timer: tokio::time::sleep(after) }
                    });
                }
                StateProj::Backoff { timer } => {
                    ready!(timer.poll(cx));
                    this.state.set(State::Ready);
                }
                StateProj::Ready => {
                    ready!(this.service.poll_ready(cx))
                        .map_err(|error| this.course.ended(error.into()))?;
                    let Some(mut request) = this.next.take() else { return Poll::Pending };
                    this.course.advance(request.headers_mut());
                    this.state.set(State::Attempt { future: this.service.call(request) });
                }
            }
        }
    }
}

#[pin_project::pinned_drop]
impl<S, R, B> PinnedDrop for ResponseFuture<S, R, B>
where
    R: Replay<B>,
    S: Service<R::Sent>,
{
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if this.next.is_some() {
            this.course.refund();
        }
    }
}

impl<S, R, B> fmt::Debug for ResponseFuture<S, R, B>
where
    R: Replay<B>,
    S: Service<R::Sent>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("attempt", &self.course.attempt)
            .finish_non_exhaustive()
    }
}

// === impl Course ===

impl Course {
    /// The next attempt and the wait before it, if there is to be one; it is paid for already.
    fn another<R: Replay<B>, B>(
        &mut self,
        met: Met<'_>,
        copy: Option<&R::Copy>,
        into: fn(Body) -> B,
    ) -> Result<(Duration, R::Sent), Why> {
        // A retry's place is its own until here.
        self.grant = Grant::default();
        let Shared { policy, budget, random, .. } = &*self.shared;
        if budget.listens()
            && let Some(failed) = policy.is_failure(met)
        {
            budget.ended(failed);
        }
        let Some(copy) = copy.filter(|_| self.armed || met.is_safe()) else {
            return Err(Why::Unwanted);
        };
        let after = match policy.decide(self.attempt, met, random) {
            Decision::Return => return Err(Why::Unwanted),
            Decision::Refuse { reason } => return Err(reason.into()),
            Decision::Retry { .. } if self.attempt >= policy.attempts() => {
                return Err(RetryRefusal::Attempts.into());
            }
            Decision::Retry { after, .. } => after,
        };
        let in_time = self
            .bounds
            .head
            .is_none_or(|at| Instant::now().checked_add(after).is_some_and(|start| start < at));
        if !in_time {
            return Err(RetryRefusal::Deadline.into());
        }
        R::check(copy)?;
        // What was never worked on costs the endpoint nothing, nor the budget.
        if !met.is_safe() {
            self.grant = self.shared.withdraw().ok_or(RetryRefusal::Budget)?;
        }
        match R::again(copy, into) {
            Ok(next) => {
                self.worked_on |= !met.is_safe();
                Ok((after, next))
            }
            Err(reason) => {
                // The body has grown, or failed, since it was looked at.
                self.refund();
                Err(reason.into())
            }
        }
    }

    /// What was paid for is not sent.
    fn refund(&mut self) {
        let grant = std::mem::take(&mut self.grant);
        self.shared.budget.refund(self.shared.now(), grant);
    }

    /// A failure that no retry can follow.
    fn ended(&self, error: BoxError) -> BoxError {
        if self.worked_on { worked_on(error) } else { error }
    }

    /// Marks the next attempt for the endpoint: its number, and what is left of the time.
    fn advance(&mut self, headers: &mut HeaderMap) {
        let earlier = self.attempt;
        self.attempt += 1;
        mark(headers, earlier, self.bounds);
    }

    /// The failure of the last attempt, which says why there is no other. A client's own is left as it
    /// is where none was due.
    #[cold]
    fn told<R: Replay<B>, B>(
        &self,
        error: BoxError,
        (met, kind): (Met<'_>, ErrorKind),
        why: Why,
        copy: Option<&R::Copy>,
    ) -> BoxError {
        let is_ours = error.is::<Error>();
        match why {
            Why::Refused(RetryRefusal::Attempts) | Why::Unwanted if !is_ours => error,
            Why::Refused(reason) => {
                let kept = self.shared.max_body_bytes;
                not_repeated(error, kind, &reason.told(self.attempt, kept), self.worked_on)
            }
            Why::Unwanted => {
                let arms = if self.armed { Arms::Everything } else { Arms::Safe };
                let call = copy.and_then(R::call_of);
                let why = self.shared.policy.unwanted(met, arms, call);
                not_repeated(error, kind, why, self.worked_on)
            }
        }
    }
}

impl From<RetryRefusal> for Why {
    fn from(reason: RetryRefusal) -> Self {
        Self::Refused(reason)
    }
}

/// What an attempt met, if that concerns a retry.
fn met<T: Answer>(result: &Result<T, BoxError>, never_sent: NeverSent) -> Option<Met<'_>> {
    match result {
        Ok(response) => Some(Met::of(response.status(), response.headers())),
        Err(error) if never_sent(&**error) => Some(Met::NeverSent),
        Err(error) => classify::failure(&**error),
    }
}
