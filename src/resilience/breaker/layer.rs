//! The layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use crate::{
    config::{Breakers, CallPriority, ConfigError, ConfigErrors},
    core::{BoxError, Error, ErrorKind, Phase, Refusal},
    resilience::{
        exchange::Answer,
        limit::{Limiter, Name, ResponseFuture, What},
    },
};

/// Bounds the attempts in flight, of each priority for itself: see the [module](super).
///
/// The services that one layer and its clones make, of whichever priority, share its limits.
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    shared: Shared,
}

/// A service whose attempts in flight are bounded, by [`BreakerLayer`].
#[derive(Clone, Debug)]
pub struct Breaker<S> {
    inner: S,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Shared {
    usual: Option<Arc<Limiter>>,
    high: Option<Arc<Limiter>>,
    priority: CallPriority,
}

// === impl BreakerLayer ===

impl BreakerLayer {
    /// Allows `max_requests` at a time, and of high priority `high.max_requests`; without one, any
    /// number.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value; and what a layer does not see: connections
    /// and who waits for one are the client's, retries those of [`RetryLayer`](crate::resilience::RetryLayer).
    pub fn new(breakers: &Breakers) -> Result<Self, ConfigErrors> {
        breakers.validate("breakers")?;
        let high = breakers.high.as_deref();
        let unseen = [
            ("max_connections", breakers.max_connections.is_some()),
            ("max_pending", breakers.max_pending.is_some()),
            ("max_retries", breakers.max_retries.is_some()),
            ("max_connections_per_endpoint", breakers.max_connections_per_endpoint.is_some()),
            ("retry_budget", breakers.retry_budget.is_some()),
            ("high.max_connections", high.is_some_and(|it| it.max_connections.is_some())),
            ("high.max_pending", high.is_some_and(|it| it.max_pending.is_some())),
            ("high.max_retries", high.is_some_and(|it| it.max_retries.is_some())),
            ("high.retry_budget", high.is_some_and(|it| it.retry_budget.is_some())),
        ];
        let unseen = unseen.into_iter().filter(|(_, is_said)| *is_said).map(|(field, _)| {
            let reason = "a layer does not see it: it counts requests alone";
            ConfigError::new(format!("breakers.{field}"), "", reason)
        });
        let unseen: Vec<_> = unseen.collect();
        if !unseen.is_empty() {
            return Err(ConfigErrors(unseen));
        }
        let limiter = |most: Option<u32>, priority| {
            let name = Name::of(breakers.shared.as_deref(), What::Requests, priority);
            most.map(|most| Limiter::named(None, name, most))
        };
        let usual = limiter(breakers.max_requests, CallPriority::Default);
        let high = limiter(high.and_then(|high| high.max_requests), CallPriority::High);
        Ok(Self { shared: Shared { usual, high, priority: CallPriority::Default } })
    }

    /// Whose limit the calls of the services are counted by that it makes from now on. Default: the
    /// ordinary ones'.
    #[must_use]
    pub fn priority(mut self, priority: CallPriority) -> Self {
        self.shared.priority = priority;
        self
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Breaker<S> {
        Breaker { inner, shared: self.shared.clone() }
    }
}

impl<S, R> Service<R> for Breaker<S>
where
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
        let Shared { usual, high, priority } = &self.shared;
        let (limiter, field) = match priority {
            CallPriority::Default => (usual, "max_requests"),
            CallPriority::High => (high, "high.max_requests"),
        };
        let Some(limiter) = limiter else {
            return ResponseFuture::admitted(self.inner.call(request), Default::default());
        };
        match Limiter::hold(limiter) {
            Some(held) => ResponseFuture::admitted(self.inner.call(request), held),
            None => ResponseFuture::refused(
                Error::new(ErrorKind::Overloaded, Phase::Admission)
                    .refused(Refusal::MaxRequests)
                    .detail(format!(
                        "the maximum of {} requests is in flight (`breakers.{field}`)",
                        limiter.limit()
                    )),
            ),
        }
    }
}
