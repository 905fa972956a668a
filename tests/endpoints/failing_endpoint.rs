//! One of five endpoints fails at once: it is no sinkhole. (tower's p2c with EWMA sends it 39 %.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http::{Request, Response};
use tower_mesh::{Body, Mesh, Retry};

use crate::support::{
    BoxError, GreeterClient, HelloRequest, Leaves, SERVICE, Server, fetch, hello,
    leaf::{answer, grpc, ok},
    post, small_steps, storm,
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
async fn a_grpc_failure_gets_one_percent_at_most() {
    for seed in 1..=5 {
        let hits = share_of_the_failing(seed, || grpc(0), || Ok(grpc(14)), grpc_call).await;
        assert!(hits <= CALLS / 100, "UNAVAILABLE, seed {seed}: {hits} of {CALLS}");
        let hits = share_of_the_failing(seed, || grpc(0), || Ok(grpc(13)), grpc_call).await;
        assert!(hits <= CALLS / 100, "INTERNAL, seed {seed}: {hits} of {CALLS}");
        let hits = share_of_the_failing(seed, || grpc(0), || Ok(grpc(2)), grpc_call).await;
        assert!(hits <= CALLS / 100, "UNKNOWN, seed {seed}: {hits} of {CALLS}");
    }
}

/// Over sockets, in paused time: what they take is not counted, and a busy machine is no slower.
#[tokio::test(start_paused = true)]
async fn over_sockets_grpc_unavailable_gets_one_percent_at_most_and_its_calls_are_made_elsewhere() {
    small_steps();
    let server = async |fails: bool| {
        Server::grpc(hello(move |_| async move {
            if fails {
                return Err(tonic::Status::unavailable("out of order"));
            }
            // So that what a socket takes is little beside it.
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok("hello".into())
        }))
        .await
    };
    for seed in 1..=3 {
        let failing = server(true).await;
        let healthy =
            [server(false).await, server(false).await, server(false).await, server(false).await];
        let endpoints = healthy.iter().chain([&failing]).map(Server::address);
        let mesh = Mesh::builder()
            .endpoints("greeter.prod", endpoints)
            .service("greeter.prod", |s| s.retry(Retry::idempotent()))
            .seed(seed)
            .build()
            .unwrap();
        let client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
        let answers = storm(WIDTH, CALLS, |_| {
            let mut client = client.clone();
            async move { client.say_hello(HelloRequest::default()).await }
        })
        .await;
        let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "seed {seed}: {} failed: {:?}", failed.len(), failed[0]);
        let hits = failing.requests();
        assert!((1..=CALLS / 100).contains(&hits), "seed {seed}: {hits} of {CALLS}");
        for healthy in healthy {
            let hits = healthy.requests();
            assert!(hits >= CALLS / 8, "seed {seed}: {hits} of {CALLS}");
        }
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
