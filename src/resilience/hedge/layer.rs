//! The layer and its service.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Hedging, future::ResponseFuture};
use crate::{
    config::{self, ConfigErrors},
    core::{Body, BoxError, Epoch, Instant, Random},
    resilience::{
        budget::Budget,
        exchange::{Answer, Replay, sealed},
        retry,
    },
};

/// Hedges calls: see the [module](super).
///
/// `B` is the request body that the service below takes. The services that one layer makes, and
/// their clones, share what is known of the latencies, the extra load and one budget: use one layer
/// per destination.
pub struct HedgeLayer<B = Body> {
    shared: Arc<Shared>,
    /// The bodies that the service below takes.
    into: fn(Body) -> B,
}

/// A service whose calls are hedged, by [`HedgeLayer`].
pub struct Hedge<S, B = Body> {
    inner: S,
    shared: Arc<Shared>,
    /// The bodies that the service below takes.
    into: fn(Body) -> B,
}

/// What the calls of a layer have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// Nothing where it is off.
    pub(super) hedging: Option<Arc<Hedging>>,
    /// What may be sent twice, and which answers are not final.
    pub(super) policy: retry::Policy,
    pub(super) max_body_bytes: usize,
    pub(super) budget: Budget,
    pub(super) random: Random,
    pub(super) epoch: Epoch,
}

// === impl HedgeLayer ===

impl HedgeLayer {
    /// Hedges by this configuration. `retry` says what may be sent twice, which answers are not final,
    /// how much of a body is kept and how large the layer's budget is:
    /// [`Retry::standard`](config::Retry::standard), or what the [`RetryLayer`](crate::resilience::RetryLayer)
    /// of the same client has.
    ///
    /// The service below gets its requests with [`Body`]; [`HedgeLayer::body`] changes that.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value; and `on_attempt_timeout`, which needs the
    /// mesh.
    pub fn new(hedge: &config::Hedge, retry: &config::Retry) -> Result<Self, ConfigErrors> {
        hedge.validate("hedge")?;
        retry.validate("retry")?;
        let shared = Shared {
            hedging: Hedging::new(hedge).map(Arc::new),
            policy: retry::Policy::new(retry),
            max_body_bytes: retry.body_cap(),
            budget: Budget::new(&retry.budget.clone().unwrap_or_default()),
            random: Random::default(),
            epoch: Epoch::now(),
        };
        Ok(Self { shared: Arc::new(shared), into: |body| body })
    }
}

impl<B> HedgeLayer<B> {
    /// Makes the bodies that the service below takes: `tonic::body::Body::new` for tonic's channel.
    #[must_use]
    pub fn body<To>(self, into: fn(Body) -> To) -> HedgeLayer<To> {
        HedgeLayer { shared: self.shared, into }
    }

    /// How long a call waits now before it is sent again; nothing, where it is off, or waits for a
    /// percentile of which too little is known.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.shared.hedging.as_ref()?.wait(self.shared.now()).map(Duration::from_nanos)
    }

    fn told(&self) -> String {
        let now = self.shared.now();
        let told = self.shared.hedging.as_ref().map(|hedging| hedging.told(now));
        told.unwrap_or_else(|| "off".to_owned())
    }
}

impl<S, B> Layer<S> for HedgeLayer<B> {
    type Service = Hedge<S, B>;

    fn layer(&self, inner: S) -> Hedge<S, B> {
        Hedge { inner, shared: Arc::clone(&self.shared), into: self.into }
    }
}

impl<B> Clone for HedgeLayer<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), into: self.into }
    }
}

impl<B> fmt::Debug for HedgeLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeLayer").field("hedge", &self.told()).finish_non_exhaustive()
    }
}

// === impl Hedge ===

impl<S, R, B> Service<R> for Hedge<S, B>
where
    R: Replay<B>,
    S: Service<<R as sealed::Replay<B>>::Sent> + Clone,
    S::Response: Answer,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, R, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The readied service serves this call; its clone is readied for the next one.
        let next = self.inner.clone();
        let ready = mem::replace(&mut self.inner, next);
        ResponseFuture::new(ready, request, Arc::clone(&self.shared), self.into)
    }
}

impl<S: Clone, B> Clone for Hedge<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared), into: self.into }
    }
}

impl<S: fmt::Debug, B> fmt::Debug for Hedge<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("inner", &self.inner).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn now(&self) -> u64 {
        self.epoch.nanos(Instant::now())
    }
}
