//! When an attempt is repeated: classification by what is known to be safe, then by idempotency.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method};

use super::{
    Met,
    after::{self, Pushback, Resets},
    backoff::Backoff,
    conditions::{Conditions, compiled},
};
use crate::{
    Call, RetryReason, RetryRefusal,
    config::{AvoidEndpoint, Retry, header::Header},
    core::Random,
};

/// A refusal costs the endpoint nothing: so many attempts are made at least.
const MIN_REFUSED: u32 = 6;
/// The only endpoint may be closing one connection as its last: one more is made at least.
const MIN_UNREACHABLE: u32 = 2;

/// The compiled policy of a route.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    attempts: u32,
    conditions: Conditions,
    idempotent: Option<bool>,
    /// One of these must be met by a request that may be sent again, where anything is said.
    request_headers: Option<Arc<[Header]>>,
    backoff: Backoff,
    /// The longest `Retry-After`, or wait by another header, that is waited for.
    after_max: Duration,
    /// Whether `Retry-After` is honoured.
    after: bool,
    /// What takes its place.
    resets: Resets,
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
            conditions: Conditions::new(config),
            idempotent: config.idempotent,
            request_headers: (!config.request_headers.is_empty())
                .then(|| compiled(&config.request_headers)),
            backoff: Backoff::new(config),
            after_max: config.after_max(),
            after: config.respect_retry_after.unwrap_or(true),
            resets: Resets::new(&config.reset_headers),
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

    /// Whether a request may be sent again, by its headers.
    #[inline]
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.request_headers else { return true };
        wanted.iter().any(|header| header.matches(headers))
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
            met => match self.conditions.want(met) {
                Some(reason) => reason,
                None => return Decision::Return,
            },
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

    /// Becomes what a request asks for by its headers. One that says when it is to be sent again is
    /// thereby declared to be harmless, unless its call says otherwise.
    //= Envoy RetryStateImpl: the header's conditions beside the route's, its number in place of the
    //= route's; one retry at least, where a header asks for any
    pub(crate) fn asked(&mut self, attempts: Option<u32>, more: &Retry, is_asked: bool) {
        self.attempts = attempts.unwrap_or_else(|| self.attempts.max(if is_asked { 2 } else { 1 }));
        self.conditions.join(more);
        if is_asked {
            self.idempotent = Some(true);
        }
    }

    /// Whether it lists statuses, and headers of responses: what a request lists is read beside them.
    pub(crate) fn lists(&self) -> (bool, bool) {
        (self.conditions.lists_statuses, self.conditions.lists_headers)
    }

    /// Why another attempt is not even wanted after this, in words.
    pub(crate) fn unwanted(&self, met: Met<'_>, armed: Arms, call: Option<&Call>) -> &'static str {
        let said = call.and_then(|call| call.idempotent).or(self.idempotent);
        let named = self.conditions.by_name;
        match met {
            _ if self.attempts <= 1 => "the policy allows 1 attempt",
            Met::Reset if !self.conditions.reset && !named => "`retry.on_reset` is false",
            Met::AttemptTimeout if !self.conditions.timeout && !named => {
                "`retry.on_timeout` is false"
            }
            _ if met.is_safe() => "no copy of the request was kept",
            _ if armed == Arms::Everything => "the policy does not name what it met",
            _ if call.is_some_and(|call| call.is_retry) => "it is part of a retry itself",
            _ if call.is_some_and(|call| call.no_retry) => "the call asks for none",
            _ if said == Some(false) => "declared not idempotent",
            _ if self.request_headers.is_some() && said == Some(true) => {
                "it has none of the headers of `retry.request_headers`"
            }
            _ => "not declared idempotent",
        }
    }

    /// What the answer itself says about the next attempt.
    fn pushback(&self, met: Met<'_>) -> Pushback {
        let (Met::Response { headers, .. } | Met::GrpcStatus { headers, .. }) = met else {
            return Pushback::None;
        };
        match after::grpc(headers) {
            Pushback::None if !self.resets.is_empty() => {
                self.resets.read(headers, self.after_max, SystemTime::now)
            }
            Pushback::None if self.after => after::http(headers, self.after_max, SystemTime::now),
            asked => asked,
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

    pub(super) fn backoff(&self, attempt: u32, random: &Random) -> Duration {
        self.backoff.after(attempt, random)
    }

    /// What an attempt is for a throttle: a failure is what is retried, or a word that nobody asks
    /// again; a success is an answer without a fault. Anything else is neither.
    //= gRFC A6 §"Throttling Retry Attempts and Hedged RPCs" and §"Pushback"
    pub(crate) fn is_failure(&self, met: Met<'_>) -> Option<bool> {
        if self.conditions.want(met).is_some() || self.pushback(met) == Pushback::Stop {
            return Some(true);
        }
        let is_well = match met {
            Met::GrpcStatus { code, .. } => code == 0,
            Met::Response { status, .. } => !status.is_server_error(),
            _ => false,
        };
        is_well.then_some(false)
    }
}
