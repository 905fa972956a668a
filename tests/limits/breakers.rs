//! What limits a cluster: connections, and attempts that wait for one; limits that shut it, and change; and shares
//! that are dropped. Over real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "numbers of metrics are whole"
)]

use std::time::Duration;

use http::Version;
use tower_mesh::{
    ErrorKind, Mesh, MeshBuilder, Refusal,
    config::{Balancer, Breakers, Cluster, DropOverload, Thresholds},
    discover::Static,
};

use crate::{
    slow::{Slow, breakers, cluster, is_refused, mesh, until},
    support::{
        Recorder, Server, VERSIONS, failures, fetch, get, over, patience, published, reply, storm,
    },
};

#[tokio::test]
async fn no_more_connections_are_made_than_the_cluster_may_have() {
    for version in VERSIONS {
        let slow = Slow::start().await;
        let mut cluster = cluster([&slow.server], breakers(|it| it.max_connections = Some(2)));
        // One stream per connection is asked for.
        cluster.transport.http2_streams_per_connection = Some(1);
        let (mesh, client) = mesh(cluster).await;
        let calls = async move { storm(12, 12, |_| fetch(&client, over(version, get("/")))).await };
        let calls = tokio::spawn(calls);
        let most = if version == Version::HTTP_2 { 12 } else { 2 };
        until(|| slow.server.requests() >= most).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(slow.server.connections() <= 2, "{version:?}: {}", slow.server.connections());
        let taken = [("mesh.breaker", "connections"), ("mesh.call.priority", "default")];
        let taken = mesh.metrics().total("mesh.client.breaker.taken", &taken);
        assert_eq!(taken as usize, slow.server.connections());
        slow.leave.add_permits(12);
        let answers = patience(calls).await.unwrap();
        assert_eq!(failures(&answers), Vec::<String>::new());
        assert!(slow.server.connections() <= 2);
    }
}

#[tokio::test]
async fn an_endpoint_without_a_connection_gets_one_whatever_the_limit() {
    for limits in [
        breakers(|it| it.max_connections = Some(1)),
        breakers(|it| it.max_connections = Some(0)),
        breakers(|it| it.max_connections_per_endpoint = Some(0)),
    ] {
        let servers =
            [Server::named("a").await, Server::named("b").await, Server::named("c").await];
        let (_mesh, client) = mesh(cluster(&servers, limits.clone())).await;
        let answers = patience(storm(6, 300, |_| fetch(&client, get("/")))).await;
        assert_eq!(failures(&answers), Vec::<String>::new(), "{limits:?}");
        for server in &servers {
            assert_eq!(server.connections(), 1, "{limits:?}");
        }
    }
}

