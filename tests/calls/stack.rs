//! `describe()` tells the stack as it is assembled, for each route.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;

use tower_mesh::Mesh;

use crate::support::{Leaves, leaf::ok};

/// Everything that a call may meet on its way.
const FULL: &str = r#"
services:
  users:
    policy:
      timeout: 2s
      attempt_timeout: 1s
      max_requests: 100
      retry: {idempotent: true}
      hedge: {delay: 100ms}
    filters:
      - rate_limit: {bucket: {max_tokens: 1000, fill_interval: 1s}}
      - throttle: {}
      - authorize: {rules: [{action: deny, permissions: [{path: {prefix: /admin}}]}]}
      - request_headers: {set: {x-a: b}}
      - adaptive_concurrency: {controller: {vegas: {}}}
      - admission_control: {}
      - fault: {delay: {fixed: 1ms, percent: 1}}
      - response_headers: {set: {x-c: d}}
      - global_rate_limit:
          cluster: shadow
          domain: shop
          describe: [{parts: [{header: {name: x-tenant, key: tenant}}]}]
    routes:
      - name: old
        matches: [{path: {prefix: /old}}]
        filters: [{redirect: {path: {prefix: /new}}}]
      - name: tried
        matches: [{path: {prefix: /tried}}]
        filters: [{fault: {delay: {fixed: 1ms, percent: 1}, per_attempt: true}}]
        clusters: [{name: users}]
      - name: rest
        filters:
          - rewrite: {host: {literal: shop.internal}}
          - mirror: {cluster: shadow, percent: 1}
          - session: {cookie: {name: sid}}
        clusters: [{name: users}]
clusters:
  users:
    drops: [{category: shed, percent: 1}]
    breakers: {max_requests: 50}
    queue: {capacity: 10}
    security: {mode: tls, system_roots: true}
    endpoints: [{address: "127.0.0.1:1"}]
  shadow: {endpoints: [{address: "127.0.0.1:2"}]}
"#;

#[tokio::test]
async fn the_stack_of_a_route_is_what_its_calls_meet_in_that_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, FULL).unwrap();
    let identity = tower::layer::util::Identity::new;
    let mesh = Mesh::builder()
        .config_file(&path)
        .call_layer(identity())
        .attempt_layer(identity())
        .endpoint_layer(identity())
        .connect_layer(identity())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let description = mesh.describe();
    let users = description.services.iter().find(|service| service.name == "users").unwrap();
    let stack_of = |name: &str| {
        let route = users.routes.iter().find(|route| route.name.as_deref() == Some(name));
        &route.unwrap_or_else(|| panic!("{description}")).stack
    };
    let before = [
        "gRPC status mapping",
        "user layers: call_layer",
        "resolve",
        "route",
        "authorize",
        "rate_limit",
        "throttle",
        "adaptive_concurrency",
        "admission_control",
        "fault",
        "global_rate_limit",
    ];
    let admitted = ["admission: max_requests", "deadline", "changes of request and response"];
    let retried = ["replay body, when a retry is armed", "retry and budget"];
    let attempt = [
        "attempt timeout",
        "user layers: attempt_layer",
        "drops",
        "queue",
        "breaker: max_requests of the cluster",
    ];
    let picked = [
        "balancer",
        "user layers: endpoint_layer",
        "transport: pool, h1, h2",
        "tls",
        "user layers: connect_layer",
    ];
    let rest = [
        &before[..],
        &admitted,
        &["mirrors: shadow"],
        &retried,
        &["hedge"],
        &attempt,
        &["session"],
        &picked,
    ]
    .concat();
    assert_eq!(*stack_of("rest"), rest, "{:#?}", stack_of("rest"));
    let tried =
        [&before[..], &admitted, &retried, &["fault of attempts"], &attempt, &picked].concat();
    assert_eq!(*stack_of("tried"), tried, "{:#?}", stack_of("tried"));
    let old = [&before[..], &["answer"]].concat();
    assert_eq!(*stack_of("old"), old, "{:#?}", stack_of("old"));
    // That of the mesh has what any route has.
    for position in rest.iter().chain(&tried).chain(&old) {
        assert!(description.stack.iter().any(|told| told == position), "{position}");
    }
    let text = description.to_string();
    assert!(text.contains("    calls meet: gRPC status mapping > user layers: call_layer > resolve > route > authorize > "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_stack_has_nothing_that_nobody_asked_for() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    mesh.ready().await.unwrap();
    let stack = mesh.describe().stack;
    let plain = [
        "gRPC status mapping",
        "resolve",
        "route",
        "deadline",
        "replay body, when a retry is armed",
        "retry and budget",
        "balancer",
        "own leaf",
    ];
    assert_eq!(stack, plain, "{stack:#?}");
}
