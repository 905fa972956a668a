//! The layer and its service.

use std::{
    error::Error as StdError,
    fmt,
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
        repeating::{readied, repeating},
    },
};

repeating! {
    /// Retries calls: see the [module](super).
    ///
    /// `B` is the request body that the service below takes. The services that one layer makes, and
    /// their clones, share one budget: use one layer per destination.
    RetryLayer,
    /// A service whose calls are retried, by [`RetryLayer`].
    Retry,
    /// Makes the bodies that the service below takes: `tonic::body::Body::new` for tonic's
    /// channel.
    body
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
    /// Further errors of the service below that mean that nothing was sent.
    pub(super) never_sent: NeverSent,
    epoch: Epoch,
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
            never_sent: |_| false,
            epoch: Epoch::now(),
        };
        Ok(Self { shared: Arc::new(shared), into: |body| body })
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

    /// Draws the back-offs from this seed, so that a test meets the same waits each time. Default: at random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        let random = Arc::new(Random::seeded(seed));
        self.shared = Arc::new(Shared { random, ..(*self.shared).clone() });
        self
    }

    fn sharing(mut self, share: Option<Arc<Share>>) -> Self {
        self.shared = Arc::new(Shared { share, ..(*self.shared).clone() });
        self
    }

    /// Recognises further errors of the service below that mean that nothing was sent: any call
    /// is retried after them.
    ///
    /// A refused connection and a request that hyper cancelled before sending it are known
    /// without it, as are all connection failures of reqwest. hyper-util's client tells the others
    /// by `|error| error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)`.
    #[must_use]
    pub fn never_sent(mut self, is: fn(&(dyn StdError + 'static)) -> bool) -> Self {
        self.shared = Arc::new(Shared { never_sent: is, ..(*self.shared).clone() });
        self
    }
}

impl<B> fmt::Debug for RetryLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("policy", &self.shared.policy).finish_non_exhaustive()
    }
}

// === impl Retry ===

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
