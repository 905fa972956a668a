//! How the calls of a route are made: retries, bounds in time, and what is hashed.

use std::time::Duration;

use envoy_types::pb::envoy::{
    config::route::v3::{
        RetryPolicy,
        retry_policy::RetryBackOff,
        route_action::{
            HashPolicy as PbHash, MaxStreamDuration,
            hash_policy::{FilterState, Header, PolicySpecifier},
        },
    },
    r#type::matcher::v3::RegexMatchAndSubstitute,
};

use super::*;
use crate::config::{HashOn, RetryOn};

#[test]
fn good_with_retry_policy() {
    let with = |change: &dyn Fn(&mut RetryPolicy)| {
        let mut policy = RetryPolicy {
            retry_on: "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable,x"
                .into(),
            num_retries: wrapped(2),
            retry_back_off: Some(RetryBackOff {
                base_interval: Some(protobuf::Duration { seconds: 0, nanos: 1_000_000 }),
                max_interval: Some(protobuf::Duration { seconds: 0, nanos: 10_000_000 }),
            }),
            ..RetryPolicy::default()
        };
        change(&mut policy);
        let action = RouteAction { retry_policy: Some(policy), ..to("c") };
        one_route(&proxyless(), route(prefix("/"), action)).map(|read| read.policy)
    };
    let retry = with(&|_| {}).unwrap().retry.unwrap();
    assert_eq!(retry.attempts, Some(3));
    assert_eq!(retry.on.len(), 5);
    assert_eq!(retry.idempotent, Some(true));
    assert_eq!(retry.backoff_max, Some(Duration::from_millis(10)));
    let usual =
        with(&|it| (it.num_retries, it.retry_back_off) = (None, None)).unwrap().retry.unwrap();
    assert_eq!(usual.attempts, Some(2));
    assert_eq!(usual.backoff_base, Some(Duration::from_millis(25)));
    assert_eq!(usual.backoff_max, Some(Duration::from_millis(250)));
    let none = with(&|it| it.retry_on = "foo,bar".into()).unwrap().retry.unwrap();
    assert_eq!(none.attempts, Some(1));
    let envoys = with(&|it| {
        it.retry_on = "5xx, retriable-status-codes".into();
        it.retriable_status_codes = vec![429, 200];
        it.per_try_timeout = seconds(1);
    });
    let policy = envoys.unwrap();
    let retry = policy.retry.unwrap();
    assert_eq!(retry.on, [RetryOn::ServerError, RetryOn::RetriableStatusCodes]);
    assert_eq!(retry.on_status, Some(vec![429]));
    assert_eq!(policy.attempt_timeout, Some(Duration::from_secs(1)));
    refuses(with(&|it| it.num_retries = wrapped(0)), "retry_policy.num_retries = 0");
    let back_off = |base: Option<protobuf::Duration>, most: Option<protobuf::Duration>| {
        with(&|it| {
            it.retry_back_off = Some(RetryBackOff { base_interval: base, max_interval: most });
        })
    };
    refuses(back_off(None, None), "retry_back_off.base_interval = none");
    refuses(back_off(seconds(0), None), "base_interval = 0s: must be over 0");
    refuses(back_off(seconds(2), seconds(1)), "must be at least base_interval (2s)");
}

#[test]
fn timeouts_are_by_dialect() {
    let policy = |decoder: &Decoder, change: &dyn Fn(&mut RouteAction)| {
        let mut action = to("c");
        change(&mut action);
        one_route(decoder, route(prefix("/"), action)).unwrap().policy
    };
    assert_eq!(policy(&proxyless(), &|_| {}).timeout, None);
    assert_eq!(policy(&sidecar(), &|_| {}).timeout, Some(Duration::from_secs(15)));
    let read = policy(&proxyless(), &|it| it.timeout = seconds(3));
    assert_eq!((read.timeout, read.whole_response), (Some(Duration::from_secs(3)), Some(true)));
    let read = policy(&proxyless(), &|it| {
        it.max_stream_duration = Some(MaxStreamDuration {
            max_stream_duration: seconds(1),
            grpc_timeout_header_max: seconds(0),
            grpc_timeout_header_offset: None,
        });
    });
    assert_eq!(read.max_stream_duration, Some(Duration::from_secs(1)));
    assert_eq!(read.grpc_timeout.unwrap().max, Some(Duration::ZERO));
    // One that is not shorter than the whole says nothing.
    let read = policy(&sidecar(), &|it| {
        it.timeout = seconds(1);
        it.retry_policy = Some(RetryPolicy { per_try_timeout: seconds(1), ..Default::default() });
    });
    assert_eq!(read.attempt_timeout, None);
}

/// What is not said is the usual; a zero is no bound, whatever the levels above and other sources say.
#[test]
fn a_time_of_zero_takes_away_what_others_say() {
    let policy = |decoder: &Decoder, change: &dyn Fn(&mut RouteAction)| {
        let mut action = to("c");
        change(&mut action);
        one_route(decoder, route(prefix("/"), action)).unwrap().policy
    };
    let none = Some(Duration::ZERO);
    //= gRFC A31: gRPC does not read the timeout of a route
    for (decoder, whole) in [(proxyless(), None), (sidecar(), none)] {
        let read = policy(&decoder, &|it| it.timeout = seconds(0));
        assert_eq!((read.timeout, read.whole_response), (whole, None));
        assert_eq!(policy(&decoder, &|it| it.idle_timeout = seconds(0)).idle_timeout, none);
        assert_eq!(policy(&decoder, &|_| {}).idle_timeout, None);
        let read = policy(&decoder, &|it| {
            it.max_stream_duration = Some(MaxStreamDuration {
                max_stream_duration: seconds(0),
                ..MaxStreamDuration::default()
            });
        });
        assert_eq!((read.max_stream_duration, read.grpc_timeout), (none, None));
        // An attempt may take as long as it likes where the whole has no bound, and no longer than its own.
        let read = policy(&decoder, &|it| {
            it.timeout = seconds(0);
            let retry = RetryPolicy { per_try_timeout: seconds(1), ..RetryPolicy::default() };
            it.retry_policy = Some(retry);
        });
        assert_eq!(read.attempt_timeout, Some(Duration::from_secs(1)));
    }
}

#[test]
fn good_with_hash_policies() {
    let header = Header {
        header_name: "x-user".into(),
        regex_rewrite: Some(RegexMatchAndSubstitute {
            pattern: Some(regex("[0-9]+")),
            substitution: "#".into(),
        }),
    };
    let state = |key: &str| PolicySpecifier::FilterState(FilterState { key: key.into() });
    let policies = vec![
        PbHash { terminal: true, policy_specifier: Some(PolicySpecifier::Header(header)) },
        PbHash { terminal: false, policy_specifier: Some(state("io.grpc.channel_id")) },
        PbHash { terminal: false, policy_specifier: Some(state("other")) },
        PbHash::default(),
    ];
    let action = RouteAction { hash_policy: policies, ..to("c") };
    let hash = one_route(&proxyless(), route(prefix("/"), action)).unwrap().policy.hash.unwrap();
    assert_eq!(hash.len(), 2);
    assert!(hash[0].terminal && matches!(hash[0].on, HashOn::Header(_)));
    assert!(matches!(hash[1].on, HashOn::FilterState(_)));
}
