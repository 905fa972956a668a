//! Endpoints that fail are taken out of use and come back by one call: without sockets under
//! paused time, and against real HTTP and gRPC servers of which one is slow, one fails, one flaps
//! and one drains.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and counts are whole"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{
    GreeterClient, HelloRequest, Leaves, SERVICE, Server, cluster, fetch, get,
    greeter::HelloReply,
    greeters::counting,
    leaf::{answer, ok},
    patience, published, reply, status,
};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use tonic::Status;
use tower_mesh::{
    EjectReason, Event, Mesh, Retry, ReturnReason,
    config::{
        Cluster, Endpoint, FailureAccrual, Health, HealthCheck, OutlierDetection, SuccessRate,
    },
};

/// One that may eject as many as it likes.
fn outliers() -> OutlierDetection {
    let mut outliers = OutlierDetection::default();
    outliers.max_ejection_percent = Some(100.0);
    outliers
}

/// How many endpoints stand so.
fn standing(mesh: &Mesh, state: &str) -> f64 {
    mesh.metrics().total("mesh.client.endpoints", &[("mesh.endpoint.state", state)])
}

/// Ejections and returns, in words.
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn of(mesh: &Mesh) -> Self {
        let list = Arc::new(Mutex::new(Vec::new()));
        let (mut events, told) = (mesh.events(), Arc::clone(&list));
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let text = match event {
                    Event::EndpointEjected { endpoint, reason, duration, .. } => {
                        format!("{endpoint} out: {reason}, {duration:?}")
                    }
                    Event::EndpointReturned { endpoint, reason, .. } => {
                        format!("{endpoint} back: {reason}")
                    }
                    _ => continue,
                };
                told.lock().unwrap().push(text);
            }
        });
        Self(list)
    }

    /// What has come since the last look.
    async fn take(&self) -> Vec<String> {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_goes_out_and_comes_back_by_one_call() {
    let (leaves, well) = (Leaves::new(3), Arc::new(AtomicBool::new(false)));
    let is_well = Arc::clone(&well);
    let mesh = leaves
        .mesh(move |number, _| {
            let fails = number == 0 && !is_well.load(Ordering::SeqCst);
            async move { Ok(if fails { answer(500) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| {
            s.outlier_detection(outliers()).balancer(tower_mesh::config::Balancer::RoundRobin)
        })
        .build()
        .unwrap();
    let told = Told::of(&mesh);
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..3_000 {
        drop(fetch(&client, get("/")).await);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let first = told.take().await;
    assert_eq!(first[0], "10.0.0.1:80 out: consecutive failures, 30s", "{first:?}");
    assert_eq!((standing(&mesh, "ejected"), standing(&mesh, "healthy")), (1.0, 2.0));
    assert!(
        mesh.describe().to_string().contains("ejected by consecutive failures, probed in"),
        "{}",
        mesh.describe()
    );
    // One probe each time that its time is over, and nothing else.
    tokio::time::advance(Duration::from_secs(40)).await;
    leaves.reset();
    for _ in 0..300 {
        drop(fetch(&client, get("/")).await);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(told.take().await, ["10.0.0.1:80 out: probe failed, 60s"]);
    assert_eq!(leaves.hits(0), 1);
    well.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(60)).await;
    leaves.reset();
    for _ in 0..300 {
        assert_eq!(fetch(&client, get("/")).await.unwrap().status(), StatusCode::OK);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(told.take().await, ["10.0.0.1:80 back: probe"]);
    assert!((90..=110).contains(&leaves.hits(0)), "{:?}", leaves.all_hits());
    assert_eq!(standing(&mesh, "ejected"), 0.0);
    let ejections =
        mesh.metrics().total("mesh.client.ejections", &[("mesh.eject.reason", "probe_failed")]);
    assert!((ejections - 1.0).abs() < 1e-9, "{ejections}");
}

#[tokio::test(start_paused = true)]
async fn when_all_are_out_calls_go_on() {
    let (leaves, well) = (Leaves::new(3), Arc::new(AtomicBool::new(false)));
    let is_well = Arc::clone(&well);
    let mesh = leaves
        .mesh(move |_, _| {
            let fails = !is_well.load(Ordering::SeqCst);
            async move { Ok(if fails { answer(503) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| s.outlier_detection(outliers()).retry(Retry::standard().attempts(1)))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..600 {
        drop(fetch(&client, get("/")).await);
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(standing(&mesh, "ejected") + standing(&mesh, "probing"), 3.0);
    well.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        assert_eq!(fetch(&client, get("/")).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn success_rates_are_compared_by_a_task_that_sleeps_while_nothing_is_called() {
    let leaves = Leaves::new(5);
    let calls = Arc::new(AtomicUsize::new(0));
    let mut rules = outliers();
    (rules.consecutive_5xx, rules.consecutive_gateway_failure) = (Some(0), Some(0));
    let mut rate = SuccessRate::default();
    rate.request_volume = Some(20);
    rules.success_rate = Some(rate);
    let mesh = leaves
        .mesh(move |number, _| {
            let fails = number == 0 && calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(5);
            async move { Ok(if fails { answer(500) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| {
            s.outlier_detection(rules).balancer(tower_mesh::config::Balancer::RoundRobin)
        })
        .build()
        .unwrap();
    let told = Told::of(&mesh);
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..2_000 {
        drop(fetch(&client, get("/")).await);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let all = told.take().await;
    assert_eq!(all.first().unwrap(), "10.0.0.1:80 out: success rate, 30s", "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn accrual_ends_by_one_call_too() {
    let (leaves, well) = (Leaves::new(2), Arc::new(AtomicBool::new(false)));
    let is_well = Arc::clone(&well);
    let mut rules = outliers();
    rules.accrual = Some(FailureAccrual::default());
    let mesh = leaves
        .mesh(move |number, _| {
            let fails = number == 0 && !is_well.load(Ordering::SeqCst);
            async move { if fails { Err("broken".into()) } else { Ok(ok("hello")) } }
        })
        .service(SERVICE, |s| s.outlier_detection(rules))
        .build()
        .unwrap();
    let told = Told::of(&mesh);
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..20_000 {
        drop(fetch(&client, get("/")).await);
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    let all = told.take().await;
    assert!(all[0].starts_with("10.0.0.1:80 out: accrued failures"), "{all:?}");
    assert!(all.len() > 3 && all[1..].iter().all(|it| it.contains("probe failed")), "{all:?}");
    well.store(true, Ordering::SeqCst);
    for _ in 0..4_000 {
        drop(fetch(&client, get("/")).await);
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert_eq!(told.take().await, ["10.0.0.1:80 back: probe"]);
}

/// A server that fails while it is told to.
async fn flapping(bad: &Arc<AtomicBool>) -> Server {
    let bad = Arc::clone(bad);
    Server::start(move |_| {
        let bad = bad.load(Ordering::SeqCst);
        async move { if bad { status(StatusCode::SERVICE_UNAVAILABLE) } else { reply("flapping") } }
    })
    .await
}

/// Short times, for real clocks.
fn quick() -> OutlierDetection {
    let mut rules = outliers();
    let mut accrual = FailureAccrual::default();
    accrual.consecutive_failures = Some(1);
    accrual.min_penalty = Some(Duration::from_millis(100));
    accrual.max_penalty = Some(Duration::from_millis(200));
    rules.accrual = Some(accrual);
    rules
}

#[tokio::test]
async fn real_servers_of_which_one_is_slow_one_fails_one_flaps_and_one_drains() {
    let well = Server::named("well").await;
    let slow = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        reply("slow")
    })
    .await;
    let failing = Server::start(|_| async { status(StatusCode::BAD_GATEWAY) }).await;
    let bad = Arc::new(AtomicBool::new(false));
    let flaps = flapping(&bad).await;
    let drains = Server::named("drains").await;
    let mut members =
        cluster([&well, &slow, &failing, &flaps, &drains].map(|server| server.address()));
    members.outlier_detection = Some(quick());
    members.balancer = Some(tower_mesh::config::Balancer::RoundRobin);
    let builder = Mesh::builder().service("users", |s| s.retry(Retry::standard().attempts(4)));
    let (mesh, publisher) = published(builder, |publish| {
        publish.cluster("users", members.clone()).unwrap();
    })
    .await;
    let told = Told::of(&mesh);
    let client = mesh.client("users").unwrap();
    let call = async || {
        assert_eq!(fetch(&client, get("/")).await.unwrap().status(), StatusCode::OK);
    };
    for _ in 0..60 {
        call().await;
    }
    // It drains: what it has is finished, and no more comes.
    let mut draining = Endpoint::new(drains.address());
    draining.health = Health::Draining;
    publisher.upsert_endpoints("users", vec![draining]).unwrap();
    let before = drains.requests();
    let failed_before = failing.requests();
    let began = tokio::time::Instant::now();
    for flap in 0..6 {
        bad.store(flap % 2 == 0, Ordering::SeqCst);
        for _ in 0..40 {
            call().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(drains.requests(), before, "one that drains gets nothing new");
    // A probe each 50 to 200 ms at most, beside 240 calls in turn; a machine that is slow has time for more.
    let met = failing.requests() - failed_before;
    let probes = usize::try_from(began.elapsed().as_millis() / 50).unwrap();
    assert!(met < 20 + probes, "the failing one got {met} of 240 calls in {:?}", began.elapsed());
    let all = told.take().await;
    let of = |server: &Server, what: &str| {
        let name = format!("{} {what}", server.address());
        all.iter().filter(|it| it.starts_with(&name)).count()
    };
    assert!(of(&failing, "out") >= 2 && of(&failing, "back") == 0, "{all:#?}");
    assert!(of(&flaps, "out") >= 1 && of(&flaps, "back") >= 1, "{all:#?}");
    assert_eq!(of(&well, "out") + of(&slow, "out"), 0, "{all:#?}");
}

/// A tonic server that streams one reply after `wait` and ends well, unless it is told to end by a
/// status in its trailers.
async fn streaming(wait: Duration, bad: &Arc<AtomicBool>) -> Server {
    let bad = Arc::clone(bad);
    Server::grpc(counting(move || {
        let end = bad.load(Ordering::SeqCst).then(|| Err(Status::unavailable("broken")));
        let reply = async move {
            tokio::time::sleep(wait).await;
            Ok(HelloReply::default())
        };
        Box::pin(stream::once(reply).chain(stream::iter(end)))
    }))
    .await
}

#[tokio::test]
async fn real_grpc_servers_of_which_one_is_slow_one_fails_one_flaps_and_one_drains() {
    let never = Arc::new(AtomicBool::new(false));
    let well = streaming(Duration::ZERO, &never).await;
    let slow = streaming(Duration::from_millis(40), &never).await;
    let failing = streaming(Duration::ZERO, &Arc::new(AtomicBool::new(true))).await;
    let bad = Arc::new(AtomicBool::new(false));
    let flaps = streaming(Duration::ZERO, &bad).await;
    let drains = streaming(Duration::ZERO, &never).await;
    let mut members =
        cluster([&well, &slow, &failing, &flaps, &drains].map(|server| server.address()));
    members.outlier_detection = Some(quick());
    members.protocol = Some(tower_mesh::config::Protocol::Http2);
    members.balancer = Some(tower_mesh::config::Balancer::RoundRobin);
    let (mesh, publisher) = published(Mesh::builder(), |publish| {
        publish.cluster("users", members.clone()).unwrap();
    })
    .await;
    let told = Told::of(&mesh);
    let client = GreeterClient::new(mesh.client("users").unwrap());
    // The head is good, and a reply comes: it is the trailers that say how the call went.
    let failed = async |calls: usize| {
        let (mut client, mut failed) = (client.clone(), 0);
        for _ in 0..calls {
            let mut replies = client.count(HelloRequest::default()).await.unwrap().into_inner();
            replies.message().await.unwrap().unwrap();
            failed += usize::from(replies.message().await.is_err());
        }
        failed
    };
    let first = failed(60).await;
    assert!((1..=20).contains(&first), "{first} of 60");
    let all = told.take().await;
    assert!(all[0].starts_with(&format!("{} out: accrued failures", failing.address())), "{all:?}");
    // It drains: what it has is finished, and no more comes.
    let mut draining = Endpoint::new(drains.address());
    draining.health = Health::Draining;
    publisher.upsert_endpoints("users", vec![draining]).unwrap();
    let (drained, met_before) = (drains.requests(), failing.requests());
    let mut failures = 0;
    for flap in 0..6 {
        bad.store(flap % 2 == 0, Ordering::SeqCst);
        failures += failed(40).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(drains.requests(), drained, "one that drains gets nothing new");
    // Nothing is sent again after its first reply: what fails are probes, and the first of each flap.
    assert!((1..80).contains(&failures), "{failures} of 240");
    let met = failing.requests() - met_before;
    assert!(met < 40, "the failing one got {met} of 240 calls");
    let all = told.take().await;
    let of = |server: &Server, what: &str| {
        let name = format!("{} {what}", server.address());
        all.iter().filter(|it| it.starts_with(&name)).count()
    };
    assert!(of(&failing, "out") >= 2 && of(&failing, "back") == 0, "{all:#?}");
    assert!(of(&flaps, "out") >= 1 && of(&flaps, "back") >= 1, "{all:#?}");
    assert_eq!(of(&well, "out") + of(&slow, "out"), 0, "{all:#?}");
    assert!(slow.requests() > 10, "slow is not failing: {} calls", slow.requests());
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_ejected_for_it() {
    let well = Server::named("well").await;
    let (dead, _socket) = crate::support::dead_address();
    let mut rules = outliers();
    rules.split_local_origin = Some(true);
    rules.consecutive_local_origin_failure = Some(2);
    let mut members = cluster([well.address(), dead.clone()]);
    members.outlier_detection = Some(rules);
    members.transport.connect_backoff_base = Some(Duration::from_millis(1));
    members.transport.connect_backoff_max = Some(Duration::from_millis(2));
    members.balancer = Some(tower_mesh::config::Balancer::RoundRobin);
    let (mesh, _publisher) = published(Mesh::builder(), |publish| {
        publish.cluster("users", members).unwrap();
    })
    .await;
    let told = Told::of(&mesh);
    let client = mesh.client("users").unwrap();
    patience(async {
        loop {
            assert_eq!(fetch(&client, get("/")).await.unwrap().status(), StatusCode::OK);
            if let Some(first) = told.take().await.first() {
                let reason = EjectReason::ConsecutiveLocalOriginFailures;
                assert_eq!(first, &format!("{dead} out: {reason}, 30s"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_passes_ends_an_ejection_unless_the_rules_say_otherwise() {
    for uneject in [true, false] {
        let leaves = Leaves::new(2);
        let mut rules = outliers();
        rules.uneject_on_check = Some(uneject);
        let mut check = HealthCheck::http("/healthz");
        check.no_traffic_interval = Some(Duration::from_secs(1));
        check.interval = Some(Duration::from_secs(1));
        let mesh = leaves
            .mesh(|number, request| async move {
                let is_check = request.uri().path() == "/healthz";
                Ok(if number == 0 && !is_check { answer(500) } else { ok("hello") })
            })
            .service(SERVICE, |s| {
                let s = s.outlier_detection(rules).health_check(check);
                s.balancer(tower_mesh::config::Balancer::RoundRobin)
            })
            .build()
            .unwrap();
        let told = Told::of(&mesh);
        let client = mesh.client(SERVICE).unwrap();
        for _ in 0..2_000 {
            drop(fetch(&client, get("/")).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let all = told.take().await;
        assert!(all[0].contains("out: consecutive failures"), "{all:?}");
        let back = format!("back: {}", ReturnReason::Check);
        assert_eq!(all.iter().any(|it| it.contains(&back)), uneject, "{all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn suspects_and_what_a_source_says_are_told_of_once_each() {
    let (leaves, well) = (Leaves::new(3), Arc::new(AtomicBool::new(false)));
    let is_well = Arc::clone(&well);
    let addresses = leaves.addresses();
    let builder = leaves.leaves(Mesh::builder(), move |number, _| {
        let fails = number == 0 && !is_well.load(Ordering::SeqCst);
        async move { Ok(if fails { answer(500) } else { ok("hello") }) }
    });
    let said = |health: &[(usize, Health)]| {
        let mut cluster = cluster(addresses.clone());
        for (place, health) in health {
            cluster.endpoints[*place].health = *health;
        }
        cluster
    };
    let (mesh, publisher) = published(builder, |publish| {
        publish.cluster("users", said(&[])).unwrap();
    })
    .await;
    let mut events = mesh.events();
    let client = mesh.client("users").unwrap();
    let count = |name: &str, labels: &[(&str, &str)]| mesh.metrics().total(name, labels);
    let suspected = || count("mesh.client.endpoints.suspected", &[("mesh.cluster", "users")]);
    let mut told = move || {
        let mut told = Vec::new();
        while let Some(event) = events.try_recv() {
            match event {
                Event::EndpointSuspected { cluster, endpoint, .. } => {
                    told.push(format!("{cluster}: {endpoint} suspected"));
                }
                Event::EndpointTrusted { cluster, endpoint, .. } => {
                    told.push(format!("{cluster}: {endpoint} trusted"));
                }
                Event::EndpointMarked { cluster, endpoint, health, .. } => {
                    told.push(format!("{cluster}: {endpoint} {health}"));
                }
                _ => {}
            }
        }
        told
    };
    let calls = async |calls: u32| {
        for _ in 0..calls {
            drop(fetch(&client, get("/")).await);
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    };
    calls(1_000).await;
    assert_eq!(told(), ["users: 10.0.0.1:80 suspected"], "its probes fail, and tell nothing anew");
    assert_eq!((suspected(), standing(&mesh, "suspect")), (1.0, 1.0));
    well.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(300)).await;
    calls(1_000).await;
    assert_eq!(told(), ["users: 10.0.0.1:80 trusted"]);
    assert_eq!((suspected(), standing(&mesh, "suspect")), (1.0, 0.0));
    for (said, word) in [
        (said(&[(1, Health::Draining)]), "draining"),
        (said(&[(1, Health::Degraded)]), "degraded"),
        (said(&[(1, Health::Unhealthy)]), "unhealthy"),
        (said(&[(1, Health::Healthy)]), "healthy"),
    ] {
        let before = count("mesh.client.endpoints.marked", &[("mesh.endpoint.health", word)]);
        publisher.cluster("users", said.clone()).unwrap();
        publisher.cluster("users", said).unwrap();
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        assert_eq!(told(), [format!("users: 10.0.0.2:80 {word}")]);
        let after = count("mesh.client.endpoints.marked", &[("mesh.endpoint.health", word)]);
        assert_eq!(after - before, 1.0, "{word}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |edit: &dyn Fn(&mut OutlierDetection)| {
        let (mut cluster, mut rules) = (Cluster::default(), OutlierDetection::default());
        edit(&mut rules);
        cluster.outlier_detection = Some(rules);
        cluster.validate("users").map_err(|errors| errors.to_string())
    };
    refused(&|_| {}).unwrap();
    let errors = [
        refused(&|it| it.max_ejection_percent = Some(f64::NAN)),
        refused(&|it| it.max_ejection_percent = Some(101.0)),
        refused(&|it| it.enforcing_consecutive_5xx = Some(101)),
        refused(&|it| it.interval = Some(Duration::ZERO)),
        refused(&|it| it.max_ejection_time = Some(Duration::from_secs(1))),
        refused(&|it| {
            let mut accrual = FailureAccrual::default();
            accrual.success_ratio = Some(-0.1);
            it.accrual = Some(accrual);
        }),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(error.contains("clusters.users.outlier_detection."), "{error}");
        assert!(error.contains("must be"), "{error}");
    }
}
