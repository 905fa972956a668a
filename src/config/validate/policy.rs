//! Checks of the policy of a service or a route.

use super::{Checker, not_yet};
use crate::config::Policy;

impl Checker {
    pub(super) fn policy(&mut self, policy: &Policy) {
        let Policy {
            timeout,
            whole_response: _,
            attempt_timeout,
            idle_timeout,
            response_timeout,
            max_stream_duration,
            grpc_timeout,
            retry,
            max_requests,
            hedge,
            priority,
            criticality,
            hash,
            limits,
            failures,
            follow_redirects,
            tracing,
            caller_overrides,
            send_attempt_count,
            report_attempt_count,
        } = policy;
        self.time("timeout", *timeout);
        self.time("attempt_timeout", *attempt_timeout);
        self.time("idle_timeout", *idle_timeout);
        self.at_least_one("max_requests", *max_requests);
        if let (Some(attempt), Some(whole)) = (attempt_timeout, timeout)
            && attempt > whole
        {
            let reason = format!("must be at most timeout ({whole:?})");
            self.refuse("attempt_timeout", format!("{attempt:?}"), reason);
        }
        if let Some(retry) = retry {
            self.within("retry", |checker| checker.retry(retry));
        }
        not_yet!(
            self,
            response_timeout,
            max_stream_duration,
            grpc_timeout,
            hedge,
            priority,
            criticality,
            hash,
            limits,
            failures,
            follow_redirects,
            tracing,
            caller_overrides,
            send_attempt_count,
            report_attempt_count,
        );
    }
}
