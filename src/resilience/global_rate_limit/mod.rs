//! A limit of the rate of calls that many callers share: a service is asked about each of them, by
//! Envoy's protocol (`envoy.service.ratelimit.v3`, RLS).
//!
//! What describes a call (a [`Descriptor`](crate::resilience::Descriptor)) is sent to the service,
//! which counts it and says whether it may go on, and which headers its request and its response
//! get. A call without a description is not asked about. Over the limit the caller gets an
//! [`Error`](crate::Error) of kind [`Overloaded`](crate::ErrorKind::Overloaded) and refusal
//! [`GlobalRateLimited`](crate::Refusal::GlobalRateLimited).
//!
//! **Where the service does not answer** in time, or says what it should not, the call goes on;
//! with [`fail_closed`](GlobalRateLimitLayer::fail_closed) it fails, refused as
//! [`RateLimitUnavailable`](crate::Refusal::RateLimitUnavailable).
//!
//! **Order.** Outside of retries, so that one call is asked about once.
//!
//! ```no_run
//! use tower::ServiceBuilder;
//! use tower_mesh::{Mesh, resilience::{Descriptor, GlobalRateLimitLayer}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mesh = Mesh::builder().endpoints("limits", ["10.0.0.9:8081".parse::<std::net::SocketAddr>()?]).build()?;
//! let layer = GlobalRateLimitLayer::new(mesh.client("limits")?, "shop", |request: &http::Request<()>| {
//!     let tenant = request.headers().get("x-tenant").and_then(|it| it.to_str().ok());
//!     tenant.map(|tenant| Descriptor::new().entry("tenant", tenant)).into_iter().collect()
//! });
//! let client = ServiceBuilder::new().layer(layer).service_fn(async |_: http::Request<()>| {
//!     Ok::<_, tower_mesh::BoxError>(http::Response::new(()))
//! });
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! Defaults: `docs/RATE_LIMITS.md`.

mod answer;
mod asker;
mod future;
mod layer;
mod message;
mod quota;

pub(crate) use self::answer::Answer;
pub(crate) use self::asker::{Asker, Failure, Said, read};
pub use self::{
    future::ResponseFuture,
    layer::{GlobalRateLimit, GlobalRateLimitLayer},
};
