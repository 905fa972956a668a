//! `describe()` tells the assembled stack and every setting with where it comes from.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use tower_mesh::{Mesh, Retry, SettingOrigin, config};

use crate::support::{
    Leaves, SERVICE,
    leaf::{answer, ok},
    post,
};

/// The line of a description that speaks of this setting.
fn line<'a>(text: &'a str, setting: &str) -> &'a str {
    text.lines().find(|line| line.contains(setting)).unwrap_or_else(|| {
        panic!("no line of {setting} in:\n{text}");
    })
}

#[tokio::test(start_paused = true)]
async fn settings_name_their_origin() {
    let mesh = Leaves::new(2)
        .mesh(|_, _| async { Ok(ok("")) })
        .service(SERVICE, |s| {
            s.timeout(Duration::from_millis(2500)).retry(Retry::standard().attempts(4))
        })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let text = mesh.describe().to_string();
    assert!(text.contains(SERVICE), "{text}");
    assert!(text.contains("10.0.0.1:80") && text.contains("10.0.0.2:80"), "{text}");
    let timeout = line(&text, "timeout =");
    assert!(timeout.contains("2500ms") && timeout.contains("code"), "{timeout}");
    let idle = line(&text, "idle_timeout");
    assert!(idle.contains("none") && idle.contains("default"), "{idle}");
    let retry = line(&text, "retry.attempts =");
    assert!(retry.contains('4') && retry.contains("code"), "{retry}");
}

#[tokio::test]
async fn a_files_settings_give_way_to_the_codes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(
        &path,
        "services: {users: {policy: {timeout: 7s, idle_timeout: 9s}}}\n\
         clusters: {users: {endpoints: [{address: \"127.0.0.1:1\"}]}}\n",
    )
    .unwrap();
    let mesh = Mesh::builder()
        .config_file(&path)
        .service("users", |s| s.timeout(Duration::from_secs(3)))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let text = mesh.describe().to_string();
    let idle = line(&text, "idle_timeout");
    assert!(idle.contains("9s (file "), "{idle}");
    let timeout = text
        .lines()
        .find(|line| line.trim_start().starts_with("timeout"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(timeout.contains("3s") && timeout.contains("code"), "{timeout}");
}

#[tokio::test(start_paused = true)]
async fn the_stack_is_told_in_order_with_the_users_layers() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async { Ok(ok("")) })
        .call_layer(tower::layer::util::Identity::new())
        .endpoint_layer(tower::limit::ConcurrencyLimitLayer::new(1))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let text = mesh.describe().to_string().to_lowercase();
    let mut from = 0;
    for stage in
        ["call_layer", "route", "deadline", "retry", "balancer", "endpoint_layer", "own leaf"]
    {
        let at = text[from..].find(stage);
        from += at.unwrap_or_else(|| panic!("{stage} is missing after {from} in:\n{text}"));
    }
}

#[tokio::test]
async fn each_field_of_retry_and_cluster_has_its_own_origin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(
        &path,
        "services: {users: {policy: {retry: {attempts: 7, budget: {ratio: 0.5}}}}}\n\
         clusters:\n  users:\n    balancer: round_robin\n    protocol: http2\n\
         \x20   breakers: {max_requests: 9}\n    transport: {max_age: 90s}\n\
         \x20   endpoints: [{address: \"127.0.0.1:1\"}]\n",
    )
    .unwrap();
    let mesh = Mesh::builder()
        .config_file(&path)
        .service("users", |s| s.retry(Retry::idempotent()).protocol(config::Protocol::Http1))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let description = mesh.describe();
    let route = &description.services[0].routes[0];
    let cluster = &route.clusters[0];
    let (code, plane) = (SettingOrigin::Code, SettingOrigin::ControlPlane);
    for (name, value, origin) in [
        ("retry.attempts", "7", plane),
        ("retry.budget.ratio", "0.5", plane),
        ("retry.budget.ttl", "10s", plane),
        ("retry.idempotent", "true", code),
        ("retry.on_status", "[502, 503, 504]", SettingOrigin::Default),
        ("retry.backoff_base", "25ms", SettingOrigin::Default),
        ("balancer", "round_robin", plane),
        ("protocol", "http1", code),
        ("breakers.max_requests", "9", plane),
        ("transport.max_age", "90s", plane),
        ("transport.connect_timeout", "1s", SettingOrigin::Default),
    ] {
        let mut all = route.settings.iter().chain(&cluster.settings);
        let setting = all.find(|setting| setting.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((&*setting.value, setting.origin), (value, origin), "{name}");
        let is_file = setting.source.as_ref().is_some_and(|source| source.starts_with("file"));
        assert_eq!(is_file, origin == plane, "{name}: {:?}", setting.source);
    }
    assert_eq!(cluster.balancer, "round_robin");
}

