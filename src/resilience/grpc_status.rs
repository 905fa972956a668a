//! Failures of the layers as gRPC statuses, for a generated client that calls through them.
//!
//! A tonic client turns an error that it does not know into `UNKNOWN`, and callers treat that as
//! a defect of the server. Outermost of all, this layer answers a gRPC call whose layers have
//! failed with the status that the failure stands for
//! ([`ErrorKind::grpc_code`](crate::ErrorKind::grpc_code)), the [`Error`] in the extensions of the
//! response, which tonic hands on in those of its `Status`. Other calls, and other errors, pass.
//!
//! A [`Client`](crate::Client) does this by itself.
//!
//! **Order.** Outside of every layer whose failures it is to answer.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{Body, resilience::{ConcurrencyLimitLayer, GrpcStatusLayer}};
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<Body>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(Body::empty()))
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut service = ServiceBuilder::new()
//!     .layer(GrpcStatusLayer::new())
//!     .layer(ConcurrencyLimitLayer::new(0))
//!     .service_fn(answer);
//! let call = http::Request::builder().header("content-type", "application/grpc").body(()).unwrap();
//! let answer = service.ready().await.unwrap().call(call).await.unwrap();
//! assert_eq!(answer.headers()["grpc-status"], "8");
//! # });
//! ```

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::core::{BoxError, Error, grpc};

/// Answers gRPC calls with a status where a layer below has failed: see the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcStatusLayer {
    _later: (),
}

/// A service whose gRPC callers get statuses, by [`GrpcStatusLayer`].
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcStatus<S> {
    inner: S,
}

/// The response of [`GrpcStatus`].
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    inner: F,
    is_grpc: bool,
}

// === impl GrpcStatusLayer ===

impl GrpcStatusLayer {
    /// One; there is nothing to set.
    #[must_use]
    pub const fn new() -> Self {
        Self { _later: () }
    }
}

impl<S> Layer<S> for GrpcStatusLayer {
    type Service = GrpcStatus<S>;

    fn layer(&self, inner: S) -> GrpcStatus<S> {
        GrpcStatus { inner }
    }
}

// === impl GrpcStatus ===

impl<S, B, D> Service<Request<B>> for GrpcStatus<S>
where
    S: Service<Request<B>, Response = Response<D>>,
    S::Error: Into<BoxError>,
    D: Default,
{
    type Response = Response<D>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_grpc = grpc::is_grpc(request.headers());
        ResponseFuture { inner: self.inner.call(request), is_grpc }
    }
}

// === impl ResponseFuture ===

impl<F, D, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<D>, E>>,
    D: Default,
    E: Into<BoxError>,
{
    type Output = Result<Response<D>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let error = match ready!(this.inner.poll(cx)) {
            Ok(response) => return Poll::Ready(Ok(response)),
            Err(error) => error.into(),
        };
        if !*this.is_grpc {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(
            error.downcast::<Error>().map(|ours| grpc::response(*ours).map(|_| D::default())),
        )
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("grpc", &self.is_grpc).finish_non_exhaustive()
    }
}
