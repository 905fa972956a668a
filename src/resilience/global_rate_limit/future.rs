//! A call about which a service is asked first.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use tower_service::Service;

use super::{Asker, Said, answer::Answer};
use crate::core::{BoxError, BoxFuture, Error};

/// The response of [`GlobalRateLimit`](super::GlobalRateLimit).
///
/// Dropping it drops the question, or the call below.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: Service<R>, R> {
    #[pin]
    state: State<S, R, S::Future>,
    asker: Arc<Asker>,
    answer: Option<Arc<Answer>>,
}

#[pin_project::pin_project(project = StateProj)]
enum State<S, R, F> {
    /// The readied service, and what it will get.
    Asking(BoxFuture<Said>, Option<(S, R)>),
    Admitted(#[pin] F),
    Refused(Error),
}

// === impl ResponseFuture ===

impl<S: Service<Request<B>>, B> ResponseFuture<S, Request<B>> {
    pub(super) fn unasked(mut inner: S, request: Request<B>, asker: Arc<Asker>) -> Self {
        Self { state: State::Admitted(inner.call(request)), asker, answer: None }
    }

    pub(super) fn answered(
        mut inner: S,
        mut request: Request<B>,
        asker: Arc<Asker>,
        answer: Arc<Answer>,
    ) -> Self {
        Asker::change_request(&answer, request.headers_mut());
        Self { state: State::Admitted(inner.call(request)), asker, answer: Some(answer) }
    }

    pub(super) fn asking(
        inner: S,
        request: Request<B>,
        asker: Arc<Asker>,
        said: BoxFuture<Said>,
    ) -> Self {
        Self { state: State::Asking(said, Some((inner, request))), asker, answer: None }
    }
}

impl<S, B, T> Future for ResponseFuture<S, Request<B>>
where
    S: Service<Request<B>, Response = Response<T>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<T>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Asking(said, call) => {
                    let said = ready!(said.as_mut().poll(cx));
                    let Some((mut inner, mut request)) = call.take() else { return Poll::Pending };
                    match said {
                        Said::On(answer) => {
                            if let Some(answer) = &answer {
                                Asker::change_request(answer, request.headers_mut());
                            }
                            *this.answer = answer;
                            this.state.set(State::Admitted(inner.call(request)));
                        }
                        Said::Refused(error) => this.state.set(State::Refused(error)),
                    }
                }
                StateProj::Admitted(inner) => {
                    let mut response = ready!(inner.poll(cx)).map_err(Into::into)?;
                    if let Some(answer) = this.answer {
                        this.asker.change_response(answer, response.headers_mut());
                    }
                    return Poll::Ready(Ok(response));
                }
                StateProj::Refused(error) => return Poll::Ready(Err(error.clone().into())),
            }
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
