//! The layer and its service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::Shield;
use crate::{
    config::{self, ConfigErrors, Criticality},
    core::BoxError,
    resilience::{
        admitting::admitting,
        exchange::{Answer, Exchange},
        protect::{ResponseFuture, layer::Shared},
    },
};

admitting! {
    /// Does not send what the service would refuse: see the [module](super).
    ///
    /// The services that one layer makes, and their clones, share one window: use one layer per
    /// destination.
    ThrottleLayer,
    /// A service whose calls are throttled, by [`ThrottleLayer`].
    Throttle
}

// === impl ThrottleLayer ===

impl ThrottleLayer {
    /// Throttles by this configuration. One that is not `enabled` refuses nothing.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value.
    pub fn new(config: &config::Throttle) -> Result<Self, ConfigErrors> {
        config.validate("throttle")?;
        Ok(Self { shared: Shared::of(config.is_on().then(|| Shield::new(config))) })
    }
}
