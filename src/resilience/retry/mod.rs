//! Retries: only what is safe to repeat, with jitter, inside a budget.
//!
//! | met | retried | when |
//! |---|---|---|
//! | never sent, or refused unprocessed (`REFUSED_STREAM`, `GOAWAY`) | within `attempts`, from a copy | at once; a refusal after the first: as below |
//! | connection lost, attempt timeout, 502, 503, 504, gRPC 14 | if repeating is harmless | full jitter: 25 ms doubling to 1 s |
//! | the same with `Retry-After` | if repeating is harmless | not earlier, up to half as much later |
//! | the same with `grpc-retry-pushback-ms` | if repeating is harmless | exactly then; never if negative |
//!
//! Harmless is a method that is idempotent by RFC 9110, or what the service
//! ([`config::Retry`](crate::config::Retry)) or the call
//! ([`Call::idempotent`](crate::Call::idempotent)) declares. A call that answers a retry
//! ([`Call::inherit`](crate::Call::inherit)) is not multiplied.
//!
//! **gRPC.** The layer decides when the response head is there, and reads the status that is in it
//! (trailers-only, as servers answer that fail before anything else). A status in trailers behind a head is
//! the caller's, with or without messages before it: it is not retried, and a success for the throttle. A mesh looks further, at trailers before any message; nothing looks behind a message, of which the
//! caller has seen a part of the response.
//!
//! What is sent again is a copy of the request, which is kept where there may be a second attempt and of a body
//! of at most `max_body_bytes`: otherwise not even what was never sent is sent again. A
//! [`Client`](crate::Client) of a mesh gets that back, and needs no copy.
//!
//! What is retried beyond that can be named: statuses and ranges of them, gRPC codes, response headers
//! ([`config::Retry`](crate::config::Retry)), or Envoy's conditions ([`config::RetryOn`](crate::config::RetryOn)),
//! none of which declares a request harmless.
//!
//! Retries are paid for by a budget: a share of the calls, and a reserve. gRPC's throttle
//! (`throttle`) and Envoy's limits of what is in flight ([`RetryLayer::in_flight_budget`],
//! [`RetryLayer::max_retries`]) take its place, or grant beside it where it is given. A request's body is kept
//! while it is sent, up to `max_body_bytes`; a larger one is not sent again. Each further attempt
//! states its number to the endpoint (`grpc-previous-rpc-attempts`, `x-mesh-attempt`) and what is
//! left of the time.
//!
//! **Order.** Inside of the deadline of the call and outside of that of the attempt. The service
//! below is asked to be ready before each attempt, after the earlier one has been dropped.
//!
//! **Failures** are what the last attempt met. An [`Error`](crate::Error) of a layer below says why it was
//! not retried: `not retried: <reason>`. What the client below says is unchanged where no retry was due or
//! all attempts are used; where one was refused (the budget, the body, the deadline), it is the source of an
//! `Error` that says so.
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_mesh::{Body, config, resilience::RetryLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let (client, mut server) = tower_test::mock::pair::<http::Request<Body>, http::Response<()>>();
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::new(&config::Retry::standard()).unwrap())
//!     .service(client);
//! tokio::spawn(async move {
//!     for status in [503, 200] {
//!         let (_, send) = server.next_request().await.unwrap();
//!         send.send_response(http::Response::builder().status(status).body(()).unwrap());
//!     }
//! });
//! let request = http::Request::get("/").body(Body::empty()).unwrap();
//! assert_eq!(client.oneshot(request).await.unwrap().status(), 200);
//! # });
//! ```

pub(crate) mod after;
mod backoff;
mod conditions;
mod future;
mod layer;
mod met;
mod policy;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    after::wait_asked,
    met::Met,
    policy::{Arms, Decision, Policy},
};
pub use self::{
    future::ResponseFuture,
    layer::{Retry, RetryLayer},
};
