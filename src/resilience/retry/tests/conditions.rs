//! Envoy's conditions by their names, with the cases of its `retry_state_impl_test.cc`.

use http::{HeaderMap, Method, StatusCode};

use super::{Settings, header, policy};
use crate::{
    Call,
    config::{HeaderMatch, IntegerRange, RetryOn, StringMatch},
    core::Random,
    resilience::retry::{Arms, Decision, Met, Policy},
};

fn on(conditions: &[RetryOn]) -> Policy {
    policy(&Settings::standard().on(conditions))
}

fn is_retried(policy: &Policy, met: Met<'_>) -> bool {
    matches!(policy.decide(1, met, &Random::seeded(1)), Decision::Retry { .. })
}

fn answer(policy: &Policy, status: u16, headers: &HeaderMap) -> bool {
    let status = StatusCode::from_u16(status).unwrap();
    is_retried(policy, Met::of(status, headers))
}

/// The statuses that are retried, of those that matter.
fn statuses(policy: &Policy) -> Vec<u16> {
    let all = [200, 400, 404, 409, 429, 500, 501, 502, 503, 504, 505, 599];
    all.into_iter().filter(|status| answer(policy, *status, &HeaderMap::new())).collect()
}

/// Whether a lost connection and a passed attempt timeout are retried.
fn losses(policy: &Policy) -> [bool; 2] {
    [Met::Reset, Met::AttemptTimeout].map(|met| is_retried(policy, met))
}

fn codes(policy: &Policy) -> Vec<i32> {
    let none = HeaderMap::new();
    let met = |code| Met::GrpcStatus { code, headers: &none };
    (0..=16).filter(|code| is_retried(policy, met(*code))).collect()
}

#[test]
fn each_name_by_itself() {
    use RetryOn::*;
    for (name, expected, lost, grpc) in [
        (ServerError, &[500, 501, 502, 503, 504, 505, 599][..], true, &[][..]),
        (GatewayError, &[502, 503, 504], true, &[]),
        (Reset, &[], true, &[]),
        (ResetBeforeRequest, &[], false, &[]),
        (ConnectFailure, &[], false, &[]),
        (RefusedStream, &[], false, &[]),
        (Http3PostConnectFailure, &[], false, &[]),
        (EnvoyRatelimited, &[], false, &[]),
        (RetriableClientError, &[409], false, &[]),
        (RetriableStatusCodes, &[], false, &[]),
        (RetriableHeaders, &[], false, &[]),
        (Cancelled, &[], false, &[1]),
        (DeadlineExceeded, &[], false, &[4]),
        (ResourceExhausted, &[], false, &[8]),
        (Internal, &[], false, &[13]),
        (Unavailable, &[], false, &[14]),
    ] {
        let policy = on(&[name]);
        assert_eq!(statuses(&policy), expected, "{name:?}");
        assert_eq!(losses(&policy), [lost; 2], "{name:?}");
        assert_eq!(codes(&policy), grpc, "{name:?}");
        // What was never worked on is sent again whatever is named.
        for met in [Met::NeverSent, Met::Refused, Met::Unreachable] {
            assert!(is_retried(&policy, met), "{name:?} {met:?}");
        }
    }
}

#[test]
fn names_add_up() {
    let policy = on(&[RetryOn::RetriableClientError, RetryOn::GatewayError, RetryOn::Cancelled]);
    assert_eq!(statuses(&policy), [409, 502, 503, 504]);
    assert_eq!(codes(&policy), [1]);
}

#[test]
fn statuses_are_those_of_the_list_and_of_the_ranges() {
    let mut settings = Settings::standard().on([RetryOn::RetriableStatusCodes]);
    assert!(statuses(&policy(&settings)).is_empty(), "no list, no status");
    settings.on_status = Some(vec![404]);
    settings.on_status_ranges = vec![IntegerRange { start: 500, end: 503 }];
    assert_eq!(statuses(&policy(&settings)), [404, 500, 501, 502]);
    // The same without names: the usual statuses only where none are said.
    settings.on = Vec::new();
    assert_eq!(statuses(&policy(&settings)), [404, 500, 501, 502]);
    settings.on_status = None;
    assert_eq!(statuses(&policy(&settings)), [500, 501, 502]);
    settings.on_status_ranges = Vec::new();
    assert_eq!(statuses(&policy(&settings)), [502, 503, 504]);
}

