//! A gRPC caller gets gRPC's codes for our own failures, never `Unknown`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::{Request, Response};
use tonic::Code;
use tower_mesh::{
    Body, Error, ErrorKind, Mesh, Refusal,
    config::{Breakers, Cluster, DropOverload, Endpoint},
    discover::Static,
};

use crate::support::{
    BoxError, GreeterClient, HelloReply, HelloRequest, Leaves, RawServer, SERVICE, Server,
    dead_address, greeters::counting, hello, leaf::ok, patience, post,
};

async fn status_of(mesh: &Mesh, service: &str) -> tonic::Status {
    let mut client = GreeterClient::new(mesh.client(service).unwrap());
    patience(client.say_hello(HelloRequest::default())).await.unwrap_err()
}

#[tokio::test]
async fn no_reachable_endpoint_is_unavailable() {
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder().endpoints("greeter.prod", [dead.clone()]).build().unwrap();
    let status = status_of(&mesh, "greeter.prod").await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    // What, which service, which endpoint, why.
    let text = status.message();
    for part in ["greeter.prod", &dead.to_string(), "check"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn no_endpoint_at_all_is_unavailable() {
    let mesh = Mesh::builder().endpoints("greeter.prod", Vec::<Endpoint>::new()).build().unwrap();
    let status = status_of(&mesh, "greeter.prod").await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_service_nobody_knows_is_unavailable() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    mesh.ready().await.unwrap();
    match mesh.client("nobody.prod") {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::UnknownService);
            assert!(error.to_string().contains("nobody.prod"), "{error}");
        }
        Ok(client) => {
            let status = GreeterClient::new(client).say_hello(HelloRequest::default()).await;
            assert_eq!(status.unwrap_err().code(), Code::Unavailable);
        }
    }
    let mut request = post("http://nobody.prod/helloworld.Greeter/SayHello", "");
    let grpc = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", grpc);
    let answer = mesh.http().send(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "14");
    let error = answer.extensions().get::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnknownService);
}

#[tokio::test(start_paused = true)]
async fn a_passed_timeout_is_deadline_exceeded() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| s.timeout(Duration::from_secs(2)))
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let status = status_of(&mesh, SERVICE).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reached_limit_is_resource_exhausted() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| s.max_requests(2))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let waiting = [client.clone(), client.clone()].map(|client| {
        tokio::spawn(
            async move { GreeterClient::new(client).say_hello(HelloRequest::default()).await },
        )
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let status = status_of(&mesh, SERVICE).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let error = client.send(post("/", "x")).await.unwrap_err();
    assert!(error.is_overload(), "{error}");

    // A caller that leaves frees its place.
    for task in waiting {
        task.abort();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let call = client.send(post("/", "x"));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), call).await.is_err(),
        "it hangs: admitted"
    );
}

