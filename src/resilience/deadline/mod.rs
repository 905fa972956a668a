//! Deadlines: one bound for everything that a call waits for.
//!
//! [`DeadlineLayer`] bounds each call by the earliest of
//!
//! | bound | set by | reaches to |
//! |---|---|---|
//! | the call's own | [`Call::timeout`](crate::Call::timeout), `reqwest::Request::timeout` | the end of the trailers |
//! | inherited from a gRPC caller | [`Call::inherit`](crate::Call::inherit) | the end of the trailers |
//! | inherited from an HTTP caller | [`Call::inherit`](crate::Call::inherit) | the response head |
//! | on the wire | `grpc-timeout` on the request: tonic's `Request::set_timeout` | the end of the trailers |
//! | configured | [`DeadlineLayer::new`] | the response head, or [the whole response](DeadlineLayer::whole_response) |
//!
//! and tells the endpoint what is left: in `grpc-timeout` if the bound covers the trailers of a
//! gRPC call, in `x-envoy-expected-rq-timeout-ms` for any other call.
//!
//! **Order.** Outside of retries it bounds the call; inside of them, each attempt. It covers
//! `call`, not `poll_ready`: a service below that makes its callers wait for readiness waits
//! outside of the bound, as in every tower middleware. Layers of retries and hedging inside learn of it, and
//! wait for nothing that lies behind it: by the headers above, by an extension where a gRPC call has a
//! bound of its head alone, which a `reqwest::Request` cannot carry.
//!
//! **Failures** are [`Error`](crate::Error)s of kind [`Timeout`](crate::ErrorKind::Timeout). In the
//! middle of a gRPC body they are its trailers, with `DEADLINE_EXCEEDED`. Before the response head
//! a tonic client reports an error of any layer as `UNKNOWN`, with this error as its source and its
//! words as its message; [`ErrorKind::grpc_code`](crate::ErrorKind::grpc_code) tells the code that
//! it stands for. Behind a [`Client`](crate::Client) such an error is the status itself.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_mesh::resilience::DeadlineLayer;
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     std::future::pending().await
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use tower::{Service, ServiceExt};
//!
//! let mut service = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(Duration::from_millis(10)))
//!     .service_fn(answer);
//! let error = service.ready().await.unwrap().call(http::Request::new(())).await.unwrap_err();
//! assert!(error.downcast_ref::<tower_mesh::Error>().unwrap().is_timeout());
//! # });
//! ```

mod body;
mod decision;
mod extent;
mod future;
mod layer;
mod text;

pub(crate) use self::{
    body::Expiry,
    decision::{Bounds, Scope, exceeded, of, of_http},
    extent::Extent,
};
pub use self::{
    body::TimedBody,
    future::ResponseFuture,
    layer::{Deadline, DeadlineLayer},
};
