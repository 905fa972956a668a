//! How requests are shared out: 500 of them, within five points, as the suite has it.

use std::collections::BTreeMap;

use crate::echo::{World, get, grpc, world};

const REQUESTS: u32 = 500;
const POINTS: f64 = 5.0;

/// Where the requests went; an answer of nobody is its status.
async fn shares(world: &World, is_grpc: bool) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::<String, u32>::new();
    for _ in 0..REQUESTS {
        let request = if is_grpc { grpc("/echo.GrpcEcho/Echo", &[]) } else { get("/", &[]) };
        let seen = world.ask(request).await.unwrap();
        let backend = seen.backend();
        let whom = if backend.is_empty() {
            seen.answered("grpc-status").unwrap_or_else(|| seen.status().as_u16().to_string())
        } else {
            backend
        };
        *counts.entry(whom).or_default() += 1;
    }
    let percent = |count| f64::from(count) * 100.0 / f64::from(REQUESTS);
    counts.into_iter().map(|(whom, count)| (whom, percent(count))).collect()
}

fn check(shares: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (whom, percent) in expected {
        let share = shares.get(*whom).copied().unwrap_or_default();
        assert!((share - percent).abs() <= POINTS, "{whom}: {share} % of {percent} %, {shares:?}");
    }
    let others = shares.keys().filter(|whom| !expected.iter().any(|(known, _)| known == whom));
    assert_eq!(others.count(), 0, "{shares:?}");
}

// MeshHTTPRouteWeight.
#[tokio::test]
async fn seventy_to_thirty() {
    let world = world(
        "  echo: {routes: [{clusters: [{name: echo-v1, weight: 70}, {name: echo-v2, weight: 30}]}]}\n",
    )
    .await;
    check(&shares(&world, false).await, &[("echo-v1", 70.0), ("echo-v2", 30.0)]);
}

// MeshGRPCRouteWeight, GRPCRouteWeight: who has the weight 0 gets nothing.
#[tokio::test]
async fn seventy_to_thirty_to_nothing() {
    let world = world(
        "  echo:
    routes:
      - matches: [{grpc: {}}]
        clusters:
          - {name: echo-v1, weight: 70}
          - {name: echo-v2, weight: 30}
          - {name: echo-v3, weight: 0}
",
    )
    .await;
    check(&shares(&world, true).await, &[("echo-v1", 70.0), ("echo-v2", 30.0)]);
}

// HTTPRouteInvalidBackendRefUnknownKind, -Nonexistent: 500, in proportion to the weight.
#[tokio::test]
async fn invalid_backends_answer_500_in_proportion() {
    let services = "  echo:
    routes:
      - clusters:
          - {name: echo-v1, weight: 60}
          - {name: nothing, weight: 40, invalid: \"kind Unknown is not supported\"}
";
    let world = world(services).await;
    check(&shares(&world, false).await, &[("echo-v1", 60.0), ("500", 40.0)]);
    // A gRPC caller gets UNAVAILABLE.
    check(&shares(&world, true).await, &[("echo-v1", 60.0), ("14", 40.0)]);
}

#[tokio::test]
async fn a_route_of_invalid_backends_alone_answers_500() {
    let world = world(
        "  echo: {routes: [{clusters: [{name: nothing, invalid: \"it does not exist\"}]}]}\n",
    )
    .await;
    assert_eq!(world.ask(get("/", &[])).await.unwrap().status(), 500);
}
