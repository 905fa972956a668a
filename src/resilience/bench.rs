//! The decisions about one caller's retries, in a time that their owner tells: for simulations.
//! Not part of the API.

#![allow(missing_docs, reason = "for the benches of this crate only")]

use std::{sync::Arc, time::Duration};

use super::{
    budget::{Budget, Purse, Throttled},
    retry::{Decision, Met, Policy},
};
use crate::{config, core::Random};

/// What an attempt met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "for the benches of this crate only")]
pub enum Failure {
    /// No connection could be made.
    NeverSent,
    /// The timeout of the attempt has passed.
    Timeout,
    /// A response of status 503.
    Unavailable,
}

/// The retries of one process to one service.
#[derive(Debug)]
pub struct Retries {
    policy: Policy,
    budget: Option<Purse>,
    random: Random,
}

impl Retries {
    /// Without a budget they are bounded by their number alone, which no mesh allows.
    #[must_use]
    pub fn new(config: &config::Retry, budget: Option<&config::Budget>, seed: u64) -> Self {
        Self {
            policy: Policy::new(config),
            budget: budget.map(|budget| {
                let throttle = config.throttle.as_ref().map(Throttled::new);
                // As in a mesh: another form takes the place of one that is not given.
                Purse::new(Arc::new(Budget::new(budget)), config.budget.is_some(), throttle)
            }),
            random: Random::seeded(seed),
        }
    }

    /// A call has been answered.
    pub fn succeeded(&self) {
        if let Some(budget) = &self.budget {
            budget.ended(false);
        }
    }

    /// A call has begun.
    pub fn begin(&self, now: u64) {
        if let Some(budget) = &self.budget {
            budget.deposit(now);
        }
    }

    /// After which time one more attempt is made, if it is. `attempt` counts those so far.
    #[must_use]
    pub fn again(&self, now: u64, attempt: u32, failure: Failure) -> Option<Duration> {
        let headers = http::HeaderMap::new();
        let met = match failure {
            Failure::NeverSent => Met::NeverSent,
            Failure::Timeout => Met::AttemptTimeout,
            Failure::Unavailable => {
                Met::Response { status: http::StatusCode::SERVICE_UNAVAILABLE, headers: &headers }
            }
        };
        if let Some(budget) = &self.budget
            && let Some(failed) = self.policy.is_failure(met)
        {
            budget.ended(failed);
        }
        match self.policy.decide(attempt, met, &self.random) {
            Decision::Retry { after, .. } if met.is_safe() || self.pay(now) => Some(after),
            _ => None,
        }
    }

    /// Pays for one more attempt.
    #[must_use]
    pub fn pay(&self, now: u64) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.withdraw(now, None).is_some())
    }
}
