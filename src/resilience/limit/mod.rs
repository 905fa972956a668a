//! A limit of concurrent calls: over it a call fails at once instead of waiting.
//!
//! A queue would only hide an endpoint that cannot keep up, and hold bodies and deadlines
//! meanwhile. The caller gets an [`Error`](crate::Error) of kind
//! [`Overloaded`](crate::ErrorKind::Overloaded), from the call and never from `poll_ready`. A call
//! keeps its place until its response body has ended.
//!
//! A tonic client reports an error of any layer as `UNKNOWN`, with this error as its source and its
//! words as its message; [`ErrorKind::grpc_code`](crate::ErrorKind::grpc_code) tells the code that
//! it stands for. Behind a [`Client`](crate::Client) such an error is the status itself.
//!
//! **Order.** Outside of retries it bounds calls; inside of them, attempts.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_mesh::resilience::ConcurrencyLimitLayer;
//!
//! # async fn answer(_: http::Request<()>) -> Result<http::Response<()>, tower_mesh::BoxError> {
//! #     Ok(http::Response::new(()))
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut service =
//!     ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1)).service_fn(answer);
//! let first = service.ready().await.unwrap().call(http::Request::new(())).await.unwrap();
//! // The first response is not read yet.
//! let error = service.ready().await.unwrap().call(http::Request::new(())).await.unwrap_err();
//! assert!(error.downcast_ref::<tower_mesh::Error>().unwrap().is_overload());
//! drop(first);
//! assert!(service.ready().await.unwrap().call(http::Request::new(())).await.is_ok());
//! # });
//! ```

mod body;
mod future;
mod gate;
mod layer;
#[cfg(test)]
mod model;

use std::sync::Arc;

use self::{
    atomic::{AtomicU32, Ordering},
    gate::Gate,
};
use crate::core::{Held, Release};

pub use self::{
    body::HeldBody,
    future::ResponseFuture,
    layer::{ConcurrencyLimit, ConcurrencyLimitLayer},
};

/// What the gate counts with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

/// Counts what is in flight; over the limit nothing more is let in.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: AtomicU32,
    gate: Gate,
}

impl Limiter {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit: AtomicU32::new(limit), gate: Gate::new() }
    }

    /// A limit in the place of `kept`, whose count goes on; what is in flight over a smaller limit
    /// stays.
    pub(crate) fn resized(kept: Option<&Arc<Self>>, limit: u32) -> Arc<Self> {
        let Some(kept) = kept else { return Arc::new(Self::new(limit)) };
        kept.limit.store(limit, Ordering::Relaxed);
        Arc::clone(kept)
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// What is in flight.
    pub(crate) fn taken(&self) -> u32 {
        self.gate.taken()
    }

    /// Whether there is no place now.
    pub(crate) fn is_full(&self) -> bool {
        self.gate.taken() >= self.limit()
    }

    /// Takes a place, given back when what is returned is dropped.
    pub(crate) fn hold(limiter: &Arc<Self>) -> Option<Held> {
        let entered = limiter.gate.enter(limiter.limit());
        entered.then(|| Held::Shared(Arc::<Self>::clone(limiter)))
    }
}

impl Release for Limiter {
    fn release(&self) {
        self.gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_is_dropped() {
        let limiter = Arc::new(Limiter::new(2));
        let first = Limiter::hold(&limiter);
        let _second = Limiter::hold(&limiter);
        assert!(first.is_some());
        assert!(Limiter::hold(&limiter).is_none());
        drop(first);
        assert!(Limiter::hold(&limiter).is_some());
    }

    #[test]
    fn a_resized_limit_counts_on() {
        let limiter = Arc::new(Limiter::new(1));
        let first = Limiter::hold(&limiter);
        let limiter = Limiter::resized(Some(&limiter), 2);
        let _second = Limiter::hold(&limiter);
        assert!(Limiter::hold(&limiter).is_none());
        let limiter = Limiter::resized(Some(&limiter), 1);
        drop(first);
        assert!(Limiter::hold(&limiter).is_none(), "one is still in flight");
    }
}
