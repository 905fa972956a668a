//! The layer and its service.

use std::{
    error::Error as StdError,
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Policy, future::ResponseFuture};
use crate::{
    config::{self, AvoidEndpoint, ConfigError, ConfigErrors},
    core::{Body, BoxError, Epoch, Held, Instant, Random},
    resilience::{
        budget::{Budget, Grant, Purse, Share, Slot, Throttled},
        exchange::{Answer, Replay, sealed},
        limit::Limiter,
    },
};

/// Retries calls: see the [module](super).
///
/// `B` is the request body that the service below takes. The services that one layer makes, and
/// their clones, share one budget: use one layer per destination.
pub struct RetryLayer<B = Body> {
    shared: Arc<Shared>,
    hooks: Hooks<B>,
}

/// A service whose calls are retried, by [`RetryLayer`].
pub struct Retry<S, B = Body> {
    inner: S,
    shared: Arc<Shared>,
    hooks: Hooks<B>,
}

/// What the calls of a layer have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) policy: Arc<Policy>,
    /// How much of a request body is kept for another attempt.
    pub(super) max_body_bytes: usize,
    pub(super) budget: Purse,
    /// What limits the further attempts in flight, and who counts what is.
    pub(super) share: Option<Arc<Share>>,
    pub(super) in_flight: Arc<Limiter>,
    pub(super) random: Arc<Random>,
    epoch: Epoch,
}

/// What the service below is like.
pub(super) struct Hooks<B> {
    pub(super) into: fn(Body) -> B,
    pub(super) never_sent: NeverSent,
}

pub(super) type NeverSent = fn(&(dyn StdError + 'static)) -> bool;

// === impl RetryLayer ===

impl RetryLayer {
    /// Retries by this configuration, under a budget of its own.
    ///
    /// The service below gets its requests with [`Body`]; [`RetryLayer::body`] changes that.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value; and what only a mesh can do, which knows its
    /// endpoints and their connections.
    pub fn new(retry: &config::Retry) -> Result<Self, ConfigErrors> {
        retry.validate("retry")?;
        of_a_mesh(retry)?;
        let shared = Shared {
            policy: Arc::new(Policy::new(retry)),
            max_body_bytes: retry.body_cap(),
            budget: purse(retry),
            share: None,
            in_flight: Arc::new(Limiter::new(u32::MAX)),
            random: Arc::default(),
            epoch: Epoch::now(),
        };
        let hooks = Hooks { into: |body| body, never_sent: |_| false };
        Ok(Self { shared: Arc::new(shared), hooks })
    }
}

impl<B> RetryLayer<B> {
    /// Limits the retries in flight to a share of the calls in flight (Envoy's retry budget), from
    /// their beginning to their response's head. It takes the place of the default budget; one that is
    /// given has to grant, too. Default: none.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value.
    pub fn in_flight_budget(self, budget: &config::InFlightBudget) -> Result<Self, ConfigErrors> {
        budget.validate("in_flight_budget")?;
        Ok(self.sharing(Share::resized(None, Some(budget), None)))
    }

    /// Limits the retries in flight (Envoy's `max_retries`). It takes the place of the default budget;
    /// one that is given has to grant, too. Unit: retries. Default: none.
    #[must_use]
    pub fn max_retries(self, retries: u32) -> Self {
        self.sharing(Share::resized(None, None, Some(retries)))
    }

    fn sharing(mut self, share: Option<Arc<Share>>) -> Self {
        self.shared = Arc::new(Shared { share, ..(*self.shared).clone() });
        self
    }

    /// Makes the bodies that the service below takes: `tonic::body::Body::new` for tonic's
    /// channel.
    #[must_use]
    pub fn body<To>(self, into: fn(Body) -> To) -> RetryLayer<To> {
        let hooks = Hooks { into, never_sent: self.hooks.never_sent };
        RetryLayer { shared: self.shared, hooks }
    }

    /// Recognises further errors of the service below that mean that nothing was sent: any call
    /// is retried after them.
    ///
    /// A refused connection and a request that hyper cancelled before sending it are known
    /// without it, as are all connection failures of reqwest. hyper-util's client tells the others
    /// by `|error| error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)`.
    #[must_use]
    pub fn never_sent(mut self, is: fn(&(dyn StdError + 'static)) -> bool) -> Self {
        self.hooks.never_sent = is;
        self
    }
}

impl<S, B> Layer<S> for RetryLayer<B> {
    type Service = Retry<S, B>;

    fn layer(&self, inner: S) -> Retry<S, B> {
        Retry { inner, shared: Arc::clone(&self.shared), hooks: self.hooks }
    }
}

impl<B> Clone for RetryLayer<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), hooks: self.hooks }
    }
}

impl<B> fmt::Debug for RetryLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("policy", &self.shared.policy).finish_non_exhaustive()
    }
}

// === impl Retry ===

impl<S, R, B> Service<R> for Retry<S, B>
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
        ResponseFuture::new(ready, request, Arc::clone(&self.shared), self.hooks)
    }
}

impl<S: Clone, B> Clone for Retry<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared), hooks: self.hooks }
    }
}

impl<S: fmt::Debug, B> fmt::Debug for Retry<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("policy", &self.shared.policy)
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// Counts a call that begins.
    pub(super) fn begin(&self) -> Held {
        let now = self.now();
        self.budget.deposit(now);
        let Some(share) = &self.share else { return Held::Nothing };
        share.begun(now);
        if share.counts() {
            Limiter::hold(&self.in_flight).unwrap_or_default()
        } else {
            Held::Nothing
        }
    }

    /// Pays for one more attempt.
    pub(super) fn withdraw(&self) -> Option<Grant> {
        let active = self.in_flight.taken();
        let slot = self.share.as_deref().map(|share| Slot { share, active });
        self.budget.withdraw(self.now(), slot)
    }

    pub(super) fn now(&self) -> u64 {
        self.epoch.nanos(Instant::now())
    }
}

/// Refuses what a layer cannot do: it picks no endpoint, and reads no body.
fn of_a_mesh(retry: &config::Retry) -> Result<(), ConfigErrors> {
    const WHY: &str = "only a mesh does that: a layer does not know the endpoints below it";
    let mut errors = Vec::new();
    let mut refuse = |field: &str, value: String| {
        errors.push(ConfigError::new(format!("retry.{field}"), value, WHY));
    };
    if let Some(time) = retry.attempt_idle_timeout {
        refuse("attempt_idle_timeout", format!("{time:?}"));
    }
    if retry.priority.is_some() {
        refuse("priority", "given".to_owned());
    }
    for (index, avoid) in retry.avoid.iter().enumerate() {
        if matches!(avoid, AvoidEndpoint::Canaries | AvoidEndpoint::Labels(_)) {
            refuse(&format!("avoid[{index}]"), format!("{avoid:?}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// What pays for the retries of a layer.
fn purse(retry: &config::Retry) -> Purse {
    let tokens = Arc::new(Budget::new(&retry.budget.clone().unwrap_or_default()));
    let throttle = retry.throttle.as_ref().map(Throttled::new);
    Purse::new(tokens, retry.budget.is_some(), throttle)
}

// === impl Hooks ===

impl<B> Clone for Hooks<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Hooks<B> {}
