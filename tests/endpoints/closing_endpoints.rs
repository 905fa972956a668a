//! Endpoints that accept connections and close them, refuse them in storms, restart and come back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};
use tower_mesh::{Body, Event, Mesh, config::Retry};

use crate::support::{
    GreeterClient, GreeterServer, HelloRequest, RawServer, Recorder, Server, VERSIONS, cluster,
    dead_address, failures, fetch, frame, frames::grpc_head, get, hello, one_cluster, over,
    patience, post, reply, server::body, storm, within,
};

/// Accepts each connection and closes it.
async fn closing() -> RawServer {
    RawServer::start(|stream, _| async move { drop(stream) }).await
}

/// Greets each HTTP/2 connection with GOAWAY.
async fn leaving() -> RawServer {
    RawServer::start(|mut stream, _| async move {
        drop(stream.write_all(&frame(4, 0, 0, &[])).await);
        drop(stream.write_all(&frame(7, 0, 0, &[0; 8])).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    })
    .await
}

fn request(method: &str, version: Version) -> Request<Body> {
    over(version, Request::builder().method(method).uri("/").body(Body::from("x")).unwrap())
}

#[tokio::test]
async fn an_endpoint_that_closes_every_connection_costs_no_get_and_is_seldom_asked() {
    for version in VERSIONS {
        let (good, bad) = (Server::named("hello").await, closing().await);
        let mesh =
            Mesh::builder().endpoints("users", [good.address(), bad.address()]).build().unwrap();
        let client = mesh.client("users").unwrap();
        let mut answers = Vec::new();
        for _ in 0..300 {
            answers.push(patience(fetch(&client, over(version, get("/")))).await);
        }
        assert_eq!(failures(&answers), [""; 0], "{version:?}");
        let asked = bad.connections();
        assert!(asked < 30, "{version:?}: {asked} of 300 calls went there first");
    }
}

#[tokio::test]
async fn an_endpoint_that_leaves_at_once_costs_no_http2_call_not_even_a_post() {
    for method in ["GET", "POST"] {
        let (good, bad) = (Server::named("hello").await, leaving().await);
        let mesh =
            Mesh::builder().endpoints("users", [bad.address(), good.address()]).build().unwrap();
        let client = mesh.client("users").unwrap();
        let call = |_| fetch(&client, request(method, Version::HTTP_2));
        let answers = patience(storm(4, 400, call)).await;
        assert_eq!(failures(&answers), [""; 0], "{method}");
    }
}

/// What a worker does that is being replaced, in front of one that is not.
async fn closing_one(server: &Server) -> RawServer {
    let address = server.address().to_string();
    RawServer::start(move |mut stream, number| {
        let address = address.clone();
        async move {
            if number == 0 {
                return;
            }
            let mut server = TcpStream::connect(address).await.unwrap();
            drop(copy_bidirectional(&mut stream, &mut server).await);
        }
    })
    .await
}

#[tokio::test]
async fn the_only_endpoint_closes_one_connection_and_no_call_fails() {
    for version in VERSIONS {
        let server = Server::named("hello").await;
        let replaced = closing_one(&server).await;
        let mesh = Mesh::builder()
            .endpoints("users", [replaced.address()])
            .service("users", |s| s.retry(Retry::safe_only()))
            .build()
            .unwrap();
        let client = mesh.client("users").unwrap();
        let call = |_| fetch(&client, request("POST", version));
        let answers = patience(storm(16, 200, call)).await;
        assert_eq!(failures(&answers), [""; 0], "{version:?}");
    }
}

#[tokio::test]
async fn a_call_with_nowhere_else_to_go_fails_after_few_connections() {
    for version in VERSIONS {
        for method in ["GET", "POST"] {
            let bad = closing().await;
            let mesh = Mesh::builder().endpoints("users", [bad.address()]).build().unwrap();
            let call = within(Duration::from_secs(5), request(method, version));
            patience(mesh.client("users").unwrap().send(call)).await.unwrap_err();
            let made = bad.connections();
            assert!(made <= 20, "{version:?} {method}: {made} connections for one call");
        }
    }
}

#[tokio::test]
async fn failures_of_one_moment_are_one_failure_for_the_backoff() {
    let (address, _socket) = dead_address();
    let mesh = Mesh::builder().endpoints("users", [address]).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    patience(storm(50, 50, |_| fetch(&client, get("/")))).await;
    let backoff = |event: &Event| match event {
        Event::ConnectFailed { backoff, .. } => Some(*backoff),
        _ => None,
    };
    let longest = events.events().iter().filter_map(backoff).max().unwrap();
    assert!(longest < Duration::from_secs(1), "one blip, and a back-off of {longest:?}");
}

#[tokio::test]
async fn a_storm_on_dead_endpoints_is_no_storm_of_connections() {
    let ((first, _one), (second, _two)) = (dead_address(), dead_address());
    let mesh = Mesh::builder().endpoints("users", [first, second]).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(8, 500, |_| fetch(&client, get("/")))).await;
    assert!(answers.iter().all(Result::is_err));
    let dials = events.count(|event| matches!(event, Event::ConnectFailed { .. }));
    assert!(dials < 100, "{dials} connection attempts for 500 calls");
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_dialled_now_and_then_and_used_soon_after_it_is_back() {
    let server = Server::named("hello").await;
    let at = server.socket();
    let mut cluster = cluster([server.address()]);
    cluster.transport.connect_backoff_max = Some(Duration::from_millis(200));
    let mesh = one_cluster(cluster).build().unwrap();
    let client = mesh.client("users").unwrap();
    fetch(&client, get("/")).await.unwrap();
    server.kill().await;
    let mut events = Recorder::of(&mesh);
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        fetch(&client, get("/")).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let dials = events.count(|event| matches!(event, Event::ConnectFailed { .. }));
    assert!(dials <= 25, "{dials} connection attempts in half a second");
    let _server = Server::start_at(at, |_| async { reply("back") }).await;
    let start = tokio::time::Instant::now();
    while fetch(&client, get("/")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(start.elapsed() < Duration::from_secs(5), "still avoided after five seconds");
    }
}

#[tokio::test]
async fn a_server_that_restarts_between_posts_costs_none() {
    for version in VERSIONS {
        let mut server = Server::named("hello").await;
        let at = server.socket();
        let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
        let client = mesh.client("users").unwrap();
        let mut answers = Vec::new();
        for round in 0..10 {
            answers.push(patience(fetch(&client, over(version, post("/", "x")))).await);
            server.kill().await;
            server = Server::start_at(at, |_| async { reply("hello") }).await;
            if round % 2 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(failures(&answers), [""; 0], "{version:?}");
    }
}

#[tokio::test]
async fn graceful_ends_of_connections_under_load_cost_no_undeclared_grpc_call() {
    let server = RawServer::start(|stream, _| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let mut served = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            served += 1;
            if served == 20 {
                connection.graceful_shutdown();
            }
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut head = grpc_head();
                head.headers_mut().insert("grpc-status", 0.into());
                drop::<Result<h2::SendStream<Bytes>, _>>(respond.send_response(head, true));
            });
        }
    })
    .await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    let client = mesh.client("greeter").unwrap();
    let answers = patience(storm(16, 1000, |_| {
        let mut call = request("POST", Version::HTTP_2);
        call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        fetch(&client, call)
    }))
    .await;
    let bad = |answer: &&Result<http::Response<Bytes>, tower_mesh::Error>| {
        answer.as_ref().unwrap().headers()["grpc-status"] != "0"
    };
    let failed: Vec<_> = answers.iter().filter(bad).collect();
    assert!(failed.is_empty(), "{} of 1000: {:?}", failed.len(), failed[0]);
}

#[tokio::test]
async fn a_replica_that_restarts_gracefully_again_and_again_costs_no_grpc_call() {
    let service = || {
        GreeterServer::new(hello(|_| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok("hello".to_owned())
        }))
    };
    let start = move |at| {
        let service = service();
        Server::start_at(at, move |request| {
            let mut service = service.clone();
            async move { tower::Service::call(&mut service, request).await.unwrap().map(body) }
        })
    };
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let (steady, mut flapping) = (start(anywhere).await, start(anywhere).await);
    let at = flapping.socket();
    let mesh = Mesh::builder()
        .endpoints("greeter", [steady.address(), flapping.address()])
        .build()
        .unwrap();
    let greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let restarts = async {
        while !over.load(Ordering::Relaxed) {
            flapping.close().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            flapping = start(at).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    };
    let calls = async {
        let answers = storm(16, 2000, |_| {
            let mut greeter = greeter.clone();
            async move { greeter.say_hello(HelloRequest::default()).await }
        })
        .await;
        over.store(true, Ordering::Relaxed);
        answers
    };
    let (answers, ()) = tokio::join!(calls, restarts);
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of 2000: {}", failed.len(), failed[0]);
}
