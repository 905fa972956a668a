//! What the layers of the three protections share.

use std::sync::Arc;

use super::{Protect, ResponseFuture, Ticket};
use crate::{
    config::Criticality,
    core::{Epoch, Instant, Random},
    resilience::exchange::Exchange,
};

/// What the calls of a layer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// None: it is not enabled.
    by: Option<Arc<dyn Protect>>,
    epoch: Epoch,
    random: Arc<Random>,
    /// Of calls that do not say it themselves.
    criticality: Criticality,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn of(by: Option<impl Protect + 'static>) -> Self {
        Self {
            by: by.map(|by| Arc::new(by) as Arc<dyn Protect>),
            epoch: Epoch::now(),
            random: Arc::default(),
            criticality: Criticality::default(),
        }
    }

    pub(crate) fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    pub(crate) fn call<R: Exchange, F>(
        &self,
        request: R,
        call: impl FnOnce(R) -> F,
    ) -> ResponseFuture<F> {
        let Some(by) = &self.by else { return ResponseFuture::admitted(call(request), None) };
        let said = request.call().and_then(|call| call.criticality);
        let now = self.epoch.nanos(Instant::now());
        let criticality = said.unwrap_or(self.criticality);
        match Ticket::enter(by, self.epoch, now, criticality, &self.random) {
            Ok(ticket) => ResponseFuture::admitted(call(request), Some(ticket)),
            Err(error) => ResponseFuture::refused(error),
        }
    }
}
