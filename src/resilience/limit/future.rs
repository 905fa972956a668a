//! A call with its place under the limit, or without one.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{
    core::{BoxError, Error, Held},
    resilience::{admitting::Admission, exchange::sealed::Answer},
};

/// The response of [`ConcurrencyLimit`](super::ConcurrencyLimit).
///
/// Dropping it drops the call below and gives its place back.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    state: Admission<F, Held>,
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(in crate::resilience) fn admitted(inner: F, permit: Held) -> Self {
        Self { state: Admission::Admitted { inner, pass: permit } }
    }

    pub(in crate::resilience) fn refused(error: Error) -> Self {
        Self { state: Admission::Refused { error } }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    T: Answer,
    E: Into<BoxError>,
{
    type Output = Result<T::Held, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (result, permit) = ready!(self.project().state.poll(cx));
        Poll::Ready(result.map(|response| response.held(permit)))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.state.is_refused();
        f.debug_struct("ResponseFuture").field("refused", &refused).finish_non_exhaustive()
    }
}
