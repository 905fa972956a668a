//! What is counted of calls, attempts, endpoints, connections and configuration.
#![allow(clippy::float_cmp, reason = "counts are whole")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/documents.rs"]
mod documents;
mod support;

use std::{collections::BTreeSet, time::Duration};

use tower_mesh::{
    Body, Call, ErrorKind, Mesh, Retry,
    config::{self, Health},
    observe::{MetricValue, Metrics},
};

use documents::{code, read, rows, spans};
use support::{
    GreeterClient, HelloReply, HelloRequest, Leaves, SERVICE, Server, dead_address, fetch, get,
    greeters::{counting, hello},
    leaf::{answer, ok},
    patience, post,
    source::{cluster, one_cluster, published},
    within,
};

const CALL: &str = "mesh.client.call.duration";
const ATTEMPT: &str = "http.client.request.duration";
const RPC: &str = "rpc.client.call.duration";
const RPC_ATTEMPT: &str = "grpc.client.attempt.duration";

/// The rows of the tables of metrics, and of no other table.
fn documented() -> Vec<Vec<String>> {
    rows(&read("docs/METRICS.md")).into_iter().filter(|cells| cells.len() == 5).collect()
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let source = code("src/observe/family.rs");
    let table = source.split_once("match self {").unwrap().1.split_once("Family {").unwrap().0;
    let kinds = |kind: &str| match kind {
        "Counter" => "counter",
        "UpDownCounter" => "up-down counter",
        "Gauge" => "gauge",
        "Histogram" => "histogram",
        other => panic!("`{other}` is no kind"),
    };
    // `Self::Metric => ( "name", Kind, "unit", "help", )`
    let in_code: Vec<Vec<String>> = table
        .split("Self::")
        .skip(1)
        .map(|row| {
            let texts: Vec<&str> = row.split('"').skip(1).step_by(2).take(3).collect();
            let kind = row.split('"').nth(2).unwrap().trim_matches([',', ' ', '\n']);
            vec![texts[0].into(), kinds(kind).into(), texts[1].into(), texts[2].into()]
        })
        .collect();
    let in_docs: Vec<Vec<String>> = documented()
        .into_iter()
        .map(|cells| {
            let plain = |n: usize| cells[n].trim_matches('`').to_owned();
            vec![plain(0), plain(1), plain(2), plain(4)]
        })
        .collect();
    assert_eq!(in_docs, in_code);
    assert!(in_code.len() > 20);
}

/// The attributes of each metric are those of its row, and each has its row in the list of them.
fn check_attributes(metrics: &Metrics) {
    let rows = documented();
    let listed = read("docs/METRICS.md");
    for family in &metrics.families {
        let row = rows.iter().find(|row| row[0].trim_matches('`') == family.name).unwrap();
        let known: BTreeSet<&str> = spans(&row[3]).into_iter().collect();
        for sample in &family.samples {
            for (name, value) in sample.attributes() {
                assert!(known.contains(name), "{} has no attribute {name}", family.name);
                assert!(listed.contains(&format!("\n| `{name}` | ")), "{name} is not explained");
                assert!(!value.is_empty(), "{name} of {}", family.name);
            }
        }
    }
}

/// How many samples of a histogram were at most so long.
fn at_most(metrics: &Metrics, name: &str, seconds: f64) -> u64 {
    let samples = &metrics.family(name).unwrap().samples;
    let counts = samples.iter().map(|sample| match sample.value() {
        MetricValue::Durations { buckets, .. } => {
            buckets.iter().find(|(bound, _)| *bound >= seconds).unwrap().1
        }
        other => panic!("{other:?}"),
    });
    counts.sum()
}

