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
    /// Refuses calls at random as their success rate falls: see the [module](super).
    ///
    /// The services that one layer makes, and their clones, share one window: use one layer per
    /// destination.
    AdmissionControlLayer,
    /// A service whose calls pass admission control, by [`AdmissionControlLayer`].
    AdmissionControl
}

// === impl AdmissionControlLayer ===

impl AdmissionControlLayer {
    /// Refuses by this configuration. One that is not `enabled` refuses nothing.
    ///
    /// # Errors
    ///
    /// Every field that is out of its range, with its value.
    pub fn new(config: &config::AdmissionControl) -> Result<Self, ConfigErrors> {
        config.validate("admission_control")?;
        Ok(Self { shared: Shared::of(config.is_on().then(|| Shield::new(config))) })
    }
}
