//! The decisions about one caller's retries and hedges, in a time that their owner tells: for
//! simulations.
//! Not part of the API.

#![allow(missing_docs, reason = "for the benches of this crate only")]

use std::{sync::Arc, time::Duration};

use super::{
    budget::{Budget, Purse, Throttled},
    hedge::{Course, Hedging},
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

/// The hedging of one process's calls of one route.
#[derive(Debug)]
pub struct Hedges {
    hedging: Hedging,
    random: Random,
}

/// How far the attempts of one call have come.
#[derive(Debug)]
pub struct Hedged(Course);

impl Hedges {
    /// Nothing if it is off.
    #[must_use]
    pub fn new(config: &config::Hedge, seed: u64) -> Option<Self> {
        Some(Self { hedging: Hedging::new(config)?, random: Random::seeded(seed) })
    }

    /// A call has begun, and its first attempt is sent.
    #[must_use]
    pub fn begin(&self, now: u64) -> Hedged {
        self.hedging.deposit(now);
        Hedged(self.hedging.begin(now, &self.random))
    }

    /// Whether another attempt is sent now, which is paid for then.
    #[must_use]
    pub fn send(&self, now: u64, hedged: &mut Hedged, budget: &Retries) -> bool {
        let Hedged(course) = hedged;
        if !course.is_due(now) {
            return false;
        }
        let paid = self.hedging.pay(now, || budget.pay(now).then_some(())).is_ok();
        if paid {
            course.send(now);
        } else {
            course.refused();
        }
        paid
    }

    /// The first attempt of a call has answered it after so long.
    pub fn answered(&self, now: u64, took: u64) {
        self.hedging.answered(now, took);
    }

    /// It has not: it took at least so long.
    pub fn unanswered(&self, now: u64, age: u64) {
        self.hedging.unanswered(now, age);
    }
}

impl Hedged {
    /// When the next attempt is due, if one is.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.0.next()
    }
}
