//! Checks of what limits a cluster: breakers, its queue, drops.

use std::collections::HashSet;

use super::Checker;
use crate::config::{Breakers, ConfigErrors, DropOverload, InFlightBudget, Queue, Thresholds};

/// Why pools are not limited.
const NO_POOLS: &str = "means nothing here: an endpoint has one pool, which is made at its first call. `subsetting` \
                        bounds how many endpoints are used";

impl Checker {
    pub(super) fn breakers(&mut self, breakers: &Breakers) {
        // Any number will do: none at all is a limit, too.
        let Breakers {
            max_requests: _,
            max_connections: _,
            max_pending: _,
            max_retries: _,
            max_connections_per_endpoint: _,
            max_pools,
            retry_budget,
            high,
            shared,
        } = breakers;
        if shared.as_deref() == Some("") {
            self.refuse("shared", "\"\"", "must not be empty");
        }
        self.no_pools(*max_pools);
        if let Some(high) = high {
            self.within("high", |checker| checker.thresholds(high));
        }
        self.retry_budget(retry_budget.as_deref());
    }

    fn thresholds(&mut self, thresholds: &Thresholds) {
        let Thresholds {
            max_requests: _,
            max_connections: _,
            max_pending: _,
            max_retries: _,
            max_pools,
            retry_budget,
        } = thresholds;
        self.no_pools(*max_pools);
        self.retry_budget(retry_budget.as_deref());
    }

    fn retry_budget(&mut self, budget: Option<&InFlightBudget>) {
        if let Some(budget) = budget {
            self.within("retry_budget", |checker| checker.in_flight_budget(budget));
        }
    }

    fn no_pools(&mut self, max_pools: Option<u32>) {
        if let Some(most) = max_pools {
            self.refuse("max_pools", most, NO_POOLS);
        }
    }

    pub(super) fn queue(&mut self, queue: &Queue) {
        let Queue { capacity, failfast_timeout } = queue;
        self.at_least_one("capacity", *capacity);
        self.time("failfast_timeout", *failfast_timeout);
    }

    pub(super) fn drops(&mut self, drops: &[DropOverload]) {
        let mut seen = HashSet::new();
        for (index, drop) in drops.iter().enumerate() {
            let DropOverload { category, percent } = drop;
            self.within(&format!("drops[{index}]"), |checker| {
                if category.is_empty() {
                    checker.refuse("category", "\"\"", "must not be empty");
                } else if !seen.insert(category) {
                    checker.refuse("category", category, "is listed twice");
                }
                checker.percent("percent", Some(*percent));
            });
        }
    }
}

impl Breakers {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.breakers(self);
        checker.done()
    }
}

impl DropOverload {
    /// Checks a list of them.
    pub(crate) fn validate(drops: &[Self]) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new("");
        checker.drops(drops);
        checker.done()
    }
}
