//! A call with its place under the limit, or without one.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{
    core::{BoxError, Error, Held},
    resilience::exchange::sealed::Answer,
};

/// The response of [`ConcurrencyLimit`](super::ConcurrencyLimit).
///
/// Dropping it drops the call below and gives its place back.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project::pin_project(project = StateProj)]
enum State<F> {
    Admitted {
        #[pin]
        inner: F,
        permit: Held,
    },
    Refused {
        error: Error,
    },
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, permit: Held) -> Self {
        Self { state: State::Admitted { inner, permit } }
    }

    pub(super) fn refused(error: Error) -> Self {
        Self { state: State::Refused { error } }
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
        match self.project().state.project() {
            StateProj::Admitted { inner, permit } => {
                let result = ready!(inner.poll(cx));
                let permit = std::mem::take(permit);
                Poll::Ready(match result {
                    Ok(response) => Ok(response.held(permit)),
                    Err(error) => Err(error.into()),
                })
            }
            StateProj::Refused { error } => Poll::Ready(Err(error.clone().into())),
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = matches!(self.state, State::Refused { .. });
        f.debug_struct("ResponseFuture").field("refused", &refused).finish_non_exhaustive()
    }
}
