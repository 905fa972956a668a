//! A call that was let in, or was not.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    core::{BoxError, Error},
    resilience::admitting::Admission,
};

/// The response of [`RateLimit`](super::RateLimit).
///
/// Dropping it drops the call below; its token is not given back.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    state: Admission<F>,
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F) -> Self {
        Self { state: Admission::Admitted { inner, pass: () } }
    }

    pub(super) fn refused(error: Error) -> Self {
        Self { state: Admission::Refused { error } }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx).map(|(result, ())| result)
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.state.is_refused();
        f.debug_struct("ResponseFuture").field("refused", &refused).finish_non_exhaustive()
    }
}
