//! Fields and values: each is refused by field, value and range.

use std::time::Duration;

use tower_mesh::{Call, Mesh};

use crate::{
    refused,
    support::{Server, get, patience},
};

#[tokio::test]
async fn an_unknown_field_is_reported_by_name() {
    let reports = refused("services: {users: {policy: {timeuot: 1s}}}").await;
    assert!(reports[0].contains("users") && reports[0].contains("timeuot"), "{reports:?}");
    let reports = refused("servcies: {}").await;
    assert!(reports[0].contains("servcies"), "{reports:?}");
    let reports =
        refused("clusters: {users: {endpoints: [{address: \"1.2.3.4:5\", wieght: 2}]}}").await;
    assert!(reports[0].contains("wieght"), "{reports:?}");
}

/// What is refused of a policy of `users`.
async fn refused_policy(policy: &str) -> String {
    refused(&format!("services: {{users: {{policy: {{{policy}}}}}}}")).await.remove(0)
}

#[tokio::test]
async fn impossible_values_are_reported_with_field_value_and_range() {
    const TIME: &str = "must be over 0 and at most 365 days";
    const BOUND: &str = "must be at most 365 days, or 0 for none";
    for (policy, told, range) in [
        ("timeout: 400d", "timeout = ", BOUND),
        ("idle_timeout: 400d", "idle_timeout = ", BOUND),
        ("retry: {backoff_base: 0s}", "backoff_base = 0", TIME),
        ("max_requests: 0", "max_requests = 0", "must be at least 1"),
        ("retry: {attempts: 0}", "attempts = 0", "must be in 1..=100"),
        ("retry: {attempts: 101}", "attempts = 101", "must be in 1..=100"),
        ("retry: {on_status: [99]}", "on_status", "= 99: must be in 400..=599"),
        ("retry: {on_grpc: [17]}", "on_grpc", "= 17: must be in 1..=16"),
        ("retry: {budget: {ratio: -0.5}}", "ratio = -0.5", "must be in 0..=10"),
        ("retry: {budget: {ttl: 2m}}", "ttl = 120s", "must be in 1s..=60s"),
        ("retry: {backoff_jitter: 1.5}", "backoff_jitter = 1.5", "must be in 0..=1"),
        ("retry: {backoff_multiplier: 0}", "backoff_multiplier = 0", "must be in 1..=100"),
    ] {
        let report = refused_policy(policy).await;
        let is_told = report.contains("users") && report.contains(told) && report.contains(range);
        assert!(is_told, "{policy}: {report}");
    }
    // What is no value of the field at all.
    for (policy, field, value) in [
        ("timeout: -1s", "timeout", "-1s"),
        ("timeout: soon", "timeout", "soon"),
        ("max_requests: -4", "max_requests", "-4"),
        ("retry: {budget: {ratio: .nan}}", "ratio", "nan"),
    ] {
        let report = refused_policy(policy).await.to_lowercase();
        let is_told = report.contains("users") && report.contains(field) && report.contains(value);
        assert!(is_told, "{policy}: {report}");
    }
    for (endpoint, told, range) in [
        ("address: \"1.2.3.4:99999\"", "1.2.3.4:99999", "address"),
        ("address: \"1.2.3.4:5\", weight: 0", "weight = 0", "must be in 1..=65535"),
    ] {
        let report =
            refused(&format!("clusters: {{users: {{endpoints: [{{{endpoint}}}]}}}}")).await;
        let report = &report[0];
        let is_told = report.contains("users") && report.contains(told) && report.contains(range);
        assert!(is_told, "{endpoint}: {report}");
    }
}

#[tokio::test]
async fn bounds_that_cross_are_reported_with_both() {
    let of_cluster = |text: &str| format!("clusters: {{users: {{{text}}}}}");
    let of_service = |text: &str| format!("services: {{users: {{{text}}}}}");
    for (text, told, reason) in [
        (
            of_service("policy: {timeout: 1s, attempt_timeout: 2s}"),
            "attempt_timeout = 2s",
            "must be at most timeout (1s)",
        ),
        (
            of_service("policy: {retry: {backoff_base: 2s, backoff_max: 1s}}"),
            "backoff_base = 2s",
            "must be at most backoff_max (1s)",
        ),
        (
            of_service("policy: {hedge: {delay: 1s, initial_attempts: 3, max_attempts: 2}}"),
            "initial_attempts = 3",
            "must be at most max_attempts (2)",
        ),
        (
            of_service(
                "filters: [{adaptive_concurrency: {min_concurrency: 9, max_concurrency: 8}}]",
            ),
            "min_concurrency = 9",
            "must be at most max_concurrency (8)",
        ),
        (
            of_cluster("transport: {connect_backoff_base: 2s, connect_backoff_max: 1s}"),
            "connect_backoff_base = 2s",
            "must be at most connect_backoff_max (1s)",
        ),
        (
            of_cluster("balancer: {ring_hash: {minimum_ring_size: 2048, maximum_ring_size: 1024}}"),
            "minimum_ring_size = 2048",
            "must be at most maximum_ring_size (1024)",
        ),
        (
            of_cluster("security: {mode: tls, min_version: \"1.3\", max_version: \"1.2\"}"),
            "min_version = 1.3",
            "must be at most max_version (1.2)",
        ),
        (
            of_cluster("outlier_detection: {accrual: {min_penalty: 2s, max_penalty: 1s}}"),
            "max_penalty = 1s",
            "must be at least min_penalty (2s)",
        ),
        #[cfg(feature = "dns")]
        (
            of_cluster(
                "discovery: {dns: {name: users.test, failure_refresh: 20s, \
                 failure_refresh_max: 10s}}",
            ),
            "failure_refresh = 20s",
            "must be at most failure_refresh_max (10s)",
        ),
    ] {
        let reports = refused(&text).await;
        let is_told = reports[0].contains(told) && reports[0].contains(reason);
        assert!(is_told, "{text}: {reports:?}");
    }
}

#[tokio::test]
async fn what_the_model_says_and_the_stack_cannot_do_is_refused_by_name() {
    for (text, name) in [
        ("clusters: {users: {http: {http3: true}}}", "http"),
        ("clusters: {users: {endpoints: [{address: \"1.2.3.4:5\", network: a}]}}", "network"),
    ] {
        let reports = refused(text).await;
        assert!(reports[0].contains(name), "{text}: {reports:?}");
    }
}

#[tokio::test]
async fn a_call_with_no_time_at_all_fails_at_once() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let mut request = get("/");
    request.extensions_mut().insert(Call::new().timeout(Duration::ZERO));
    let error = patience(mesh.client("users").unwrap().send(request)).await.unwrap_err();
    assert!(error.is_timeout());
    let mut request = get("/");
    request.extensions_mut().insert(Call::new().timeout(Duration::MAX));
    assert!(patience(mesh.client("users").unwrap().send(request)).await.is_ok());
}
