//! The policy's decisions.

mod conditions;
mod resets;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};
use proptest::prelude::*;

use super::{Decision, Met, Policy, policy::Arms};
use crate::{Call, RetryRefusal, config::Retry as Settings, core::Random};

fn policy(config: &Settings) -> Policy {
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
    let standard = policy(&Settings::standard());
    assert_eq!(standard.arms(&Method::GET, false, None), Arms::Everything);
    assert_eq!(standard.arms(&Method::PUT, false, None), Arms::Everything);
    assert_eq!(standard.arms(&Method::POST, false, None), Arms::Nothing);
    assert_eq!(standard.arms(&Method::POST, true, None), Arms::Nothing);
    assert_eq!(policy(&Settings::idempotent()).arms(&Method::POST, true, None), Arms::Everything);
    let declared = Call::new().idempotent(true);
    assert_eq!(standard.arms(&Method::POST, true, Some(&declared)), Arms::Everything);
    let one = policy(&Settings::idempotent().attempts(1));
    assert_eq!(one.arms(&Method::GET, false, None), Arms::Nothing);
}

#[test]
fn who_declares_that_nothing_may_be_repeated_still_gets_the_safe_retries() {
    let standard = policy(&Settings::standard());
    assert_eq!(policy(&Settings::safe_only()).arms(&Method::GET, false, None), Arms::Safe);
    let never = Call::new().no_retry();
    assert_eq!(standard.arms(&Method::GET, false, Some(&never)), Arms::Safe);
}

#[test]
fn a_retried_call_is_not_multiplied_downstream() {
    let inbound = header("x-mesh-attempt", "1");
    let call = Call::new().inherit(&inbound);
    assert_eq!(policy(&Settings::idempotent()).arms(&Method::GET, false, Some(&call)), Arms::Safe);
}

#[test]
fn only_listed_statuses_are_retried_and_only_so_often() {
    let policy = policy(&Settings::standard());
    let none = HeaderMap::new();
    assert!(matches!(respond(&policy, 1, 503, &none), Decision::Retry { .. }));
    assert_eq!(respond(&policy, 1, 500, &none), Decision::Return);
    assert_eq!(
        respond(&policy, 3, 503, &none),
        Decision::Refuse { reason: RetryRefusal::Attempts }
    );
}

#[test]
fn safe_failures_are_repeated_at_once_whatever_the_policy() {
    let policy = policy(&Settings::safe_only().attempts(1));
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
    let policy = policy(&Settings::standard().attempts(100));
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
    let policy = policy(&Settings::standard());
    let Decision::Retry { after, .. } = respond(&policy, 1, 503, &header("retry-after", "2"))
    else {
        panic!("not retried")
    };
    assert!((2.0..=3.0).contains(&after.as_secs_f64()), "{after:?}");
    let too_long = respond(&policy, 1, 503, &header("retry-after", "16"));
    assert_eq!(too_long, Decision::Refuse { reason: RetryRefusal::Pushback });
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(10));
    let Decision::Retry { after, .. } = respond(&policy, 1, 503, &header("retry-after", &date))
    else {
        panic!("not retried")
    };
    assert!((8..=15).contains(&after.as_secs()), "{after:?}");
}

#[test]
fn pushback_delays_or_stops() {
    let policy = policy(&Settings::idempotent());
    let decide = |value: &str| {
        let headers = header("grpc-retry-pushback-ms", value);
        let met = Met::GrpcStatus { code: 14, headers: &headers };
        policy.decide(1, met, &Random::seeded(1))
    };
    assert!(matches!(decide("70"), Decision::Retry { after, .. } if after.as_millis() == 70));
    assert_eq!(decide("-1"), Decision::Refuse { reason: RetryRefusal::Pushback });
    assert_eq!(decide("soon"), Decision::Refuse { reason: RetryRefusal::Pushback });
}

