//! The retry budget: retries as a share of the calls, so that they cannot sustain an outage.
//!
//! It has three forms: tokens (Finagle), a share of what is in flight (Envoy) and a throttle by success
//! (gRPC). A [`Purse`] has those of a route.
//!
//! Of the token form, each call deposits `ratio` of a token, each retry withdraws one; a token that is not used
//! expires after `ttl`. Below any traffic a reserve of `min_per_second` tokens keeps coming, also
//! for `ttl`. A hedge is a retry.
//!
//= Finagle RetryBudget: ttl 10 s, minRetriesPerSec 10, percentCanRetry 0.2

mod ledger;
#[cfg(test)]
mod model;
mod purse;
mod share;
#[cfg(test)]
mod tests;
mod throttle;

use std::time::Duration;

use self::ledger::{Ledger, Reserve};
pub(crate) use self::{
    purse::{Purse, Throttled},
    share::{Grant, Share, Shares, Slot},
};
use crate::config;

/// What is counted with outside of models.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

/// Parts of a token: ratios are exact to six decimals.
const TOKEN: u64 = 1_000_000;

/// More calls than this per deposit would be a configuration error; it keeps sums far from 2^63.
const MAX_RATIO: f64 = 1_000.0;
const MAX_PER_SECOND: u32 = 1_000_000;
const TTL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

/// A lock-free budget of retries.
///
/// The time is a mesh's `now` in nanoseconds since its epoch.
#[derive(Debug)]
pub(crate) struct Budget {
    /// What a call deposits, in parts of a token.
    deposit: u64,
    /// The reserve's income.
    per_second: u32,
    ttl: u64,
    ledger: Ledger,
}

// === impl Budget ===

impl Budget {
    /// A budget whose reserve is full.
    pub(crate) fn new(config: &config::Budget) -> Self {
        let ttl = config.ttl.clamp(TTL.0, TTL.1);
        let ttl = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        Self {
            deposit: parts(config.ratio),
            per_second: config.min_per_second.min(MAX_PER_SECOND),
            ttl,
            ledger: Ledger::new(ttl),
        }
    }

    /// A call has begun.
    pub(crate) fn deposit(&self, now: u64) {
        self.ledger.deposit(now, self.deposit);
    }

    /// The call that has begun is none: it was refused before anything of it was sent.
    pub(crate) fn take_back(&self, now: u64) {
        // If it is spent already, the reserve has paid for it.
        let _ = self.ledger.withdraw(now, self.deposit, self.reserve(now));
    }

    /// When a call last began, to a tenth of the time-to-live; 0 if none ever did.
    pub(crate) fn used(&self) -> u64 {
        self.ledger.used()
    }

    /// Takes one retry out of the budget, or nothing if less than one is left.
    #[must_use]
    pub(crate) fn withdraw(&self, now: u64) -> bool {
        self.ledger.withdraw(now, TOKEN, self.reserve(now))
    }

    /// Gives back what a retry has taken that was refused before it was made.
    pub(crate) fn refund(&self, now: u64) {
        self.ledger.deposit(now, TOKEN);
    }

    /// Whole retries that are left.
    #[must_use]
    pub(crate) fn balance(&self, now: u64) -> u64 {
        self.ledger.balance(now, self.reserve(now)) / TOKEN
    }

    fn reserve(&self, now: u64) -> Reserve {
        Reserve { income: income(self.per_second, now), full: income(self.per_second, self.ttl) }
    }
}

/// A ratio in parts of a token.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn parts(ratio: f64) -> u64 {
    if ratio.is_nan() {
        return 0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
    let parts = ratio.clamp(0.0, MAX_RATIO) * TOKEN as f64;
    parts.round() as u64
}

/// The reserve's parts of tokens that come in `nanos`; only differences of it are meaningful.
#[expect(clippy::cast_possible_truncation, reason = "wraps: only differences are used")]
fn income(per_second: u32, nanos: u64) -> u64 {
    // TOKEN per second is one part per 1,000 ns.
    (u128::from(per_second) * u128::from(nanos) / 1_000) as u64
}
