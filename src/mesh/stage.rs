//! User layers at the four named stages, and bring-your-own leaves.
//!
//! A stage layer is a `tower::Layer` over that stage's [`Next`]. What it makes is erased once to
//! `Arc<dyn …>`; each request through it costs one boxed future. An unused stage costs nothing.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::core::{Body, BoxError, BoxFuture, Error, ErrorKind, MeshEnd, Phase};

/// What stands behind a user layer: the rest of the mesh, as a service.
///
/// It is always ready; all waiting is in its future, under the deadline of the call.
#[derive(Clone)]
pub struct Next(Arc<dyn Erased>);

/// A user's service after erasure.
pub(crate) trait Erased: Send + Sync {
    fn call(&self, request: Request<Body>) -> BoxFuture<Result<Response<Body>, BoxError>>;

    /// The same, if it is over before its mesh is: what the application has given knows nothing of that.
    fn call_until(
        &self,
        request: Request<Body>,
        _end: &Arc<MeshEnd>,
    ) -> BoxFuture<Result<Response<Body>, BoxError>> {
        self.call(request)
    }
}

/// One stage of the stack: from what stands behind to what stands before.
pub(crate) type Stage = Arc<dyn Fn(Next) -> Arc<dyn Erased> + Send + Sync>;

// === impl Next ===

impl Next {
    pub(crate) fn new(rest: impl Erased + 'static) -> Self {
        Self(Arc::new(rest))
    }

    pub(crate) fn erased(rest: Arc<dyn Erased>) -> Self {
        Self(rest)
    }
}

impl Service<Request<Body>> for Next {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = NextFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> NextFuture {
        NextFuture(self.0.call(request))
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

/// The response of the rest of the mesh.
#[must_use = "futures do nothing unless polled"]
pub struct NextFuture(BoxFuture<Result<Response<Body>, BoxError>>);

impl Future for NextFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for NextFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextFuture").finish_non_exhaustive()
    }
}

// === erasure ===

struct ErasedService<S>(S);

impl<S, B> Erased for ErasedService<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, request: Request<Body>) -> BoxFuture<Result<Response<Body>, BoxError>> {
        call(self.0.clone(), request, None)
    }

    fn call_until(
        &self,
        request: Request<Body>,
        end: &Arc<MeshEnd>,
    ) -> BoxFuture<Result<Response<Body>, BoxError>> {
        call(self.0.clone(), request, Some(end))
    }
}

/// Calls a clone of its own, readied here and called once: no readiness is shared.
fn call<S, B>(
    mut service: S,
    request: Request<Body>,
    end: Option<&Arc<MeshEnd>>,
) -> BoxFuture<Result<Response<Body>, BoxError>>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Most are ready at once, and then the request moves into theirs without a detour.
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => {
            let response = service.call(request);
            boxed(Answering { response, _called: service }, end)
        }
        Poll::Ready(Err(error)) => Box::pin(std::future::ready(Err(error.into()))),
        Poll::Pending => {
            let whole = async move {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(Body::new))
            };
            boxed(whole, end)
        }
    }
}

/// The one box of a call through what the application has given, with what tells it of the mesh's end.
#[inline]
fn boxed<F>(whole: F, end: Option<&Arc<MeshEnd>>) -> BoxFuture<F::Output>
where
    F: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
{
    match end {
        None => Box::pin(whole),
        Some(end) => Box::pin(end.until(whole)),
    }
}

/// The response of a service that was ready at once. Not an `async` block, which would hold the
/// future twice: as it was given, and as it is awaited.
#[pin_project]
struct Answering<F, S> {
    #[pin]
    response: F,
    /// It lives as long as what it works on: some end their work when they go.
    _called: S,
}

impl<F, S, B, E> Future for Answering<F, S>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.project().response.poll(cx)) {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => Err(error.into()),
        })
    }
}

/// Erases a user's service.
pub(crate) fn erase<S, B>(service: S) -> Arc<dyn Erased>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Arc::new(ErasedService(service))
}

/// Puts a user's layer before what `stage` (if any) has put there already.
pub(crate) fn push<L, B>(stage: Option<Stage>, layer: L) -> Stage
where
    L: Layer<Next> + Send + Sync + 'static,
    L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Body>>>::Error: Into<BoxError>,
    <L::Service as Service<Request<Body>>>::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Arc::new(move |next| {
        // The layer given first is the outermost, as in `ServiceBuilder`.
        let inner = erase(layer.layer(next));
        stage.as_ref().map_or_else(|| Arc::clone(&inner), |outer| outer(Next(Arc::clone(&inner))))
    })
}

/// The failure of a layer that did not hand the extensions of its request on.
pub(crate) fn context_lost(stage: &str) -> BoxError {
    Error::new(ErrorKind::Layer, Phase::Request)
        .detail(format!(
            "a {stage} layer dropped the request's extensions, which carry the call's context"
        ))
        .into()
}

/// The failure of a call layer that called what stands behind it once more for the same call.
pub(crate) fn called_twice() -> BoxError {
    Error::new(ErrorKind::Layer, Phase::Request)
        .detail(
            "a call layer called `Next` twice for one call; retries are set on the service \
             (`retry`), or made around the client",
        )
        .into()
}
