//! Clusters that take over from others, over real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use tower_mesh::{
    ErrorKind, Event, Mesh, Refusal,
    config::{
        Balancer, Balancing, Breakers, Cluster, ClusterSecurity, Endpoint, Failover, Health,
        HealthCheck, RingHash, SecurityMode, Service,
    },
    discover::Static,
};

use crate::support::{
    Recorder, Server, dead_address, failures, fetch, get, patience, published, reply, status, storm,
};

/// A cluster of these endpoints from which those others take over.
fn cluster(endpoints: impl IntoIterator<Item = Endpoint>, others: &[&str]) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = endpoints.into_iter().collect();
    cluster.transport.connect_backoff_max = Some(Duration::from_millis(200));
    if !others.is_empty() {
        let mut failover = Failover::default();
        failover.clusters = others.iter().map(|name| (*name).to_owned()).collect();
        cluster.failover = Some(failover);
    }
    cluster
}

fn of(server: &Server) -> Endpoint {
    Endpoint::from(server.address())
}

/// A mesh of these clusters, the first of which the service `users` calls.
async fn mesh(clusters: impl IntoIterator<Item = (&'static str, Cluster)>) -> Mesh {
    let mut source = Static::default();
    let mut first = None;
    for (name, cluster) in clusters {
        first = first.or(Some(name));
        source = source.cluster(name, cluster);
    }
    let mut service = Service::default();
    service.cluster = first.map(str::to_owned);
    let mesh = Mesh::builder().source(source.service("users", service)).build().unwrap();
    mesh.ready().await.unwrap();
    mesh
}

/// So many calls, ten at a time: who answered how many. None may fail.
async fn calls(mesh: &Mesh, total: usize) -> BTreeMap<String, usize> {
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(10, total, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
    let mut who = BTreeMap::new();
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let name = String::from_utf8(answer.into_body().to_vec()).unwrap();
        *who.entry(name).or_default() += 1;
    }
    who
}

async fn names(mesh: &Mesh) -> Vec<String> {
    calls(mesh, 100).await.into_keys().collect()
}

/// Waits until all calls meet these.
async fn until(mesh: &Mesh, wanted: &[&str]) {
    let met = async {
        while names(mesh).await != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Suspects are probed at intervals that double, up to 30 s.
    tokio::time::timeout(Duration::from_secs(40), met).await.expect("they are not called");
}

#[tokio::test]
async fn when_the_first_cluster_dies_the_next_takes_over_and_no_call_fails() {
    let with_a_plan = |mut cluster: Cluster| {
        cluster.balancing = Some(Balancing::default());
        cluster
    };
    let by_hash = |mut cluster: Cluster| {
        cluster.balancer = Some(Balancer::RingHash(RingHash::default()));
        cluster
    };
    let plain = |cluster: Cluster| cluster;
    let kinds: [&dyn Fn(Cluster) -> Cluster; 3] = [&plain, &with_a_plan, &by_hash];
    for kind in kinds {
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        let c = Server::named("c").await;
        let (at_a, at_b) = (a.socket(), b.socket());
        let first = kind(cluster([of(&a), of(&b)], &["second"]));
        let mesh = mesh([("first", first), ("second", cluster([of(&c)], &[]))]).await;
        assert_eq!(names(&mesh).await, ["a", "b"]);

        // One of two is enough.
        a.kill().await;
        until(&mesh, &["b"]).await;

        // The other one dies while calls come.
        let client = mesh.client("users").unwrap();
        let under_way =
            tokio::spawn(async move { storm(10, 2_000, |_| fetch(&client, get("/"))).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        b.kill().await;
        let answers = patience(under_way).await.unwrap();
        assert_eq!(failures(&answers), Vec::<String>::new());
        assert_eq!(names(&mesh).await, ["c"]);

        // They return.
        let _a = Server::start_at(at_a, |_| async { reply("a") }).await;
        let _b = Server::start_at(at_b, |_| async { reply("b") }).await;
        until(&mesh, &["a", "b"]).await;
    }
}

#[tokio::test]
async fn a_cluster_without_endpoints_is_the_order_of_its_others() {
    let (b, c) = (Server::named("b").await, Server::named("c").await);
    let (dead, _held) = dead_address();
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster("users", cluster([], &["One", "two", "three"])).unwrap();
        publisher.cluster("one", cluster([dead.into()], &[])).unwrap();
        publisher.cluster("two", cluster([of(&b)], &[])).unwrap();
        publisher.cluster("three", cluster([of(&c)], &[])).unwrap();
    })
    .await;
    assert_eq!(names(&mesh).await, ["b"]);
    let described = mesh.describe().to_string();
    assert!(described.contains("failover = One, two, three"), "{described}");
    // Another order, while calls come.
    publisher.cluster("users", cluster([], &["three", "two"])).unwrap();
    assert_eq!(names(&mesh).await, ["c"]);
    // None.
    publisher.cluster("users", cluster([], &[])).unwrap();
    let error = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoEndpoints);
}

#[tokio::test]
async fn endpoints_that_fail_or_whose_checks_do_are_left_for_the_other_cluster() {
    let ill = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&ill);
    let a = Server::start(move |request| {
        let (ill, is_check) = (says.load(Relaxed), request.uri().path() == "/healthz");
        async move {
            if ill {
                status(StatusCode::SERVICE_UNAVAILABLE)
            } else {
                reply(if is_check { "" } else { "a" })
            }
        }
    })
    .await;
    let b = Server::named("b").await;
    for is_checked in [false, true] {
        let mut first = cluster([of(&a)], &["second"]);
        if is_checked {
            let mut check = HealthCheck::http("/healthz");
            let interval = Some(Duration::from_millis(20));
            (check.interval, check.no_traffic_interval) = (interval, interval);
            first.health_checks = vec![check];
        }
        let mesh = mesh([("first", first), ("second", cluster([of(&b)], &[]))]).await;
        until(&mesh, &["a"]).await;
        ill.store(true, Relaxed);
        until(&mesh, &["b"]).await;
        ill.store(false, Relaxed);
        until(&mesh, &["a"]).await;
    }
}

