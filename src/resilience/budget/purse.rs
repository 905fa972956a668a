//! All that pays for the further attempts of a route's calls.

use std::sync::Arc;

use super::{Budget, Grant, Slot, throttle::Throttle};

/// What pays for the further attempts of calls, be they retries or hedges: a call deposits, a further
/// attempt withdraws, and how an attempt has ended is told.
///
/// The forms that are named must all grant. The token form is the default one: where it is not named
/// and another one is, that takes its place.
#[derive(Clone, Debug)]
pub(crate) struct Purse {
    tokens: Arc<Budget>,
    /// The token form counts beside another one.
    named: bool,
    throttle: Option<Arc<Throttle>>,
}

/// The state of gRPC's throttle; a handle, so that it survives an update.
#[derive(Clone, Debug)]
pub(crate) struct Throttled(Arc<Throttle>);

impl Throttled {
    pub(crate) fn new(config: &crate::config::RetryThrottle) -> Self {
        Self(Arc::new(Throttle::new(config.max_tokens, config.token_ratio)))
    }

    /// Whether anything else than this holds it.
    pub(crate) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

// === impl Purse ===

impl Purse {
    /// `named` says that the token form is asked for.
    pub(crate) fn new(tokens: Arc<Budget>, named: bool, throttle: Option<Throttled>) -> Self {
        Self { tokens, named, throttle: throttle.map(|throttle| throttle.0) }
    }

    /// A call has begun.
    #[inline]
    pub(crate) fn deposit(&self, now: u64) {
        self.tokens.deposit(now);
    }

    /// The call that has begun was refused before anything of it was sent.
    pub(crate) fn take_back(&self, now: u64) {
        self.tokens.take_back(now);
    }

    /// Pays for one more attempt: nothing where that is not granted. What is returned is held until
    /// the head of that attempt is there, or its failure. `slot` is the cluster's share of what is in
    /// flight, where it has one.
    pub(crate) fn withdraw(&self, now: u64, slot: Option<Slot<'_>>) -> Option<Grant> {
        if self.throttle.as_ref().is_some_and(|throttle| !throttle.allows()) {
            return None;
        }
        let others = slot.is_some() || self.throttle.is_some();
        // Its place is given back if there is no token.
        let mut grant = match slot {
            Some(slot) => slot.take(now)?,
            None => Grant::default(),
        };
        if others && !self.named {
            return Some(grant);
        }
        grant.token = self.tokens.withdraw(now);
        grant.token.then_some(grant)
    }

    /// Gives back what an attempt has cost that was refused before it was made.
    pub(crate) fn refund(&self, now: u64, grant: Grant) {
        if grant.token {
            self.tokens.refund(now);
        }
        drop(grant);
    }

    /// Whether it is to be told how attempts end.
    #[inline]
    pub(crate) fn listens(&self) -> bool {
        self.throttle.is_some()
    }

    /// An attempt has ended: with what the policy retries, or a server's word that it does not want to
    /// be asked again; or well.
    pub(crate) fn ended(&self, failed: bool) {
        if let Some(throttle) = &self.throttle {
            throttle.ended(failed);
        }
    }

    /// The token form.
    pub(crate) fn tokens(&self) -> &Budget {
        &self.tokens
    }
}
