//! The layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Asked, Draw, Faults, future::ResponseFuture};
use crate::{
    config::{self, ConfigError, ConfigErrors},
    core::{BoxError, Random, grpc},
    resilience::{
        exchange::{Answer, Exchange},
        repeating::readied,
    },
};

/// Injects faults: see the [module](super).
///
/// The services that one layer makes, and their clones, share one count of active faults.
#[derive(Clone, Debug)]
pub struct FaultLayer {
    shared: Arc<Shared>,
}

/// A service into whose calls faults are injected, by [`FaultLayer`].
#[derive(Clone, Debug)]
pub struct Fault<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    faults: Arc<Faults>,
    random: Random,
}

// === impl FaultLayer ===

impl FaultLayer {
    /// Injects these faults.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value; and `cluster`, `callers` and
    /// `per_attempt`: a layer knows neither clusters nor nodes, and where it stands says the rest.
    pub fn new(fault: &config::Fault) -> Result<Self, ConfigErrors> {
        fault.validate("fault")?;
        let unknown = [
            ("cluster", fault.cluster.is_some()),
            ("callers", !fault.callers.is_empty()),
            ("per_attempt", fault.per_attempt == Some(true)),
        ];
        let unknown = unknown.into_iter().filter(|(_, is_said)| *is_said).map(|(field, _)| {
            let reason = "a layer knows nothing of it: where it stands says it";
            ConfigError::new(format!("fault.{field}"), "", reason)
        });
        let unknown: Vec<_> = unknown.collect();
        if !unknown.is_empty() {
            return Err(ConfigErrors(unknown));
        }
        let faults = Faults::new(fault)
            .map_err(|reason| ConfigErrors(vec![ConfigError::new("fault", "", reason)]))?;
        let (faults, random) = (Arc::new(faults), Random::default());
        Ok(Self { shared: Arc::new(Shared { faults, random }) })
    }

    /// Draws the shares from this seed, so that a test meets the same faults each time. Default: at
    /// random.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let faults = Arc::clone(&self.shared.faults);
        Self { shared: Arc::new(Shared { faults, random: Random::seeded(seed) }) }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = Fault<S>;

    fn layer(&self, inner: S) -> Fault<S> {
        Fault { inner, shared: Arc::clone(&self.shared) }
    }
}

// === impl Fault ===

impl<S, R> Service<R> for Fault<S>
where
    R: Exchange,
    S: Service<R> + Clone,
    S::Response: Answer,
    S::Error: Into<BoxError>,
{
    type Response = <S::Response as crate::resilience::exchange::sealed::Answer>::Faulty;
    type Error = BoxError;
    type Future = ResponseFuture<S, R, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Shared { faults, random } = &*self.shared;
        let asked = Asked { headers: request.headers(), cluster: None, node: None };
        match faults.draw(&asked, random) {
            Draw::Nothing | Draw::Overflow => ResponseFuture::passed(self.inner.call(request)),
            Draw::Fault(drawn) => {
                let is_grpc = grpc::is_grpc(request.headers());
                let drawn = drawn.of(request.method());
                ResponseFuture::faulty(readied(&mut self.inner), request, drawn, is_grpc)
            }
        }
    }
}
