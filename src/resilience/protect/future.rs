//! A call that was let in, or was not.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::Ticket;
use crate::{
    core::{BoxError, Error},
    resilience::{admitting::Admission, exchange::sealed::Answer, outcome::Outcome},
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
    state: Admission<F, Option<Ticket>>,
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(super) fn admitted(inner: F, ticket: Option<Ticket>) -> Self {
        Self { state: Admission::Admitted { inner, pass: ticket } }
    }

    pub(super) fn refused(error: Error) -> Self {
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
        let (result, ticket) = ready!(self.project().state.poll(cx));
        let outcome = match &result {
            Ok(response) => Outcome::of_answer(response),
            Err(error) => Outcome::of_foreign(&**error),
        };
        let ended = |ticket: Ticket| {
            let now = ticket.now();
            ticket.ended(now, outcome)
        };
        let place = ticket.map(ended).unwrap_or_default();
        Poll::Ready(result.map(|response| response.held(place)))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.state.is_refused();
        f.debug_struct("ResponseFuture").field("refused", &refused).finish_non_exhaustive()
    }
}