#[tokio::test(start_paused = true)]
async fn calls_and_attempts_are_counted_by_how_they_end() {
    let leaves = Leaves::new(2);
    let counter = leaves.clone();
    let mesh = leaves
        .mesh(move |_, _| {
            let first = counter.total() == 1;
            async move { Ok(if first { answer(503) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| s.retry(Retry::standard()))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    fetch(&client, get("/")).await.unwrap();
    fetch(&client, post("/", "x")).await.unwrap();

    let metrics = mesh.metrics();
    let service = ("mesh.service", SERVICE);
    for (method, calls) in [("GET", 1.0), ("POST", 1.0)] {
        let method = ("http.request.method", method);
        let answered = ("http.response.status_code", "200");
        assert_eq!(metrics.total(CALL, &[service, method, answered]), calls);
        assert_eq!(metrics.total(ATTEMPT, &[method, answered]), calls);
    }
    assert_eq!(metrics.total(CALL, &[]), 2.0);
    assert_eq!(metrics.total(CALL, &[("error.type", "503")]), 0.0, "the caller saw none");
    let failed = [("http.response.status_code", "503"), ("error.type", "503")];
    assert_eq!(metrics.total(ATTEMPT, &failed), 1.0);
    assert_eq!(metrics.total("mesh.client.retries", &[("mesh.retry.reason", "status")]), 1.0);
    assert_eq!(metrics.total("mesh.client.retries", &[]), 1.0);
    assert_eq!(metrics.total("mesh.client.endpoint.attempts", &[("mesh.result", "ok")]), 2.0);
    assert_eq!(metrics.total("mesh.client.endpoint.attempts", &[("mesh.result", "failed")]), 1.0);
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_duration_is_in_its_bucket_and_in_the_sum() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(ok("hello"))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..10 {
        fetch(&client, get("/")).await.unwrap();
    }
    let metrics = mesh.metrics();
    for name in [CALL, ATTEMPT] {
        assert_eq!(at_most(&metrics, name, 0.025), 0);
        assert_eq!(at_most(&metrics, name, 0.05), 10);
        assert_eq!(at_most(&metrics, name, f64::INFINITY), 10, "{name}");
        let MetricValue::Durations { sum, .. } = metrics.family(name).unwrap().samples[0].value()
        else {
            panic!("{name}")
        };
        assert!((0.3..0.35).contains(sum), "{sum}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_told_and_a_caller_that_leaves_is_no_failure() {
    let mesh = Leaves::new(1).mesh(|_, _| std::future::pending()).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(client.send(get("/")))).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let metrics = mesh.metrics();
    for name in
        ["mesh.client.calls.active", "http.client.active_requests", "mesh.client.endpoint.active"]
    {
        assert_eq!(metrics.total(name, &[]), 3.0, "{name}");
    }
    assert_eq!(metrics.total(CALL, &[]), 0.0);
    for call in &calls {
        call.abort();
    }
    for call in calls {
        call.await.unwrap_err();
    }
    let metrics = mesh.metrics();
    for name in
        ["mesh.client.calls.active", "http.client.active_requests", "mesh.client.endpoint.active"]
    {
        assert_eq!(metrics.total(name, &[]), 0.0, "{name}");
    }
    for name in [CALL, ATTEMPT] {
        assert_eq!(metrics.total(name, &[("error.type", "cancelled")]), 3.0, "{name}");
        assert_eq!(metrics.total(name, &[]), 3.0, "{name}");
    }
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_refused_retries_are_counted_with_their_reasons() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| {
            s.attempt_timeout(Duration::from_millis(50)).retry(Retry::standard().attempts(2))
        })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let error = client.send(get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    client.send(within(Duration::from_millis(10), get("/"))).await.unwrap_err();

    let metrics = mesh.metrics();
    assert_eq!(metrics.total(CALL, &[("error.type", "timeout")]), 2.0);
    assert_eq!(metrics.total(ATTEMPT, &[("error.type", "timeout")]), 3.0);
    let timeout = [("mesh.retry.reason", "attempt_timeout")];
    assert_eq!(metrics.total("mesh.client.retries", &timeout), 1.0);
    let refused = "mesh.client.retries.refused";
    assert_eq!(metrics.total(refused, &[("mesh.retry.refusal", "attempts")]), 1.0);
    assert_eq!(metrics.total(refused, &[]), 1.0);
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_told_as_it_is_spent() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async { Ok(answer(503)) })
        .service(SERVICE, |s| {
            let budget = config::Budget::default().ratio(0.0).min_per_second(1);
            s.retry(Retry::standard().attempts(100).budget(budget))
        })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let balance = "mesh.client.retry_budget.balance";
    // One a second, for ten seconds.
    assert_eq!(mesh.metrics().total(balance, &[("mesh.service", SERVICE)]), 10.0);
    let client = mesh.client(SERVICE).unwrap();
    client.send(get("/")).await.unwrap();
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(balance, &[]), 0.0);
    let refused = [("mesh.retry.refusal", "budget")];
    assert_eq!(metrics.total("mesh.client.retries.refused", &refused), 1.0);
}

#[tokio::test(start_paused = true)]
async fn calls_without_an_attempt_are_counted_too() {
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| s.max_requests(1))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let held = tokio::spawn(client.send(get("/")));
    tokio::task::yield_now().await;
    client.send(get("/")).await.unwrap_err();
    mesh.http().send(get("http://nobody/")).await.unwrap_err();
    mesh.http().send(get("http://nobody/")).await.unwrap_err();
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(CALL, &[("error.type", "overloaded")]), 1.0);
    assert_eq!(metrics.total(ATTEMPT, &[]), 0.0);
    let unknown = [("error.type", "unknown_service")];
    assert_eq!(metrics.total("mesh.client.calls.unresolved", &unknown), 2.0);
    assert_eq!(metrics.total("mesh.client.calls.active", &[]), 1.0);
    check_attributes(&metrics);
    held.abort();
}

#[tokio::test]
async fn a_grpc_call_is_counted_by_the_status_in_its_trailers() {
    let server = Server::grpc(hello(|request| async move {
        match &*request.into_inner().name {
            "nobody" => Err(tonic::Status::not_found("no such person")),
            name => Ok(format!("hello {name}")),
        }
    }))
    .await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    for name in ["you", "me", "nobody"] {
        drop(greeter.say_hello(HelloRequest { name: name.into() }).await);
    }
    let metrics = mesh.metrics();
    let service = ("mesh.service", "greeter");
    let code = |code| ("rpc.response.status_code", code);
    assert_eq!(metrics.total(RPC, &[service, code("OK"), ("rpc.system.name", "grpc")]), 2.0);
    let missing = [service, code("NOT_FOUND"), ("error.type", "NOT_FOUND")];
    assert_eq!(metrics.total(RPC, &missing), 1.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "OK")]), 2.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "NOT_FOUND")]), 1.0);
    assert!(metrics.family(CALL).is_none() && metrics.family(ATTEMPT).is_none());
    check_attributes(&metrics);
}

