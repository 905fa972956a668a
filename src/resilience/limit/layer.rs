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
    resilience::{
        admitting::admitting,
        exchange::{Answer, Exchange},
    },
};

admitting! {
    /// Bounds the number of concurrent calls: see the [module](super).
    ///
    /// The services that one layer makes, and their clones, share one limit.
    ConcurrencyLimitLayer,
    /// A service whose concurrent calls are bounded, by [`ConcurrencyLimitLayer`].
    ConcurrencyLimit
}

/// What the calls of a layer have in common.
#[derive(Clone, Debug)]
struct Shared {
    limit: Arc<Limiter>,
    /// Of calls that do not say it themselves.
    criticality: Criticality,
    epoch: Epoch,
}

// === impl ConcurrencyLimitLayer ===

impl ConcurrencyLimitLayer {
    /// Allows `max` calls at a time, from `call` to the end of the response body.
    ///
    /// Zero fails every call.
    #[must_use]
    pub fn new(max: u32) -> Self {
        let limit = Arc::new(Limiter::new(max));
        let shared = Shared { limit, criticality: Criticality::default(), epoch: Epoch::now() };
        Self { shared }
    }
}

// === impl Shared ===

impl Shared {
    fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    fn call<R: Exchange, F>(&self, request: R, call: impl FnOnce(R) -> F) -> ResponseFuture<F> {
        let Self { limit, criticality, epoch } = self;
        let criticality = request.call().and_then(|call| call.criticality).unwrap_or(*criticality);
        let is_usual = criticality == Criticality::Critical && limit.is_quiet();
        let now = if is_usual { 0 } else { epoch.nanos(Instant::now()) };
        match Limiter::hold_as(limit, criticality, now) {
            Ok(held) => ResponseFuture::admitted(call(request), held),
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
