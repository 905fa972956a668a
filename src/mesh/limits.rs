//! Limits of calls in flight: of services and of their routes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{guard::Place, service::ServiceCell};
use crate::{config::Policy, resilience::limit::Limiter};

/// The limits of a service's routes that are in use: their counts go on, whatever the new limit is.
/// Locked by updates only.
#[derive(Debug, Default)]
pub(super) struct RouteLimits(Mutex<HashMap<Place, Arc<Limiter>>>);

// === impl RouteLimits ===

impl RouteLimits {
    pub(super) fn limiter(&self, place: &Place, calls: u32) -> Arc<Limiter> {
        let mut limits = self.lock();
        let known = limits.get(place);
        let limiter = Limiter::resized(known, calls);
        if known.is_none() {
            limits.insert(place.clone(), Arc::clone(&limiter));
        }
        limiter
    }

    /// Forgets those that no call can meet any more.
    pub(super) fn tidy(&self) {
        self.lock().retain(|_, limiter| Arc::strong_count(limiter) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<Limiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl ServiceCell ===

impl ServiceCell {
    /// The limit of the service; its count of calls in flight survives every update that keeps a limit.
    pub(super) fn limiter(&self, merged: &Policy) -> Option<Arc<Limiter>> {
        let limit = merged.max_requests?;
        let before = self.current.load();
        let kept = before.as_ref().and_then(|service| service.limiter.as_ref());
        Some(Limiter::resized(kept, limit))
    }
}
