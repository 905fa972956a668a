//! Values that each call fills in, and the host name of the endpoint as host.

use std::time::Duration;

use tower_mesh::config::Retry;

use super::{CLUSTERS, World, refusal, support::get, with};

#[tokio::test]
async fn values_of_headers_are_filled_in_for_each_call() {
    let world = World::new(&format!(
        "services:\n  shop:\n    filters:\n\
         \x20     - request_headers:\n\
         \x20         set:\n\
         \x20           x-path: \"%REQ(:method)% %REQ(:path):6%\"\n\
         \x20           x-route: \"%ROUTE_NAME%/%UPSTREAM_CLUSTER%/%PROTOCOL%\"\n\
         \x20           x-share: \"100%%\"\n\
         \x20           x-user: \"%REQ(x-absent?x-name)%\"\n\
         \x20         add: [{{name: x-nothing, value: \"%REQ(x-absent)%\"}}, {{name: x-at, value: \"%START_TIME(%s)%\"}}]\n\
         \x20     - response_headers:\n\
         \x20         set:\n\
         \x20           x-answer: \"%RESPONSE_CODE% of %RESP(server-name)% for %REQ(x-name)%\"\n\
         \x20           x-who: \"%UPSTREAM_HOST%\"\n\
         \x20           x-machine: \"%HOSTNAME%\"\n\
         \x20           x-sent: \"%REQ(x-route)%\"\n\
         \x20   routes:\n\
         \x20     - {{name: gone, matches: [{{path: {{exact: /gone}}}}], filters: [{{direct_response: {{status: 410}}}}]}}\n\
         \x20     - {{name: all, clusters: [{{name: a}}]}}\n{CLUSTERS}",
    ))
    .await;
    let response = world.send(with("/path?q=1", &[("x-name", "kim")])).await.unwrap();
    let headers = response.headers().clone();
    let said = response.into_body().text().await.unwrap();
    let (before, at) = said.split_once(" x-at=").unwrap();
    let (at, after) = at.split_once(' ').unwrap();
    assert_eq!(before, "a /path?q=1 host=shop");
    assert_eq!(
        after,
        "x-name=kim x-path=GET /path? x-route=all/a/HTTP/1.1 x-share=100% x-user=kim"
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_secs().abs_diff(at.parse().unwrap()) < 60, "{at}");
    assert_eq!(headers["x-answer"], "200 of a for kim");
    assert_eq!(headers["x-who"], world.servers["a"].address().to_string());
    assert_eq!(headers["x-sent"], "all/a/HTTP/1.1");
    assert!(!headers["x-machine"].is_empty());
    // What is answered here is of no endpoint, and was sent to none.
    let response = world.send(with("/gone", &[("x-name", "kim")])).await.unwrap();
    assert_eq!(response.headers()["x-answer"], "410 of  for kim");
    assert!(!response.headers().contains_key("x-who"));
    let explained = world.mesh.client("shop").unwrap().explain(&get("/path")).unwrap();
    let head = explained.clusters[0].head.as_ref().unwrap();
    assert_eq!(head.headers["x-route"], "all/a/HTTP/1.1");
    assert!(!head.headers.contains_key("x-user"), "it comes to nothing");
}

