//! The wait for a response head under a bound.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Sleep;

use super::{Bounds, Expiry, decision};
use crate::{
    core::{BoxError, Instant, Phase},
    resilience::exchange::sealed::Answer,
};

/// The response of [`Deadline`](super::Deadline).
///
/// Its timer is armed at the first wait only. Dropping it drops the call below.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    /// Gone once the bound has passed.
    #[pin]
    inner: Option<F>,
    #[pin]
    timer: Option<Sleep>,
    started: Instant,
    bounds: Bounds,
    grpc: bool,
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, started: Instant, bounds: Bounds, grpc: bool) -> Self {
        Self { inner: Some(inner), timer: None, started, bounds, grpc }
    }

    /// A call without time for anything: the service below is not called.
    pub(super) fn expired(started: Instant, bounds: Bounds) -> Self {
        Self { inner: None, timer: None, started, bounds, grpc: false }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    T: Answer,
    E: Into<BoxError>,
{
    type Output = Result<T::Timed, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            if let Poll::Ready(result) = inner.poll(cx) {
                let bounds = *this.bounds;
                return Poll::Ready(match result {
                    Ok(response) => {
                        let expiry =
                            bounds.body.map(|at| Expiry::new(*this.started, at, *this.grpc));
                        Ok(response.timed(expiry))
                    }
                    // The client below may know of the bound (tonic's channel reads
                    // `grpc-timeout`) and end the call in the same tick, in its own words.
                    Err(_) if bounds.expired(Instant::now() + TICK) => {
                        Err(exceeded(*this.started, bounds))
                    }
                    Err(error) => Err(error.into()),
                });
            }
            let Some(at) = this.bounds.head else { return Poll::Pending };
            if this.timer.is_none() {
                this.timer.set(Some(tokio::time::sleep_until(at)));
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
            // The attempt ends with its deadline, not with its caller's attention.
            this.inner.set(None);
        }
        Poll::Ready(Err(exceeded(*this.started, *this.bounds)))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

fn exceeded(started: Instant, bounds: Bounds) -> BoxError {
    let at = bounds.head.unwrap_or(started);
    decision::exceeded(Phase::Headers, started, at).into()
}

/// The resolution of tokio's timers.
const TICK: Duration = Duration::from_millis(1);