#[tokio::test]
async fn when_nothing_works_anywhere_the_first_with_an_endpoint_is_called() {
    let fails = |name: &'static str| {
        Server::start(move |_| async move {
            let mut reply = reply(name);
            *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            reply
        })
    };
    let (a, b) = (fails("a").await, fails("b").await);
    let clusters = [("first", cluster([of(&a)], &["second"])), ("second", cluster([of(&b)], &[]))];
    let mesh = mesh(clusters).await;
    let client = mesh.client("users").unwrap();
    let mut last = String::new();
    for _ in 0..50 {
        let answer = patience(fetch(&client, get("/"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        last = String::from_utf8(answer.into_body().to_vec()).unwrap();
    }
    assert_eq!(last, "a");
    assert!(b.requests() > 0, "the other one was not tried");
    assert!(b.requests() < 40, "{} calls to one that fails, too", b.requests());
}

#[tokio::test]
async fn two_clusters_take_over_from_each_other_under_their_own_limits() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let mut second = cluster([of(&b)], &["first"]);
    let mut breakers = Breakers::default();
    breakers.max_requests = Some(1);
    second.breakers = Some(breakers);
    let mesh = mesh([("first", cluster([of(&a)], &["second"])), ("second", second)]).await;
    assert_eq!(names(&mesh).await, ["a"]);
    a.kill().await;
    let client = mesh.client("users").unwrap();
    let alone = patience(fetch(&client, get("/"))).await.unwrap();
    assert_eq!(alone.body(), "b");
    let held = patience(client.send(get("/"))).await.unwrap();
    let refused = patience(fetch(&client, get("/"))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    assert!(refused.to_string().contains("cluster second has its maximum of 1"), "{refused}");
    drop(held);
}

#[tokio::test]
async fn a_cluster_that_is_full_refuses_what_it_could_serve_and_leaves_the_rest_to_the_next() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    let first = |endpoint: Endpoint| {
        let mut first = cluster([endpoint], &["second"]);
        let mut breakers = Breakers::default();
        breakers.max_requests = Some(1);
        first.breakers = Some(breakers);
        publisher.cluster("users", first).unwrap();
    };
    publisher.cluster("second", cluster([of(&b)], &[])).unwrap();
    first(of(&a));
    let client = mesh.client("users").unwrap();
    let held = patience(client.send(get("/"))).await.unwrap();
    let refused = patience(fetch(&client, get("/"))).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::MaxRequests), "{refused}");
    // It has no endpoint for the call any more: its limit is nobody's concern.
    let mut draining = of(&a);
    draining.health = Health::Draining;
    first(draining);
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "b");
    drop(held);
}

