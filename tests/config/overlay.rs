//! Settings of the call, the code and several sources: each field by who says it first, in that order,
//! and what contradicts what is nearer is left out and told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, path::PathBuf, time::Duration};

use http::Request;
use tower_mesh::{
    Body, BoxError, Call, EndpointStanding, ErrorKind, Event, LeafEndpoint, Mesh, Retry, Setting,
    SettingOrigin,
    config::{
        Balancer, Breakers, Cluster, Endpoint, FailureAccrual, OutlierDetection, Service, Transport,
    },
    discover::Static,
};

use crate::support::{
    Leaves, Recorder, SERVICE, Server, fetch, get,
    leaf::{answer, ok},
    patience, post,
};

const SECOND: Duration = Duration::from_secs(1);

/// A mesh file in a folder of its own.
struct Written {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn written(text: &str) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    Written { path, _dir: dir }
}

impl Written {
    fn replace(&self, text: &str) {
        let next = self.path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &self.path).unwrap();
    }
}

/// A setting of the first route of a service, or of its first cluster.
fn setting(mesh: &Mesh, service: &str, name: &str) -> Setting {
    let description = mesh.describe();
    let service = description.services.iter().find(|it| it.name == service).unwrap();
    let route = &service.routes[0];
    let mut all = route.settings.iter().chain(&route.clusters[0].settings);
    all.find(|it| it.name == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

fn outliers(edit: impl FnOnce(&mut OutlierDetection)) -> OutlierDetection {
    let mut outliers = OutlierDetection::default();
    edit(&mut outliers);
    outliers
}

const FILE: &str = "
services: {users: {policy: {timeout: 7s, idle_timeout: 9s}}}
clusters:
  users:
    balancer: {ring_hash: {minimum_ring_size: 64, hash: [{on: {header: {name: x-user}}}]}}
    outlier_detection: {consecutive_5xx: 9, base_ejection_time: 20s, accrual: {jitter: 0.25}}
    balancing: {overprovisioning_percent: 160}
    transport: {max_age: 90s}
    endpoints: [{address: \"127.0.0.1:1\"}]
";

#[tokio::test]
async fn each_field_is_that_of_who_says_it_first_and_is_told_so() {
    let file = written(FILE);
    let mut beside = Cluster::default();
    beside.breakers = Some(Breakers::default());
    beside.breakers.as_mut().unwrap().max_requests = Some(11);
    beside.panic_threshold = Some(7.0);
    beside.balancer = Some(Balancer::Random);
    let mut service = Service::default();
    (service.policy.timeout, service.policy.attempt_timeout) = (Some(60 * SECOND), Some(SECOND));
    let mesh = Mesh::builder()
        .config_file(&file.path)
        .source(Static::default().cluster("users", beside).service("users", service))
        .service("users", |s| {
            let mut transport = Transport::default();
            transport.connect_timeout = Some(SECOND / 2);
            let mut ring = tower_mesh::config::RingHash::default();
            ring.maximum_ring_size = Some(2048);
            s.timeout(3 * SECOND)
                .outlier_detection(outliers(|it| {
                    it.consecutive_5xx = Some(3);
                    let mut accrual = FailureAccrual::default();
                    accrual.consecutive_failures = Some(2);
                    it.accrual = Some(accrual);
                }))
                .balancer(Balancer::RingHash(ring))
                .transport(transport)
        })
        .build()
        .unwrap();
    patience(mesh.ready()).await.unwrap();
    for (name, value, origin, source) in [
        ("timeout", "3s", SettingOrigin::Code, ""),
        ("idle_timeout", "9s", SettingOrigin::ControlPlane, "file"),
        ("attempt_timeout", "1s", SettingOrigin::ControlPlane, "static"),
        ("outlier_detection.consecutive_5xx", "3", SettingOrigin::Code, ""),
        ("outlier_detection.base_ejection_time", "20s", SettingOrigin::ControlPlane, "file"),
        ("outlier_detection.accrual.consecutive_failures", "2", SettingOrigin::Code, ""),
        ("outlier_detection.accrual.jitter", "0.25", SettingOrigin::ControlPlane, "file"),
        ("balancer", "ring_hash", SettingOrigin::Code, ""),
        ("balancer.ring_hash.maximum_ring_size", "2048", SettingOrigin::Code, ""),
        ("balancer.ring_hash.minimum_ring_size", "64", SettingOrigin::ControlPlane, "file"),
        ("balancer.ring_hash.hash", "header x-user", SettingOrigin::ControlPlane, "file"),
        ("balancing.overprovisioning_percent", "160", SettingOrigin::ControlPlane, "file"),
        ("transport.connect_timeout", "500ms", SettingOrigin::Code, ""),
        ("transport.max_age", "90s", SettingOrigin::ControlPlane, "file"),
        ("breakers.max_requests", "11", SettingOrigin::ControlPlane, "static"),
        ("panic_threshold", "7", SettingOrigin::ControlPlane, "static"),
        ("slow_start", "none", SettingOrigin::Default, ""),
        ("transport.idle_timeout", "90s", SettingOrigin::Default, ""),
    ] {
        let told = setting(&mesh, "users", name);
        assert_eq!((&*told.value, told.origin), (value, origin), "{name}");
        let by = told.source.unwrap_or_default();
        assert!(by.starts_with(source) && by.is_empty() == source.is_empty(), "{name}: {by}");
    }
}

/// What is told is done: one failure is enough, by the code, and for 5 s, by the source.
#[tokio::test(start_paused = true)]
async fn what_is_merged_is_what_calls_obey() {
    let leaves = Leaves::new(2);
    let mut cluster = Cluster::default();
    cluster.balancer = Some(Balancer::RoundRobin);
    cluster.outlier_detection = Some(outliers(|it| {
        (it.consecutive_5xx, it.base_ejection_time) = (Some(99), Some(5 * SECOND));
        it.max_ejection_percent = Some(50.0);
    }));
    let mesh = leaves
        .mesh(|endpoint, _| async move { Ok(if endpoint == 0 { answer(500) } else { ok("") }) })
        .source(Static::default().cluster(SERVICE, cluster))
        .service(SERVICE, |s| s.outlier_detection(outliers(|it| it.consecutive_5xx = Some(1))))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..4 {
        drop(client.send(get("/")).await.unwrap());
    }
    let said = mesh.explain(&get(&format!("http://{SERVICE}/"))).unwrap();
    let localities = said.clusters[0].pick.priorities.iter().flat_map(|it| &it.localities);
    let mut endpoints =
        localities.flat_map(|it| &it.endpoints).chain(&said.clusters[0].pick.outside);
    let ejected = endpoints.find_map(|it| match &it.standing {
        EndpointStanding::Ejected { probe_in, .. } => Some(*probe_in),
        _ => None,
    });
    let probe_in = ejected.unwrap_or_else(|| panic!("{said}"));
    assert!(probe_in > 4 * SECOND && probe_in <= 5 * SECOND, "{probe_in:?}");
}

#[tokio::test(start_paused = true)]
async fn the_retries_of_two_sources_are_one_policy() {
    let (mut first, mut second) = (Service::default(), Service::default());
    first.policy.retry = Some(Retry::standard().attempts(5));
    second.policy.retry = Some(Retry::idempotent().attempts(9));
    let leaves = Leaves::new(9);
    let mesh = leaves
        .mesh(|_, _| async { Ok(answer(503)) })
        .source(Static::default().service(SERVICE, first))
        .source(Static::default().service(SERVICE, second))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    assert_eq!(client.send(post("/", "x")).await.unwrap().status(), 503);
    assert_eq!(leaves.total(), 5);
}

fn with_attempt_timeout(timeout: &str) -> String {
    format!(
        "services:\n  users:\n    policy:\n      attempt_timeout: {timeout}\n      idle_timeout: 9s\n\
         clusters:\n  users: {{endpoints: [{{address: \"127.0.0.1:1\"}}]}}\n"
    )
}

#[tokio::test]
async fn a_contradiction_is_reported_with_its_line_resolved_and_mended_by_an_edit() {
    let file = written(&with_attempt_timeout("5s"));
    let mesh = Mesh::builder()
        .config_file(&file.path)
        .service("users", |s| s.timeout(2 * SECOND))
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    for words in [
        "settings of service users",
        "services.users.policy.attempt_timeout = 5s: must be at most timeout (2s)",
        "line 4 of ",
        "it is left out",
    ] {
        assert!(error.contains(words), "{words} in {error}");
    }
    assert_eq!(setting(&mesh, "users", "attempt_timeout").value, "none");
    assert_eq!(setting(&mesh, "users", "timeout").value, "2s");
    assert_eq!(setting(&mesh, "users", "idle_timeout").value, "9s", "the rest stays");
    assert_eq!(events.refused().len(), 1, "{:?}", events.refused());

    file.replace(&with_attempt_timeout("1s"));
    patience(async {
        while mesh.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(setting(&mesh, "users", "attempt_timeout").value, "1s");
}

#[tokio::test]
async fn edits_that_contradict_the_code_lose_no_call() {
    let server = Server::named("hello").await;
    let text = |base: &str, ring: &str| {
        format!(
            "services: {{users: {{policy: {{retry: {{backoff_base: {base}}}}}}}}}\n\
             clusters:\n  users:\n    balancer: {{ring_hash: {{minimum_ring_size: {ring}}}}}\n\
             \x20   endpoints: [{{address: \"{}\"}}]\n",
            server.address()
        )
    };
    let file = written(&text("10ms", "8"));
    let mut ring = tower_mesh::config::RingHash::default();
    ring.maximum_ring_size = Some(2048);
    let mesh = Mesh::builder()
        .config_file(&file.path)
        .service("users", |s| {
            s.retry(Retry::standard().backoff_max(SECOND / 10)).balancer(Balancer::RingHash(ring))
        })
        .build()
        .unwrap();
    patience(mesh.ready()).await.unwrap();
    let client = mesh.client("users").unwrap();
    let mut seen = Vec::new();
    for round in 0..6 {
        let (base, ring) = if round % 2 == 0 { ("900ms", "4096") } else { ("20ms", "16") };
        file.replace(&text(base, ring));
        let is_bad = round % 2 == 0;
        patience(async {
            while mesh.ready().await.is_err() != is_bad {
                assert_eq!(fetch(&client, get("/")).await.unwrap().body(), "hello");
            }
        })
        .await;
        assert_eq!(fetch(&client, get("/")).await.unwrap().body(), "hello");
        seen.push(setting(&mesh, "users", "balancer.ring_hash.minimum_ring_size").value);
        let base = setting(&mesh, "users", "retry.backoff_base");
        assert_eq!(base.origin == SettingOrigin::ControlPlane, !is_bad, "{base}");
    }
    assert_eq!(
        seen,
        ["1024", "16", "1024", "16", "1024", "16"],
        "the default is over 64, and what the \
               code says holds"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_call_says_itself_is_told_as_the_calls() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async { Ok(ok("")) })
        .service(SERVICE, |s| s.timeout(3 * SECOND).retry(Retry::standard().attempts(4)))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let told = |call: Option<Call>, name: &str| {
        let mut request = Request::get(format!("http://{SERVICE}/")).body(()).unwrap();
        if let Some(call) = call {
            request.extensions_mut().insert(call);
        }
        let said = mesh.explain(&request).unwrap();
        let setting = said.route.settings.iter().find(|it| it.name == name).unwrap();
        (setting.value.clone(), setting.origin)
    };
    let of = |value: &str, origin| (value.to_owned(), origin);
    assert_eq!(told(None, "timeout"), of("3s", SettingOrigin::Code));
    let short = || Some(Call::new().timeout(SECOND / 4));
    assert_eq!(told(short(), "timeout"), of("250ms", SettingOrigin::Call));
    assert_eq!(told(short(), "whole_response"), of("true", SettingOrigin::Call));
    assert_eq!(told(short(), "retry.attempts"), of("4", SettingOrigin::Code));
    // It shortens a timeout and never lengthens it.
    let long = || Some(Call::new().timeout(60 * SECOND));
    assert_eq!(told(long(), "timeout"), of("3s", SettingOrigin::Code));
    let once = || Some(Call::new().no_retry().idempotent(true));
    assert_eq!(told(once(), "retry.attempts"), of("1", SettingOrigin::Call));
    assert_eq!(told(once(), "retry.idempotent"), of("true", SettingOrigin::Call));
}

#[cfg(feature = "tls-aws-lc-rs")]
#[tokio::test]
async fn a_source_that_is_silent_hides_nobodys_security_and_one_that_is_late_changes_none() {
    let security = |text: &str| {
        written(&format!(
            "clusters: {{users: {{{text} endpoints: [{{address: \"127.0.0.1:1\"}}]}}}}\n"
        ))
    };
    for (first, second, mode, from) in [
        ("balancer: random,", "security: {mode: tls, system_roots: true},", "tls", 1),
        ("security: {mode: tls, system_roots: true},", "security: {mode: off},", "tls", 0),
        ("security: {mode: off},", "security: {mode: tls, system_roots: true},", "off", 0),
    ] {
        let files = [security(first), security(second)];
        let mesh = Mesh::builder()
            .config_file(&files[0].path)
            .config_file(&files[1].path)
            .build()
            .unwrap();
        drop(patience(mesh.ready()).await);
        let told = setting(&mesh, "users", "security.mode");
        assert_eq!(told.value, mode, "{first} {second}");
        let path = files[from].path.to_string_lossy().into_owned();
        assert!(told.source.unwrap().contains(&path), "{first} {second}");
    }
}

/// It may have said how the cluster is secured.
#[tokio::test]
async fn a_cluster_is_not_run_on_what_others_say_while_settings_of_it_are_refused() {
    let server = Server::named("hello").await;
    let bad = "clusters: {users: {queue: {capacity: 0}}}\n";
    let file = written(bad);
    let mut beside = Cluster::default();
    beside.balancer = Some(Balancer::Random);
    beside.endpoints = vec![Endpoint::from(server.address())];
    let mesh = Mesh::builder()
        .config_file(&file.path)
        .source(Static::default().cluster("users", beside))
        .build()
        .unwrap();
    drop(patience(mesh.ready()).await);
    let error = patience(mesh.http().send(get("http://users/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    file.replace(&bad.replace('0', "9"));
    patience(async {
        while mesh.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let answer = fetch(&mesh.http(), get("http://users/")).await.unwrap();
    assert_eq!(answer.body(), "hello");
}

/// A service whose routes are of one source and whose policy is of two goes on through edits.
#[tokio::test]
async fn a_second_source_adds_a_timeout_where_the_first_is_silent() {
    let slow = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        crate::support::reply("slow")
    })
    .await;
    let routes = written(&format!(
        "services: {{users: {{routes: [{{name: all, clusters: [{{name: users}}]}}]}}}}\n\
         clusters: {{users: {{endpoints: [{{address: \"{}\"}}]}}}}\n",
        slow.address()
    ));
    let policy = written("services: {users: {policy: {timeout: 50ms}}}\n");
    let mesh = Mesh::builder().config_file(&routes.path).config_file(&policy.path).build().unwrap();
    patience(mesh.ready()).await.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let error = client.send(get("/")).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(error.to_string().contains(&*policy.path.to_string_lossy()), "{error}");
    policy.replace("services: {users: {policy: {timeout: 9s}}}\n");
    events.until(|event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "service users")).await;
    assert_eq!(fetch(&client, get("/")).await.unwrap().body(), "slow");
    let routed = mesh.explain(&get("http://users/")).unwrap();
    assert_eq!(routed.route.name.as_deref(), Some("all"));
    assert!(routed.route.source.unwrap().contains(&*routes.path.to_string_lossy()));
}

/// The service's timeout would end them; by the code it ends none at all.
#[tokio::test(start_paused = true)]
async fn a_bound_of_zero_takes_away_what_the_level_above_says() {
    let text = "services: {users: {policy: {timeout: 1s, attempt_timeout: 1s}, routes: [\
        {name: free, matches: [{path: {exact: /free}}], policy: {timeout: 0s, attempt_timeout: 0s}, clusters: [{name: users}]}, \
        {name: bound, clusters: [{name: users}]}]}}\n\
        clusters: {users: {endpoints: [{address: \"127.0.0.1:1\"}]}}\n";
    let file = written(text);
    for by_code in [false, true] {
        let mut builder = Mesh::builder().config_file(&file.path).leaf(|_: &LeafEndpoint| {
            tower::service_fn(|_: Request<Body>| async {
                tokio::time::sleep(60 * SECOND).await;
                Ok::<_, BoxError>(ok("late"))
            })
        });
        if by_code {
            builder = builder
                .service("users", |s| s.timeout(Duration::ZERO).attempt_timeout(Duration::ZERO));
        }
        let mesh = builder.build().unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client("users").unwrap();
        assert!(client.send(get("/free")).await.is_ok(), "by code: {by_code}");
        let bound = client.send(get("/bound")).await;
        assert_eq!(bound.is_ok(), by_code, "{bound:?}");
        assert_eq!(setting(&mesh, "users", "timeout").value, "none");
    }
}

/// No route takes it: what the code says is all that bounds it.
#[tokio::test(start_paused = true)]
async fn a_bound_of_zero_is_none_behind_a_call_layer_too() {
    let file = written(
        "services: {users: {routes: [{matches: [{path: {exact: /a}}], clusters: [{name: users}]}]}}\n\
         clusters: {users: {endpoints: [{address: \"127.0.0.1:1\"}]}}\n",
    );
    let mesh = Mesh::builder()
        .config_file(&file.path)
        .call_layer(tower::layer::layer_fn(|next| next))
        .service("users", |s| s.timeout(Duration::ZERO).max_stream_duration(Duration::ZERO))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let error = mesh.client("users").unwrap().send(get("/b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute, "{error}");
}

/// The denial is of the second source, whose filters are no part of the first one's list.
#[tokio::test]
async fn what_one_source_denies_holds_and_a_service_does_not_run_without_it() {
    let server = Server::named("hello").await;
    let first = written(&format!(
        "services: {{users: {{filters: [{{request_headers: {{set: {{x-a: \"1\"}}}}}}]}}}}\n\
         clusters: {{users: {{endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    ));
    let denial = |rest: &str| {
        format!(
            "services:\n  users:\n    filters:\n      - authorize:\n          rules: [{{action: deny, permissions: \
             [{{path: {{prefix: /admin}}}}]}}]\n{rest}"
        )
    };
    let second = written(&denial("    policy: {timeout: 400d}\n"));
    let mesh = Mesh::builder().config_file(&first.path).config_file(&second.path).build().unwrap();
    drop(patience(mesh.ready()).await);
    // What it would have denied is not known to the mesh, so nothing is sent.
    let error = patience(mesh.http().send(get("http://users/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    second.replace(&denial(""));
    patience(async {
        while mesh.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(fetch(&mesh.http(), get("http://users/")).await.unwrap().body(), "hello");
    let error = patience(mesh.http().send(get("http://users/admin"))).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!(server.requests(), 1);
}

/// The rules are of a route that no call meets, for another source says where the calls go.
#[tokio::test]
async fn a_service_does_not_run_where_another_source_hides_the_rules_of_a_route() {
    let server = Server::named("hello").await;
    let first = written(&format!(
        "services: {{users: {{routes: [{{clusters: [{{name: users}}]}}]}}}}\n\
         clusters: {{users: {{endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    ));
    let rules = "- authorize: {rules: [{action: deny, permissions: [{path: {prefix: /admin}}]}]}\n";
    let second = written(&format!(
        "services:\n  users:\n    routes:\n      - clusters: [{{name: users}}]\n        filters:\n          {rules}"
    ));
    let mesh = Mesh::builder().config_file(&first.path).config_file(&second.path).build().unwrap();
    let error = patience(mesh.ready()).await.unwrap_err().to_string();
    for words in
        ["service users: no call would meet", "authorize (line 6 of ", "are those of file "]
    {
        assert!(error.contains(words), "{words} in {error}");
    }
    for path in ["http://users/", "http://users/admin"] {
        let error = patience(mesh.http().send(get(path))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("no call would meet"), "{error}");
    }
    assert_eq!(server.requests(), 0);

    // As a filter of the service they hold, whoever says the routes.
    second.replace(&format!("services:\n  users:\n    filters:\n      {rules}"));
    patience(async {
        while mesh.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(fetch(&mesh.http(), get("http://users/")).await.unwrap().body(), "hello");
    let error = patience(mesh.http().send(get("http://users/admin"))).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!(server.requests(), 1);
}