#[test]
fn a_header_of_the_response_asks_for_a_retry_whatever_its_status() {
    let mut settings = Settings::standard().on([RetryOn::RetriableHeaders]);
    settings.on_headers = vec![
        HeaderMatch::new("x-again", StringMatch::Present),
        HeaderMatch::new("x-cell", StringMatch::Exact("draining".into())),
    ];
    let policy_of = policy(&settings);
    assert!(answer(&policy_of, 200, &header("x-again", "")));
    assert!(answer(&policy_of, 404, &header("x-cell", "draining")));
    assert!(!answer(&policy_of, 404, &header("x-cell", "well")));
    assert!(!answer(&policy_of, 503, &HeaderMap::new()));
    settings.on = Vec::new();
    let beside = policy(&settings);
    assert!(
        answer(&beside, 200, &header("x-again", "")) && answer(&beside, 503, &HeaderMap::new())
    );
}

#[test]
fn a_proxys_refusal_is_retried_only_where_that_is_named() {
    let policy = on(&[RetryOn::ServerError]);
    assert!(!answer(&policy, 503, &header("x-envoy-ratelimited", "true")));
    assert!(!answer(&policy, 503, &header("x-envoy-overloaded", "true")));
    let limited = on(&[RetryOn::EnvoyRatelimited]);
    assert!(answer(&limited, 429, &header("x-envoy-ratelimited", "true")));
    assert!(!answer(&limited, 429, &HeaderMap::new()));
    assert!(!answer(&limited, 503, &header("x-envoy-overloaded", "true")));
}

#[test]
fn a_grpc_status_in_the_head_is_no_http_status() {
    let unavailable = header("grpc-status", "14");
    assert!(!answer(&on(&[RetryOn::ServerError]), 200, &unavailable));
    assert!(answer(&on(&[RetryOn::Unavailable]), 200, &unavailable));
    assert!(!answer(&on(&[RetryOn::Unavailable]), 200, &header("grpc-status", "99")));
}

#[test]
fn a_condition_by_name_declares_nothing_harmless() {
    let named = on(&[RetryOn::ServerError, RetryOn::Unavailable]);
    assert_eq!(named.arms(&Method::POST, false, None), Arms::Nothing);
    assert_eq!(named.arms(&Method::POST, true, None), Arms::Nothing);
    assert_eq!(named.arms(&Method::GET, false, None), Arms::Everything);
}

#[test]
fn a_request_that_says_when_it_is_sent_again_declares_itself_harmless() {
    let asks = Settings::default().on([RetryOn::RetriableClientError]);
    let mut own = on(&[RetryOn::ServerError]);
    own.asked(None, &asks, true);
    assert_eq!(statuses(&own), [409, 500, 501, 502, 503, 504, 505, 599]);
    assert_eq!(own.arms(&Method::POST, false, None), Arms::Everything);
    let never = Call::new().no_retry();
    assert_eq!(own.arms(&Method::POST, false, Some(&never)), Arms::Safe);
    let harmful = Call::new().idempotent(false);
    assert_eq!(own.arms(&Method::POST, false, Some(&harmful)), Arms::Safe);
    // One that only says how often declares nothing.
    let mut counted = on(&[RetryOn::ServerError]);
    counted.asked(Some(5), &Settings::default(), false);
    assert_eq!(counted.attempts(), 5);
    assert_eq!(counted.arms(&Method::POST, false, None), Arms::Nothing);
    //= Envoy RetryStateImpl: one retry, where only a header asks for any
    let mut off = policy(&Settings::standard().attempts(1));
    off.asked(None, &asks, true);
    assert_eq!(off.attempts(), 2);
}

#[test]
fn a_request_without_the_headers_that_are_asked_for_is_not_repeated() {
    let mut settings = Settings::standard();
    assert!(policy(&settings).allows(&HeaderMap::new()));
    settings.request_headers = vec![
        HeaderMatch::new("x-retry", StringMatch::Present),
        HeaderMatch::new("x-tier", StringMatch::Prefix("gold".into())),
    ];
    let policy = policy(&settings);
    assert!(!policy.allows(&HeaderMap::new()));
    assert!(policy.allows(&header("x-retry", "1")));
    assert!(policy.allows(&header("x-tier", "gold-plus")));
    assert!(!policy.allows(&header("x-tier", "tin")));
}
