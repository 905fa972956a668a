//! The layer and its service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::Limit;
use crate::{
    config::{self, ConfigErrors, Criticality},
    core::{BoxError, Random},
    resilience::{
        admitting::admitting,
        exchange::{Answer, Exchange},
        protect::{ResponseFuture, layer::Shared},
    },
};

admitting! {
    /// Bounds the number of concurrent calls by their latency: see the [module](super).
    ///
    /// The services that one layer makes, and their clones, share one limit: use one layer per
    /// destination.
    AdaptiveConcurrencyLayer,
    /// A service whose concurrent calls are bounded by their latency, by
    /// [`AdaptiveConcurrencyLayer`].
    AdaptiveConcurrency
}

// === impl AdaptiveConcurrencyLayer ===

impl AdaptiveConcurrencyLayer {
    /// Limits by this configuration. One that is not `enabled` limits nothing.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value.
    pub fn new(config: &config::AdaptiveConcurrency) -> Result<Self, ConfigErrors> {
        config.validate("adaptive_concurrency")?;
        Ok(Self {
            shared: Shared::of(config.is_on().then(|| Limit::new(config, 0, Random::default()))),
        })
    }
}
