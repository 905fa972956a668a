//! Checks of retries and their budget.

use http::HeaderName;

use super::{Checker, NOT_YET, not_yet};
use crate::config::{AvoidEndpoint, ConfigErrors, Retry, RetryOn, RetryPriority};

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
            respect_retry_after,
            retry_after_max,
            on: _,
            on_status_ranges: _,
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
        self.conditions(retry);
        self.each("on_headers", on_headers, Self::header);
        self.each("request_headers", request_headers, Self::header);
        self.time("attempt_idle_timeout", *attempt_idle_timeout);
        // NaN is in no range.
        if let Some(times) = backoff_multiplier.filter(|it| !(1.0..=100.0).contains(it)) {
            self.refuse("backoff_multiplier", times, "must be in 1..=100");
        }
        if let Some(part) = backoff_jitter.filter(|it| !(0.0..=1.0).contains(it)) {
            self.refuse("backoff_jitter", part, "must be in 0..=1");
        }
        self.each("reset_headers", reset_headers, |checker, header| {
            if HeaderName::try_from(header.name.as_str()).is_err() {
                checker.refuse("name", &header.name, "must be the name of a header");
            }
        });
        if *respect_retry_after == Some(false) && !reset_headers.is_empty() {
            let reason = "`reset_headers` asks for what this turns off";
            self.refuse("respect_retry_after", false, reason);
        }
        for (index, avoid) in avoid.iter().enumerate() {
            let field = format!("avoid[{index}]");
            match avoid {
                AvoidEndpoint::Tried | AvoidEndpoint::TriedLocalities | AvoidEndpoint::Canaries => {
                }
                AvoidEndpoint::Labels(labels) if labels.is_empty() => {
                    self.refuse(
                        &format!("{field}.labels"),
                        "{}",
                        "must not be empty: all carry none",
                    );
                }
                AvoidEndpoint::Labels(_) => {}
                AvoidEndpoint::Extension(_) => self.refuse(&field, "extension", NOT_YET),
            }
        }
        self.at_least_one("host_selection_attempts", *host_selection_attempts);
        if let Some(RetryPriority { update_frequency }) = priority {
            self.within("priority", |it| it.at_least_one("update_frequency", *update_frequency));
        }
        if let Some(budget) = budget {
            self.within("budget", |checker| checker.budget(budget));
        }
        if let Some(throttle) = throttle {
            self.within("throttle", |checker| checker.retry_throttle(throttle));
        }
        not_yet!(self, predicates);
    }

    /// Which failures are retried: what stands beside names must be read by one of them.
    fn conditions(&mut self, retry: &Retry) {
        for (index, range) in retry.on_status_ranges.iter().enumerate() {
            let field = format!("on_status_ranges[{index}]");
            let value = format!("{}..{}", range.start, range.end);
            if range.start >= range.end {
                self.refuse(&field, value, "must not be empty");
            } else if range.start < 400 || range.end > 600 {
                self.refuse(&field, value, "must be within 400..600");
            }
        }
        if retry.on.is_empty() {
            return;
        }
        let said = [
            ("on_grpc", retry.on_grpc.is_some()),
            ("on_reset", retry.on_reset.is_some()),
            ("on_timeout", retry.on_timeout.is_some()),
        ];
        for (field, _) in said.into_iter().filter(|(_, is_said)| *is_said) {
            self.refuse(field, "given", "`on` takes its place: give one of the two");
        }
        let read = [
            ("on_status", retry.on_status.is_some(), RetryOn::RetriableStatusCodes),
            ("on_status_ranges", !retry.on_status_ranges.is_empty(), RetryOn::RetriableStatusCodes),
            ("on_headers", !retry.on_headers.is_empty(), RetryOn::RetriableHeaders),
        ];
        for (field, is_said, by) in read {
            if is_said && !retry.on.contains(&by) {
                let by = match by {
                    RetryOn::RetriableHeaders => "retriable-headers",
                    _ => "retriable-status-codes",
                };
                self.refuse(field, "given", format!("`on` does not name `{by}`, which reads it"));
            }
        }
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
