//! A limit of concurrent calls: over it a call fails at once instead of waiting.
//!
//! A queue would only hide an endpoint that cannot keep up, and hold bodies and deadlines
//! meanwhile. The caller gets an [`Error`] of kind
//! [`Overloaded`](crate::ErrorKind::Overloaded), from the call and never from `poll_ready`. A call
//! keeps its place until its response body has ended.
//!
//! A tonic client reports an error of any layer as `UNKNOWN`, with this error as its source and its
//! words as its message; [`ErrorKind::grpc_code`](crate::ErrorKind::grpc_code) tells the code that
//! it stands for. Behind a [`Client`](crate::Client) such an error is the status itself.
//!
//! Calls of a low [`Criticality`] leave places for others: `Sheddable` ones two tenths of the limit,
//! `SheddablePlus` ones one tenth, and all but `CriticalPlus` ones a tenth more while such calls come.
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
use super::{outcome::Outcome, protect::Protect, shed::Reserve};
use crate::{
    config::Criticality,
    core::{Error, ErrorKind, Held, Phase, Random, Refusal, Release},
};

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
    reserve: Reserve,
}

/// A limit of calls in flight as a protection.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) limiter: Arc<Limiter>,
    /// Whose it is, for errors.
    pub(crate) of: &'static str,
}

/// There is no place for a call of this criticality.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full {
    pub(crate) limit: u32,
    /// Up to how many are for it.
    pub(crate) most: u32,
    /// There are places, and all are for others.
    pub(crate) is_shed: bool,
}

impl Limiter {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit: AtomicU32::new(limit), gate: Gate::new(), reserve: Reserve::default() }
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
        Self::hold_up_to(limiter, limiter.limit())
    }

    /// The same for a call of this criticality.
    #[inline]
    pub(crate) fn hold_as(
        limiter: &Arc<Self>,
        criticality: Criticality,
        now: u64,
    ) -> Result<Held, Full> {
        Self::hold_under(limiter, limiter.limit(), criticality, now)
    }

    /// The same under this limit, whatever its own is.
    #[inline]
    pub(crate) fn hold_under(
        limiter: &Arc<Self>,
        limit: u32,
        criticality: Criticality,
        now: u64,
    ) -> Result<Held, Full> {
        let most = limiter.reserve.most(limit, criticality, now);
        Self::hold_up_to(limiter, most).ok_or_else(|| {
            let is_shed = most < limit && limiter.taken() < limit;
            Full { limit, most, is_shed }
        })
    }

    /// Whether there would be no place under this limit.
    pub(crate) fn would_refuse(
        &self,
        limit: u32,
        criticality: Criticality,
        now: u64,
    ) -> Option<Full> {
        let (most, taken) = (self.reserve.spare(limit, criticality, now), self.taken());
        (taken >= most).then_some(Full { limit, most, is_shed: most < limit && taken < limit })
    }

    /// Whether no call of the highest criticality was ever seen.
    pub(super) fn is_quiet(&self) -> bool {
        self.reserve.is_quiet()
    }

    fn hold_up_to(limiter: &Arc<Self>, most: u32) -> Option<Held> {
        let entered = limiter.gate.enter(most);
        entered.then(|| Held::Shared(Arc::<Self>::clone(limiter)))
    }
}

// === impl Full ===

impl Full {
    pub(crate) fn refusal(self, full: Refusal) -> Refusal {
        if self.is_shed { Refusal::Shed } else { full }
    }

    /// Why a call of a service or a route is refused.
    pub(crate) fn told(self, of: &str) -> String {
        let Self { limit, most, is_shed } = self;
        if is_shed {
            return format!(
                "of the {limit} calls in flight that the {of} may have, {most} are for its \
                 criticality (`max_requests` of the {of})"
            );
        }
        format!("the {of} has its maximum of {limit} calls in flight (`max_requests` of the {of})")
    }

    pub(crate) fn error(self, of: &str) -> Error {
        Error::new(ErrorKind::Overloaded, Phase::Admission)
            .refused(self.refusal(Refusal::Concurrency))
            .detail(self.told(of))
    }
}

// === impl Fixed ===

impl Protect for Fixed {
    fn enter(&self, now: u64, criticality: Criticality, _: &Random) -> Result<Held, Error> {
        Limiter::hold_as(&self.limiter, criticality, now).map_err(|full| full.error(self.of))
    }

    fn ended(&self, _: (u64, u64), _: u64, _: Outcome) {}

    fn left(&self, _: u64, _: u64) {}

    fn foretell(&self, now: u64, criticality: Criticality) -> Option<String> {
        let full = self.limiter.would_refuse(self.limiter.limit(), criticality, now)?;
        Some(full.told(self.of))
    }

    fn level(&self) -> Option<(u32, u32)> {
        Some((self.limiter.limit(), self.limiter.taken()))
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