/// A mesh of this file.
async fn of_file(text: &str) -> Mesh {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    mesh
}

const SPLIT: &str = "
services:
  users:
    routes:
      - matches: [{path: {prefix: /v1}, method: GET}, {path: {exact: /a}}]
        clusters: [{name: blue, weight: 9}, {name: green}]
      - name: rest
        clusters: [{name: blue}]
clusters:
  blue: {endpoints: [{address: \"127.0.0.1:1\"}]}
  green:
    balancer: round_robin
    endpoints:
      - {address: \"127.0.0.1:2\", health: unhealthy, authority: a.b, labels: {zone: z1, kind: x}}
      - {address: \"127.0.0.1:3\", health: draining, protocol: http2, weight: 2, security: plain}
";

#[tokio::test]
async fn what_a_route_takes_and_how_it_splits_is_described() {
    let mesh = of_file(SPLIT).await;
    let text = mesh.describe().to_string();
    let at = text.find("service users\n").unwrap();
    let routes = &text[at..];
    for words in [
        "  route (no name)\n    if path is under /v1, method is GET\n    or path is /a\n",
        "cluster blue by peak_ewma, weight 9, as above\n",
        "cluster green by round_robin, weight 1, as above\n",
        "  route rest\n    matches, hosts and clusters (file ",
        "cluster blue by peak_ewma, as above\n",
    ] {
        assert!(routes.contains(words), "{words} is missing in\n{routes}");
    }
    assert!(text.contains("  route (all)\n"), "the service of the cluster's name\n{text}");
}

const ROUTED: &str = "
services:
  users:
    routes:
      - matches: [{path: {prefix: /v1}}]
        filters: [{response_headers: {remove: [server]}}]
        clusters:
          - {name: blue, weight: 9, filters: [{rewrite: {path: {full: /b}}}]}
          - {name: green, overrides: {mark: {disabled: true}}}
    filters: [{named: {name: mark, filter: {request_headers: {set: {x-key: secret}}}}}]
clusters:
  blue: {endpoints: [{address: \"127.0.0.1:1\"}]}
  green: {endpoints: [{address: \"127.0.0.1:2\"}]}
";

/// Of another source: where calls go is said by the one before it, and this counts beside.
const FILTERED: &str = "
services:
  users: {routes: [{clusters: [{name: green}]}]}
  orders: {filters: [{request_headers: {add: [{name: x-by, value: b}]}}]}
clusters:
  orders: {endpoints: [{address: \"127.0.0.1:3\"}]}
";

#[tokio::test]
async fn routes_their_weights_and_their_filters_have_their_origin() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first.yaml"), dir.path().join("second.yaml"));
    fs::write(&first, ROUTED).unwrap();
    fs::write(&second, FILTERED).unwrap();
    let mut cookie = config::SessionCookie::default();
    cookie.name = "kept".into();
    let mut session = config::Session::default();
    session.cookie = Some(cookie);
    let builder = Mesh::builder().config_file(&first).config_file(&second);
    let mesh = builder.service("users", |s| s.session(session)).build().unwrap();
    mesh.ready().await.unwrap();
    let description = mesh.describe();
    let file = |path: &std::path::Path| Some(format!("file {}", path.display()));
    let (plane, default) = (SettingOrigin::ControlPlane, SettingOrigin::Default);
    let route = |name: &str| {
        let service = description.services.iter().find(|it| it.name == name).unwrap();
        &service.routes[0]
    };
    let told = |settings: &[tower_mesh::Setting], name: &str| {
        let setting = settings.iter().find(|it| it.name == name)?;
        Some((setting.value.clone(), setting.origin, setting.source.clone()))
    };

    // What it takes and where it leads is one value, of the first source that says it.
    let users = route("users");
    assert_eq!((users.origin, &users.source), (plane, &file(&first)));
    assert_eq!(users.clusters[0].weight, 9);
    // Nobody says where these go; that somebody filters them says nothing of it.
    let orders = route("orders");
    assert_eq!((orders.origin, &orders.source), (default, &None));

    for (settings, name, value, source) in [
        (&users.settings, "request_headers (mark)", "set x-key", file(&first)),
        (&users.settings, "response_headers", "remove server", file(&first)),
        (&users.clusters[0].settings, "rewrite", "path to /b", file(&first)),
        (&users.clusters[1].settings, "request_headers (mark)", "off", file(&first)),
        (&orders.settings, "request_headers", "add x-by", file(&second)),
    ] {
        assert_eq!(told(settings, name), Some((value.to_owned(), plane, source)), "{name}");
    }
    assert_eq!(told(&users.clusters[0].settings, "request_headers (mark)"), None, "as the route's");
    let kept = ("cookie kept".to_owned(), SettingOrigin::Code, None);
    assert_eq!(told(&users.settings, "session"), Some(kept));

    let (long, short) = (format!("{description}"), format!("{description:#}"));
    let line = format!("    matches, hosts and clusters (file {})\n", first.display());
    assert!(long.contains(&line) && short.contains(&line), "{long}");
    assert!(long.contains("    matches, hosts and clusters (default)\n"), "{long}");
    assert!(!short.contains("clusters (default)"), "{short}");
    assert!(!long.contains("secret"), "what is in a header is not told: {long}");
}

#[tokio::test]
async fn what_its_source_says_of_an_endpoint_is_described() {
    let text = of_file(SPLIT).await.describe().to_string();
    for (address, words) in [
        ("127.0.0.1:2", ", unhealthy by its source, authority a.b, labels kind=x zone=z1"),
        ("127.0.0.1:3", ", draining, protocol http2, plain"),
    ] {
        assert!(line(&text, address).ends_with(words), "{text}");
    }
}

#[tokio::test]
async fn the_short_form_has_no_defaults_and_all_that_was_set() {
    let description = of_file(SPLIT).await.describe();
    let (long, short) = (format!("{description}"), format!("{description:#}"));
    assert!(long.contains("(default)") && !short.contains("(default)"), "{short}");
    assert!(short.contains("balancer = round_robin (file"), "{short}");
    assert!(short.contains("127.0.0.1:3 weight 2"), "{short}");
    assert!(short.contains("matches, hosts and clusters (file "), "{short}");
    assert!(short.lines().count() < 40, "{short}");
}

#[tokio::test]
async fn the_settings_of_protections_have_their_origin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let file = "
services:
  users:
    filters:
      - throttle: {window: 30s, rejected_statuses: [{start: 503, end: 504}]}
      - adaptive_concurrency: {max_concurrency: 77, controller: {vegas: {}}}
clusters:
  users: {endpoints: [{address: \"127.0.0.1:1\"}]}
";
    fs::write(&path, file).unwrap();
    let mut admission = config::AdmissionControl::default();
    (admission.threshold_percent, admission.success_grpc) = (Some(80.0), Some(vec![0, 5]));
    let mut throttle = config::Throttle::default();
    throttle.per_accept = Some(1.5);
    let mesh = Mesh::builder()
        .config_file(&path)
        .service("users", |s| s.admission_control(admission).throttle(throttle))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let text = mesh.describe().to_string();
    let source = format!("(file {})", path.display());
    for (of_file, setting) in [
        (true, "throttle.window = 30s"),
        (true, "throttle.rejected_statuses = "),
        (false, "throttle.per_accept = 1.5"),
        (true, "adaptive_concurrency.max_concurrency = 77"),
        (true, "adaptive_concurrency.controller = vegas"),
        (false, "admission_control.threshold_percent = 80"),
        (false, "admission_control.success_grpc = [0, 5]"),
    ] {
        let origin = if of_file { source.as_str() } else { "(code)" };
        let is_told = |line: &str| line.contains(setting) && line.ends_with(origin);
        assert!(text.lines().any(is_told), "{setting} {origin} in\n{text}");
    }
    for setting in [
        "throttle.window = 120s",
        "throttle.per_accept = 2",
        "throttle.min_requests",
        "throttle.force_after",
        "throttle.rejected_grpc",
        "adaptive_concurrency.initial_concurrency",
        "adaptive_concurrency.min_concurrency",
        "adaptive_concurrency.max_limit_factor",
        "adaptive_concurrency.update_interval",
        "adaptive_concurrency.min_samples",
        "adaptive_concurrency.status",
        "admission_control.window",
        "admission_control.aggression",
        "admission_control.min_per_second",
        "admission_control.max_rejection_percent",
        "admission_control.success_statuses",
    ] {
        let line = line(&text, setting);
        assert!(line.ends_with("(default)"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_unknown_names_is_described() {
    let builder = || Leaves::new(1).mesh(|_, _| async { Ok(ok("")) });
    let text = builder().build().unwrap().describe().to_string();
    assert!(line(&text, "unknown_names").ends_with("= refuse (default)"), "{text}");
    #[cfg(feature = "dns")]
    {
        let mesh = builder().unknown_names(tower_mesh::UnknownNames::Dns).build().unwrap();
        let text = mesh.describe().to_string();
        assert!(line(&text, "unknown_names").ends_with("= dns (code)"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sources_retry_and_the_codes_are_merged_field_by_field() {
    let mut service = config::Service::default();
    service.policy.retry = Some(Retry::standard().attempts(7));
    let leaves = Leaves::new(9);
    let mesh = leaves
        .mesh(|_, _| async { Ok(answer(503)) })
        .source(tower_mesh::discover::Static::default().service(SERVICE, service))
        .service(SERVICE, |s| s.retry(Retry::idempotent()))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    assert_eq!(client.send(post("/", "x")).await.unwrap().status(), 503);
    assert_eq!(leaves.total(), 7);
}

#[tokio::test(start_paused = true)]
async fn telemetry_is_told_with_its_origin() {
    let plain = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    let text = plain.describe().to_string();
    assert!(line(&text, "telemetry.propagation").ends_with("= w3c (default)"), "{text}");
    assert!(line(&text, "telemetry.tracer_provider").ends_with("= none (default)"), "{text}");
    assert!(line(&text, "telemetry.tracing_spans").ends_with("= false (default)"), "{text}");
    let mut tracing = config::Tracing::default();
    tracing.random_percent = Some(2.5);
    let set = Leaves::new(1)
        .mesh(|_, _| async { Ok(ok("")) })
        .propagate(tower_mesh::Propagation::None)
        .service(SERVICE, |s| s.tracing(tracing))
        .build()
        .unwrap();
    set.ready().await.unwrap();
    let text = set.describe().to_string();
    assert!(line(&text, "telemetry.propagation").ends_with("= none (code)"), "{text}");
    assert!(line(&text, "tracing.random_percent").ends_with("= 2.5 (code)"), "{text}");
    assert!(line(&text, "tracing.client_percent").ends_with("= 100 (default)"), "{text}");
}

#[cfg(feature = "otel-033")]
#[tokio::test(start_paused = true)]
async fn a_tracer_that_the_code_gives_is_told_as_the_codes() {
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).tracer_provider(&provider);
    let text = mesh.build().unwrap().describe().to_string();
    assert!(line(&text, "telemetry.tracer_provider").ends_with("= given (code)"), "{text}");
    assert!(line(&text, "telemetry.tracing_spans").ends_with("= false (default)"), "{text}");
}

#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn spans_of_tracing_that_the_code_asks_for_are_told_as_the_codes() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).tracing_spans();
    let text = mesh.build().unwrap().describe().to_string();
    assert!(line(&text, "telemetry.tracing_spans").ends_with("= true (code)"), "{text}");
    assert!(line(&text, "telemetry.tracer_provider").ends_with("= none (default)"), "{text}");
}
