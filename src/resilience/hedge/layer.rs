//! The layer and its service.

use std::{
    fmt,
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
        repeating::{readied, repeating},
        retry,
    },
};

repeating! {
    /// Hedges calls: see the [module](super).
    ///
    /// `B` is the request body that the service below takes. The services that one layer makes, and
    /// their clones, share what is known of the latencies, the extra load and one budget: use one layer
    /// per destination.
    HedgeLayer,
    /// A service whose calls are hedged, by [`HedgeLayer`].
    Hedge,
    /// Makes the bodies that the service below takes: `tonic::body::Body::new` for tonic's channel.
    body
}

/// What the calls of a layer have in common.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Nothing where it is off.
    pub(super) hedging: Option<Arc<Hedging>>,
    /// What may be sent twice, and which answers are not final.
    pub(super) policy: Arc<retry::Policy>,
    pub(super) max_body_bytes: usize,
    pub(super) budget: Arc<Budget>,
    pub(super) random: Arc<Random>,
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
            policy: Arc::new(retry::Policy::new(retry)),
            max_body_bytes: retry.body_cap(),
            budget: Arc::new(Budget::new(&retry.budget.clone().unwrap_or_default())),
            random: Arc::default(),
            epoch: Epoch::now(),
        };
        Ok(Self { shared: Arc::new(shared), into: |body| body })
    }
}

impl<B> HedgeLayer<B> {
    /// How long a call waits now before it is sent again; nothing, where it is off, or waits for a
    /// percentile of which too little is known.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.shared.hedging.as_ref()?.wait(self.shared.now()).map(Duration::from_nanos)
    }

    /// Draws from this seed whether more are sent at once, so that a test meets the same each time. Default:
    /// at random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        let random = Arc::new(Random::seeded(seed));
        self.shared = Arc::new(Shared { random, ..(*self.shared).clone() });
        self
    }

    fn told(&self) -> String {
        let now = self.shared.now();
        let told = self.shared.hedging.as_ref().map(|hedging| hedging.told(now));
        told.unwrap_or_else(|| "off".to_owned())
    }
}

impl<B> fmt::Debug for HedgeLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeLayer").field("hedge", &self.told()).finish_non_exhaustive()
    }
}

// === impl Hedge ===

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
