//! Additive increase, multiplicative decrease.
//!
//! A window with failures: *L* · 0.9. One without, in which at least half of the limit was in
//! flight: *L* + 1. What takes longer than a timeout is a failure.
//!
//! Source: Netflix concurrency-limits `AIMDLimit`, asked once for each window.

use super::{super::rules::Rules, Seen};
use crate::config::AimdController;

#[derive(Debug)]
pub(in super::super) struct Aimd {
    backoff: f64,
    limit: f64,
}

// === impl Aimd ===

impl Aimd {
    pub(super) fn new(config: &AimdController, rules: &Rules) -> Self {
        Self { backoff: config.backoff_ratio(), limit: rules.initial }
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    pub(super) fn update(&mut self, seen: &Seen, rules: &Rules) -> f64 {
        let limit = if seen.drops > 0 {
            self.limit * self.backoff
        } else if f64::from(seen.in_flight) * 2.0 >= self.limit {
            self.limit + 1.0
        } else {
            self.limit
        };
        self.limit = rules.within(limit, seen.in_flight);
        self.limit
    }
}
