//! A call that waits for its service.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Sleep;
use tower_service::Service;

use super::{Queue, Refused, Waiter};
use crate::core::{BoxError, Epoch, Error, ErrorKind, Instant, Phase, Refusal};

/// The response of [`FailFast`](super::FailFast).
///
/// Dropping it leaves the queue, and drops the call below.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: Service<R>, R> {
    #[pin]
    state: State<S, S::Future, R>,
    queue: Arc<Queue>,
    epoch: Epoch,
    /// Armed at the first wait.
    #[pin]
    timer: Option<Sleep>,
}

#[pin_project::pin_project(project = StateProj)]
enum State<S, F, R> {
    Waiting {
        inner: S,
        request: Option<R>,
        waiter: Option<Waiter>,
    },
    Called {
        #[pin]
        inner: F,
    },
}

// === impl ResponseFuture ===

impl<S: Service<R>, R> ResponseFuture<S, R> {
    pub(super) fn new(inner: S, request: R, queue: Arc<Queue>, epoch: Epoch) -> Self {
        let state = State::Waiting { inner, request: Some(request), waiter: None };
        Self { state, queue, epoch, timer: None }
    }
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let (inner, request, waiter) = match this.state.as_mut().project() {
                StateProj::Called { inner } => return inner.poll(cx).map_err(Into::into),
                StateProj::Waiting { inner, request, waiter } => (inner, request, waiter),
            };
            match inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    this.queue.found();
                    let Some(request) = request.take() else { return Poll::Pending };
                    let called = inner.call(request);
                    this.state.set(State::Called { inner: called });
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {}
            }
            let now = this.epoch.nanos(Instant::now());
            let left = this.queue.missed(now);
            if waiter.is_none() {
                *waiter = Some(this.queue.join(now).map_err(error)?);
            }
            let at = this.epoch.at(now.saturating_add(left.map_err(error)?));
            match this.timer.as_mut().as_pin_mut() {
                None => this.timer.set(Some(tokio::time::sleep_until(at))),
                Some(timer) if timer.deadline() != at => timer.reset(at),
                Some(_) => {}
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
        }
    }
}

fn error(refused: Refused) -> BoxError {
    let (kind, detail) = match refused {
        Refused::Full(capacity) => {
            let detail = format!("the service is not ready, and {capacity} calls wait for it");
            (ErrorKind::Overloaded, detail)
        }
        Refused::FailFast(timeout) => (ErrorKind::NoEndpoints, not_ready(timeout)),
    };
    Error::new(kind, Phase::Admission).refused(Refusal::Queue).detail(detail).into()
}

fn not_ready(timeout: Duration) -> String {
    format!("the service has not been ready for {timeout:?}, and calls fail at once until it is")
}

impl<S: Service<R>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = matches!(self.state, State::Waiting { .. });
        f.debug_struct("ResponseFuture").field("waits", &waits).finish_non_exhaustive()
    }
}
