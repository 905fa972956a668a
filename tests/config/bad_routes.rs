//! Bad input of routes, policies and what filters do: refused in words that name the file, its line and
//! the field, while everything beside it works; never a panic, never a hang.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use http::Request;
use tokio::time::Instant;
use tower_mesh::{Body, Mesh};

use crate::support::{Server, fetch, get, patience};

/// The lines of a service `bad`, beside a good one.
async fn refusal(service: &str) -> (String, usize) {
    refused(service, "").await
}

/// The same with more clusters. `MARK` in the text, which is taken out, is where the report points to.
async fn refused(service: &str, clusters: &str) -> (String, usize) {
    let server = Server::named("hello").await;
    let text = format!(
        "services:\n  good: {{cluster: one}}\n  bad:\n{service}clusters:\n{clusters}  one:\n    \
         endpoints: [{{address: \"{}\"}}]\n",
        server.address()
    );
    let line = text.lines().position(|line| line.contains("MARK")).expect("a MARK") + 1;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text.replace("MARK", "")).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let error = patience(mesh.ready()).await.expect_err(&text).to_string();
    let answer = patience(fetch(&mesh.client("good").unwrap(), get("/"))).await.unwrap();
    assert_eq!(answer.body(), "hello", "{error}");
    let place = format!("line {line} of {}", path.display());
    assert!(error.contains(&place), "{place} in {error}");
    (error, line)
}

fn route(fields: &str) -> String {
    format!("    routes:\n      - name: r\n        clusters: [{{name: one}}]\n{fields}")
}

#[tokio::test]
async fn each_kind_of_bad_route_is_refused_with_its_line() {
    for (fields, words) in [
        // Regular expressions: those that are none here, and those too large.
        ("        matches:\n          - path: {regex: \"(?=x)\"} #MARK\n", "matches[0].path.regex"),
        ("        matches:\n          - path: {regex: \"a(b\"} #MARK\n", "matches[0].path.regex"),
        (
            "        matches:\n          - path: {regex: \"(a{1000}){1000}\"} #MARK\n",
            "matches[0].path.regex",
        ),
        (
            "        matches: [{headers: [{name: x, matcher: {regex: \"[\"}}]}] #MARK\n",
            "headers[0]",
        ),
        ("        matches: [{path: {template: \"/{a}/{a}\"}}] #MARK\n", "template"),
        // Contradictions.
        (
            "        matches: [{headers: [{name: x, matcher: {range: {start: 9, end: 3}}}]}] #MARK\n",
            "range",
        ),
        (
            "        matches: [{headers: [{name: \"a b\", matcher: present}]}] #MARK\n",
            "headers[0].name",
        ),
        ("        matches: [{method: \"G T\"}] #MARK\n", "method"),
        ("        hosts: [\"a*b\"] #MARK\n", "hosts[0]"),
        // Rewrites to what is no URI.
        ("        filters: [{rewrite: {path: {full: \"a b\"}}}] #MARK\n", "rewrite.path"),
        ("        filters: [{rewrite: {path: {full: \"nowhere\"}}}] #MARK\n", "rewrite.path"),
        ("        filters: [{rewrite: {host: {literal: \"a b\"}}}] #MARK\n", "rewrite.host"),
        ("        filters: [{redirect: {status: 200}}] #MARK\n", "redirect.status"),
        ("        filters: [{direct_response: {status: 99}}] #MARK\n", "direct_response.status"),
        // Headers that would begin another line, or that are not to be edited.
        (
            "        filters: [{request_headers: {set: {x-a: \"a\\nb: c\"}}}] #MARK\n",
            "request_headers",
        ),
        (
            "        filters: [{response_headers: {add: [{name: x-a, value: \"a\\r\\nb\"}]}}] #MARK\n",
            "response_headers",
        ),
        (
            "        filters: [{request_headers: {set: {content-length: \"1\"}}}] #MARK\n",
            "request_headers",
        ),
        // Shares over all of them.
        ("        filters: [{mirror: {cluster: one, percent: 101}}] #MARK\n", "mirror.percent"),
        ("        filters: [{mirror: {cluster: one, percent: -1}}] #MARK\n", "mirror.percent"),
        ("        matches: [{fraction: {percent: 200}}] #MARK\n", "fraction.percent"),
        ("        filters: [{mirror: {percent: 5}}] #MARK\n", "mirror"),
        // Times and budgets.
        ("        policy: {timeout: -1s} #MARK\n", "policy.timeout"),
        ("        policy: {timeout: 400d} #MARK\n", "policy.timeout"),
        ("        policy: {timeout: 99999999h} #MARK\n", "policy.timeout"),
        ("        policy: {timeout: 9999999999999999999999s} #MARK\n", "policy.timeout"),
        ("        policy: {attempt_timeout: 2s, timeout: 1s} #MARK\n", "policy.attempt_timeout"),
        ("        policy: {retry: {budget: {ttl: 0s}}} #MARK\n", "retry.budget.ttl"),
        ("        policy: {retry: {budget: {ratio: -1}}} #MARK\n", "retry.budget.ratio"),
        ("        policy: {retry: {attempts: 0}} #MARK\n", "retry.attempts"),
        ("        policy: {retry: {attempts: 1000}} #MARK\n", "retry.attempts"),
        // What nobody knows.
        ("        polisy: {timeout: 1s} #MARK\n", "polisy"),
        ("        matches: [{path: {suffix: /a}}] #MARK\n", "suffix"),
    ] {
        let (error, _) = refusal(&route(fields)).await;
        assert!(
            error.contains("services.bad.routes[0]") && error.contains(words),
            "{words} in {error}"
        );
    }
}