#[tokio::test]
async fn a_grpc_stream_lasts_to_its_status_and_may_be_left_or_broken_before() {
    let server = Server::grpc(counting(|| {
        Box::pin(futures_util::stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (n < 3).then(|| (Ok(HelloReply::default()), n + 1))
        }))
    }))
    .await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    let mut replies = greeter.count(HelloRequest::default()).await.unwrap().into_inner();
    assert_eq!(mesh.metrics().total(RPC, &[]), 0.0, "its status is still to come");
    while replies.message().await.unwrap().is_some() {}
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("rpc.response.status_code", "OK")]), 1.0);
    assert_eq!(at_most(&metrics, RPC, 0.05), 0, "its messages take 60 ms");

    drop(greeter.count(HelloRequest::default()).await.unwrap());
    let left = [("rpc.response.status_code", "CANCELLED"), ("error.type", "cancelled")];
    assert_eq!(mesh.metrics().total(RPC, &left), 1.0);

    let mut replies = greeter.count(HelloRequest::default()).await.unwrap().into_inner();
    server.kill().await;
    let broken = patience(async {
        loop {
            match replies.message().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        }
    });
    broken.await.unwrap_err();
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("error.type", "transport")]), 1.0);
    assert_eq!(metrics.total("mesh.client.bodies.failed", &[("mesh.service", "greeter")]), 1.0);
    assert_eq!(metrics.total(RPC, &[]), metrics.total(RPC_ATTEMPT, &[]));
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_name_with_a_port_is_told_as_its_address_and_its_port() {
    let leaves = Leaves::new(1);
    let cluster = cluster(["10.0.0.1:80".parse().unwrap()]);
    let named = tower_mesh::discover::Static::default().cluster("users.prod:8080", cluster);
    let builder = Mesh::builder().source(named);
    let mesh = leaves.leaves(builder, |_, _| async { Ok(ok("")) }).build().unwrap();
    mesh.ready().await.unwrap();
    mesh.client("users.prod:8080").unwrap().send(get("/")).await.unwrap();
    let metrics = mesh.metrics();
    let server = [("server.address", "users.prod"), ("server.port", "8080")];
    assert_eq!(metrics.total(ATTEMPT, &server), 1.0);
    assert_eq!(metrics.total("http.client.active_requests", &server), 0.0);
    check_attributes(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_local_failure_of_a_grpc_call_is_the_status_that_the_caller_got() {
    let mesh = one_cluster(cluster([])).build().unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("users").unwrap());
    let status = greeter.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let labels = [("rpc.response.status_code", "UNAVAILABLE"), ("error.type", "no_endpoints")];
    assert_eq!(mesh.metrics().total(RPC, &labels), 1.0);
}

#[tokio::test]
async fn a_grpc_body_that_a_layer_has_wrapped_is_counted_by_its_status_too() {
    let server = Server::grpc(hello(|_| async { Err(tonic::Status::not_found("nobody")) })).await;
    let wrap = |response: http::Response<Body>| {
        response.map(|body| Body::new(http_body_util::BodyExt::map_frame(body, |frame| frame)))
    };
    let mesh = Mesh::builder()
        .endpoints("greeter", [server.address()])
        .attempt_layer(tower::util::MapResponseLayer::new(wrap))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    // A message comes before the status.
    let reply = patience(greeter.say_hello(HelloRequest::default())).await;
    assert_eq!(reply.unwrap_err().code(), tonic::Code::NotFound);
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("rpc.response.status_code", "NOT_FOUND")]), 1.0);
    assert_eq!(metrics.total(RPC, &[]), 1.0);
}

