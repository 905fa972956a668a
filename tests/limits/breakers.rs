//! What limits a cluster: connections, attempts that wait for one, attempts in flight, each for either
//! priority; and shares that are dropped. Over real servers.
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

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{Request, StatusCode, Version};
use tokio::sync::Semaphore;
use tower_mesh::{
    Body, Client, Error, ErrorKind, Mesh, MeshBuilder, Refusal,
    config::{
        Balancer, Breakers, Budget, CallPriority, Cluster, DropOverload, Endpoint, InFlightBudget,
        Match, PathMatch, Retry, Route, Service, Thresholds, WeightedCluster,
    },
    discover::Static,
};

use crate::support::{
    Leaves, Recorder, Server, VERSIONS, failures, fetch, get, leaf::answer, over, patience,
    published, reply, status, storm,
};

/// A server whose answers wait for leave.
struct Slow {
    server: Server,
    leave: Arc<Semaphore>,
}

impl Slow {
    async fn start() -> Self {
        let leave = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&leave);
        let server = Server::start(move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                reply("slow")
            }
        });
        Self { server: server.await, leave }
    }
}

fn cluster<'a>(servers: impl IntoIterator<Item = &'a Server>, breakers: Breakers) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints =
        servers.into_iter().map(|server| Endpoint::from(server.address())).collect();
    cluster.breakers = Some(breakers);
    cluster
}

fn breakers(edit: impl FnOnce(&mut Breakers)) -> Breakers {
    let mut breakers = Breakers::default();
    edit(&mut breakers);
    breakers
}

