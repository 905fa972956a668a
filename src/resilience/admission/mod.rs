//! Admission control: calls are refused at random as their success rate falls.
//!
//! Over the last 30 s it counts what has ended (*n*) and what of that succeeded (*s*), and refuses
//! with probability
//!
//! > *p* = min(80 %, ((*n* − *s* / 95 %) / (*n* + 1)) ^ (1 / *aggression*)), 0 below 0
//!
//! Nothing is refused while at least 95 % succeed, nor below `min_per_second`. What is refused here
//! is counted on neither side: else the success rate would tend to nothing by itself. Because a
//! fifth of the calls is always sent, a service that is back is seen. Source: Envoy's admission control
//! filter.
//!
//! A success is a status in 100..500, or a gRPC code other than 4, 8, 10, 13, 14 and 15; both can be
//! said. What was not answered is a failure; a call that failed on this side, or whose caller left,
//! is not counted.
//!
//! The lowest [`Criticality`](crate::config::Criticality) is refused first: no level is refused
//! anything before all lower ones are refused whole. Envoy has no such thing; with one level it is
//! the same.
//!
//! It looks at successes, client-side [throttling](super::throttle) at what the service accepts: a
//! service that answers 500 to all is spared by this one alone.
//!
//! **Order.** Outside of retries it sees calls; inside of them, attempts.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{config, resilience::AdmissionControlLayer};
//!
//! # async fn fail(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::builder().status(500).body(()).unwrap())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let layer = AdmissionControlLayer::new(&config::AdmissionControl::default()).unwrap();
//! let mut service = ServiceBuilder::new().layer(layer).service_fn(fail);
//! let mut refused_here = 0;
//! for _ in 0..300 {
//!     if let Err(error) = service.ready().await.unwrap().call(http::Request::new(())).await {
//!         let error = error.downcast_ref::<tower_mesh::Error>().unwrap();
//!         assert_eq!(error.refusal(), Some(tower_mesh::Refusal::AdmissionControl));
//!         refused_here += 1;
//!     }
//! }
//! assert!(refused_here > 150);
//! # });
//! ```

mod decision;
mod layer;
mod shield;
#[cfg(test)]
mod tests;

pub use self::layer::{AdmissionControl, AdmissionControlLayer};
pub(crate) use self::shield::Shield;
pub use super::protect::ResponseFuture;
