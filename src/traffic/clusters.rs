//! Clients by the names of clusters: a request goes to the one that its destination names.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Request;
use tower_service::Service;

use super::Destination;
use crate::core::{BoxError, Error, ErrorKind, Phase};

/// A client for each cluster. A request goes to that of its [`Destination`]; without one, or to a cluster
/// that is not there, it fails with an [`Error`] that names it.
///
/// It is always ready: the client that is called is made ready for its call, as a clone of its own.
#[derive(Clone)]
pub struct Clusters<S> {
    services: Arc<HashMap<String, S>>,
}

/// The response of [`Clusters`].
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ClustersFuture<S, R, F> {
    #[pin]
    state: State<S, R, F>,
}

#[pin_project::pin_project(project = StateProj)]
enum State<S, R, F> {
    Readying { service: S, request: Option<R> },
    Called(#[pin] F),
    Lost(Option<Error>),
}

impl<S> Clusters<S> {
    /// These clients by the names of their clusters; of two of one name the last counts.
    #[must_use]
    pub fn new<N: Into<String>>(services: impl IntoIterator<Item = (N, S)>) -> Self {
        let services = services.into_iter().map(|(name, service)| (name.into(), service));
        Self { services: Arc::new(services.collect()) }
    }
}

impl<S, B> Service<Request<B>> for Clusters<S>
where
    S: Service<Request<B>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ClustersFuture<S, Request<B>, S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let named = request.extensions().get::<Destination>().map(Destination::cluster);
        let service = named.and_then(|name| self.services.get(name)).cloned();
        let state = match (service, named) {
            (Some(service), _) => State::Readying { service, request: Some(request) },
            (None, named) => {
                let detail = named.map_or_else(
                    || "no layer has said which cluster it goes to".to_owned(),
                    |name| format!("there is no client for cluster `{name}`"),
                );
                let error = Error::new(ErrorKind::Config, Phase::Route).detail(detail);
                State::Lost(Some(error))
            }
        };
        ClustersFuture { state }
    }
}

impl<S, R> Future for ClustersFuture<S, R, S::Future>
where
    S: Service<R>,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let called = match state.as_mut().project() {
                StateProj::Readying { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    match request.take() {
                        Some(request) => service.call(request),
                        // Polled again after its failure.
                        None => return Poll::Pending,
                    }
                }
                StateProj::Called(called) => return called.poll(cx).map_err(Into::into),
                StateProj::Lost(error) => {
                    return match error.take() {
                        Some(error) => Poll::Ready(Err(error.into())),
                        None => Poll::Pending,
                    };
                }
            };
            state.set(State::Called(called));
        }
    }
}

impl<S> fmt::Debug for Clusters<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.services.keys().collect();
        names.sort_unstable();
        f.debug_tuple("Clusters").field(&names).finish()
    }
}

impl<S, R, F> fmt::Debug for ClustersFuture<S, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClustersFuture").finish_non_exhaustive()
    }
}
