//! Active checks against real servers: HTTP, TCP and the gRPC health protocol, what a result makes
//! of an endpoint, and that nothing runs that was not asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and counts are whole"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{
    Leaves, RawServer, SERVICE, Server, cluster, dead_address, fetch, get,
    leaf::{answer, ok},
    patience, published, reply, status,
};
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_mesh::{
    Event, EventStream, Mesh,
    config::{Balancer, Balancing, Cluster, Endpoint, HealthCheck, Probe, Protocol, TcpProbe},
};

/// At short intervals, with or without traffic.
fn often(mut check: HealthCheck) -> HealthCheck {
    let interval = Some(Duration::from_millis(30));
    (check.interval, check.no_traffic_interval) = (interval, interval);
    check
}

fn standing(mesh: &Mesh, state: &str) -> f64 {
    mesh.metrics().total("mesh.client.endpoints", &[("mesh.endpoint.state", state)])
}

/// The next result of a check of this endpoint: whether it passed, counts as healthy, and why.
async fn next_check(events: &mut EventStream, of: &str) -> (bool, bool, String) {
    patience(async {
        loop {
            match events.recv().await.unwrap() {
                Event::CheckPassed { endpoint, healthy, .. } if &*endpoint == of => {
                    return (true, healthy, String::new());
                }
                Event::CheckFailed { endpoint, healthy, cause, .. } if &*endpoint == of => {
                    return (false, healthy, cause.to_string());
                }
                _ => {}
            }
        }
    })
    .await
}

async fn checked(members: Cluster) -> (Mesh, EventStream, tower_mesh::Publisher) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    drop(sender.take().unwrap().send(mesh.events()));
    publisher.cluster("users", members).unwrap();
    (mesh, receiver.await.unwrap(), publisher)
}

#[tokio::test]
async fn an_http_check_finds_one_that_says_no_at_once_and_one_that_hangs_by_the_threshold() {
    let code = Arc::new(AtomicU16::new(200));
    let says = Arc::clone(&code);
    let speaks = Server::start(move |request| {
        let code = StatusCode::from_u16(says.load(Ordering::SeqCst)).unwrap();
        let is_check = request.uri().path() == "/healthz";
        async move { if is_check { status(code) } else { reply("hello") } }
    })
    .await;
    let hung = Arc::new(AtomicBool::new(false));
    let hangs = Arc::clone(&hung);
    let hanging = Server::start(move |_| {
        let hangs = hangs.load(Ordering::SeqCst);
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            reply("hello")
        }
    })
    .await;
    let mut check = often(HealthCheck::http("/healthz"));
    check.timeout = Some(Duration::from_secs(1));
    let mut members = cluster([speaks.address(), hanging.address()]);
    members.health_checks = vec![check];
    let (mesh, mut events, _publisher) = checked(members).await;
    let (one, other) = (speaks.address().to_string(), hanging.address().to_string());
    assert_eq!(next_check(&mut events, &one).await, (true, true, String::new()));
    code.store(503, Ordering::SeqCst);
    loop {
        let (passed, healthy, cause) = next_check(&mut events, &one).await;
        if !passed {
            assert_eq!((healthy, &*cause), (false, "status 503"), "believed at once");
            break;
        }
    }
    hung.store(true, Ordering::SeqCst);
    let mut silent = 0;
    loop {
        let (passed, healthy, cause) = next_check(&mut events, &other).await;
        silent += usize::from(!passed);
        assert_eq!(healthy, silent < 3, "{silent} were silent");
        if !healthy {
            assert_eq!(cause, "no answer within 1s");
            break;
        }
    }
    assert_eq!(standing(&mesh, "unhealthy"), 2.0);
    assert!(mesh.describe().to_string().contains("health_checks.probe = http /healthz"));
    // It is well again: two have to pass.
    code.store(200, Ordering::SeqCst);
    let mut passes = 0;
    loop {
        let (passed, healthy, _) = next_check(&mut events, &one).await;
        passes += usize::from(passed);
        assert_eq!(healthy, passes >= 2);
        if healthy {
            break;
        }
    }
    // Calls go to the one that is well, and none of the probes was an attempt.
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(mesh.metrics().total("http.client.request.duration", &[]), 20.0);
    assert!(mesh.metrics().total("mesh.client.checks", &[("mesh.result", "failed")]) >= 4.0);
}