#[tokio::test]
async fn a_secret_that_is_filled_in_stays_one() {
    let world = World::new(&format!(
        "services:\n  shop:\n    filters: [{{request_headers: {{set: {{x-copy: \"%REQ(x-key)%\"}}}}}}]\n\
         \x20   cluster: a\n{CLUSTERS}",
    ))
    .await;
    let mut request = with("/", &[("x-key", "secret")]);
    request.headers_mut().get_mut("x-key").unwrap().set_sensitive(true);
    let explained = world.mesh.client("shop").unwrap().explain(&request).unwrap();
    let text = explained.to_string();
    assert!(text.contains("x-copy, which is not shown") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn each_attempt_is_for_the_host_name_of_its_endpoint() {
    let world = World::new(
        "services:\n  shop:\n    policy: {retry: {attempts: 3, backoff_base: 1ms, backoff_max: 2ms}}\n\
         \x20   routes:\n\
         \x20     - matches: [{path: {exact: /named}}]\n\
         \x20       filters: [{rewrite: {host: endpoint, forwarded_host: true}}]\n\
         \x20       clusters: [{name: one}]\n\
         \x20     - filters: [{rewrite: {host: endpoint}}]\n\
         \x20       clusters: [{name: both}]\n\
         clusters:\n\
         \x20 one: {endpoints: [{address: \"<A>\", hostname: a.example}]}\n\
         \x20 both:\n\
         \x20   endpoints:\n\
         \x20     - {address: \"<A>\", hostname: a.example}\n\
         \x20     - {address: \"<B>\", hostname: b.example}\n\
         \x20     - {address: \"<C>\"}\n",
    )
    .await;
    let said = world.said(get("/named")).await;
    assert_eq!(said, "a /named host=a.example x-forwarded-host=shop");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        seen.insert(world.said(get("/")).await);
    }
    let expected = ["a / host=a.example", "b / host=b.example", "c / host=shop"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let explained = world.mesh.client("shop").unwrap().explain(&get("/")).unwrap();
    assert!(explained.clusters[0].head.as_ref().unwrap().host_of_endpoint);
    assert!(explained.to_string().contains("for the host name of the endpoint"));
}

#[tokio::test]
async fn a_further_attempt_has_the_host_name_of_its_own_endpoint() {
    let (dead, _socket) = super::support::dead_address();
    let text = format!(
        "services:\n  shop:\n    routes: [{{filters: [{{rewrite: {{host: endpoint}}}}], clusters: [{{name: both}}]}}]\n\
         clusters:\n  both:\n    balancer: round_robin\n    endpoints:\n\
         \x20     - {{address: \"{dead}\", hostname: dead.example}}\n\
         \x20     - {{address: \"<C>\"}}\n",
    );
    let world = World::with(&text, |builder| {
        builder.service("shop", |it| {
            it.retry(Retry::standard().backoff(Duration::from_millis(1), Duration::from_millis(2)))
        })
    })
    .await;
    for _ in 0..4 {
        assert_eq!(world.said(get("/")).await, "c / host=shop");
    }
}

#[tokio::test]
async fn what_cannot_be_filled_in_is_refused_with_its_place() {
    let of = |filter: &str| format!("{{shop: {{filters: [{filter}]}}}}");
    for (filter, expected) in [
        (
            "{request_headers: {set: {x: \"%DOWNSTREAM_REMOTE_ADDRESS%\"}}}",
            "filters[0].request_headers.set.x = %DOWNSTREAM_REMOTE_ADDRESS%: \
             `%DOWNSTREAM_REMOTE_ADDRESS%` is not supported yet: what is filled in is REQ, RESP",
        ),
        (
            "{request_headers: {add: [{name: x, value: \"%RESPONSE_CODE%\"}]}}",
            "filters[0].request_headers.add[0].value = %RESPONSE_CODE%: `%RESPONSE_CODE%` is of responses",
        ),
        (
            "{response_headers: {add_if_absent: {x: \"%START_TIME(%Q)%\"}}}",
            "response_headers.add_if_absent.x = %START_TIME(%Q)%: `%Q` is no part of a time",
        ),
        (
            "{direct_response: {status: 200, headers: {x: \"%ROUTE_NAME%\"}}}",
            "direct_response.headers.x = %ROUTE_NAME%: what each call fills in is not supported yet here",
        ),
        (
            "{rate_limit: {bucket: {max_tokens: 1, fill_interval: 1s}, response_headers: {set: {x: \"%ROUTE_NAME%\"}}}}",
            "rate_limit.response_headers.set.x = %ROUTE_NAME%: what each call fills in is not",
        ),
        (
            "{mirror: {cluster: a, request_headers: {set: {x: \"%RESP(a)%\"}}}}",
            "mirror.request_headers.set.x = %RESP(a)%: `%RESP%` is of responses",
        ),
    ] {
        let text = format!("services: {}\nclusters: {{shop: {{}}, a: {{}}}}\n", of(filter));
        let error = refusal(&text).await;
        assert!(error.contains(expected), "{filter}: {error}");
    }
}
