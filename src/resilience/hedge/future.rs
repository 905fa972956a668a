//! One call and its attempts beside each other.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::time::Sleep;
use tower_service::Service;

use super::{Course, Fate, Hedging, Word, layer::Shared};
use crate::{
    core::{Body, BoxError, HedgeRefusal, RetryRefusal, grpc},
    resilience::{
        deadline::Bounds,
        exchange::{
            classify,
            sealed::{Answer, Exchange, Replay},
        },
        repeating::{bounds_of, mark, not_repeated, worked_on},
        retry::Met,
    },
};

/// The response of [`Hedge`](super::Hedge).
///
/// Each attempt but the first waits for the service below to be ready again, beside those under way.
/// Dropping this drops all of them.
#[pin_project::pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S, R, B>
where
    R: Replay<B>,
    S: Service<R::Sent>,
{
    service: S,
    #[pin]
    first: Option<S::Future>,
    others: Vec<Pin<Box<S::Future>>>,
    #[pin]
    timer: Option<Sleep>,
    /// Of a call that is not hedged there is none.
    hedged: Option<Hedged<R::Copy>>,
    /// A further attempt's request, which is paid for and waits for the service below.
    next: Option<R::Sent>,
    /// The last failure, while its replacement is awaited.
    kept: Option<Result<S::Response, BoxError>>,
    into: fn(Body) -> B,
    shared: Arc<Shared>,
}

/// How far a call has come.
struct Hedged<C> {
    hedging: Arc<Hedging>,
    course: Course,
    copy: C,
    began: u64,
    /// What ends the call, as endpoints are told.
    bounds: Bounds,
    /// An attempt that has ended may have been worked on.
    worked_on: bool,
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
        let began = shared.now();
        shared.budget.deposit(began);
        let is_grpc = grpc::is_grpc(request.headers());
        let may = shared.policy.may_repeat(request.method(), is_grpc, request.call());
        let (first, hedged) = match shared.hedging.as_ref().filter(|_| may) {
            None => (request.once(into), None),
            Some(hedging) => {
                hedging.deposit(began);
                let course = hedging.begin(began, &shared.random);
                let bounds = bounds_of(&request);
                let (first, copy) = request.split(shared.max_body_bytes, into);
                let hedging = Arc::clone(hedging);
                (first, Some(Hedged { hedging, course, copy, began, bounds, worked_on: false }))
            }
        };
        let first = Some(service.call(first));
        let others = Vec::new();
        Self { service, first, others, timer: None, hedged, next: None, kept: None, into, shared }
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
            if let Some(mut request) = this.next.take() {
                match this.service.poll_ready(cx) {
                    Poll::Pending => *this.next = Some(request),
                    Poll::Ready(Ok(())) => {
                        if let Some(hedged) = this.hedged {
                            mark(request.headers_mut(), hedged.course.sent(), hedged.bounds);
                            hedged.course.send(this.shared.now());
                        }
                        this.others.push(Box::pin(this.service.call(request)));
                        *this.kept = None;
                    }
                    Poll::Ready(Err(error)) => {
                        // What is under way goes on.
                        if let Some(hedged) = this.hedged {
                            hedged.refund(this.shared);
                            hedged.course.refused();
                        }
                        if this.first.is_none() && this.others.is_empty() {
                            let worked_on =
                                this.hedged.as_ref().is_some_and(|hedged| hedged.worked_on);
                            let result = this.kept.take().unwrap_or(Err(error.into()));
                            return Poll::Ready(result.map_err(|error| over(error, worked_on)));
                        }
                    }
                }
            }
            let mut ended = None;
            if let Some(first) = this.first.as_mut().as_pin_mut()
                && let Poll::Ready(result) = first.poll(cx)
            {
                this.first.set(None);
                ended = Some((result.map_err(Into::into), true));
            }
            if ended.is_none() {
                let polled = this.others.iter_mut().enumerate().find_map(|(place, other)| {
                    match other.as_mut().poll(cx) {
                        Poll::Ready(result) => Some((place, result)),
                        Poll::Pending => None,
                    }
                });
                if let Some((place, result)) = polled {
                    drop(this.others.swap_remove(place));
                    ended = Some((result.map_err(Into::into), false));
                }
            }
            if let Some((result, is_first)) = ended {
                let Some(hedged) = this.hedged else { return Poll::Ready(result) };
                let others = this.first.is_some() || !this.others.is_empty();
                let (is_over, is_planned) = hedged.ended(this.shared, &result, is_first);
                if is_over || !(others || is_planned) {
                    if this.first.is_some() {
                        hedged.leave_first(this.shared);
                    }
                    let worked_on = hedged.worked_on;
                    return Poll::Ready(result.map_err(|error| over(error, worked_on)));
                }
                if !others {
                    *this.kept = Some(result);
                }
                // Those that were not asked yet.
                continue;
            }
            // Whether another is to be sent now, or when.
            let Some(hedged) = this.hedged else { return Poll::Pending };
            if this.next.is_some() {
                return Poll::Pending;
            }
            let Some(next) = hedged.course.next() else { return Poll::Pending };
            if !hedged.course.is_due(this.shared.now()) {
                let at = this.shared.epoch.at(next);
                match this.timer.as_mut().as_pin_mut() {
                    None => this.timer.set(Some(tokio::time::sleep_until(at))),
                    Some(timer) if timer.deadline() != at => timer.reset(at),
                    Some(_) => {}
                }
                if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                    ready!(timer.poll(cx));
                }
            }
            match hedged.beside::<R, B>(this.shared, *this.into) {
                Ok(request) => *this.next = Some(request),
                Err(why) => {
                    hedged.course.refused();
                    if let Some(kept) = this.kept.take() {
                        let worked_on = hedged.worked_on;
                        let told = |error| this.shared.told(error, why, worked_on);
                        return Poll::Ready(kept.map_err(told));
                    }
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
        if let (Some(_), Some(hedged)) = (&this.next, &this.hedged) {
            hedged.refund(this.shared);
        }
    }
}