/// Envoy, gRPC: by 0 whoever configures a cluster shuts it, and opens it again by another number.
#[tokio::test]
async fn a_limit_of_none_shuts_the_cluster_until_it_is_raised() {
    let server = Server::named("a").await;
    let (mesh, publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster("users", Cluster::default()).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    let limit = |edit: fn(&mut Breakers)| {
        publisher.cluster("users", cluster([&server], breakers(edit))).unwrap();
    };
    let call = |version| fetch(&client, over(version, get("/")));
    for version in VERSIONS {
        limit(|it| it.max_requests = Some(0));
        let error = call(version).await.unwrap_err();
        is_refused(&error, Refusal::MaxRequests, "UO");
        assert!(error.to_string().contains("maximum of 0 requests"), "{error}");
        // Nobody may wait for a connection, so that there is none.
        limit(|it| it.max_pending = Some(0));
        is_refused(&call(version).await.unwrap_err(), Refusal::MaxPending, "UO");
        assert_eq!((server.requests(), server.connections()), (0, 0));
    }
    limit(|it| (it.max_requests, it.max_pending) = (Some(1), Some(1)));
    assert_eq!(call(Version::HTTP_2).await.unwrap().body(), "a");
    // Who finds a connection waits for none, and a limit of calls of high priority is not the others'.
    limit(|it| {
        it.max_pending = Some(0);
        let mut high = Thresholds::default();
        high.max_requests = Some(0);
        it.high = Some(Box::new(high));
    });
    assert_eq!(call(Version::HTTP_2).await.unwrap().body(), "a");
}

#[tokio::test]
async fn no_endpoint_gets_more_connections_than_one_may_have() {
    let (a, b) = (Slow::start().await, Slow::start().await);
    let limits = breakers(|it| it.max_connections_per_endpoint = Some(3));
    let (_mesh, client) = mesh(cluster([&a.server, &b.server], limits)).await;
    let calls = tokio::spawn(async move { storm(40, 40, |_| fetch(&client, get("/"))).await });
    until(|| a.server.requests() + b.server.requests() >= 6).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((a.server.connections(), b.server.connections()), (3, 3));
    a.leave.add_permits(40);
    b.leave.add_permits(40);
    assert_eq!(failures(&patience(calls).await.unwrap()), Vec::<String>::new());
}

/// Room is the cluster's: who waits for some at one endpoint hears of what another gives back.
#[tokio::test]
async fn room_that_another_endpoint_gives_back_is_for_who_waits() {
    let (slow, quick) = (Slow::start().await, Server::named("quick").await);
    let limits = breakers(|it| it.max_connections = Some(2));
    let mut cluster = cluster([&slow.server, &quick], limits);
    cluster.balancer = Some(Balancer::RoundRobin);
    cluster.transport.idle_timeout = Some(Duration::from_millis(300));
    let (_mesh, client) = mesh(cluster).await;
    let calls: Vec<_> = (0..4).map(|_| tokio::spawn(fetch(&client, get("/")))).collect();
    // The one that is idle at its time makes room for the one that waits.
    until(|| slow.server.connections() == 2).await;
    slow.leave.add_permits(2);
    for call in calls {
        patience(call).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_ever_where_each_connection_ends_with_its_answer() {
    let server = Server::start(async |_| {
        let mut answer = reply("once");
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    });
    let server = server.await;
    let limits = breakers(|it| it.max_connections_per_endpoint = Some(2));
    let (_mesh, client) = mesh(cluster([&server], limits)).await;
    let answers = patience(storm(64, 2_000, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
}

#[tokio::test]
async fn an_attempt_too_many_that_waits_for_a_connection_fails_and_is_not_retried() {
    no_place_to_wait(Mesh::builder()).await;
}

#[tokio::test]
async fn behind_an_endpoint_layer_an_attempt_too_many_fails_as_well_and_blames_nobody() {
    no_place_to_wait(Mesh::builder().endpoint_layer(tower::layer::util::Identity::new())).await;
}

async fn no_place_to_wait(builder: MeshBuilder) {
    let slow = Slow::start().await;
    let limits = breakers(|it| {
        it.max_connections = Some(1);
        it.max_pending = Some(1);
    });
    let source = Static::default().cluster("users", cluster([&slow.server], limits));
    let mesh = builder.source(source).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let mut recorded = Recorder::of(&mesh);
    let first = tokio::spawn(fetch(&client, get("/")));
    until(|| slow.server.requests() == 1).await;
    let pending = || {
        let of = [("mesh.breaker", "pending")];
        mesh.metrics().total("mesh.client.breaker.taken", &of) as usize
    };
    assert_eq!(pending(), 0);
    let second = tokio::spawn(fetch(&client, get("/")));
    until(|| pending() == 1).await;
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    is_refused(&error, Refusal::MaxPending, "UO");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let said = error.to_string();
    assert!(said.contains("maximum of 1 attempts that wait for one"), "{said}");
    assert!(said.contains("its cluster is users"), "{said}");
    assert_eq!((recorded.take_retries(), recorded.refusals().len()), (0, 0));
    let refused = [("mesh.cluster", "users"), ("mesh.refusal", "max_pending")];
    assert_eq!(mesh.metrics().total("mesh.client.attempts.refused", &refused), 1.0);
    slow.leave.add_permits(2);
    for call in [first, second] {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "slow");
    }
    assert_eq!(pending(), 0);
}

#[tokio::test]
async fn a_changed_limit_holds_for_the_next_call_and_what_is_counted_stays() {
    let slow = Slow::start().await;
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    let say = |connections: u32, pending: u32| {
        let limits = breakers(|it| {
            it.max_connections = Some(connections);
            it.max_pending = Some(pending);
        });
        publisher.cluster("users", cluster([&slow.server], limits)).unwrap();
    };
    say(1, 1);
    let client = mesh.client("users").unwrap();
    let first = tokio::spawn(fetch(&client, get("/")));
    until(|| slow.server.requests() == 1).await;
    let second = tokio::spawn(fetch(&client, get("/")));
    let waiting = || {
        let of = [("mesh.breaker", "pending")];
        mesh.metrics().total("mesh.client.breaker.taken", &of)
    };
    until(|| waiting() == 1.0).await;
    // Another one may wait from now on, and the first that waits counts still.
    say(1, 2);
    let third = tokio::spawn(fetch(&client, get("/")));
    until(|| waiting() == 2.0).await;
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    is_refused(&error, Refusal::MaxPending, "UO");
    // There may be another connection; the one that is there counts still.
    say(2, 9);
    let fourth = tokio::spawn(fetch(&client, get("/")));
    until(|| slow.server.requests() == 2).await;
    assert_eq!(slow.server.connections(), 2);
    slow.leave.add_permits(4);
    for call in [first, second, third, fourth] {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "slow");
    }
    assert_eq!(slow.server.connections(), 2);
}

#[tokio::test]
async fn a_category_drops_its_share_of_the_calls_and_tells_so() {
    let server = Server::named("a").await;
    let mut cluster = cluster([&server], Breakers::default());
    let drop = |category: &str, percent| {
        let mut drop = DropOverload::default();
        (drop.category, drop.percent) = (category.to_owned(), percent);
        drop
    };
    cluster.drops = vec![drop("throttle", 25.0), drop("lb", 50.0)];
    let (mesh, client) = mesh(cluster).await;
    let mut recorded = Recorder::of(&mesh);
    let answers = patience(storm(8, 2_000, |_| fetch(&client, get("/")))).await;
    let (mut through, mut by) = (0, [0, 0]);
    for answer in &answers {
        let Err(error) = answer else {
            through += 1;
            continue;
        };
        is_refused(error, Refusal::Dropped, "DO");
        let said = error.to_string();
        by[usize::from(said.contains("category lb"))] += 1;
        assert!(said.contains("cluster users drops a share of its calls"), "{said}");
    }
    assert_eq!(through, server.requests());
    assert!((650..=850).contains(&through), "{through}");
    assert!((425..=575).contains(&by[0]) && (650..=850).contains(&by[1]), "{by:?}");
    let counted = |category| {
        let of = [("mesh.cluster", "users"), ("mesh.drop.category", category)];
        mesh.metrics().total("mesh.client.drops", &of) as usize
    };
    assert_eq!([counted("throttle"), counted("lb")], by);
    assert_eq!(recorded.retries(), Vec::<String>::new());
}

#[tokio::test]
async fn what_means_nothing_here_is_refused_by_name() {
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    let server = Server::named("a").await;
    let refusal = |limits: Breakers, drops: &[(&str, f64)]| {
        let mut cluster = cluster([&server], limits);
        cluster.drops = drops
            .iter()
            .map(|(category, percent)| {
                let mut drop = DropOverload::default();
                (drop.category, drop.percent) = ((*category).to_owned(), *percent);
                drop
            })
            .collect();
        publisher.cluster("users", cluster).unwrap_err().to_string()
    };
    let said = refusal(breakers(|it| it.max_pools = Some(3)), &[]);
    assert!(said.contains("breakers.max_pools = 3") && said.contains("`subsetting`"), "{said}");
    let pools = |it: &mut Breakers| {
        let mut high = Thresholds::default();
        high.max_pools = Some(0);
        it.high = Some(Box::new(high));
    };
    let said = refusal(breakers(pools), &[]);
    assert!(said.contains("breakers.high.max_pools = 0"), "{said}");
    let said = refusal(breakers(|it| it.shared = Some(String::new())), &[]);
    assert!(said.contains("breakers.shared = \"\": must not be empty"), "{said}");
    for (drops, wanted) in [
        (vec![("", 1.0)], "drops[0].category"),
        (vec![("a", 1.0), ("a", 2.0)], "drops[1].category = a: is listed twice"),
        (vec![("a", 101.0)], "drops[0].percent = 101"),
        (vec![("a", f64::NAN)], "drops[0].percent = NaN"),
    ] {
        let said = refusal(Breakers::default(), &drops);
        assert!(said.contains(wanted), "{said}");
    }
    drop(mesh);
}
