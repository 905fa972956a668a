//! When an attempt is repeated: classification by what is known to be safe, then by idempotency.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};

use crate::{
    Call,
    config::Retry,
    core::{Random, grpc},
};

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
}

/// What an attempt met.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Met<'a> {
    /// The request never left.
    NeverSent,
    /// The endpoint said that it did not work on it.
    Refused,
    /// The connection was lost; it may have been worked on.
    Reset,
    AttemptTimeout,
    Response {
        status: StatusCode,
        headers: &'a HeaderMap,
    },
    GrpcStatus {
        code: i32,
        headers: &'a HeaderMap,
    },
}

/// What to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// It is the call's result.
    Return,
    /// One more attempt, if the budget grants it.
    Retry { reason: &'static str, after: Duration },
    /// One more was wanted, and is refused.
    Refuse { reason: &'static str },
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
        }
    }

    /// Whether an attempt that may have been worked on may be repeated: then, and only then, a
    /// copy of the request's head is kept.
    pub(crate) fn arms(&self, method: &Method, is_grpc: bool, call: Option<&Call>) -> bool {
        if self.attempts <= 1 {
            return false;
        }
        if let Some(call) = call {
            // A retried call is not multiplied further down.
            if call.no_retry || call.is_retry {
                return false;
            }
            if let Some(idempotent) = call.idempotent {
                return idempotent;
            }
        }
        //= RFC 9110 §9.2.2: PUT, DELETE and the safe methods are idempotent
        self.idempotent.unwrap_or_else(|| !is_grpc && method.is_idempotent())
    }

    /// `attempt` counts those that may have reached an endpoint, this one included.
    pub(crate) fn decide(&self, attempt: u32, met: Met<'_>, random: &Random) -> Decision {
        let reason = match met {
            Met::NeverSent => {
                return Decision::Retry { reason: "never sent", after: Duration::ZERO };
            }
            Met::Refused => return self.refused(attempt),
            Met::Reset if self.on_reset => "connection lost",
            Met::AttemptTimeout if self.on_timeout => "attempt timeout",
            Met::Response { status, .. } if self.statuses.contains(&status.as_u16()) => "status",
            Met::GrpcStatus { code, .. } if self.codes.contains(&code) => "grpc status",
            _ => return Decision::Return,
        };
        if attempt >= self.attempts {
            return Decision::Refuse { reason: "attempts" };
        }
        let jittered = self.backoff(attempt, random);
        match asked_wait(met) {
            Some(Wait::Stop) => Decision::Refuse { reason: "pushback" },
            Some(Wait::Pushback(after)) => Decision::Retry { reason, after },
            Some(Wait::RetryAfter(after)) => match self.after_max {
                None => Decision::Retry { reason, after: jittered },
                Some(max) if after > max => Decision::Refuse { reason: "retry-after too long" },
                Some(_) => Decision::Retry { reason, after: after.max(jittered) },
            },
            None => Decision::Retry { reason, after: jittered },
        }
    }

    /// Safe, but the endpoint exists: bounded by the attempts, and at once.
    fn refused(&self, attempt: u32) -> Decision {
        if attempt >= self.attempts.max(3) {
            return Decision::Refuse { reason: "attempts" };
        }
        Decision::Retry { reason: "refused", after: Duration::ZERO }
    }

    /// Full jitter: uniform in `[0, min(max, base · 2^(attempt-1))]`.
    fn backoff(&self, attempt: u32, random: &Random) -> Duration {
        let doubled = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(self.max).mul_f64(random.ratio())
    }
}

enum Wait {
    Stop,
    Pushback(Duration),
    RetryAfter(Duration),
}