#[tokio::test]
async fn each_kind_of_bad_split_is_refused_with_its_line() {
    for (service, words) in [
        (
            "    routes:\n      - clusters: [{name: one, weight: 0}, {name: one, weight: 0}] #MARK\n",
            "routes[0].clusters.weight = 0: the weights must not all be 0",
        ),
        (
            "    routes:\n      - clusters:\n          - {name: one, weight: 1000001} #MARK\n",
            "routes[0].clusters[0].weight = 1000001: must be at most 1000000",
        ),
        (
            "    routes:\n      - clusters:\n          - {name: \"\"} #MARK\n",
            "routes[0].clusters[0].name",
        ),
        (
            "    routes:\n      - {name: a, clusters: [{name: one}]}\n      - {name: a, clusters: [{name: one}]} #MARK\n",
            "routes[1].name = a: is used twice",
        ),
        (
            "    cluster: one #MARK\n    routes: [{clusters: [{name: one}]}]\n",
            "cluster = one: a service has either `routes` or `cluster`",
        ),
        (
            "    routes:\n      - name: lost\n        clusters:\n          - {name: one}\n          - {name: nowhere} #MARK\n",
            "service bad: names cluster `nowhere`, which no source defines (line",
        ),
        (
            "    cluster: nowhere #MARK\n",
            "service bad: names cluster `nowhere`, which no source defines (line",
        ),
        (
            "    routes:\n      - filters:\n          - mirror: {cluster: nowhere} #MARK\n        clusters: [{name: one}]\n",
            "service bad: names cluster `nowhere`, which no source defines (line",
        ),
        (
            "    cluster: one\n    filters:\n      - request_headers: {remove: [x-a]}\n      - mirror: {cluster: nowhere} #MARK\n",
            "service bad: names cluster `nowhere`, which no source defines (line",
        ),
    ] {
        let (error, _) = refusal(service).await;
        assert!(error.contains(words), "{words} in {error}");
    }
}

/// The service that is asked for a limit is a cluster like any other.
#[cfg(feature = "rls")]
#[tokio::test]
async fn a_cluster_that_a_filter_asks_and_nobody_defines_is_told_with_its_line() {
    let limit = "{cluster: nowhere, domain: a, describe: [{parts: [source_cluster]}]}";
    for service in [
        format!("    cluster: one\n    filters:\n      - global_rate_limit: {limit} #MARK\n"),
        format!(
            "    routes:\n      - filters:\n          - global_rate_limit: {limit} #MARK\n        clusters: [{{name: one}}]\n"
        ),
    ] {
        let (error, _) = refusal(&service).await;
        let words = "service bad: names cluster `nowhere`, which no source defines (line";
        assert!(error.contains(words), "{words} in {error}");
    }
}

