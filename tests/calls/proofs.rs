//! The types fit: tonic's clients, reqwest's bodies, hyper's connections, and `dyn`, `Send`, `Sync`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};
use tower_mesh::{
    Attempt, Body, Call, CallFuture, Client, Error, ErrorKind, Event, EventStream, Mesh,
    MeshBuilder, Origin, Phase, UnknownNames,
};

use crate::support::{GreeterClient, Leaves, SERVICE, Server, get, hello, leaf::ok, reply};

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unpin<T: Unpin>() {}
fn cheap<T: Clone>() {}
fn owned<T: 'static>() {}

#[test]
fn auto_traits() {
    send::<(Mesh, MeshBuilder, Client, CallFuture, EventStream)>();
    send::<(Body, Error, ErrorKind, Phase, Origin, Attempt, Call, Event, UnknownNames)>();
    sync::<(Mesh, Client, Body, Error, Attempt, Call, Event)>();
    unpin::<(Mesh, Client, Body, Error)>();
    cheap::<(Mesh, Client, Error, Call, Event)>();
    owned::<(Mesh, Client, CallFuture, Body, Error)>();
}

#[test]
fn sizes_stay_small() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert!(size_of::<Client>() <= 64, "Client: {} bytes", size_of::<Client>());
    assert!(size_of::<Body>() <= 256, "Body: {} bytes", size_of::<Body>());
    // One call's whole state machine, hyper's futures included, without the heap.
    assert!(size_of::<CallFuture>() <= 4096, "CallFuture: {} bytes", size_of::<CallFuture>());
}

/// What a service must be to be handed about freely.
fn is_client<S, B>(_: &S)
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Error>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
}

#[tokio::test(start_paused = true)]
async fn any_body_goes_through_one_client() {
    let mesh = Leaves::new(1)
        .mesh(|_, request: http::Request<Body>| async move {
            Ok(ok(request.into_body().collect().await?.to_bytes()))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    is_client::<_, Body>(&client);
    is_client::<_, Full<Bytes>>(&client);
    is_client::<_, Empty<Bytes>>(&client);
    is_client::<_, tonic::body::Body>(&client);
    is_client::<_, reqwest::Body>(&client);
    is_client::<_, http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>>(&client);

    let full = http::Request::post("/").body(Full::new(Bytes::from("full"))).unwrap();
    assert_eq!(
        client.clone().oneshot(full).await.unwrap().into_body().text().await.unwrap(),
        "full"
    );
    let theirs = http::Request::post("/").body(reqwest::Body::from("theirs")).unwrap();
    let answer = client.send(theirs).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "theirs");
}

#[tokio::test]
async fn tonic_by_new_and_with_interceptor() {
    let server = Server::grpc(hello(|request: tonic::Request<_>| async move {
        let seen = request.metadata().get("x-user").map_or("", |user| user.to_str().unwrap_or(""));
        Ok(format!("hello {}{seen}", request.get_ref().name))
    }))
    .await;
    let mesh = Mesh::builder().endpoints("greeter.prod", [server.address()]).build().unwrap();

    let mut plain = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let request = crate::support::HelloRequest { name: "ann".into() };
    assert_eq!(plain.say_hello(request.clone()).await.unwrap().into_inner().message, "hello ann");

    let mut intercepted = GreeterClient::with_interceptor(
        mesh.client("greeter.prod").unwrap(),
        |mut request: tonic::Request<()>| {
            request
                .metadata_mut()
                .insert("x-user", tonic::metadata::MetadataValue::from_static("!"));
            Ok(request)
        },
    );
    assert_eq!(intercepted.say_hello(request).await.unwrap().into_inner().message, "hello ann!");
}

#[test]
fn reqwest_wraps_our_body() {
    let body = reqwest::Body::wrap(Body::from("hello"));
    assert_eq!(body.as_bytes(), None);
}

#[tokio::test]
async fn hyper_sends_our_body_over_http_1_and_2() {
    let server = Server::start(|request| async move {
        reply(request.into_body().collect().await.unwrap().to_bytes())
    })
    .await;
    let stream = TcpStream::connect(server.socket()).await.unwrap();
    let (mut h1, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await.unwrap();
    let h1_task = tokio::spawn(connection);
    let request = http::Request::post("/").header("host", "x").body(Body::from("one")).unwrap();
    let answer = h1.send_request(request).await.unwrap();
    assert_eq!(Body::new(answer.into_body()).text().await.unwrap(), "one");

    let stream = TcpStream::connect(server.socket()).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut h2, connection) =
        hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), io)
            .await
            .unwrap();
    let h2_task = tokio::spawn(connection);
    let request = http::Request::post("http://x/").body(Body::from("two")).unwrap();
    let answer = h2.send_request(request).await.unwrap();
    assert_eq!(Body::new(answer.into_body()).text().await.unwrap(), "two");
    h1_task.abort();
    h2_task.abort();
}

#[tokio::test(start_paused = true)]
async fn client_is_ready_at_once_and_composes_under_real_tower_layers() {
    let mesh = Leaves::new(2)
        .mesh(|_, _| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(ok("hello"))
        })
        .build()
        .unwrap();
    let mut client = mesh.client(SERVICE).unwrap();
    // No readiness is reserved: a call without `poll_ready` is as good.
    Service::call(&mut client, get("/")).await.unwrap();

    let stack = tower::ServiceBuilder::new()
        .concurrency_limit(3)
        .timeout(Duration::from_secs(1))
        .service(client);
    let answers = crate::support::storm(16, 64, |_| stack.clone().oneshot(get("/"))).await;
    assert!(answers.iter().all(Result::is_ok));
}
