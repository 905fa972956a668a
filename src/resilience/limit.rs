//! A limit on what is in flight at once.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::core::{Held, Release};

/// Counts what is in flight; over the limit nothing more is let in.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: u32,
    in_flight: AtomicU32,
}

impl Limiter {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, in_flight: AtomicU32::new(0) }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Takes a place, given back when what is returned is dropped.
    pub(crate) fn hold(limiter: &Arc<Self>) -> Option<Held> {
        let before = limiter.in_flight.fetch_add(1, Ordering::AcqRel);
        if before >= limiter.limit {
            limiter.in_flight.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Held::Shared(Arc::<Self>::clone(limiter)))
    }
}

impl Release for Limiter {
    fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_is_dropped() {
        let limiter = Arc::new(Limiter::new(2));
        let first = Limiter::hold(&limiter);
        let _second = Limiter::hold(&limiter);
        assert!(first.is_some());
        assert!(Limiter::hold(&limiter).is_none());
        drop(first);
        assert!(Limiter::hold(&limiter).is_some());
    }
}
