//! What keeps a call alive: deadlines, retries under a budget, and limits.
//!
//! Each policy is a decision without I/O, which takes the time and random words and returns what
//! to do. The mesh's own stack and the public layers here are two shells around the same
//! decisions.
//!
//! All layers keep tower's contract; `docs/CONTRACT.md` of the source has the tests that hold them to it.
//! They work under a plain `tower::ServiceBuilder` around hyper-util's client,
//! `tonic::transport::Channel`, `reqwest::Client` (feature `reqwest-013`) or any other service of
//! `http` messages. From the outside in:
//!
//! ```no_run
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_mesh::{config, resilience::{ConcurrencyLimitLayer, DeadlineLayer, GrpcStatusLayer, RetryLayer}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
//! let client = ServiceBuilder::new()
//!     // What the layers refuse is a status to a generated client, not `UNKNOWN`.
//!     .layer(GrpcStatusLayer::new())
//!     // The whole call.
//!     .layer(DeadlineLayer::new(Duration::from_secs(2)))
//!     .layer(ConcurrencyLimitLayer::new(100))
//!     // tonic's channel takes tonic's body alone, so the layer is told how to make one.
//!     .layer(RetryLayer::new(&config::Retry::standard())?.body(tonic::body::Body::new))
//!     // Each attempt.
//!     .layer(DeadlineLayer::new(Duration::from_millis(500)))
//!     .service(channel);
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! | layer | bounds | default |
//! |---|---|---|
//! | [`DeadlineLayer`] | the time of a call or of an attempt | none: it is given one |
//! | [`RetryLayer`] | the repeats of a call, by [`config::Retry`](crate::config::Retry) | 3 attempts, 25 ms to 1 s apart, 20 % of the calls and 10 per second |
//! | [`HedgeLayer`] | the tail of the latencies, by [`config::Hedge`](crate::config::Hedge) | none: it is given one |
//! | [`ConcurrencyLimitLayer`] | the calls in flight | none: it is given one |
//! | [`AuthorizeLayer`] | who may call what | none: it is given rules |
//! | [`FaultLayer`] | nothing: it injects faults | none: it is given some |
//! | [`RateLimitLayer`] | the calls per time, of all or of each key | none: it is given a bucket |
//! | `GlobalRateLimitLayer` (feature `rls`) | the same for many callers, by a service that they share | 20 ms for its answer, else the call goes on |
//! | [`AdaptiveConcurrencyLayer`] | the calls in flight, by their latency, by [`config::AdaptiveConcurrency`](crate::config::AdaptiveConcurrency) | `gradient2`, 20 to 200 |
//! | [`ThrottleLayer`] | what is sent to a service that refuses, by [`config::Throttle`](crate::config::Throttle) | 2 calls for each that it accepts, over 2 min |
//! | [`AdmissionControlLayer`] | what is sent to a service that fails, by [`config::AdmissionControl`](crate::config::AdmissionControl) | below 95 % successes, over 30 s |
//! | [`BreakerLayer`] | the attempts in flight, of each priority, by [`config::Breakers`](crate::config::Breakers) | none: it is given some |
//! | [`DropLayer`] | the calls, by the shares that categories drop | none: it is given some |
//! | [`GrpcStatusLayer`] | nothing: outermost, it answers gRPC calls with the status of a failure of those below | |
//! | [`FailFastLayer`] | the calls that wait for a service to be ready, and for how long | 10000 calls; the time is given |
//!
//! Routes, splits, edits and mirrors are layers of [`traffic`](crate::traffic).
//!
//! Their failures are [`Error`](crate::Error)s inside of a [`BoxError`](crate::BoxError):
//! `error.downcast_ref::<tower_mesh::Error>()`. The layers emit no events.
//!
//! **Do** use one layer per destination: the services that it makes share one budget or limit.
//! **Do** put the retries of the client below out of action (`reqwest::retry::never()`).
//!
//! **Do not** wrap them around a [`Client`](crate::Client): the mesh does all of this inside.

pub mod adaptive;
pub mod admission;
pub(crate) mod admitting;
pub mod authorize;
#[doc(hidden)]
pub mod bench;
pub mod breaker;
pub(crate) mod budget;
pub mod deadline;
pub mod drops;
pub(crate) mod exchange;
pub mod fault;
#[cfg(feature = "rls")]
pub mod global_rate_limit;
pub mod grpc_status;
pub mod hedge;
pub mod limit;
#[cfg(test)]
mod model;
pub(crate) mod outcome;
pub(crate) mod protect;
pub mod queue;
pub mod rate_limit;
mod repeating;
pub mod retry;
mod rolling;
#[cfg(test)]
mod rolling_tests;
pub(crate) mod shed;
pub mod throttle;

/// What the windows count with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

pub(crate) use self::budget::Budget;
#[cfg(feature = "rls")]
pub use self::global_rate_limit::{GlobalRateLimit, GlobalRateLimitLayer};
pub use self::{
    adaptive::{AdaptiveConcurrency, AdaptiveConcurrencyLayer},
    admission::{AdmissionControl, AdmissionControlLayer},
    authorize::{Authorize, AuthorizeLayer},
    breaker::{Breaker, BreakerLayer},
    deadline::{Deadline, DeadlineLayer},
    drops::{DropLayer, Dropping},
    exchange::{Answer, Exchange, Replay},
    fault::{Fault, FaultLayer},
    grpc_status::{GrpcStatus, GrpcStatusLayer},
    hedge::{Hedge, HedgeLayer},
    limit::{ConcurrencyLimit, ConcurrencyLimitLayer},
    queue::{FailFast, FailFastLayer},
    rate_limit::{Descriptor, RateLimit, RateLimitLayer},
    retry::{Retry, RetryLayer},
    throttle::{Throttle, ThrottleLayer},
};