impl<S, R, B> fmt::Debug for ResponseFuture<S, R, B>
where
    R: Replay<B>,
    S: Service<R::Sent>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.hedged.as_ref().map_or(1, |hedged| hedged.course.sent());
        f.debug_struct("ResponseFuture").field("attempts", &attempts).finish_non_exhaustive()
    }
}

// === impl Hedged ===

impl<C> Hedged<C> {
    /// What was paid for is not sent.
    fn refund(&self, shared: &Shared) {
        let now = shared.now();
        self.hedging.refund(now);
        shared.budget.refund(now);
    }

    /// The request of a further attempt, which is paid for then.
    fn beside<R: Replay<B, Copy = C>, B>(
        &self,
        shared: &Shared,
        into: fn(Body) -> B,
    ) -> Result<R::Sent, HedgeRefusal> {
        let now = shared.now();
        R::check(&self.copy).map_err(of_body)?;
        self.hedging.pay(now, || shared.budget.withdraw(now).then_some(()))?;
        R::beside(&self.copy, into).map_err(|why| {
            // The body has grown, or failed, since it was looked at.
            self.refund(shared);
            of_body(why)
        })
    }

    /// An attempt has ended: whether that is the call's end, and whether another takes its place.
    fn ended<T: Answer>(
        &mut self,
        shared: &Shared,
        result: &Result<T, BoxError>,
        is_first: bool,
    ) -> (bool, bool) {
        let fate = match result {
            Ok(response) => {
                let met = Met::of(response.status(), response.headers());
                self.hedging.fate(met, &shared.policy, &shared.random)
            }
            Err(_) => Fate::Open(Word::Nothing),
        };
        self.worked_on |= match result {
            Ok(_) => true,
            Err(error) => classify::failure(&**error).is_none_or(|met| !met.is_safe()),
        };
        let now = shared.now();
        if is_first {
            let took = now.saturating_sub(self.began);
            match fate {
                Fate::Final => self.hedging.answered(now, took),
                Fate::Open(_) => self.hedging.unanswered(now, took),
            }
        }
        match fate {
            Fate::Final => (true, false),
            Fate::Open(word) => (false, self.course.failed(now, word)),
        }
    }

    /// Another was faster than the first.
    fn leave_first(&self, shared: &Shared) {
        let now = shared.now();
        self.hedging.unanswered(now, now.saturating_sub(self.began));
    }
}

// === impl Shared ===

impl Shared {
    /// The failure that another attempt was to replace, which says why there is none.
    #[cold]
    fn told(&self, error: BoxError, why: HedgeRefusal, worked_on: bool) -> BoxError {
        let reason = match why {
            HedgeRefusal::Budget => RetryRefusal::Budget,
            HedgeRefusal::BodyTooLarge => RetryRefusal::BodyTooLarge,
            HedgeRefusal::BodyFailed => RetryRefusal::BodyFailed,
            HedgeRefusal::Share | HedgeRefusal::NoEndpoint | HedgeRefusal::Limit => {
                return noted(error, "the extra load that is allowed is used up", worked_on);
            }
        };
        noted(error, &reason.told(1, self.max_body_bytes), worked_on)
    }
}

fn over(error: BoxError, of_worked_on: bool) -> BoxError {
    if of_worked_on { worked_on(error) } else { error }
}

fn noted(error: BoxError, why: &str, worked_on: bool) -> BoxError {
    match classify::failure(&*error).and_then(Met::failure) {
        Some((_, kind)) => not_repeated(error, kind, why, worked_on),
        None => error,
    }
}

fn of_body(why: RetryRefusal) -> HedgeRefusal {
    match why {
        RetryRefusal::BodyFailed => HedgeRefusal::BodyFailed,
        _ => HedgeRefusal::BodyTooLarge,
    }
}
