//! What limits the attempts of a cluster that are in flight, and of them the retries: each for either
//! priority. Over real servers.
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
use http::{Request, StatusCode};
use tokio::sync::Semaphore;
use tower_mesh::{
    Body, Mesh, Refusal,
    config::{
        Breakers, Budget, CallPriority, InFlightBudget, Match, PathMatch, Retry, Route, Service,
        Thresholds, WeightedCluster,
    },
    discover::Static,
};

use crate::{
    slow::{Slow, breakers, cluster, is_refused, mesh, until},
    support::{
        Leaves, Recorder, Server, failures, fetch, get, leaf::answer, patience, reply, status,
        storm,
    },
};

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
