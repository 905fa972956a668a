//! One call asks for something else than its service's policy, by one request extension.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http::{Request, Response};
use tonic::Code;
use tower_mesh::{Body, Call, Mesh, Retry};

use crate::support::{
    BoxError, GreeterClient, HelloRequest, Leaves, Recorder, SERVICE, get, leaf::answer,
    leaf::grpc, post,
};

fn with(call: Call) -> tonic::Request<HelloRequest> {
    let mut request = tonic::Request::new(HelloRequest::default());
    request.extensions_mut().insert(call);
    request
}

fn unavailable(leaves: &Leaves) -> Mesh {
    leaves
        .mesh(|_, _| async { Ok(grpc(14)) })
        .service(SERVICE, |s| s.retry(Retry::idempotent().attempts(3)))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn timeout_through_tonic() {
    let mesh = Leaves::new(1)
        .mesh(|_, _: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>())
        .service(SERVICE, |s| s.timeout(Duration::from_secs(60)))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let start = tokio::time::Instant::now();
    let call = Call::new().timeout(Duration::from_millis(250));
    let status = client.say_hello(with(call)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed().as_millis(), 250);
}

#[tokio::test(start_paused = true)]
async fn timeout_through_an_interceptor() {
    let mesh = Leaves::new(1)
        .mesh(|_, _: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>())
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut client = GreeterClient::with_interceptor(client, |mut request: tonic::Request<()>| {
        request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(250)));
        Ok(request)
    });
    let start = tokio::time::Instant::now();
    let status = client.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed().as_millis(), 250);
}

#[tokio::test(start_paused = true)]
async fn tonics_own_timeout_is_kept_to() {
    let mesh = Leaves::new(1)
        .mesh(|_, _: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>())
        .service(SERVICE, |s| s.timeout(Duration::from_secs(60)))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let mut request = tonic::Request::new(HelloRequest::default());
    request.set_timeout(Duration::from_millis(250));
    let start = tokio::time::Instant::now();
    let status = client.say_hello(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed().as_millis(), 250);
}

#[tokio::test(start_paused = true)]
async fn no_retry_through_tonic() {
    let leaves = Leaves::new(3);
    let mesh = unavailable(&leaves);
    let mut events = Recorder::of(&mesh);
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    client.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(leaves.total(), 3);
    assert_eq!(events.retries().len(), 2);

    leaves.reset();
    let status = client.say_hello(with(Call::new().no_retry())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(leaves.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn idempotent_or_not_by_the_call() {
    let leaves = Leaves::new(3);
    let mesh = leaves
        .mesh(|_, _| async { Ok(answer(503)) })
        .service(SERVICE, |s| s.retry(Retry::standard().attempts(3)))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let attempts = async |mut request: Request<Body>, call: Option<Call>| {
        leaves.reset();
        if let Some(call) = call {
            request.extensions_mut().insert(call);
        }
        client.send(request).await.unwrap();
        leaves.total()
    };
    assert_eq!(attempts(get("/"), None).await, 3);
    assert_eq!(attempts(post("/", "x"), None).await, 1);
    assert_eq!(attempts(post("/", "x"), Some(Call::new().idempotent(true))).await, 3);
    assert_eq!(attempts(get("/"), Some(Call::new().idempotent(false))).await, 1);
    assert_eq!(attempts(get("/"), Some(Call::new().no_retry())).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_only_be_stricter_than_its_own_deadline() {
    let mesh = Leaves::new(1)
        .mesh(|_, _: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>())
        .service(SERVICE, |s| s.timeout(Duration::from_secs(60)))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut inbound = http::HeaderMap::new();
    inbound.insert("grpc-timeout", http::HeaderValue::from_static("300m"));
    let mut request = get("/");
    let call = Call::new().timeout(Duration::from_secs(5)).inherit(&inbound);
    request.extensions_mut().insert(call);
    let start = tokio::time::Instant::now();
    assert!(client.send(request).await.unwrap_err().is_timeout());
    assert_eq!(start.elapsed().as_millis(), 300);
}
