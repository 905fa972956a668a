//! Checks of retries and their budget.

use super::{Checker, NOT_YET, not_yet};
use crate::config::{AvoidEndpoint, ConfigErrors, Retry};

impl Checker {
    pub(super) fn retry(&mut self, retry: &Retry) {
        let Retry {
            attempts,
            on_status,
            on_grpc,
            on_reset: _,
            on_timeout: _,
            idempotent: _,
            backoff_base,
            backoff_max,
            budget,
            // Any number of bytes will do.
            max_body_bytes: _,
            respect_retry_after: _,
            retry_after_max,
            on,
            on_headers,
            request_headers,
            attempt_idle_timeout,
            backoff_multiplier,
            backoff_jitter,
            reset_headers,
            avoid,
            predicates,
            host_selection_attempts,
            priority,
            throttle,
        } = retry;
        if let Some(attempts) = *attempts
            && !(1..=100).contains(&attempts)
        {
            self.refuse("attempts", attempts, "must be in 1..=100");
        }
        for status in on_status.iter().flatten() {
            if !(400..=599).contains(status) {
                self.refuse("on_status", status, "must be in 400..=599");
            }
        }
        for code in on_grpc.iter().flatten() {
            if !(1..=16).contains(code) {
                self.refuse("on_grpc", code, "must be in 1..=16");
            }
        }
        self.time("backoff_base", *backoff_base);
        self.time("backoff_max", *backoff_max);
        self.time("retry_after_max", *retry_after_max);
        if retry.base() > retry.max() {
            let reason = format!("must be at most backoff_max ({:?})", retry.max());
            self.refuse("backoff_base", format!("{:?}", retry.base()), reason);
        }
        for (index, avoid) in avoid.iter().enumerate() {
            let name = match avoid {
                AvoidEndpoint::Tried | AvoidEndpoint::TriedLocalities => continue,
                AvoidEndpoint::Canaries => "canaries",
                AvoidEndpoint::Labels(_) => "labels",
                AvoidEndpoint::Extension(_) => "extension",
            };
            self.refuse(&format!("avoid[{index}]"), name, NOT_YET);
        }
        if let Some(budget) = budget {
            self.within("budget", |checker| checker.budget(budget));
        }
        if let Some(throttle) = throttle {
            self.within("throttle", |checker| checker.throttle(throttle));
        }
        not_yet!(
            self,
            on,
            on_headers,
            request_headers,
            attempt_idle_timeout,
            backoff_multiplier,
            backoff_jitter,
            reset_headers,
            predicates,
            host_selection_attempts,
            priority,
        );
    }
}

impl Retry {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.retry(self);
        checker.done()
    }
}