#[tokio::test]
async fn a_bad_cluster_is_refused_with_its_line() {
    for (cluster, words) in [
        ("    breakers: {max_pools: 3} #MARK\n", "clusters.two.breakers.max_pools = 3"),
        ("    failover: {clusters: [two]} #MARK\n", "clusters.two.failover.clusters[0] = two"),
        ("    panic_threshold: 101 #MARK\n", "clusters.two.panic_threshold = 101"),
        ("    transport: {connect_timeout: -1s} #MARK\n", "clusters.two.transport.connect_timeout"),
        ("    endpoints:\n      - address: nowhere #MARK\n", "clusters.two.endpoints[0].address"),
        (
            "    endpoints:\n      - {address: \"1.2.3.4:5\"}\n      - {address: \"1.2.3.4:5\"} #MARK\n",
            "endpoints[1]",
        ),
    ] {
        let clusters = format!("  two:\n{cluster}");
        let (error, _) = refused("    cluster: one\n", &clusters).await;
        assert!(error.contains(words), "{words} in {error}");
    }
}

#[tokio::test]
async fn a_json_file_has_lines_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.json");
    let text = "{\n  \"services\": {\n    \"bad\": {\n      \"policy\": {\n        \"timeout\": \"400d\"\n      }\n    }\n  }\n}\n";
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("line 5 of {}", path.display())), "{error}");
}

/// Whatever is wrong in 2,000 parts is told within moments, each with its line.
#[tokio::test]
async fn many_errors_at_once_are_told_at_once() {
    let mut text = "services:\n".to_owned();
    for number in 0..2_000 {
        text += &format!("  s{number}: {{policy: {{timeout: 400d}}}}\n");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let start = Instant::now();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    assert!(patience(mesh.ready()).await.is_err());
    let refused = mesh.describe().refused;
    assert_eq!(refused.len(), 2_000);
    assert!(refused.iter().all(|reason| reason.text.contains(" of ")), "{refused:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// What explodes elsewhere is taken, and takes no longer than it is long.
#[tokio::test]
async fn a_pattern_that_explodes_elsewhere_answers_at_once() {
    let server = Server::named("hello").await;
    let text = format!(
        "services:\n  shop:\n    routes:\n\
         \x20     - matches: [{{path: {{regex: \"/(a+)+b\"}}}}, {{headers: [{{name: x-a, matcher: {{regex: \"(x|xx)+y\"}}}}]}}]\n\
         \x20       clusters: [{{name: none}}]\n\
         \x20     - clusters: [{{name: one}}]\n\
         clusters:\n  one: {{endpoints: [{{address: \"{}\"}}]}}\n  none: {{}}\n",
        server.address()
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    patience(mesh.ready()).await.unwrap();
    let start = Instant::now();
    let request = Request::get(format!("http://shop/{}", "a".repeat(8_000)))
        .header("x-a", "x".repeat(4_000))
        .body(Body::empty())
        .unwrap();
    assert_eq!(patience(fetch(&mesh.http(), request)).await.unwrap().body(), "hello");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// A mirror goes to a cluster and never through routes: two that mirror to each other make one copy.
#[tokio::test]
async fn mirrors_in_a_circle_make_one_copy() {
    let (one, two) = (Server::named("one").await, Server::named("two").await);
    let text = format!(
        "services:\n\
         \x20 one: {{filters: [{{mirror: {{cluster: two}}}}], cluster: one}}\n\
         \x20 two: {{filters: [{{mirror: {{cluster: one}}}}], cluster: two}}\n\
         clusters:\n  one: {{endpoints: [{{address: \"{}\"}}]}}\n  two: {{endpoints: [{{address: \"{}\"}}]}}\n",
        one.address(),
        two.address()
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    patience(mesh.ready()).await.unwrap();
    for _ in 0..10 {
        fetch(&mesh.client("one").unwrap(), get("/")).await.unwrap();
    }
    patience(async {
        while two.requests() < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((one.requests(), two.requests()), (10, 10));
}
