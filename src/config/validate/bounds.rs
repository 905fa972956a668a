//! Checks of the timeouts of a call beyond the usual ones.

use super::{Checker, NO_TIME, NOT_YET, is_time};
use crate::config::{Failures, GrpcTimeout, Policy, bound};

impl Checker {
    pub(super) fn failures(&mut self, failures: &Failures) {
        let Failures { statuses, grpc } = failures;
        for (index, range) in statuses.iter().flatten().enumerate() {
            let field = format!("statuses[{index}]");
            let value = format!("{}..{}", range.start, range.end);
            if range.start >= range.end {
                self.refuse(&field, value, "must not be empty");
            } else if range.start < 100 || range.end > 600 {
                self.refuse(&field, value, "must be within 100..600");
            }
        }
        for (index, code) in grpc.iter().flatten().enumerate() {
            if !(1..=16).contains(code) {
                self.refuse(&format!("grpc[{index}]"), code, "must be in 1..=16");
            }
        }
    }

    pub(super) fn bounds(&mut self, policy: &Policy) {
        let Policy { response_timeout, max_stream_duration, grpc_timeout, .. } = policy;
        self.bound("response_timeout", *response_timeout);
        self.bound("max_stream_duration", *max_stream_duration);
        // Attempts beside each other are bounded by `attempt_timeout` alone until their head.
        if policy.hedge.is_some() {
            let idle = policy.retry.as_ref().and_then(|retry| retry.attempt_idle_timeout);
            let both = [
                ("response_timeout", bound(*response_timeout)),
                ("retry.attempt_idle_timeout", idle),
            ];
            for (field, time) in both {
                if let Some(time) = time {
                    let reason = format!("{NOT_YET} beside `hedge`");
                    self.refuse(field, format!("{time:?}"), reason);
                }
            }
        }
        if let Some(GrpcTimeout { max, offset }) = grpc_timeout {
            self.within("grpc_timeout", |checker| {
                // Nothing is no bound, and nothing to take off.
                for (field, time) in [("max", max), ("offset", offset)] {
                    if let Some(time) = time.filter(|time| !time.is_zero() && !is_time(*time)) {
                        checker.refuse(field, format!("{time:?}"), NO_TIME);
                    }
                }
                if let (Some(max), Some(offset)) = (max, offset)
                    && !max.is_zero()
                    && offset >= max
                {
                    let reason = format!("must be shorter than max ({max:?})");
                    checker.refuse("offset", format!("{offset:?}"), reason);
                }
            });
        }
    }
}
