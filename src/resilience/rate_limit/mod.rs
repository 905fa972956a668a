//! A limit of the rate of calls of this process: over it a call fails at once.
//!
//! A token bucket: it begins with `max_tokens`, `tokens_per_fill` come evenly in each
//! `fill_interval`, and each call takes one. Over any time `t` it lets in at most
//! `max_tokens + t · tokens_per_fill / fill_interval` calls. Nothing waits in a queue: the caller
//! gets an [`Error`] of kind [`Overloaded`](crate::ErrorKind::Overloaded) and refusal
//! [`RateLimited`](crate::Refusal::RateLimited), which says when there is a token again
//! ([`Error::retry_after`]).
//!
//! **Order.** Outside of retries it counts calls; inside of them, attempts.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{config::TokenBucket, resilience::RateLimitLayer};
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(()))
//! # }
//! # fn main() -> Result<(), tower_mesh::BoxError> {
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let layer = RateLimitLayer::new(&TokenBucket::per_second(1))?
//!     // Each tenant has a bucket of its own, at most 1,000 of them.
//!     .key(1_000, |request: &http::Request<()>| {
//!         Some(request.headers().get("x-tenant")?.to_str().ok()?.to_owned())
//!     });
//! let mut service = ServiceBuilder::new().layer(layer).service_fn(answer);
//! let of = |tenant| http::Request::get("/").header("x-tenant", tenant).body(()).unwrap();
//! assert!(service.ready().await?.call(of("a")).await.is_ok());
//! let error = service.ready().await?.call(of("a")).await.unwrap_err();
//! let error = error.downcast_ref::<tower_mesh::Error>().unwrap();
//! assert_eq!(error.http_status(), 429);
//! assert!(error.retry_after().unwrap() <= std::time::Duration::from_secs(1));
//! assert!(service.ready().await?.call(of("b")).await.is_ok());
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Defaults and formulas: `docs/RATE_LIMITS.md`.

mod bucket;
mod descriptor;
mod future;
mod layer;
mod limiter;
#[cfg(test)]
mod model;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

pub(crate) use self::limiter::{Level, Over, RateLimiter, Verdict};
pub use self::{
    descriptor::Descriptor,
    future::ResponseFuture,
    layer::{By, ByNothing, KeyOf, RateLimit, RateLimitLayer},
};
use crate::core::{Error, ErrorKind, Phase, Refusal, Reply};

/// What the bucket counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

//= IETF draft-polli-ratelimit-headers-03, as Envoy has it
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The error of a call that is over the limit; `edit` changes the headers that its answer would have.
#[cold]
pub(crate) fn refusal(
    over: &Over,
    status: u16,
    what: &str,
    edit: impl FnOnce(&mut HeaderMap),
) -> Error {
    let retry_after = over.wait.map(Duration::from_nanos);
    let mut headers = HeaderMap::new();
    edit(&mut headers);
    let when = match retry_after {
        Some(wait) => format!("there is one again in {wait:.1?}"),
        None => "it asks for more than the bucket ever holds".to_owned(),
    };
    Error::new(ErrorKind::Overloaded, Phase::Admission)
        .refused(Refusal::RateLimited)
        .with_status(StatusCode::from_u16(status).unwrap_or(StatusCode::TOO_MANY_REQUESTS))
        .detail(format!("{what} has no token left, of {} at most; {when}", over.max))
        .check("the rate of calls, and the buckets of `rate_limit`")
        .replied(Reply { headers, retry_after, ..Reply::default() })
}

/// Writes the limit of a refusal into its headers.
//= Envoy LocalRateLimiter: the reset is that of the next token
pub(crate) fn write_limit(over: &Over, headers: &mut HeaderMap) {
    headers.insert(LIMIT, HeaderValue::from(over.max));
    headers.insert(REMAINING, HeaderValue::from(over.left));
    if let Some(wait) = over.wait {
        headers.insert(RESET, HeaderValue::from(wait.div_ceil(1_000_000_000)));
    }
}
