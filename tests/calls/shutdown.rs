//! Shutdown: no new call, calls in flight end in peace, for at most the grace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use tower_mesh::{ErrorKind, Event, Mesh};

use crate::support::{Recorder, Server, get, patience, reply};

async fn slow() -> Server {
    Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        reply("hello")
    })
    .await
}

#[tokio::test]
async fn calls_in_flight_end_and_new_ones_are_refused() {
    let server = slow().await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let mut calls = Vec::new();
    for n in 0..10 {
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            let mut request = get("/");
            if n % 2 == 0 {
                *request.version_mut() = http::Version::HTTP_2;
            }
            client.send(request).await?.into_body().text().await
        }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = tokio::time::Instant::now();
    patience(mesh.shutdown(Duration::from_secs(5))).await;
    assert!(start.elapsed() >= Duration::from_millis(150), "it waited: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(4500), "and no longer: {:?}", start.elapsed());
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "hello");
    }
    let error = client.send(get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
}

#[tokio::test]
async fn the_grace_is_the_longest_wait() {
    let server = Server::start(|_| std::future::pending()).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let call = tokio::spawn(async move { client.send(get("/")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = tokio::time::Instant::now();
    patience(mesh.shutdown(Duration::from_millis(200))).await;
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(190) && waited < Duration::from_secs(8), "{waited:?}");
    let error = patience(call).await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Shutdown | ErrorKind::Transport), "{error}");
}

#[tokio::test]
async fn an_idle_mesh_is_gone_at_once() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    client.send(get("/")).await.unwrap().into_body().bytes().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let start = tokio::time::Instant::now();
    patience(mesh.shutdown(Duration::from_secs(30))).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let closed = events.count(|event| matches!(event, Event::Disconnected { .. }));
    assert_eq!(closed, 1);
}

#[tokio::test]
async fn shutting_down_twice_is_harmless() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let other = mesh.clone();
    mesh.shutdown(Duration::from_secs(1)).await;
    patience(other.shutdown(Duration::from_secs(1))).await;
}

#[tokio::test]
async fn a_client_outlives_the_handle_it_came_from() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    drop(mesh);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(patience(client.send(get("/"))).await.unwrap().status(), 200);
}
