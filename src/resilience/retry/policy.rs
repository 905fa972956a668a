//! When an attempt is repeated: classification by what is known to be safe, then by idempotency.

use std::time::{Duration, SystemTime};

use http::Method;

use super::{
    Met,
    after::{self, Pushback},
};
use crate::{
    Call, RetryReason, RetryRefusal,
    config::{AvoidEndpoint, Retry},
    core::Random,
};

/// A refusal costs the endpoint nothing: so many attempts are made at least.
const MIN_REFUSED: u32 = 6;
/// The only endpoint may be closing one connection as its last: one more is made at least.
const MIN_UNREACHABLE: u32 = 2;

/// The compiled policy of a route.
#[derive(Debug)]
pub(crate) struct Policy {
    attempts: u32,
    statuses: Vec<u16>,
    codes: Vec<i32>,
    on_reset: bool,
    on_timeout: bool,
    idempotent: Option<bool>,
    base: Duration,
    max: Duration,
    /// The longest `Retry-After` that is waited for; `None` when it is not honoured.
    after_max: Option<Duration>,
    leaves_localities: bool,
}

/// What a call is sent again for, which decides whether a copy of it is kept.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Arms {
    /// Only a request that comes back by itself, never having been dispatched.
    Nothing,
    /// What is known not to have been worked on.
    Safe,
    /// Whatever the policy names.
    Everything,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// It is the call's result.
    Return,
    /// One more attempt, if the budget grants it.
    Retry { reason: RetryReason, after: Duration },
    /// One more was wanted, and is refused.
    Refuse { reason: RetryRefusal },
}

impl Policy {
    pub(crate) fn new(config: &Retry) -> Self {
        Self {
            attempts: config.attempts_or_default(),
            statuses: config.statuses().to_vec(),
            codes: config.codes().to_vec(),
            on_reset: config.on_reset.unwrap_or(true),
            on_timeout: config.on_timeout.unwrap_or(true),
            idempotent: config.idempotent,
            base: config.base(),
            max: config.max(),
            after_max: config.respect_retry_after.unwrap_or(true).then(|| config.after_max()),
            leaves_localities: config.avoid.contains(&AvoidEndpoint::TriedLocalities),
        }
    }

    /// Attempts that a call may have, the first one included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether a retry goes to another locality, if it may.
    #[inline]
    pub(crate) fn leaves_localities(&self) -> bool {
        self.leaves_localities
    }

    /// What a call's request is kept for, if it is kept.
    pub(crate) fn arms(&self, method: &Method, is_grpc: bool, call: Option<&Call>) -> Arms {
        if self.attempts <= 1 { Arms::Nothing } else { self.harmless(method, is_grpc, call) }
    }

    /// Whether a request may be sent more than once, whatever it has met.
    pub(crate) fn may_repeat(&self, method: &Method, is_grpc: bool, call: Option<&Call>) -> bool {
        self.harmless(method, is_grpc, call) == Arms::Everything
    }

    /// The same if there may be another attempt.
    fn harmless(&self, method: &Method, is_grpc: bool, call: Option<&Call>) -> Arms {
        let declared = match call {
            // A retried call is not multiplied further down.
            Some(call) if call.no_retry || call.is_retry => Some(false),
            Some(call) => call.idempotent.or(self.idempotent),
            None => self.idempotent,
        };
        match declared {
            Some(true) => Arms::Everything,
            // Whoever declares it wants at least what is safe, and pays for the copy.
            Some(false) => Arms::Safe,
            //= RFC 9110 §9.2.2: PUT, DELETE and the safe methods are idempotent
            None if !is_grpc && method.is_idempotent() => Arms::Everything,
            None => Arms::Nothing,
        }
    }

    /// `attempt` counts those that may have reached an endpoint, this one included.
    pub(crate) fn decide(&self, attempt: u32, met: Met<'_>, random: &Random) -> Decision {
        let reason = match met {
            Met::NeverSent => {
                return Decision::Retry { reason: RetryReason::NeverSent, after: Duration::ZERO };
            }
            Met::Unreachable => {
                let most = self.attempts.max(MIN_UNREACHABLE);
                return self.repeated(attempt, most, RetryReason::NeverSent, random);
            }
            Met::Refused => {
                let most = self.attempts.max(MIN_REFUSED);
                return self.repeated(attempt, most, RetryReason::Refused, random);
            }
            Met::Reset if self.on_reset => RetryReason::ConnectionLost,
            Met::AttemptTimeout if self.on_timeout => RetryReason::AttemptTimeout,
            Met::Response { status, .. } if self.statuses.contains(&status.as_u16()) => {
                RetryReason::Status(status.as_u16())
            }
            Met::GrpcStatus { code, .. } if self.codes.contains(&code) => RetryReason::Grpc(code),
            _ => return Decision::Return,
        };
        if attempt >= self.attempts {
            return Decision::Refuse { reason: RetryRefusal::Attempts };
        }
        let jittered = self.backoff(attempt, random);
        match self.pushback(met) {
            Pushback::Stop => Decision::Refuse { reason: RetryRefusal::Pushback },
            Pushback::After(after) => Decision::Retry { reason, after },
            //= Envoy RetryPolicy.rate_limited_retry_back_off: uniform in [interval, 1.5 interval]
            Pushback::AtLeast(least) => {
                let after = least.saturating_add(least.mul_f64(random.ratio() / 2.0));
                Decision::Retry { reason, after: after.max(jittered) }
            }
            Pushback::None => Decision::Retry { reason, after: jittered },
        }
    }

    /// Why another attempt is not even wanted after this, in words.
    pub(crate) fn unwanted(&self, met: Met<'_>, armed: Arms, call: Option<&Call>) -> &'static str {
        let said = call.and_then(|call| call.idempotent).or(self.idempotent);
        match met {
            _ if self.attempts <= 1 => "the policy allows 1 attempt",
            Met::Reset if !self.on_reset => "`retry.on_reset` is false",
            Met::AttemptTimeout if !self.on_timeout => "`retry.on_timeout` is false",
            _ if met.is_safe() => "no copy of the request was kept",
            _ if armed == Arms::Everything => "the policy does not name what it met",
            _ if call.is_some_and(|call| call.is_retry) => "it is part of a retry itself",
            _ if call.is_some_and(|call| call.no_retry) => "the call asks for none",
            _ if said == Some(false) => "declared not idempotent",
            _ => "not declared idempotent",
        }
    }

    /// What the answer itself says about the next attempt.
    fn pushback(&self, met: Met<'_>) -> Pushback {
        let (Met::Response { headers, .. } | Met::GrpcStatus { headers, .. }) = met else {
            return Pushback::None;
        };
        match (after::grpc(headers), self.after_max) {
            (Pushback::None, Some(max)) => after::http(headers, max, SystemTime::now),
            (asked, _) => asked,
        }
    }

    /// Safe, but the endpoint is the same: the first time at once, then it gets time to catch up.
    fn repeated(&self, attempt: u32, most: u32, reason: RetryReason, random: &Random) -> Decision {
        if attempt >= most {
            return Decision::Refuse { reason: RetryRefusal::Attempts };
        }
        //= gRFC A6 §"Transparent Retries": once at once, then as the policy has it
        let after = if attempt <= 1 { Duration::ZERO } else { self.backoff(attempt, random) };
        Decision::Retry { reason, after }
    }

    /// Full jitter: uniform in `[0, min(max, base · 2^(attempt-1))]`.
    pub(super) fn backoff(&self, attempt: u32, random: &Random) -> Duration {
        let doubled = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(self.max).mul_f64(random.ratio())
    }
}
