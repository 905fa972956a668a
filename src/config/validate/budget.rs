//! Checks of the budgets of retries.

use std::time::Duration;

use super::Checker;
use crate::config::{Budget, ConfigErrors, InFlightBudget, RetryThrottle};

impl Checker {
    pub(super) fn budget(&mut self, budget: &Budget) {
        let Budget { ratio, min_per_second, ttl } = budget;
        // NaN is in no range.
        if !(0.0..=10.0).contains(ratio) {
            self.refuse("ratio", ratio, "must be in 0..=10");
        }
        if *min_per_second > 1_000_000 {
            self.refuse("min_per_second", min_per_second, "must be at most 1000000");
        }
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        if !range.contains(ttl) {
            self.refuse("ttl", format!("{ttl:?}"), "must be in 1s..=60s");
        }
    }

    pub(super) fn in_flight_budget(&mut self, budget: &InFlightBudget) {
        let InFlightBudget { percent, min_concurrency: _, interval } = budget;
        if let Some(percent) = percent.filter(|percent| *percent > 100) {
            self.refuse("percent", percent, "must be at most 100");
        }
        // None at all is the default one.
        if interval.is_some_and(|interval| interval > HOUR) {
            self.refuse(
                "interval",
                format!("{:?}", interval.unwrap_or_default()),
                "must be at most 1h",
            );
        }
    }

    pub(super) fn retry_throttle(&mut self, throttle: &RetryThrottle) {
        let RetryThrottle { max_tokens, token_ratio } = throttle;
        //= gRFC A6: maxTokens in (0, 1000], tokenRatio over 0, read to three decimals
        if !(*max_tokens > 0.0 && *max_tokens <= 1_000.0) {
            self.refuse("max_tokens", max_tokens, "must be over 0 and at most 1000");
        }
        if !(*token_ratio >= 0.001 && *token_ratio <= 1_000.0) {
            self.refuse("token_ratio", token_ratio, "must be in 0.001..=1000");
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);

impl InFlightBudget {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.in_flight_budget(self);
        checker.done()
    }
}