/// gRFC A32, Envoy: it cannot be had, which is not to say that its caller has asked for too much.
#[tokio::test(start_paused = true)]
async fn a_full_cluster_is_unavailable() {
    let mut breakers = Breakers::default();
    breakers.max_requests = Some(1);
    let mesh = Leaves::new(1)
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| s.breakers(breakers))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut waiting = GreeterClient::new(client.clone());
    let waiting =
        tokio::spawn(async move { waiting.say_hello(HelloRequest::default()).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let status = status_of(&mesh, SERVICE).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("`breakers.max_requests`"), "{status}");
    let error = client.send(post("/", "x")).await.unwrap_err();
    assert_eq!((error.refusal(), error.grpc_code()), (Some(Refusal::MaxRequests), 14), "{error}");
    // Metrics tell what the caller got.
    let labels = [("rpc.response.status_code", "UNAVAILABLE"), ("error.type", "overloaded")];
    let told = mesh.metrics().total("rpc.client.call.duration", &labels);
    assert!((told - 1.0).abs() < 0.1, "{told}");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_cluster_drops_is_unavailable() {
    let (dead, _socket) = dead_address();
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![Endpoint::from(dead)];
    cluster.drops = vec![DropOverload::new("full", 100.0)];
    let users = Static::default().cluster("users", cluster);
    let mesh = Mesh::builder().source(users).build().unwrap();
    mesh.ready().await.unwrap();
    let status = status_of(&mesh, "users").await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("drops a share of its calls"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_layer_is_internal() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Err("broken".into()) }).build().unwrap();
    let status = status_of(&mesh, SERVICE).await;
    assert_eq!(status.code(), Code::Internal, "{status}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_unavailable() {
    let server = RawServer::start(|mut stream, _| async move {
        drop(tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ESMTP ready\r\n").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await;
    let mesh = Mesh::builder().endpoints("greeter.prod", [server.address()]).build().unwrap();
    let status = status_of(&mesh, "greeter.prod").await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn a_server_that_dies_mid_stream_is_unavailable() {
    let server = Server::grpc(counting(|| {
        let one = stream::iter([Ok(HelloReply { message: "one".into() })]);
        Box::pin(one.chain(stream::pending()))
    }))
    .await;
    let mesh = Mesh::builder().endpoints("greeter.prod", [server.address()]).build().unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let mut replies = client.count(HelloRequest::default()).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap().message, "one");
    server.kill().await;
    let status = patience(replies.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_it_is_unavailable() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    mesh.shutdown(Duration::from_secs(1)).await;
    let status = GreeterClient::new(client).say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn a_servers_own_status_passes_unchanged() {
    let server =
        Server::grpc(hello(|_| async { Err(tonic::Status::permission_denied("not you")) })).await;
    let mesh = Mesh::builder().endpoints("greeter.prod", [server.address()]).build().unwrap();
    let status = status_of(&mesh, "greeter.prod").await;
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "not you"));
}

#[test]
fn one_table_maps_every_kind() {
    use ErrorKind as Kind;
    let table = [
        (Kind::UnknownService, Code::Unavailable, 503),
        (Kind::Config, Code::Unavailable, 503),
        (Kind::NoRoute, Code::Unavailable, 404),
        (Kind::NoEndpoints, Code::Unavailable, 503),
        (Kind::Overloaded, Code::ResourceExhausted, 503),
        (Kind::Denied, Code::PermissionDenied, 403),
        (Kind::Timeout, Code::DeadlineExceeded, 504),
        (Kind::Connect, Code::Unavailable, 503),
        (Kind::Identity, Code::Unavailable, 503),
        (Kind::Refused, Code::Unavailable, 503),
        (Kind::Transport, Code::Unavailable, 502),
        (Kind::RequestBody, Code::Internal, 500),
        (Kind::Layer, Code::Internal, 500),
        (Kind::InvalidRequest, Code::Internal, 400),
        (Kind::InvalidResponse, Code::Internal, 502),
        (Kind::Redirect, Code::Internal, 502),
        (Kind::Shutdown, Code::Unavailable, 503),
    ];
    for (kind, code, status) in table {
        assert_eq!(Code::from_i32(kind.grpc_code()), code, "{kind:?}");
        assert_eq!(kind.http_status().as_u16(), status, "{kind:?}");
        assert_ne!(code, Code::Unknown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_http_caller_gets_the_typed_error() {
    let mesh = Leaves::new(1)
        .mesh(|_, _: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>())
        .service(SERVICE, |s| s.timeout(Duration::from_secs(2)))
        .build()
        .unwrap();
    let error = mesh.client(SERVICE).unwrap().send(post("/", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.service_name(), Some(SERVICE));
    assert_eq!(error.endpoint(), Some("10.0.0.1:80"));
    assert_eq!(error.elapsed().unwrap().as_secs(), 2);
}

#[tokio::test]
async fn a_grpc_answer_without_a_status_counts_against_its_endpoint() {
    let server = crate::support::h2_server(100, |_, mut respond| async move {
        drop(respond.send_response(crate::support::frames::grpc_head(), true));
    })
    .await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    for _ in 0..5 {
        greeter.say_hello(HelloRequest::default()).await.unwrap_err();
    }
    let told = mesh.describe().to_string();
    assert!(!told.contains("success 100"), "{told}");
}
