//! A call with its fault.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::Sleep;
use tower_service::Service;

use super::{Drawn, body::Slow, decision::Aborted};
use crate::{
    core::{BoxError, Held},
    resilience::exchange::sealed::Answer,
};

/// The response of [`Fault`](super::Fault).
///
/// Dropping it drops the call below, and ends its fault.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S, R, F> {
    /// Armed while a delay is awaited.
    #[pin]
    delay: Option<Sleep>,
    /// What is called once it has passed; the service that was made ready.
    waiting: Option<(S, R)>,
    #[pin]
    called: Option<F>,
    abort: Option<Aborted>,
    grpc: bool,
    rate: Option<u64>,
    held: Held,
    marker: PhantomData<fn(R)>,
}

// === impl ResponseFuture ===

impl<S, R, F> ResponseFuture<S, R, F> {
    /// A call without a fault.
    pub(super) fn passed(called: F) -> Self {
        Self {
            delay: None,
            waiting: None,
            called: Some(called),
            abort: None,
            grpc: false,
            rate: None,
            held: Held::Nothing,
            marker: PhantomData,
        }
    }

    pub(super) fn faulty(service: S, request: R, drawn: Drawn, grpc: bool) -> Self {
        let Drawn { delay, abort, rate, held } = drawn;
        Self {
            delay: delay.map(tokio::time::sleep),
            waiting: Some((service, request)),
            called: None,
            abort,
            grpc,
            rate,
            held,
            marker: PhantomData,
        }
    }
}

impl<S, R, T, E> Future for ResponseFuture<S, R, S::Future>
where
    S: Service<R, Response = T, Error = E>,
    T: Answer,
    E: Into<BoxError>,
{
    type Output = Result<T::Faulty, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(delay) = this.delay.as_mut().as_pin_mut() {
            ready!(delay.poll(cx));
            this.delay.set(None);
        }
        if let Some((mut service, request)) = this.waiting.take() {
            if let Some(abort) = this.abort.take() {
                *this.held = Held::Nothing;
                return Poll::Ready(Ok(T::injected(abort.response(*this.grpc))));
            }
            if this.rate.is_none() {
                *this.held = Held::Nothing;
            }
            this.called.set(Some(service.call(request)));
        }
        let Some(called) = this.called.as_mut().as_pin_mut() else { return Poll::Pending };
        let response = ready!(called.poll(cx)).map_err(Into::into)?;
        let held = std::mem::take(this.held);
        let slow = this.rate.map(|rate| Slow::new(rate, held));
        Poll::Ready(Ok(response.faulty(slow)))
    }
}

impl<S, R, F> fmt::Debug for ResponseFuture<S, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("delayed", &self.delay.is_some())
            .finish_non_exhaustive()
    }
}