async fn mesh(cluster: Cluster) -> (Mesh, Client) {
    let mesh = Mesh::builder().source(Static::default().cluster("users", cluster)).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

/// Waits until it holds.
async fn until(what: impl Fn() -> bool) {
    patience(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn is_refused(error: &Error, why: Refusal, flag: &str) {
    assert_eq!((error.refusal(), error.response_flag()), (Some(why), flag), "{error}");
}

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

#[tokio::test]
async fn clusters_that_share_a_count_are_full_together_each_by_its_own_limit() {
    let slow = Slow::start().await;
    let limited = |most| {
        breakers(|it| (it.max_requests, it.shared) = (Some(most), Some("these alone".into())))
    };
    let (_mesh, two) = mesh(cluster([&slow.server], limited(2))).await;
    let (_other, three) = mesh(cluster([&slow.server], limited(3))).await;
    let (_apart, alone) =
        mesh(cluster([&slow.server], breakers(|it| it.max_requests = Some(1)))).await;
    let mut calls: Vec<_> =
        [&two, &three, &alone].map(|client| tokio::spawn(fetch(client, get("/")))).into();
    until(|| slow.server.requests() == 3).await;
    is_refused(&fetch(&two, get("/")).await.unwrap_err(), Refusal::MaxRequests, "UO");
    calls.push(tokio::spawn(fetch(&three, get("/"))));
    until(|| slow.server.requests() == 4).await;
    is_refused(&fetch(&three, get("/")).await.unwrap_err(), Refusal::MaxRequests, "UO");
    slow.leave.add_permits(4);
    for call in calls {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "slow");
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
async fn a_retry_that_a_limit_refuses_costs_the_budget_nothing() {
    let leave = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&leave);
    let server = Server::start(move |request| {
        let gate = Arc::clone(&gate);
        async move {
            if request.uri().path() == "/fails" {
                return status(StatusCode::SERVICE_UNAVAILABLE);
            }
            gate.acquire().await.unwrap().forget();
            reply("slow")
        }
    })
    .await;
    let source = Static::default()
        .cluster("users", cluster([&server], breakers(|it| it.max_requests = Some(1))));
    let mut service = Service::default();
    let mut retry = Retry::standard();
    // It waits for its second attempt, and another call takes its place meanwhile.
    (retry.backoff_base, retry.backoff_max) =
        (Some(Duration::from_millis(400)), Some(Duration::from_millis(400)));
    let mut budget = Budget::default();
    (budget.ratio, budget.min_per_second) = (1.0, 0);
    (retry.budget, service.policy.retry) = (Some(budget), None);
    service.policy.retry = Some(retry);
    let mesh = Mesh::builder().source(source.service("users", service)).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let balance = || mesh.metrics().total("mesh.client.retry_budget.balance", &[]);
    let mut recorded = Recorder::of(&mesh);
    let failing = tokio::spawn(fetch(&client, get("/fails")));
    patience(async {
        while recorded.retries().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(balance(), 0.0);
    let slow = tokio::spawn(fetch(&client, get("/")));
    until(|| server.requests() == 2).await;
    let error = patience(failing).await.unwrap().unwrap_err();
    is_refused(&error, Refusal::MaxRequests, "UO");
    // That of its own call, and that of the other one.
    assert_eq!(balance(), 2.0);
    leave.add_permits(1);
    patience(slow).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_its_cluster_refuses_pays_nothing_in() {
    let slow = Slow::start().await;
    let limits = breakers(|it| it.max_requests = Some(1));
    let source = Static::default().cluster("users", cluster([&slow.server], limits));
    let mut service = Service::default();
    let mut budget = Budget::default();
    (budget.ratio, budget.min_per_second) = (1.0, 0);
    service.policy.retry = Some(Retry::standard().budget(budget));
    let mesh = Mesh::builder().source(source.service("users", service)).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let balance = || mesh.metrics().total("mesh.client.retry_budget.balance", &[]);
    let one = tokio::spawn(fetch(&client, get("/")));
    until(|| slow.server.requests() == 1).await;
    for answer in patience(storm(2, 10, |_| fetch(&client, get("/")))).await {
        is_refused(&answer.unwrap_err(), Refusal::MaxRequests, "UO");
    }
    // That of the call that was let in.
    assert_eq!(balance(), 1.0);
    slow.leave.add_permits(1);
    patience(one).await.unwrap().unwrap();
}

/// `/high` is of high priority, everything else is not.
fn service() -> Service {
    let route = |path: &str| {
        let mut route = Route::default();
        let mut rule = Match::default();
        rule.path = Some(PathMatch::Prefix(path.into()));
        (route.matches, route.clusters) = (vec![rule], vec![WeightedCluster::new("users")]);
        route
    };
    let (mut high, rest) = (route("/high"), route("/"));
    high.policy.priority = Some(CallPriority::High);
    let mut service = Service::default();
    service.routes = vec![high, rest];
    service
}

#[tokio::test]
async fn calls_of_high_priority_have_limits_of_their_own() {
    let slow = Slow::start().await;
    let limits = breakers(|it| {
        it.max_requests = Some(2);
        let mut high = Thresholds::default();
        high.max_requests = Some(1);
        it.high = Some(Box::new(high));
    });
    let source = Static::default().cluster("users", cluster([&slow.server], limits));
    let mesh = Mesh::builder().source(source.service("users", service())).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let taken = |priority: &str| {
        let of = [("mesh.breaker", "requests"), ("mesh.call.priority", priority)];
        mesh.metrics().total("mesh.client.breaker.taken", &of) as usize
    };
    let two: Vec<_> = (0..2).map(|_| tokio::spawn(fetch(&client, get("/")))).collect();
    until(|| taken("default") == 2).await;
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    is_refused(&error, Refusal::MaxRequests, "UO");
    assert!(error.to_string().contains("(`breakers.max_requests`)"), "{error}");
    // Those of high priority are let in, as many as may.
    let high = tokio::spawn(fetch(&client, get("/high")));
    until(|| taken("high") == 1).await;
    let error = patience(fetch(&client, get("/high"))).await.unwrap_err();
    is_refused(&error, Refusal::MaxRequests, "UO");
    assert!(error.to_string().contains("1 requests in flight (`breakers.high.max_requests`)"));
    let explained = mesh.explain(&get("http://users/high")).unwrap().to_string();
    assert!(explained.contains("`breakers.high.max_requests`"), "{explained}");
    slow.leave.add_permits(3);
    for call in two.into_iter().chain([high]) {
        assert_eq!(patience(call).await.unwrap().unwrap().status(), StatusCode::OK);
    }
    until(|| taken("default") + taken("high") == 0).await;
    let limit = [("mesh.call.priority", "default")];
    assert_eq!(mesh.metrics().total("mesh.client.breaker.limit", &limit), 2.0);
    let described = mesh.describe().to_string();
    assert!(described.contains("breakers.high.max_requests"), "{described}");
}

#[tokio::test]
async fn without_limits_of_its_own_high_priority_has_none() {
    let slow = Slow::start().await;
    let limits = breakers(|it| it.max_requests = Some(1));
    let source = Static::default().cluster("users", cluster([&slow.server], limits));
    let mesh = Mesh::builder().source(source.service("users", service())).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let calls = tokio::spawn(async move { storm(9, 9, |_| fetch(&client, get("/high"))).await });
    until(|| slow.server.requests() == 9).await;
    slow.leave.add_permits(9);
    assert_eq!(failures(&patience(calls).await.unwrap()), Vec::<String>::new());
}

/// Of so many calls of each priority, all of which fail at the same time, those that are retried.
async fn retried(breakers: Breakers, [usual, high]: [usize; 2]) -> [usize; 2] {
    let leaves = Leaves::new(3);
    let builder = leaves.leaves(Mesh::builder().seed(7), |_, request: Request<Body>| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let is_retry = request.headers().contains_key("x-mesh-attempt");
        Ok(answer(if is_retry { 200 } else { 503 }))
    });
    let mut cluster = crate::support::cluster(leaves.addresses());
    cluster.breakers = Some(breakers);
    let mut service = service();
    let soon = Duration::from_millis(1);
    service.policy.retry = Some(Retry::standard().backoff(soon, soon));
    let source = Static::default().cluster("users", cluster).service("users", service);
    let mesh = builder.source(source).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let calls = |path, count: usize| join_all((0..count).map(|_| client.send(get(path))));
    let (usual, high) = tokio::join!(calls("/", usual), calls("/high", high));
    [usual, high].map(|answers| {
        answers.into_iter().filter(|it| it.as_ref().unwrap().status() == StatusCode::OK).count()
    })
}

/// What limits the retries of one priority.
#[derive(Default)]
struct OfRetries {
    number: Option<u32>,
    share: Option<Box<InFlightBudget>>,
}

/// What limits either priority, the calls of each, and how many of them are retried.
type Case = (OfRetries, OfRetries, [usize; 2], [RangeInclusive<usize>; 2]);

fn number(most: u32) -> OfRetries {
    OfRetries { number: Some(most), share: None }
}

fn share(percent: u32, least: u32) -> OfRetries {
    let mut budget = InFlightBudget::default();
    (budget.percent, budget.min_concurrency) = (Some(percent), Some(least));
    OfRetries { number: None, share: Some(Box::new(budget)) }
}

#[tokio::test(start_paused = true)]
async fn retries_are_limited_by_what_is_said_of_their_own_priority() {
    let none = OfRetries::default;
    let exactly = |usual: usize, high: usize| [usual..=usual, high..=high];
    let cases: [Case; 8] = [
        (number(2), number(5), [20, 20], exactly(2, 5)),
        (number(5), number(2), [20, 20], exactly(5, 2)),
        // What has no such limit has its tokens, which are enough for these.
        (number(2), none(), [20, 20], exactly(2, 20)),
        (none(), number(2), [20, 20], exactly(20, 2)),
        (share(0, 3), share(0, 7), [20, 20], exactly(3, 7)),
        (share(0, 7), number(0), [20, 20], exactly(7, 0)),
        // A share is one of what is in flight of its own priority.
        (share(0, 0), share(50, 0), [1, 40], [0..=0, 10..=20]),
        (share(50, 0), share(50, 0), [40, 1], [10..=20, 0..=0]),
    ];
    for (row, (usual, high, calls, expected)) in cases.into_iter().enumerate() {
        let limits = breakers(|it| {
            (it.max_retries, it.retry_budget) = (usual.number, usual.share);
            let mut thresholds = Thresholds::default();
            (thresholds.max_retries, thresholds.retry_budget) = (high.number, high.share);
            it.high = Some(Box::new(thresholds));
        });
        let retried = retried(limits, calls).await;
        for (retried, expected) in retried.into_iter().zip(expected) {
            assert!(expected.contains(&retried), "row {row}: {retried} and not {expected:?}");
        }
    }
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