#[tokio::test]
async fn probes_keep_their_connection_unless_they_must_not() {
    for (reuse, fewest, most) in [(None, 1, 1), (Some(false), 5, usize::MAX)] {
        let server = Server::named("well").await;
        let mut check = often(HealthCheck::http("/"));
        check.reuse_connection = reuse;
        let mut members = cluster([server.address()]);
        members.health_checks = vec![check];
        let (mesh, mut events, _publisher) = checked(members).await;
        let name = server.address().to_string();
        for _ in 0..5 {
            assert!(next_check(&mut events, &name).await.0);
        }
        assert!((fewest..=most).contains(&server.connections()), "{}", server.connections());
        drop(mesh);
    }
}

#[tokio::test]
async fn an_address_that_has_left_its_endpoint_is_probed_no_more() {
    let (one, two) = (Server::named("one").await, Server::named("two").await);
    let (dead, _socket) = dead_address();
    let name = dead.to_string();
    let at = |more: &Server| {
        let mut endpoint = Endpoint::new(dead.clone());
        endpoint.more_addresses = vec![more.address()];
        vec![endpoint]
    };
    let mut members = cluster([dead.clone()]);
    members.endpoints = at(&one);
    members.health_checks = vec![often(HealthCheck::http("/"))];
    let (_mesh, mut events, publisher) = checked(members).await;
    assert!(next_check(&mut events, &name).await.0);
    publisher.upsert_endpoints("users", at(&two)).unwrap();
    // One may have been under way.
    next_check(&mut events, &name).await;
    next_check(&mut events, &name).await;
    let before = one.requests();
    for _ in 0..5 {
        assert!(next_check(&mut events, &name).await.0);
    }
    assert_eq!(one.requests(), before);
    assert!(two.requests() >= 5);
}

#[tokio::test]
async fn a_tcp_check_sends_and_receives_bytes() {
    let pongs = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&pongs);
    let server = RawServer::start(move |mut stream, _| {
        let says = Arc::clone(&says);
        async move {
            let mut word = [0; 6];
            if stream.read_exact(&mut word).await.is_ok() && word == *b"PING\r\n" {
                let word = if says.load(Ordering::SeqCst) { b"+PONG\r\n" } else { b"-ERROR\n" };
                drop(stream.write_all(word).await);
            }
        }
    })
    .await;
    let mut probe = TcpProbe::default();
    probe.send = Some("50494e470d0a".into());
    probe.receive = vec!["504f4e47".into()];
    let mut members = cluster([server.address()]);
    members.health_checks = vec![often(HealthCheck::new(Probe::Tcp(probe)))];
    let (_mesh, mut events, _publisher) = checked(members).await;
    let name = server.address().to_string();
    assert_eq!(next_check(&mut events, &name).await, (true, true, String::new()));
    pongs.store(false, Ordering::SeqCst);
    loop {
        let (passed, _, cause) = next_check(&mut events, &name).await;
        if !passed {
            assert_eq!(cause, "it closed before it answered as it must");
            break;
        }
    }
}

#[tokio::test]
async fn a_tcp_check_finds_one_that_takes_no_connections() {
    let (dead, socket) = dead_address();
    let mut members = cluster([dead.clone()]);
    members.health_checks = vec![often(HealthCheck::tcp())];
    let (mesh, mut events, _publisher) = checked(members).await;
    let (passed, healthy, cause) = next_check(&mut events, &dead.to_string()).await;
    assert!(!passed && !healthy && cause.contains("refused"), "{cause}");
    assert_eq!(standing(&mesh, "unhealthy"), 1.0);
    // It comes up, and the next check finds it.
    let listener = socket.listen(16).unwrap();
    assert!(next_check(&mut events, &dead.to_string()).await.0);
    drop(listener);
}

