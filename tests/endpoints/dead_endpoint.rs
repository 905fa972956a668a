//! One of two endpoints is dead: no call fails. (tonic's balanced channel fails 343 of 1000.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http_body_util::BodyExt;
use tower_mesh::{Event, Mesh};

use crate::support::{
    GreeterClient, HelloRequest, Recorder, Server, dead_address, fetch, get, hello, post, reply,
    storm,
};

const CALLS: usize = 1000;

#[tokio::test]
async fn refused_connections_cost_no_grpc_call() {
    let alive = Server::grpc(hello(|_| async { Ok("alive".into()) })).await;
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder().endpoints("greeter.prod", [dead, alive.address()]).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let mut failed = 0;
    for _ in 0..CALLS {
        failed += usize::from(client.say_hello(HelloRequest::default()).await.is_err());
    }
    assert_eq!(failed, 0);
    assert_eq!(alive.requests(), CALLS);
    // Known to be dead: not asked again with every call.
    let knocks = events.count(|event| matches!(event, Event::ConnectFailed { .. }));
    assert!(knocks <= 20, "{knocks} connection attempts to a dead endpoint");
}

#[tokio::test]
async fn refused_connections_cost_no_http_call_not_even_a_post() {
    let alive = Server::start(|request| async move {
        reply(request.into_body().collect().await.unwrap().to_bytes())
    })
    .await;
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder().endpoints("users.prod", [dead, alive.address()]).build().unwrap();
    let client = mesh.http();
    for n in 0..CALLS {
        let uri = "http://users.prod/";
        let request = if n % 2 == 0 { get(uri) } else { post(uri, "kept") };
        let answer = client.send(request).await.unwrap();
        let expected = if n % 2 == 0 { "" } else { "kept" };
        assert_eq!(answer.into_body().text().await.unwrap(), expected);
    }
    assert_eq!(alive.requests(), CALLS);
}

#[tokio::test]
async fn parallel_callers_do_not_meet_it_either() {
    let alive = Server::named("alive").await;
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder().endpoints("users.prod", [dead, alive.address()]).build().unwrap();
    let client = mesh.client("users.prod").unwrap();
    let answers = storm(32, CALLS, |_| fetch(&client, post("/", "x"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 0);
}

#[tokio::test]
async fn an_endpoint_that_dies_between_calls_costs_none() {
    let first = Server::named("first").await;
    let second = Server::named("second").await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address(), second.address()])
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    for _ in 0..CALLS / 2 {
        client.send(get("/")).await.unwrap().into_body().bytes().await.unwrap();
    }
    assert!(first.requests() > 0 && second.requests() > 0);
    first.kill().await;
    for _ in 0..CALLS / 2 {
        client.send(get("/")).await.unwrap().into_body().bytes().await.unwrap();
    }
}

#[tokio::test]
async fn an_endpoint_that_dies_under_load_costs_no_idempotent_call() {
    let first = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        reply("first")
    })
    .await;
    let second = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        reply("second")
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address(), second.address()])
        .service("users.prod", |s| s.retry(tower_mesh::Retry::standard()))
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    let calls =
        storm(8, CALLS, |_| async { client.send(get("/")).await?.into_body().bytes().await });
    let kill = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.kill().await;
    };
    let (answers, ()) = tokio::join!(calls, kill);
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} failed, first: {}", failed.len(), failed[0].chain());
}

#[tokio::test]
async fn an_endpoint_that_comes_back_is_used_again() {
    let first = Server::named("first").await;
    let second = Server::named("second").await;
    let socket = second.socket();
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address(), second.address()])
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    let ask = async |count: usize| {
        let mut seconds = 0;
        for _ in 0..count {
            let answer = client.send(get("/")).await.unwrap();
            seconds += usize::from(answer.into_body().text().await.unwrap() == "second");
        }
        seconds
    };
    assert!(ask(100).await > 0);
    second.kill().await;
    assert_eq!(ask(100).await, 0);
    let _second = Server::start_at(socket, |_| async { reply("second") }).await;
    let mut seconds = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        seconds += ask(20).await;
        if seconds > 0 {
            return;
        }
    }
    panic!("5 s after its return the endpoint is still not used");
}
