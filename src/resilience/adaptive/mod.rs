//! A limit of concurrent calls that follows the latency: as many as the service answers without a
//! queue.
//!
//! Every service answers only so many calls at a time; what is over that waits in its queue, and
//! all calls become slower until none is answered in time. Nobody knows the number beforehand, and
//! it changes. So it is found: the latency of what was answered, and failures, move the limit.
//!
//! | controller | the next limit | defaults | source |
//! |---|---|---|---|
//! | `gradient2` (default) | *L* ← 0.8·*L* + 0.2·(*g*·*L* + 4), *g* = clamp(1.5·*long* / *short*, ½, 1) | 20 at first, in 20..=200, 1 s, 10 answers, *long* over 600 windows | Netflix `Gradient2Limit` |
//! | `vegas` | by the queue ⌈*L*·(1 − *rtt₀*/*rtt*)⌉: +6·log, +log, −log at 1, 3, 6 times log₁₀ *L* | 20 at first, in 1..=1000 | Netflix `VegasLimit` |
//! | `aimd` | + 1 a window, · 0.9 after failures or answers over 5 s | 20 at first, in 20..=200 | Netflix `AIMDLimit` |
//! | `gradient` | *L* ← *g*·*L* + √(*g*·*L*), *g* = clamp(1.25·*minRTT* / *p50*, ½, 2) | 3 at first, in 3..=1000, 100 ms; *minRTT* of 50 calls each 60 s | Envoy adaptive concurrency |
//!
//! The limit is never above five times what was in flight (failsafe-go `maxLimitFactor`). Only what
//! was answered counts as a latency: a fault (5xx, gRPC 2, 10, 13, 15) ends faster than the work. Timeouts,
//! lost connections, 429, 503 and gRPC 4, 8, 14 are failures of too many calls. A call whose caller
//! left counts with its age if that is longer than what is usual: it may raise the latency, never
//! lower it. Answers under 100 µs count for nothing.
//!
//! Envoy's gradient is here because control planes ask for it. It pins: a latency that has risen
//! for good holds its limit near the smallest until the next measurement, in which it refuses
//! nearly everything. Tests of this room show both, and that `gradient2` does neither.
//!
//! A call keeps its place until its response body has ended; its latency is that of the head.
//! Calls of a low [`Criticality`] leave places for others.
//!
//! **Order.** Outside of retries it bounds calls; inside of them, attempts.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::{config, resilience::AdaptiveConcurrencyLayer};
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(()))
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut settings = config::AdaptiveConcurrency::default();
//! (settings.min_concurrency, settings.initial_concurrency) = (Some(1), Some(1));
//! let layer = AdaptiveConcurrencyLayer::new(&settings).unwrap();
//! let mut service = ServiceBuilder::new().layer(layer).service_fn(answer);
//! let first = service.ready().await.unwrap().call(http::Request::new(())).await.unwrap();
//! // The first response is not read yet.
//! let error = service.ready().await.unwrap().call(http::Request::new(())).await.unwrap_err();
//! let error = error.downcast_ref::<tower_mesh::Error>().unwrap();
//! assert_eq!(error.refusal(), Some(tower_mesh::Refusal::AdaptiveConcurrency));
//! drop(first);
//! assert!(service.ready().await.unwrap().call(http::Request::new(())).await.is_ok());
//! # });
//! ```
//!
//! [`Criticality`]: crate::config::Criticality

mod control;
mod decision;
mod histogram;
mod layer;
mod limit;
#[cfg(test)]
mod model;
mod rules;
#[cfg(test)]
mod tests;
mod window;

pub use self::layer::{AdaptiveConcurrency, AdaptiveConcurrencyLayer};
pub(crate) use self::limit::Limit;
pub use super::protect::ResponseFuture;

/// What it counts with outside of models.
mod atomic {
    pub(super) use std::sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    };
    use std::sync::{MutexGuard, TryLockError};

    /// What is inside, unless another has it: nobody waits.
    pub(super) fn taken<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        match mutex.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