#[cfg(feature = "grpc-health")]
#[tokio::test]
async fn a_grpc_check_speaks_the_health_protocol() {
    use tokio::net::TcpListener;
    use tonic_health::ServingStatus;

    let (mut reporter, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    reporter.set_service_status("users", ServingStatus::Serving).await;
    let mut probe = tower_mesh::config::GrpcProbe::default();
    probe.service = Some("users".into());
    let mut members = cluster([address.into()]);
    members.health_checks = vec![often(HealthCheck::new(Probe::Grpc(probe)))];
    let (_mesh, mut events, _publisher) = checked(members).await;
    let name = address.to_string();
    assert_eq!(next_check(&mut events, &name).await, (true, true, String::new()));
    reporter.set_service_status("users", ServingStatus::NotServing).await;
    loop {
        let (passed, healthy, cause) = next_check(&mut events, &name).await;
        if !passed {
            assert_eq!((healthy, &*cause), (false, "NOT_SERVING"));
            break;
        }
    }
    reporter.clear_service_status("users").await;
    loop {
        let (_, _, cause) = next_check(&mut events, &name).await;
        if cause != "NOT_SERVING" {
            assert_eq!(cause, "gRPC status 5");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn checks_keep_their_intervals_and_stop_when_nobody_asks_for_them() {
    let leaves = Leaves::new(1);
    let bad = Arc::new(AtomicBool::new(false));
    let is_bad = Arc::clone(&bad);
    let probes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&probes);
    let builder = leaves.leaves(Mesh::builder(), move |_, request| {
        let is_check = request.uri().path() == "/healthz";
        count.fetch_add(usize::from(is_check), Ordering::SeqCst);
        let bad = is_bad.load(Ordering::SeqCst) && is_check;
        async move { if bad { Err("hung up".into()) } else { Ok(ok("hello")) } }
    });
    let mut members = cluster(leaves.addresses());
    let mut check = HealthCheck::http("/healthz");
    check.unhealthy_edge_interval = Some(Duration::from_secs(2));
    check.unhealthy_interval = Some(Duration::from_secs(5));
    members.health_checks = vec![check];
    let (mesh, publisher) = published(builder, |publish| {
        publish.cluster(SERVICE, members.clone()).unwrap();
    })
    .await;
    let during = async |seconds: u64| {
        let before = probes.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        probes.load(Ordering::SeqCst) - before
    };
    // At once, and then once a minute: there is no traffic.
    assert_eq!(during(59).await, 1);
    assert_eq!(during(60).await, 1);
    let client = mesh.client(SERVICE).unwrap();
    fetch(&client, get("/")).await.unwrap();
    during(60).await;
    assert_eq!(during(100).await, 10);
    bad.store(true, Ordering::SeqCst);
    // Within 10 s, 2 s and 2 s later it has failed three times, and then each 5 s.
    assert!((3..=5).contains(&during(15).await));
    assert_eq!(standing(&mesh, "unhealthy"), 1.0);
    assert_eq!(during(50).await, 10);
    // Nobody asks: nothing runs, and nothing is held against it.
    members.health_checks.clear();
    publisher.cluster(SERVICE, members).unwrap();
    assert_eq!(during(1_000).await, 0);
    assert_eq!(standing(&mesh, "healthy"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_come_are_checked_and_those_that_go_are_not() {
    let leaves = Leaves::new(3);
    let builder = leaves.leaves(Mesh::builder(), |_, _| async { Ok(ok("hello")) });
    let mut members = cluster([Leaves::address(0)]);
    members.health_checks = vec![HealthCheck::http("/healthz")];
    let (mesh, publisher) = published(builder, |publish| {
        publish.cluster(SERVICE, members).unwrap();
    })
    .await;
    let second = || tokio::time::sleep(Duration::from_secs(1));
    second().await;
    assert_eq!(leaves.all_hits(), [1, 0, 0]);
    let come = [1, 2].map(|number| Endpoint::new(Leaves::address(number)));
    publisher.upsert_endpoints(SERVICE, come.to_vec()).unwrap();
    second().await;
    assert_eq!(leaves.all_hits(), [1, 1, 1]);
    publisher.remove_endpoints(SERVICE, &[Leaves::address(1)]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(leaves.hits(1), 1);
    assert!(leaves.hits(0) > 8 && leaves.hits(2) > 8, "{:?}", leaves.all_hits());
    mesh.shutdown(Duration::ZERO).await;
    leaves.reset();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(leaves.total(), 0, "they stop with the mesh");
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_their_checks_calls_go_on() {
    let leaves = Leaves::new(3);
    let mut check = HealthCheck::http("/healthz");
    check.no_traffic_interval = Some(Duration::from_secs(1));
    let mesh = leaves
        .mesh(|_, request| async move {
            let is_check = request.uri().path() == "/healthz";
            Ok(if is_check { answer(503) } else { ok("hello") })
        })
        .service(SERVICE, |s| s.health_check(check).balancer(Balancer::RoundRobin))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(standing(&mesh, "unhealthy"), 3.0);
    for _ in 0..60 {
        assert_eq!(fetch(&client, get("/")).await.unwrap().status(), StatusCode::OK);
    }
}

#[test]
fn checks_that_cannot_be_made_are_refused_by_name() {
    let refused = |check: HealthCheck| {
        let mut cluster = Cluster::default();
        cluster.health_checks = vec![check];
        cluster.validate("users").unwrap_err().to_string()
    };
    let mut check = HealthCheck::http("healthz");
    check.interval = Some(Duration::ZERO);
    check.unhealthy_threshold = Some(0);
    let error = refused(check);
    for field in ["probe.http.path", "interval", "unhealthy_threshold"] {
        let field = format!("clusters.users.health_checks[0].{field}");
        assert!(error.contains(&field), "{field} in {error}");
    }
    let mut probe = TcpProbe::default();
    probe.send = Some("5".into());
    let error = refused(HealthCheck::new(Probe::Tcp(probe)));
    assert!(error.contains("must be hexadecimal"), "{error}");
    let mut cluster = Cluster::default();
    cluster.health_checks = vec![HealthCheck::tcp(); 17];
    let error = cluster.validate("users").unwrap_err().to_string();
    assert!(error.contains("health_checks = 17: must be at most 16"), "{error}");
}

#[tokio::test]
async fn of_several_checks_all_must_pass() {
    let ill = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let says = Arc::clone(&ill);
    let server = Server::start(move |request| {
        let which = usize::from(request.uri().path() == "/ready");
        let is_ill = says[which].load(Ordering::SeqCst);
        async move { if is_ill { status(StatusCode::SERVICE_UNAVAILABLE) } else { reply("hello") } }
    })
    .await;
    let other = Server::named("other").await;
    let mut members = cluster([server.address(), other.address()]);
    let mut slow = often(HealthCheck::http("/ready"));
    slow.initial_jitter = Some(Duration::from_millis(50));
    members.health_checks = vec![often(HealthCheck::http("/live")), slow];
    let (mesh, mut events, _publisher) = checked(members).await;
    let one = server.address().to_string();
    assert!(mesh.describe().to_string().contains("health_checks.probe = http /live, http /ready"));
    // It counts as healthy when both have passed for the first time.
    let (passed, healthy, _) = next_check(&mut events, &one).await;
    assert!(passed && !healthy);
    let until = async |events: &mut EventStream, is: bool| {
        while next_check(events, &one).await.1 != is {}
    };
    until(&mut events, true).await;
    for which in [0, 1] {
        // One that fails is enough, however often the other one passes.
        ill[which].store(true, Ordering::SeqCst);
        until(&mut events, false).await;
        for _ in 0..6 {
            assert!(!next_check(&mut events, &one).await.1, "{which}");
        }
        assert_eq!(standing(&mesh, "unhealthy"), 1.0);
        ill[which].store(false, Ordering::SeqCst);
        until(&mut events, true).await;
        assert_eq!(standing(&mesh, "unhealthy"), 0.0);
    }
}

#[tokio::test]
async fn failing_its_checks_closes_the_connections_of_an_endpoint_where_that_is_asked_for() {
    for (protocol, closes) in
        [(Protocol::Http1, true), (Protocol::Http2, true), (Protocol::Http1, false)]
    {
        let code = Arc::new(AtomicU16::new(200));
        let (says, held) = (Arc::clone(&code), Arc::new(tokio::sync::Semaphore::new(0)));
        let holds = Arc::clone(&held);
        let server = Server::start(move |request| {
            let code = StatusCode::from_u16(says.load(Ordering::SeqCst)).unwrap();
            let (path, holds) = (request.uri().path().to_owned(), Arc::clone(&holds));
            async move {
                match &*path {
                    "/healthz" => return status(code),
                    "/held" => drop(holds.acquire().await.unwrap()),
                    _ => {}
                }
                reply("hello")
            }
        })
        .await;
        let mut members = cluster([server.address()]);
        let mut check = often(HealthCheck::http("/healthz"));
        check.healthy_threshold = Some(1);
        members.health_checks = vec![check];
        members.protocol = Some(protocol);
        let mut balancing = Balancing::default();
        balancing.close_on_failure = Some(closes);
        members.balancing = Some(balancing);
        let (mesh, mut events, _publisher) = checked(members).await;
        let one = server.address().to_string();
        let client = mesh.client("users").unwrap();
        let until = async |events: &mut EventStream, is: bool| {
            while next_check(events, &one).await.1 != is {}
        };
        until(&mut events, true).await;
        patience(fetch(&client, get("/"))).await.unwrap();
        // One is under way while it fails, and ends as if nothing had been.
        let under_way = tokio::spawn(fetch(&client, get("/held")));
        while server.requests() == 0 || !mesh.describe().to_string().contains("1 in flight") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before = server.connections();
        code.store(503, Ordering::SeqCst);
        until(&mut events, false).await;
        code.store(200, Ordering::SeqCst);
        until(&mut events, true).await;
        held.add_permits(1);
        assert_eq!(patience(under_way).await.unwrap().unwrap().body(), "hello");
        for _ in 0..3 {
            patience(fetch(&client, get("/"))).await.unwrap();
        }
        let made = server.connections() - before;
        assert_eq!(made, usize::from(closes), "{protocol:?}, {closes}");
    }
}
