//! Calls that wait for a connection or a stream: none is forgotten, and none is passed by for ever.
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

use bytes::Bytes;
use http::Version;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};
use tower_mesh::{
    Mesh,
    config::{Address, Cluster},
};

use crate::support::{
    RawServer, Server, VERSIONS, cluster, dead_address, failures, fetch, frame,
    frames::{head, next_request},
    get, h2, h2_server, one_cluster, over, patience, post, reply, storm,
};

/// At most one connection per endpoint.
fn narrow(addresses: impl IntoIterator<Item = Address>) -> Cluster {
    let mut cluster = cluster(addresses);
    cluster.transport.http1_max_connections = Some(1);
    cluster.transport.max_http2_connections = Some(1);
    cluster
}

#[tokio::test]
async fn http1_calls_that_wait_end_when_the_connection_attempt_fails() {
    let (dead, _socket) = dead_address();
    let mesh = one_cluster(narrow([dead])).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(10, 10, |_| tokio::spawn(fetch(&client, get("/"))))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_err()));
}

#[tokio::test]
async fn http1_calls_that_wait_at_a_dead_endpoint_are_answered_by_another() {
    let (dead, _socket) = dead_address();
    let alive = Server::named("alive").await;
    let mesh = one_cluster(narrow([dead, alive.address()])).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(40, 40, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
}

#[tokio::test]
async fn an_http2_call_behind_a_held_stream_is_answered_soon_after_its_endpoint_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (held, is_held) = oneshot::channel();
    // One connection of one stream, which is held for ever; others are refused.
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let _held = connection.accept().await.unwrap().unwrap();
        held.send(()).unwrap();
        while connection.accept().await.is_some() {}
    });
    let mesh = Mesh::builder().endpoints("users", [at]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let _held = tokio::spawn(fetch(&client, h2("/held")));
    patience(is_held).await.unwrap();
    let waits = tokio::spawn(fetch(&client, h2("/")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _server = Server::start_at(at, |_| async { reply("back") }).await;
    assert_eq!(patience(waits).await.unwrap().unwrap().body(), "back");
}

#[tokio::test]
async fn an_http2_call_that_waits_for_a_stream_gets_another_connection_when_its_own_dies() {
    let server = RawServer::start(|stream, number| async move {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let mut held = Vec::new();
        let serve = async {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if number == 0 {
                    held.push(respond);
                } else {
                    drop(respond.send_response(head(), true));
                }
            }
        };
        let life = Duration::from_millis(if number == 0 { 200 } else { 60_000 });
        drop(tokio::time::timeout(life, serve).await);
    })
    .await;
    let mesh = one_cluster(narrow([server.address()])).build().unwrap();
    let client = mesh.client("users").unwrap();
    let (_held, waited) = patience(futures_util::future::join(
        fetch(&client, h2("/")),
        fetch(&client, over(Version::HTTP_2, post("/", "x"))),
    ))
    .await;
    waited.unwrap();
}

#[tokio::test]
async fn calls_that_wait_where_connections_end_gracefully_are_answered() {
    let server = RawServer::start(|stream, _| async move {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(2);
        let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
        let mut served = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            served += 1;
            if served == 20 {
                connection.graceful_shutdown();
            }
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                drop(respond.send_response(head(), true));
            });
        }
    })
    .await;
    let mesh = one_cluster(narrow([server.address()])).build().unwrap();
    let client = mesh.client("users").unwrap();
    // They come at their own pace, a little faster than they are answered.
    let answers = patience(storm(400, 400, |n| {
        let client = client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(2 * n as u64)).await;
            fetch(&client, h2("/")).await
        }
    }))
    .await;
    assert_eq!(failures(&answers), [""; 0]);
}

#[tokio::test]
async fn callers_at_a_limit_take_turns() {
    for version in VERSIONS {
        let http1 = Server::named("hello").await;
        let http2 = h2_server(1, |_, mut respond| async move {
            tokio::time::sleep(Duration::from_micros(200)).await;
            drop(respond.send_response(head(), true));
        })
        .await;
        let address = if version == Version::HTTP_2 { http2.address() } else { http1.address() };
        let mesh = one_cluster(narrow([address])).build().unwrap();
        let client = mesh.client("users").unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (client, made) = (client.clone(), Arc::clone(&made));
                tokio::spawn(async move {
                    let mut answered = 0;
                    while made.fetch_add(1, Ordering::SeqCst) < 800 {
                        fetch(&client, over(version, get("/"))).await.unwrap();
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        let mut answered = Vec::new();
        for caller in callers {
            answered.push(patience(caller).await.unwrap());
        }
        let (least, most) = (answered.iter().min().unwrap(), answered.iter().max().unwrap());
        assert!(least * 10 >= *most, "{version:?}: {answered:?}");
    }
}

/// A peer's setting of how many streams it allows at a time.
fn allow(streams: u32) -> Vec<u8> {
    let [a, b, c, d] = streams.to_be_bytes();
    frame(4, 0, 0, &[0, 3, a, b, c, d])
}

#[tokio::test]
async fn a_peers_limit_that_rises_from_0_lets_the_waiting_call_through() {
    let server = RawServer::start(|mut stream, _| async move {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        stream.write_all(&allow(0)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        stream.write_all(&allow(10)).await.unwrap();
        let request = next_request(&mut stream).await;
        // `:status 200`, and no more.
        stream.write_all(&frame(1, 5, request, &[0x88])).await.unwrap();
        next_request(&mut stream).await;
    })
    .await;
    let mesh = one_cluster(narrow([server.address()])).build().unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, h2("/"))).await.unwrap().status(), 200);
}