proptest! {
    #[test]
    fn any_back_off_is_below_its_doubled_base_and_its_maximum(
        base in 1..10_000_u64,
        more in 0..1_000_000_u64,
        attempt: u32,
        seed: u64,
    ) {
        let (base, max) = (Duration::from_millis(base), Duration::from_millis(base + more));
        let mut settings = Settings::standard();
        settings.backoff_base = Some(base);
        settings.backoff_max = Some(max);
        let random = Random::seeded(seed);
        let after = policy(&settings).backoff(attempt, &random);
        let doubled = base.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        prop_assert!(after <= doubled.min(max), "{after:?}");
    }

    #[test]
    fn retry_after_is_waited_for_and_at_most_half_as_much_more(
        seconds in 0..40_u64,
        seed: u64,
    ) {
        let headers = header("retry-after", &seconds.to_string());
        let met = Met::Response { status: StatusCode::SERVICE_UNAVAILABLE, headers: &headers };
        let decision = policy(&Settings::standard()).decide(1, met, &Random::seeded(seed));
        let asked = Duration::from_secs(seconds);
        match decision {
            Decision::Retry { after, .. } => {
                let backoff = Duration::from_millis(25);
                prop_assert!(seconds <= 15);
                prop_assert!(after >= asked && after <= asked.mul_f64(1.5).max(backoff));
            }
            Decision::Refuse { reason } => prop_assert!(seconds > 15 && reason == RetryRefusal::Pushback),
            Decision::Return => prop_assert!(false, "not retried"),
        }
    }
}

#[test]
fn the_largest_durations_do_not_overflow() {
    let mut settings = Settings::standard();
    settings.backoff_base = Some(Duration::MAX);
    settings.backoff_max = Some(Duration::MAX);
    settings.retry_after_max = Some(Duration::MAX);
    let policy = policy(&settings);
    for seed in 0..100 {
        assert!(policy.backoff(u32::MAX, &Random::seeded(seed)) <= Duration::MAX);
    }
    let asked = u64::MAX.to_string();
    let decision = respond(&policy, 1, 503, &header("retry-after", &asked));
    assert!(matches!(decision, Decision::Retry { .. }));
}

#[test]
fn a_back_off_grows_by_its_multiplier_and_keeps_the_part_that_is_not_random() {
    let mut settings = Settings::standard().attempts(100);
    settings.backoff_base = Some(Duration::from_millis(100));
    settings.backoff_max = Some(Duration::from_secs(10));
    settings.backoff_multiplier = Some(1.5);
    settings.backoff_jitter = Some(0.0);
    let exact = policy(&settings);
    let random = Random::seeded(1);
    //= gRPC service config `retryPolicy`: initialBackoff · backoffMultiplier^(n-1), at most maxBackoff
    for (attempt, millis) in [(1, 100), (2, 150), (3, 225), (10, 3_844), (60, 10_000)] {
        let after = exact.backoff(attempt, &random);
        assert_eq!(after.as_millis(), millis, "{attempt}");
    }
    settings.backoff_jitter = Some(0.2);
    let jittered = policy(&settings);
    for _ in 0..1_000 {
        let after = jittered.backoff(1, &random).as_secs_f64();
        assert!((0.08..=0.1).contains(&after), "{after}");
    }
}

#[test]
fn the_largest_back_off_without_chance_is_its_maximum() {
    let mut settings = Settings::standard();
    (settings.backoff_base, settings.backoff_max) = (Some(Duration::MAX), Some(Duration::MAX));
    (settings.backoff_jitter, settings.backoff_multiplier) = (Some(0.0), Some(100.0));
    let after = policy(&settings).backoff(u32::MAX, &Random::seeded(1));
    assert_eq!(after, Duration::MAX);
}

#[test]
fn what_a_throttle_counts() {
    let policy = policy(&Settings::idempotent());
    let none = HeaderMap::new();
    let status = |code| StatusCode::from_u16(code).unwrap();
    let response = |code| Met::Response { status: status(code), headers: &none };
    assert_eq!(policy.is_failure(response(200)), Some(false));
    assert_eq!(policy.is_failure(response(404)), Some(false));
    assert_eq!(policy.is_failure(response(503)), Some(true));
    assert_eq!(policy.is_failure(response(500)), None, "neither retried nor well");
    let grpc = |code| policy.is_failure(Met::GrpcStatus { code, headers: &none });
    assert_eq!((grpc(0), grpc(14), grpc(5)), (Some(false), Some(true), None));
    let stop = header("grpc-retry-pushback-ms", "-1");
    let stopped = Met::GrpcStatus { code: 5, headers: &stop };
    assert_eq!(policy.is_failure(stopped), Some(true), "it wants not to be asked again");
    assert_eq!(policy.is_failure(Met::Reset), Some(true));
    assert_eq!(policy.is_failure(Met::NeverSent), None);
}