/// What the answer itself says about the next attempt.
fn asked_wait(met: Met<'_>) -> Option<Wait> {
    let (Met::Response { headers, .. } | Met::GrpcStatus { headers, .. }) = met else {
        return None;
    };
    //= gRFC A6 §"Pushback": a value that is negative or no number means: do not retry
    if let Some(value) = headers.get(grpc::GRPC_PUSHBACK) {
        let millis = value.to_str().ok().and_then(|text| text.parse::<i64>().ok());
        return Some(match millis.and_then(|millis| u64::try_from(millis).ok()) {
            Some(millis) => Wait::Pushback(Duration::from_millis(millis)),
            None => Wait::Stop,
        });
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    //= RFC 9110 §10.2.3: seconds or an HTTP-date
    let after = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(Wait::RetryAfter(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(config: &Retry) -> Policy {
        Policy::new(config)
    }

    fn respond(policy: &Policy, attempt: u32, status: u16, headers: &HeaderMap) -> Decision {
        let status = StatusCode::from_u16(status).unwrap();
        policy.decide(attempt, Met::Response { status, headers }, &Random::seeded(1))
    }

    fn header(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn idempotency_comes_from_the_call_then_the_policy_then_the_method() {
        let standard = policy(&Retry::standard());
        assert!(standard.arms(&Method::GET, false, None));
        assert!(standard.arms(&Method::PUT, false, None));
        assert!(!standard.arms(&Method::POST, false, None));
        assert!(!standard.arms(&Method::POST, true, None));
        assert!(policy(&Retry::idempotent()).arms(&Method::POST, true, None));
        assert!(!policy(&Retry::safe_only()).arms(&Method::GET, false, None));
        let declared = Call::new().idempotent(true);
        assert!(standard.arms(&Method::POST, true, Some(&declared)));
        let never = Call::new().no_retry();
        assert!(!standard.arms(&Method::GET, false, Some(&never)));
        assert!(!policy(&Retry::idempotent().attempts(1)).arms(&Method::GET, false, None));
    }

    #[test]
    fn a_retried_call_is_not_multiplied_downstream() {
        let inbound = header("x-mesh-attempt", "1");
        let call = Call::new().inherit(&inbound);
        assert!(!policy(&Retry::idempotent()).arms(&Method::GET, false, Some(&call)));
    }

    #[test]
    fn only_listed_statuses_are_retried_and_only_so_often() {
        let policy = policy(&Retry::standard());
        let none = HeaderMap::new();
        assert!(matches!(respond(&policy, 1, 503, &none), Decision::Retry { .. }));
        assert_eq!(respond(&policy, 1, 500, &none), Decision::Return);
        assert_eq!(respond(&policy, 3, 503, &none), Decision::Refuse { reason: "attempts" });
    }

    #[test]
    fn safe_failures_are_repeated_at_once_whatever_the_policy() {
        let policy = policy(&Retry::safe_only().attempts(1));
        let random = Random::seeded(1);
        for met in [Met::NeverSent, Met::Refused] {
            let Decision::Retry { after, .. } = policy.decide(1, met, &random) else {
                panic!("{met:?} was not repeated")
            };
            assert_eq!(after, Duration::ZERO);
        }
    }

    #[test]
    fn back_off_is_full_jitter_within_its_bounds() {
        let policy = policy(&Retry::standard().attempts(100));
        let random = Random::seeded(3);
        let mut longest = Duration::ZERO;
        for attempt in 1..50 {
            let after = policy.backoff(attempt, &random);
            let bound = Duration::from_millis(25).saturating_mul(1 << (attempt - 1).min(20));
            assert!(after <= bound.min(Duration::from_secs(1)), "{attempt}: {after:?}");
            longest = longest.max(after);
        }
        assert!(longest > Duration::from_millis(500));
    }

    #[test]
    fn retry_after_is_honoured_up_to_its_cap() {
        let policy = policy(&Retry::standard());
        let Decision::Retry { after, .. } = respond(&policy, 1, 503, &header("retry-after", "2"))
        else {
            panic!("not retried")
        };
        assert_eq!(after, Duration::from_secs(2));
        let too_long = respond(&policy, 1, 503, &header("retry-after", "301"));
        assert_eq!(too_long, Decision::Refuse { reason: "retry-after too long" });
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let Decision::Retry { after, .. } = respond(&policy, 1, 503, &header("retry-after", &date))
        else {
            panic!("not retried")
        };
        assert!((55..=60).contains(&after.as_secs()), "{after:?}");
    }

    #[test]
    fn pushback_delays_or_stops() {
        let policy = policy(&Retry::idempotent());
        let decide = |value: &str| {
            let headers = header("grpc-retry-pushback-ms", value);
            let met = Met::GrpcStatus { code: 14, headers: &headers };
            policy.decide(1, met, &Random::seeded(1))
        };
        assert!(matches!(decide("70"), Decision::Retry { after, .. } if after.as_millis() == 70));
        assert_eq!(decide("-1"), Decision::Refuse { reason: "pushback" });
        assert_eq!(decide("soon"), Decision::Refuse { reason: "pushback" });
    }
}