#[tokio::test]
async fn clusters_that_nobody_defines_are_reported_and_used_when_they_come() {
    let b = Server::named("b").await;
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    publisher.cluster("users", cluster([], &["backup"])).unwrap();
    let mut recorded = Recorder::of(&mesh);
    let reports = |mesh: &Mesh| mesh.describe().to_string().contains("names cluster `backup`");
    assert!(reports(&mesh), "{}", mesh.describe());
    let error = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoEndpoints);
    assert!(error.to_string().contains("those that take over from it: backup"), "{error}");
    publisher.cluster("backup", cluster([of(&b)], &[])).unwrap();
    assert_eq!(names(&mesh).await, ["b"]);
    assert!(!reports(&mesh), "{}", mesh.describe());
    // It goes, and comes again.
    publisher.remove_cluster("backup");
    assert!(fetch(&mesh.client("users").unwrap(), get("/")).await.is_err());
    assert!(recorded.refused().iter().any(|it| it.starts_with("failover of cluster users")));
    publisher.cluster("backup", cluster([of(&b)], &[])).unwrap();
    assert_eq!(names(&mesh).await, ["b"]);

    // What cannot be is refused by its name, and what was there stays.
    for (others, wanted) in [
        (vec!["users"], "failover.clusters[0] = users: a cluster does not take over from itself"),
        (vec!["b", "B"], "failover.clusters[1] = B: is listed twice"),
        (vec![""], "failover.clusters[0] = : the name must not be empty"),
    ] {
        let errors = publisher.cluster("users", cluster([], &others)).unwrap_err().to_string();
        assert!(errors.contains(wanted), "{errors}");
        assert_eq!(names(&mesh).await, ["b"]);
    }
}

#[tokio::test]
async fn a_call_whose_clusters_are_all_down_makes_no_attempts_without_end() {
    let ((dead, _held), (other, _too)) = (dead_address(), dead_address());
    let slow = |mut cluster: Cluster| {
        cluster.transport.connect_backoff_max = Some(Duration::from_secs(60));
        cluster
    };
    let clusters = [
        ("first", slow(cluster([dead.into()], &["second"]))),
        ("second", slow(cluster([other.into()], &[]))),
    ];
    let mesh = mesh(clusters).await;
    let client = mesh.client("users").unwrap();
    for _ in 0..10 {
        let mut events = Recorder::of(&mesh);
        patience(fetch(&client, get("/"))).await.unwrap_err();
        let attempts = events.count(|it| matches!(it, Event::AttemptStarted { .. }));
        assert!((1..=4).contains(&attempts), "{attempts} attempts");
    }
}

#[tokio::test]
async fn a_cluster_in_clear_by_default_does_not_take_over_from_one_that_is_secured() {
    let (b, (dead, _held)) = (Server::named("b").await, dead_address());
    let secured = |endpoints: Vec<Endpoint>| {
        let mut cluster = cluster(endpoints, &["second"]);
        let mut security = ClusterSecurity::default();
        (security.mode, security.system_roots) = (Some(SecurityMode::Tls), Some(true));
        cluster.security = Some(security);
        cluster
    };
    for endpoints in [vec![], vec![dead.into()]] {
        let is_empty = endpoints.is_empty();
        let second = cluster([of(&b)], &[]);
        let mesh = mesh([("first", secured(endpoints.clone())), ("second", second)]).await;
        let client = mesh.client("users").unwrap();
        for _ in 0..3 {
            let error = patience(fetch(&client, get("/"))).await.unwrap_err().to_string();
            let wanted = "cluster second does not take over: its connections are plaintext";
            assert!(!is_empty || error.contains(wanted), "{error}");
        }
        assert_eq!(b.requests(), 0);
        // Nor is it said that it would.
        let explained = mesh.explain(&get("http://users/")).unwrap();
        let [explained] = &*explained.clusters else { panic!() };
        assert_ne!(explained.taken_by.as_deref(), Some("second"));
        let why = explained.failover[0].fails.as_deref().unwrap();
        assert!(why.contains("cluster second does not take over"), "{why}");
    }
    // Somebody has said that it may be.
    let mut off = ClusterSecurity::default();
    off.mode = Some(SecurityMode::Off);
    let mut second = cluster([of(&b)], &[]);
    second.security = Some(off);
    let mesh = mesh([("first", secured(Vec::new())), ("second", second)]).await;
    assert_eq!(names(&mesh).await, ["b"]);
}
