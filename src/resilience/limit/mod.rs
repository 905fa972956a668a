//! A limit of concurrent calls: over it a call fails at once instead of waiting.
//!
//! A queue would only hide an endpoint that cannot keep up, and hold bodies and deadlines
//! meanwhile. The caller gets an [`Error`] of kind
//! [`Overloaded`](crate::ErrorKind::Overloaded), from the call and never from `poll_ready`. A call
//! keeps its place until its response body has ended.
//!
//! A tonic client reports an error of any layer as `UNKNOWN`, with this error as its source and its
//! words as its message; under a [`GrpcStatusLayer`](super::GrpcStatusLayer), as behind a
//! [`Client`](crate::Client), it is the status that it stands for.
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
mod counter;
mod future;
mod layer;
#[cfg(test)]
mod model;
mod nested;
mod shared;

use std::sync::Arc;

use self::atomic::{AtomicU32, Ordering};
use super::shed::Reserve;
use crate::{
    config::Criticality,
    core::{Error, ErrorKind, Held, Phase, Refusal, Release},
};

pub use self::{
    body::HeldBody,
    future::ResponseFuture,
    layer::{ConcurrencyLimit, ConcurrencyLimitLayer},
};
pub(crate) use self::{
    counter::Counter,
    nested::Limits,
    shared::{Count, Name, What},
};

/// What is counted with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

/// Counts what is in flight; over the limit nothing more is let in.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: AtomicU32,
    counter: Arc<Count>,
    reserve: Reserve,
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
        Self::counting(Count::own(), limit)
    }

    fn counting(counter: Arc<Count>, limit: u32) -> Self {
        Self { limit: AtomicU32::new(limit), counter, reserve: Reserve::default() }
    }

    /// A limit in the place of `kept`, whose count goes on; what is in flight over a smaller limit
    /// stays.
    pub(crate) fn resized(kept: Option<&Arc<Self>>, limit: u32) -> Arc<Self> {
        Self::named(kept, None, limit)
    }

    /// The same by the count of this name, which others may have, too. That of `kept` goes on if it is
    /// the same one.
    pub(crate) fn named(kept: Option<&Arc<Self>>, name: Option<Name>, limit: u32) -> Arc<Self> {
        if let Some(kept) = kept.filter(|kept| kept.counter.is_named(name.as_ref())) {
            kept.resize(limit);
            return Arc::clone(kept);
        }
        let counter = name.map_or_else(Count::own, Count::named);
        Arc::new(Self::counting(counter, limit))
    }

    /// The limit from now on, [`u32::MAX`] for none; what is counted stays.
    pub(crate) fn resize(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// What is in flight.
    pub(crate) fn taken(&self) -> u32 {
        self.counter.taken()
    }

    /// Whether there is no place now.
    pub(crate) fn is_full(&self) -> bool {
        self.counter.taken() >= self.limit()
    }

    /// Takes a place, given back when what is returned is dropped.
    pub(crate) fn hold(limiter: &Arc<Self>) -> Option<Held> {
        let entered = limiter.counter.enter(limiter.limit());
        entered.then(|| Held::Shared(Arc::<Self>::clone(limiter)))
    }

    /// Takes one in any case.
    pub(crate) fn hold_over(limiter: &Arc<Self>) -> Held {
        limiter.counter.force();
        Held::Shared(Arc::<Self>::clone(limiter))
    }

    /// Takes one for a call of this criticality.
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
        limiter.take(limit, criticality, now)?;
        Ok(Held::Shared(Arc::<Self>::clone(limiter)))
    }

    /// Takes a place under this limit, to be [released](Release::release).
    #[inline]
    fn take(&self, limit: u32, criticality: Criticality, now: u64) -> Result<(), Full> {
        let most = self.reserve.most(limit, criticality, now);
        if self.counter.enter(most) {
            return Ok(());
        }
        Err(Full { limit, most, is_shed: most < limit && self.taken() < limit })
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

impl Release for Limiter {
    fn release(&self) {
        self.counter.leave();
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