/// With a retry armed, the first frame of a response is looked at before it is returned.
#[tokio::test(start_paused = true)]
async fn a_grpc_response_that_was_looked_at_is_counted_once() {
    let leaves = Leaves::new(1);
    let counter = leaves.clone();
    let mesh = leaves
        .mesh(move |_, _| {
            let code = if counter.total() == 1 { "14" } else { "5" };
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            let frames = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(
                http_body::Frame::<bytes::Bytes>::trailers(trailers),
            )]);
            let body = Body::new(http_body_util::StreamBody::new(frames));
            async move { Ok(http::Response::new(body)) }
        })
        .service(SERVICE, |s| s.retry(Retry::idempotent()))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut greeter = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let status = greeter.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(RPC, &[("rpc.response.status_code", "NOT_FOUND")]), 1.0);
    assert_eq!(metrics.total(RPC, &[]), 1.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "UNAVAILABLE")]), 1.0);
    assert_eq!(metrics.total(RPC_ATTEMPT, &[("grpc.status", "NOT_FOUND")]), 1.0);
    assert_eq!(metrics.total("mesh.client.retries", &[("mesh.retry.reason", "grpc")]), 1.0);
}

#[tokio::test]
async fn connections_are_counted_from_their_making_to_their_end() {
    let server = Server::named("hello").await;
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder().endpoints("users", [server.address(), dead]).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        fetch(&client, get("/")).await.unwrap();
    }
    let of = ("mesh.cluster", "users");
    let metrics = mesh.metrics();
    assert_eq!(metrics.total("mesh.client.connect.duration", &[of]), 1.0);
    assert_eq!(metrics.total("mesh.client.connections.open", &[of]), 1.0);
    assert!(metrics.total("mesh.client.connections.failed", &[of]) >= 1.0);
    assert!(metrics.total(ATTEMPT, &[of, ("error.type", "connect")]) >= 1.0);
    let state = |state| [of, ("mesh.endpoint.state", state)];
    assert_eq!(metrics.total("mesh.client.endpoints", &state("unavailable")), 1.0);
    assert_eq!(metrics.total("mesh.client.endpoints", &state("healthy")), 1.0);
    assert!(metrics.total("mesh.client.endpoint.latency", &[of]) > 0.0);
    check_attributes(&metrics);

    mesh.shutdown(Duration::from_secs(5)).await;
    let metrics = mesh.metrics();
    assert_eq!(metrics.total("mesh.client.connections.open", &[of]), 0.0);
    let closed = "mesh.client.connections.closed";
    assert_eq!(metrics.total(closed, &[of, ("mesh.disconnect.reason", "draining")]), 1.0);
    assert_eq!(metrics.total(closed, &[]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_told_by_how_they_stand() {
    let set = |healths: &[Health]| {
        let mut cluster = cluster((0..healths.len()).map(Leaves::address));
        for (endpoint, health) in cluster.endpoints.iter_mut().zip(healths) {
            endpoint.health = *health;
        }
        cluster
    };
    let healths = [Health::Unknown, Health::Healthy, Health::Unhealthy, Health::Draining];
    let mesh = one_cluster(set(&healths)).endpoint_metrics(false).build().unwrap();
    mesh.ready().await.unwrap();
    let metrics = mesh.metrics();
    for (state, count) in
        [("healthy", 2.0), ("unhealthy", 1.0), ("draining", 1.0), ("suspect", 0.0)]
    {
        let state = [("mesh.cluster", "users"), ("mesh.endpoint.state", state)];
        assert_eq!(metrics.total("mesh.client.endpoints", &state), count, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_of_endpoints_can_be_left_out() {
    for wanted in [true, false] {
        let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) });
        let mesh = mesh.endpoint_metrics(wanted).build().unwrap();
        mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
        let metrics = mesh.metrics();
        let told = metrics.families.iter().filter(|it| it.name.contains(".endpoint."));
        assert_eq!(told.count(), if wanted { 3 } else { 0 });
        assert_eq!(metrics.total(ATTEMPT, &[]), 1.0);
        let setting = mesh.describe().to_string();
        assert!(setting.contains(&format!("telemetry.endpoint_metrics = {wanted} (code)")));
        assert!(setting.contains("telemetry.meter_provider = none (default)"), "{setting}");
    }
}

#[tokio::test(start_paused = true)]
async fn counts_survive_updates_and_leave_with_what_they_count() {
    let leaves = Leaves::new(3);
    let builder = leaves.leaves(Mesh::builder(), |_, _| async { Ok(ok("")) });
    let service = |timeout: u64| {
        let mut service = config::Service::default();
        let mut route = config::Route::default();
        route.name = Some("all".into());
        route.clusters = vec![config::WeightedCluster::new("users")];
        service.routes = vec![route];
        service.policy.timeout = Some(Duration::from_secs(timeout));
        service
    };
    let (mesh, publish) = published(builder, |publish| {
        publish.cluster("users", cluster(leaves.addresses())).unwrap();
        publish.service("front", service(1)).unwrap();
    })
    .await;
    let client = mesh.client("front").unwrap();
    let call = async |times: usize| {
        for _ in 0..times {
            client.send(get("/")).await.unwrap();
        }
    };
    call(30).await;
    let route = [("mesh.service", "front"), ("mesh.route", "all")];
    let of = ("mesh.cluster", "users");
    assert_eq!(mesh.metrics().total(CALL, &route), 30.0);

    // Another policy of the route, and settings of the cluster that make new pools.
    publish.service("front", service(2)).unwrap();
    let mut changed = cluster(leaves.addresses());
    changed.transport.connect_timeout = Some(Duration::from_secs(3));
    publish.cluster("users", changed).unwrap();
    call(10).await;
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(CALL, &route), 40.0);
    assert_eq!(metrics.total(ATTEMPT, &[of]), 40.0);

    // An endpoint that leaves leaves its counts to the cluster.
    let gone = Leaves::address(0);
    let by_endpoint = "mesh.client.endpoint.attempts";
    let its = [of, ("mesh.endpoint", "10.0.0.1:80")];
    assert!(mesh.metrics().total(by_endpoint, &its) > 0.0);
    publish.remove_endpoints("users", std::slice::from_ref(&gone));
    call(10).await;
    let metrics = mesh.metrics();
    assert_eq!(metrics.total(by_endpoint, &its), 0.0);
    assert_eq!(metrics.total(ATTEMPT, &[of]), 50.0);

    // What is removed is not told of any more, and begins anew.
    publish.remove_service("front");
    publish.remove_cluster("users");
    let metrics = mesh.metrics();
    assert!(metrics.family(CALL).is_none() && metrics.family(ATTEMPT).is_none());
    publish.cluster("users", cluster(leaves.addresses())).unwrap();
    publish.service("front", service(1)).unwrap();
    call(1).await;
    assert_eq!(mesh.metrics().total(ATTEMPT, &[of]), 1.0);
    assert_eq!(mesh.metrics().total(CALL, &route), 1.0);
}

#[tokio::test(start_paused = true)]
async fn configuration_and_the_age_of_sources_are_told() {
    let (mesh, publish) = published(Mesh::builder(), |publish| {
        publish.cluster("users", cluster([Leaves::address(0)])).unwrap();
    })
    .await;
    let age = |mesh: &Mesh| {
        let held = [("mesh.source", "held by the test")];
        mesh.metrics().total("mesh.client.discovery.age", &held)
    };
    let applied = mesh.metrics().total("mesh.client.config.applied", &[]);
    assert!(applied >= 1.0);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!((39.0..42.0).contains(&age(&mesh)), "{}", age(&mesh));

    // A bad part does not make it younger; that all is as it was does.
    let mut bad = cluster([Leaves::address(0)]);
    bad.transport.connect_timeout = Some(Duration::ZERO);
    publish.cluster("bad", bad).unwrap_err();
    publish.refused("the rest", "cannot be read");
    let metrics = mesh.metrics();
    assert_eq!(metrics.total("mesh.client.config.refused", &[]), 2.0);
    assert_eq!(metrics.total("mesh.client.config.bad", &[]), 2.0);
    publish.accepted("the rest");
    assert_eq!(mesh.metrics().total("mesh.client.config.bad", &[]), 1.0);
    assert!(age(&mesh) < 1.0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    publish.refused("the rest", "cannot be read");
    assert!(age(&mesh) > 9.0);
    publish.confirmed();
    assert!(age(&mesh) < 1.0);
    check_attributes(&mesh.metrics());
}

#[tokio::test(start_paused = true)]
async fn events_that_a_listener_missed_are_counted() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    let mut stream = mesh.events();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..3000 {
        client.send(get("/")).await.unwrap();
    }
    assert_eq!(mesh.metrics().total("mesh.client.events.missed", &[]), 0.0);
    while stream.try_recv().is_some() {}
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let missed = stream.missed() as f64;
    assert!(missed > 0.0);
    assert_eq!(mesh.metrics().total("mesh.client.events.missed", &[]), missed);
}

/// A line of the text: name, labels, value.
fn parse(line: &str) -> (String, String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
    (name.into(), labels.into(), value)
}

#[tokio::test(start_paused = true)]
async fn the_text_is_whole_in_order_and_the_same_each_time() {
    let leaves = Leaves::new(3);
    let mesh = leaves
        .mesh(|number, _| async move { Ok(if number == 0 { answer(500) } else { ok("") }) })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for path in ["/", "/a", "/b"].repeat(10) {
        client.send(get(path)).await.unwrap();
        client.send(post(path, "x")).await.unwrap();
        let mut declared = get(path);
        declared.extensions_mut().insert(Call::new().no_retry());
        client.send(declared).await.unwrap();
    }
    let text = mesh.prometheus();
    assert_eq!(text, mesh.prometheus());
    let (mut seen, mut typed, mut last) = (BTreeSet::new(), BTreeSet::new(), String::new());
    let mut bucket = (String::new(), 0.0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            last = rest.split(' ').next().unwrap().to_owned();
            assert!(typed.insert(last.clone()), "{last} is told twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, labels, value) = parse(line);
        assert!(name.starts_with(&last), "{line} is not of {last}");
        assert!(seen.insert((name.clone(), labels.clone())), "{line} is told twice");
        if let Some((rest, _)) = labels.split_once("le=") {
            // Each bound holds what those below it hold.
            let of = format!("{name}{rest}");
            assert!(bucket.0 != of || value >= bucket.1, "{line}");
            bucket = (of, value);
        }
        if let Some(histogram) = name.strip_suffix("_count") {
            let comma = if labels.is_empty() { "" } else { "," };
            let all = format!("{histogram}_bucket{{{labels}{comma}le=\"+Inf\"}} {value}");
            assert!(text.contains(&all), "{all}");
        }
    }
    assert!(typed.contains("http_client_request_duration_seconds"), "{typed:?}");
    assert!(typed.contains("mesh_client_config_applied_total"));
    let open = mesh.metrics().to_open_metrics();
    assert!(open.ends_with("# EOF\n") && open.contains("# UNIT mesh_client_call_duration_seconds"));
    assert!(open.contains("# TYPE mesh_client_config_applied counter"));
}
