//! What a policy asks of its calls beyond what most do.

use std::time::Duration;

use crate::{
    balance::verdict::Failures,
    config::{self, bound},
    core::earliest,
    resilience::deadline::Extent,
};

/// Boxed in the policy: most routes have none.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "what is asked for, each by itself")]
pub(crate) struct Terms {
    pub(crate) extent: Extent,
    /// From the end of an attempt's request to its response's head.
    pub(crate) response_timeout: Option<Duration>,
    /// The same, and between the frames after it.
    pub(crate) attempt_idle_timeout: Option<Duration>,
    /// Headers of a request may change its timeouts and retries.
    pub(crate) caller_overrides: bool,
    pub(crate) send_attempt_count: bool,
    pub(crate) report_attempt_count: bool,
    /// Which answers are failures of their endpoint, where that is said.
    pub(crate) failures: Option<Failures>,
    /// How its attempts end is told to its budget.
    pub(crate) throttled: bool,
}

impl Terms {
    /// Those of a merged policy; nothing, if it asks for nothing of the kind.
    pub(crate) fn of(merged: &config::Policy, throttled: bool) -> Option<Box<Self>> {
        let terms = Self {
            extent: Extent::new(bound(merged.max_stream_duration), merged.grpc_timeout.as_ref()),
            response_timeout: bound(merged.response_timeout),
            attempt_idle_timeout: merged.retry.as_ref().and_then(|it| it.attempt_idle_timeout),
            caller_overrides: merged.caller_overrides.unwrap_or(false),
            send_attempt_count: merged.send_attempt_count.unwrap_or(false),
            report_attempt_count: merged.report_attempt_count.unwrap_or(false),
            failures: merged.failures.as_ref().map(Failures::new),
            throttled,
        };
        (terms != Self::default()).then(|| Box::new(terms))
    }

    /// Whether each of its calls keeps something of its own for it.
    pub(crate) fn are_kept(&self) -> bool {
        self.wait().is_some()
            || self.send_attempt_count
            || self.report_attempt_count
            || self.failures.is_some()
    }

    /// The longest wait for the head, from the end of the request on.
    pub(crate) fn wait(&self) -> Option<Duration> {
        earliest(self.response_timeout, self.attempt_idle_timeout)
    }
}
