//! Checks of the policy of a service or a route.

use http::HeaderName;

use super::{Checker, not_yet};
use crate::config::{ConfigErrors, Policy, Tracing, bound};

impl Checker {
    pub(super) fn policy(&mut self, policy: &Policy) {
        let Policy {
            timeout,
            whole_response: _,
            attempt_timeout,
            idle_timeout,
            response_timeout: _,
            max_stream_duration: _,
            grpc_timeout: _,
            retry,
            max_requests,
            hedge,
            priority: _,
            criticality: _,
            hash,
            limits,
            failures,
            follow_redirects,
            tracing,
            caller_overrides: _,
            send_attempt_count: _,
            report_attempt_count: _,
        } = policy;
        self.bound("timeout", *timeout);
        self.bound("attempt_timeout", *attempt_timeout);
        self.bound("idle_timeout", *idle_timeout);
        self.at_least_one("max_requests", *max_requests);
        if let (Some(attempt), Some(whole)) = (attempt_timeout, bound(*timeout))
            && *attempt > whole
        {
            let reason = format!("must be at most timeout ({whole:?})");
            self.refuse("attempt_timeout", format!("{attempt:?}"), reason);
        }
        if let Some(retry) = retry {
            self.within("retry", |checker| checker.retry(retry));
        }
        if let Some(hedge) = hedge {
            self.within("hedge", |checker| checker.hedge(hedge));
            let idle = retry.as_ref().and_then(|retry| retry.attempt_idle_timeout);
            if bound(policy.response_timeout).or(idle).is_some() {
                let reason = "not supported yet beside response_timeout or \
                              retry.attempt_idle_timeout";
                self.refuse("hedge", "said", reason);
            }
        }
        if let Some(tracing) = tracing {
            self.within("tracing", |checker| checker.tracing(tracing));
        }
        self.bounds(policy);
        self.hash_policies(hash.as_deref().unwrap_or_default());
        if let Some(failures) = failures {
            self.within("failures", |checker| checker.failures(failures));
        }
        not_yet!(self, limits, follow_redirects,);
    }

    fn tracing(&mut self, tracing: &Tracing) {
        let Tracing {
            client_percent,
            random_percent,
            overall_percent,
            tags,
            header_tags,
            operation,
        } = tracing;
        for (field, percent) in [
            ("client_percent", client_percent),
            ("random_percent", random_percent),
            ("overall_percent", overall_percent),
        ] {
            if let Some(percent) = percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
                self.refuse(field, percent, "must be in 0..=100");
            }
        }
        for (field, map) in [("tags", tags), ("header_tags", header_tags)] {
            if map.keys().any(String::is_empty) {
                self.refuse(field, "\"\"", "a tag has a name");
            }
        }
        for (tag, header) in header_tags {
            if HeaderName::try_from(header.as_str()).is_err() {
                self.refuse(&format!("header_tags.{tag}"), header, "must be the name of a header");
            }
        }
        if operation.as_deref() == Some("") {
            self.refuse("operation", "\"\"", "must not be empty");
        }
    }
}

impl Policy {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.policy(self);
        checker.done()
    }
}
