//! Faults on purpose: delays, failures and slow responses, to see what callers make of them.
//!
//! [`FaultLayer`] does to a share of the requests what a [`config::Fault`](crate::config::Fault) says:
//!
//! | what | how it is chosen | what it does |
//! |---|---|---|
//! | `delay` | a share, or a header | waits before anything is sent |
//! | `abort` | a share, or a header | answers by itself: an HTTP status, or a gRPC code |
//! | `response_rate` | a share, or a header | passes the body of the response on at a rate |
//!
//! Each is drawn by itself: of 20 % that are delayed and 5 % that fail, one in a hundred is both, and is
//! delayed first. Which headers choose them is told in `docs/FAULTS.md`.
//!
//! **Told apart.** An answer that was injected has a [`Refusal::Fault`](crate::Refusal::Fault) in its
//! extensions. It is an answer, not an error: callers are to meet what a server would have said.
//!
//! **Order.** Outside of retries a fault is met once per call, as where Envoy and Istio place it;
//! inside of them by each attempt, to test the retries. Inside of a deadline a delay ends with it.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{Refusal, config::Fault, resilience::FaultLayer};
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<tower_mesh::Body>, tower_mesh::BoxError> {
//! #     Ok(http::Response::default())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let faults = FaultLayer::new(&Fault::abort(503)).unwrap();
//! let mut service = ServiceBuilder::new().layer(faults).service_fn(answer);
//! let answer = service.ready().await.unwrap().call(http::Request::new(())).await.unwrap();
//! assert_eq!(answer.status(), 503);
//! assert_eq!(answer.extensions().get(), Some(&Refusal::Fault));
//! # });
//! ```

mod body;
mod decision;
mod future;
mod layer;
mod pace;

pub use self::{
    body::FaultBody,
    future::ResponseFuture,
    layer::{Fault, FaultLayer},
};
pub(crate) use self::{
    body::Slow,
    decision::{Asked, Draw, Drawn, Faults},
};
