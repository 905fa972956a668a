//! The layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Full, Limiter, future::ResponseFuture};
use crate::{
    config::Criticality,
    core::{BoxError, Epoch, Error, ErrorKind, Instant, Phase, Refusal},
    resilience::exchange::{Answer, Exchange},
};

/// Bounds the number of concurrent calls: see the [module](super).
///
/// The services that one layer makes, and their clones, share one limit.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitLayer {
    limit: Arc<Limiter>,
    /// Of calls that do not say it themselves.
    criticality: Criticality,
    epoch: Epoch,
}

/// A service whose concurrent calls are bounded, by [`ConcurrencyLimitLayer`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    layer: ConcurrencyLimitLayer,
}

// === impl ConcurrencyLimitLayer ===

impl ConcurrencyLimitLayer {
    /// Allows `max` calls at a time, from `call` to the end of the response body.
    ///
    /// Zero fails every call.
    #[must_use]
    pub fn new(max: u32) -> Self {
        let limit = Arc::new(Limiter::new(max));
        Self { limit, criticality: Criticality::default(), epoch: Epoch::now() }
    }

    /// How much calls matter that do not say it themselves
    /// ([`Call::criticality`](crate::Call::criticality)). Default: critical.
    #[must_use]
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit { inner, layer: self.clone() }
    }
}

// === impl ConcurrencyLimit ===

impl<S, R> Service<R> for ConcurrencyLimit<S>
where
    R: Exchange,
    S: Service<R>,
    S::Response: Answer,
    S::Error: Into<BoxError>,
{
    type Response = <S::Response as crate::resilience::exchange::sealed::Answer>::Held;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let ConcurrencyLimitLayer { limit, criticality, epoch } = &self.layer;
        let criticality = request.call().and_then(|call| call.criticality).unwrap_or(*criticality);
        let is_usual = criticality == Criticality::Critical && limit.is_quiet();
        let now = if is_usual { 0 } else { epoch.nanos(Instant::now()) };
        match Limiter::hold_as(limit, criticality, now) {
            Ok(held) => ResponseFuture::admitted(self.inner.call(request), held),
            Err(full) => {
                let Full { limit, most, is_shed } = full;
                let detail = if is_shed {
                    format!("{most} of {limit} concurrent calls are for its criticality")
                } else {
                    format!("{limit} concurrent calls are allowed")
                };
                let error = Error::new(ErrorKind::Overloaded, Phase::Admission)
                    .refused(full.refusal(Refusal::Concurrency))
                    .detail(detail);
                ResponseFuture::refused(error)
            }
        }
    }
}
