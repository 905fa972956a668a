//! Hedging: a call that takes long is sent again beside the first, and the first good answer wins.
//!
//! | said by [`config::Hedge`](crate::config::Hedge) | the next attempt is sent |
//! |---|---|
//! | `max_extra_percent` | at the latency that this share of the calls is above, in the last 30 s; each is paid for from that share, counted exactly |
//! | `delay` | after this long, up to `max_attempts`; at once in place of one that failed |
//! | `initial_attempts`, `additional_percent` | with the first |
//!
//! Only what may be sent twice is hedged: an idempotent method, or what
//! [`config::Retry`](crate::config::Retry) or the call
//! ([`Call::idempotent`](crate::Call::idempotent)) declares. Each hedge takes a token out of the layer's
//! budget, too (`retry.budget`). A request's body is kept while it is sent, up to `max_body_bytes`,
//! and each attempt sends it in full; a larger one is not hedged.
//!
//! **Order.** Inside of the deadline of the call and of retries, outside of the deadline of the attempt
//! and of whatever picks an endpoint. The service below is asked to be ready before each attempt.
//!
//! **Failures** are what the last attempt met, unchanged. One that another attempt was to replace, which was
//! refused (the extra load, the budget, the body), is an [`Error`](crate::Error) that says so: `not retried:
//! <reason>`; what the client below has said is its source.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_mesh::{Body, Hedge, Retry, resilience::HedgeLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let (client, mut server) = tower_test::mock::pair::<http::Request<Body>, http::Response<()>>();
//! let hedge = Hedge::after(Duration::from_millis(10));
//! let client = ServiceBuilder::new()
//!     .layer(HedgeLayer::new(&hedge, &Retry::standard()).unwrap())
//!     .service(client);
//! tokio::spawn(async move {
//!     // The first is never answered.
//!     let _first = server.next_request().await.unwrap();
//!     let (_, send) = server.next_request().await.unwrap();
//!     send.send_response(http::Response::new(()));
//!     std::future::pending::<()>().await;
//! });
//! let request = http::Request::get("/").body(Body::empty()).unwrap();
//! assert_eq!(client.oneshot(request).await.unwrap().status(), 200);
//! # });
//! ```

mod course;
mod future;
mod layer;
#[cfg(test)]
mod model;
mod policy;
mod recent;
#[cfg(test)]
mod tests;

/// What the window counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

pub(crate) use self::{
    course::{Course, Word},
    policy::{Fate, Hedging},
};
pub use self::{
    future::ResponseFuture,
    layer::{Hedge, HedgeLayer},
};
