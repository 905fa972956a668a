//! A call that was let in, or was not.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::Ticket;
use crate::{
    core::{BoxError, Error},
    resilience::{exchange::sealed::Answer, outcome::Outcome},
};

/// The response of a service of [`AdaptiveConcurrencyLayer`](crate::resilience::AdaptiveConcurrencyLayer),
/// [`ThrottleLayer`](crate::resilience::ThrottleLayer) or
/// [`AdmissionControlLayer`](crate::resilience::AdmissionControlLayer).
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
        ticket: Option<Ticket>,
    },
    Refused {
        error: Error,
    },
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, ticket: Option<Ticket>) -> Self {
        Self { state: State::Admitted { inner, ticket } }
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
            StateProj::Admitted { inner, ticket } => {
                let result = ready!(inner.poll(cx)).map_err(Into::into);
                let outcome = match &result {
                    Ok(response) => Outcome::of_answer(response),
                    Err(error) => Outcome::of_foreign(&**error),
                };
                let ended = |ticket: Ticket| {
                    let now = ticket.now();
                    ticket.ended(now, outcome)
                };
                let place = ticket.take().map(ended).unwrap_or_default();
                Poll::Ready(result.map(|response| response.held(place)))
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
