//! Client-side throttling: what the service would refuse is not sent.
//!
//! A service that is overloaded spends its time on refusing. So a client that sees that much of
//! what it sends is refused sends less: over the last two minutes it counts what the application
//! wanted (*requests*) and what the service took (*accepts*), and refuses by itself with probability
//!
//! > *p* = max(0, (*requests* − *K*·*accepts*) / (*requests* + 1)), *K* = 2
//!
//! so that the service gets at most about *K* times what it accepts, and the client goes on to
//! see what it accepts. Source: Google SRE, "Handling Overload", client-side throttling.
//!
//! - A call is counted when it is **sent**, not when it ends: a service that hangs is seen before
//!   its calls time out (go-zero #5011 counted at the end). What is refused here is counted, too.
//! - A call that is open and younger than one to two seconds is neither wanted nor accepted yet, so that a
//!   burst to a service that is well is not taken for refusals.
//! - Below 100 calls in the window nothing is refused (Kratos `aegis` has the same floor).
//! - One call a second is sent however bad it looks (go-zero's `forcePass`): else a client with a
//!   *p* of nearly 1 would hardly see that the service is back.
//! - What the service did not accept: 429, 503, gRPC 8 and 14, and what was not answered at all. A call
//!   whose caller left within a second is as if it had not been made; one that waited longer was
//!   not accepted.
//! - The lowest [`Criticality`](crate::config::Criticality) is refused first: no level is refused
//!   anything before all lower ones are refused whole.
//!
//! **Order.** Outside of retries, so that a retry is not a second request of the application's.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{config, resilience::ThrottleLayer};
//!
//! # async fn refuse(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::builder().status(503).body(()).unwrap())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let layer = ThrottleLayer::new(&config::Throttle::default()).unwrap();
//! let mut service = ServiceBuilder::new().layer(layer).service_fn(refuse);
//! let mut refused_here = 0;
//! for _ in 0..300 {
//!     if let Err(error) = service.ready().await.unwrap().call(http::Request::new(())).await {
//!         let error = error.downcast_ref::<tower_mesh::Error>().unwrap();
//!         assert_eq!(error.refusal(), Some(tower_mesh::Refusal::Throttled));
//!         refused_here += 1;
//!     }
//! }
//! assert!(refused_here > 150);
//! # });
//! ```

mod decision;
mod forced;
mod layer;
#[cfg(test)]
mod model;
mod shield;
#[cfg(test)]
mod tests;
mod young;

pub use self::layer::{Throttle, ThrottleLayer};
pub(crate) use self::shield::Shield;
pub use super::protect::ResponseFuture;

/// What it counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}
