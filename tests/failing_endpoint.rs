//! One of five endpoints fails at once: it is no sinkhole. (tower's p2c with EWMA sends it 39 %.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use http::{Request, Response};
use tower_mesh::Body;

use support::{
    BoxError, Leaves, SERVICE, fetch,
    leaf::{answer, grpc, ok},
    post, storm,
};

const CALLS: usize = 3200;
const WIDTH: usize = 32;

async fn share_of_the_failing(
    seed: u64,
    healthy: fn() -> Response<Body>,
    failure: fn() -> Result<Response<Body>, BoxError>,
    request: fn() -> Request<Body>,
) -> usize {
    let leaves = Leaves::new(5);
    let mesh = leaves
        .mesh(move |number, _| async move {
            if number == 0 {
                return failure();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(healthy())
        })
        .seed(seed)
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(WIDTH, CALLS, |_| fetch(&client, request())).await;
    assert_eq!(leaves.total(), CALLS, "a POST is not retried: {:?}", leaves.all_hits());
    for healthy in 1..5 {
        let hits = leaves.hits(healthy);
        assert!((600..=1000).contains(&hits), "uneven: {:?}", leaves.all_hits());
    }
    leaves.hits(0)
}

fn create() -> Request<Body> {
    post("/", "x")
}

fn grpc_call() -> Request<Body> {
    let mut request = post("/helloworld.Greeter/SayHello", "");
    request
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/grpc"));
    request
}

#[tokio::test(start_paused = true)]
async fn status_503_gets_one_percent_at_most() {
    for seed in 1..=5 {
        let hits = share_of_the_failing(seed, || ok("hello"), || Ok(answer(503)), create).await;
        assert!(hits <= CALLS / 100, "seed {seed}: {hits} of {CALLS}");
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_unavailable_gets_one_percent_at_most() {
    for seed in 1..=5 {
        // INTERNAL: a failure of the endpoint that nobody retries.
        let hits = share_of_the_failing(seed, || grpc(0), || Ok(grpc(13)), grpc_call).await;
        assert!(hits <= CALLS / 100, "seed {seed}: {hits} of {CALLS}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_errs_gets_one_percent_at_most() {
    for seed in 1..=5 {
        let hits =
            share_of_the_failing(seed, || ok("hello"), || Err("broken".into()), create).await;
        assert!(hits <= CALLS / 100, "seed {seed}: {hits} of {CALLS}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_all_are_asked() {
    let leaves = Leaves::new(3);
    let mesh = leaves.mesh(|_, _| async { Ok(answer(503)) }).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..300 {
        assert_eq!(client.send(post("/", "x")).await.unwrap().status(), 503);
    }
    let hits = leaves.all_hits();
    assert!(hits.iter().all(|&hits| hits >= 30), "{hits:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_recovers_is_used_again() {
    let leaves = Leaves::new(2);
    let start = tokio::time::Instant::now();
    let mesh = leaves
        .mesh(move |number, _| async move {
            let failing = number == 0 && start.elapsed() < Duration::from_secs(5);
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(answer(if failing { 503 } else { 200 }))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    while start.elapsed() < Duration::from_secs(40) {
        storm(4, 100, |_| fetch(&client, post("/", "x"))).await;
    }
    leaves.reset();
    storm(4, 1000, |_| fetch(&client, post("/", "x"))).await;
    assert!(leaves.hits(0) >= 300, "{:?}", leaves.all_hits());
}
