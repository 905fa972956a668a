//! A server of 1 ms beside one of 50 ms: the fast one gets the work. (tonic: 50 %.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_mesh::{Mesh, config, discover::Static};

use crate::support::{
    GreeterClient, HelloRequest, Leaves, Pipes, SERVICE, Server, fetch, hello, leaf::ok, post,
    small_steps, storm,
};

const CALLS: usize = 3200;
const WIDTH: usize = 32;

fn delay(number: usize) -> Duration {
    Duration::from_millis(if number == 0 { 1 } else { 50 })
}

#[tokio::test(start_paused = true)]
async fn the_fast_one_takes_nine_of_ten() {
    for seed in 1..=5 {
        let leaves = Leaves::new(2);
        let mesh = leaves
            .mesh(|number, _| async move {
                tokio::time::sleep(delay(number)).await;
                Ok(ok("hello"))
            })
            .seed(seed)
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        let start = tokio::time::Instant::now();
        storm(WIDTH, CALLS, |_| fetch(&client, post("/", "x"))).await;
        assert!(leaves.hits(0) * 10 >= CALLS * 9, "seed {seed}: {:?}", leaves.all_hits());
        // Half and half takes 2.5 s.
        assert!(start.elapsed() < Duration::from_secs(1), "seed {seed}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn least_request_prefers_it_too() {
    let leaves = Leaves::new(2);
    let mesh = leaves
        .mesh(|number, _| async move {
            tokio::time::sleep(delay(number)).await;
            Ok(ok("hello"))
        })
        .service(SERVICE, |s| s.balancer(config::Balancer::LeastRequest))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(WIDTH, CALLS, |_| fetch(&client, post("/", "x"))).await;
    assert!(leaves.hits(0) * 10 >= CALLS * 8, "{:?}", leaves.all_hits());
}

#[tokio::test(start_paused = true)]
async fn round_robin_shares_evenly_whatever_they_take() {
    let leaves = Leaves::new(4);
    let mesh = leaves
        .mesh(|_, _| async { Ok(ok("hello")) })
        .service(SERVICE, |s| s.balancer(config::Balancer::RoundRobin))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..400 {
        client.send(post("/", "x")).await.unwrap();
    }
    assert!(leaves.all_hits().iter().all(|&hits| (95..=105).contains(&hits)), "{leaves:?}");
}

#[tokio::test(start_paused = true)]
async fn weights_share_in_their_ratio() {
    let leaves = Leaves::new(2);
    let endpoints = [
        config::Endpoint::new(Leaves::address(0)).weight(3),
        config::Endpoint::new(Leaves::address(1)).weight(1),
    ];
    let builder = leaves.leaves(Mesh::builder(), |_, _| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(ok("hello"))
    });
    let mesh =
        builder.source(Static::default().endpoints(SERVICE, endpoints)).seed(3).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(16, 4000, |_| fetch(&client, post("/", "x"))).await;
    let share = leaves.hits(0);
    assert!((2700..=3300).contains(&share), "3 of 4 expected: {:?}", leaves.all_hits());
}

#[tokio::test(start_paused = true)]
async fn of_tonic_calls_over_connections_the_fast_one_takes_nine_of_ten() {
    for seed in 1..=3 {
        let hits: Arc<[AtomicUsize; 2]> = Arc::default();
        let counter = Arc::clone(&hits);
        let fast = Leaves::address(0);
        let pipes = Pipes::grpc(move |address| {
            let number = usize::from(*address != fast);
            let counter = Arc::clone(&counter);
            hello(move |_| {
                counter[number].fetch_add(1, Ordering::SeqCst);
                async move {
                    tokio::time::sleep(delay(number)).await;
                    Ok("hello".into())
                }
            })
        });
        let mesh = Mesh::builder()
            .endpoints("greeter.prod", [Leaves::address(0), Leaves::address(1)])
            .connect_layer(pipes)
            .seed(seed)
            .build()
            .unwrap();
        let client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
        let answers = storm(WIDTH, CALLS, |_| {
            let mut client = client.clone();
            async move { client.say_hello(HelloRequest::default()).await }
        })
        .await;
        assert!(answers.iter().all(Result::is_ok));
        let [fast, slow] = [0, 1].map(|number: usize| hits[number].load(Ordering::SeqCst));
        assert_eq!(fast + slow, CALLS);
        assert!(fast * 10 >= CALLS * 9, "seed {seed}: fast {fast}, slow {slow}");
    }
}

/// Over sockets, in paused time: what they take is not counted, and a busy machine is no slower.
#[tokio::test(start_paused = true)]
async fn of_tonic_calls_over_sockets_the_fast_one_takes_nine_of_ten() {
    small_steps();
    let server = async |number| {
        Server::grpc(hello(move |_| async move {
            // So that what a socket takes is little beside it.
            tokio::time::sleep(delay(number) * 20).await;
            Ok("hello".into())
        }))
        .await
    };
    for seed in 1..=3 {
        let (fast, slow) = (server(0).await, server(1).await);
        let mesh = Mesh::builder()
            .endpoints("greeter.prod", [fast.address(), slow.address()])
            .seed(seed)
            .build()
            .unwrap();
        let client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
        let answers = storm(WIDTH, CALLS, |_| {
            let mut client = client.clone();
            async move { client.say_hello(HelloRequest::default()).await }
        })
        .await;
        assert!(answers.iter().all(Result::is_ok));
        let (fast, slow) = (fast.requests(), slow.requests());
        assert_eq!(fast + slow, CALLS);
        assert!(fast * 10 >= CALLS * 9, "seed {seed}: fast {fast}, slow {slow}");
    }
}
