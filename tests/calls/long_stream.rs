//! Timeouts and streams: a configured timeout ends at the response head, unless it is told
//! otherwise; what runs on is bounded by the wait for each frame.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower_mesh::{Body, Call, Mesh, Phase};

use crate::support::{
    BoxError, GreeterClient, GreeterServer, HelloReply, HelloRequest, Leaves, Pipes, Recorder,
    SERVICE, VERSIONS, cluster, fetch, get, greeters::counting, leaf::ok, one_cluster, over,
    server::body, storm,
};

const SECOND: Duration = Duration::from_secs(1);

/// One frame every ten seconds.
fn frames(count: u32) -> impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static {
    let frames = stream::iter(0..count).then(|n| async move {
        tokio::time::sleep(10 * SECOND).await;
        Ok::<_, BoxError>(Frame::data(Bytes::from(format!("{n},"))))
    });
    StreamBody::new(Box::pin(frames))
}

/// Answers at once with a body of so many frames, one every ten seconds.
fn streaming(frames: u32) -> Response<Body> {
    let frames = self::frames(frames);
    Response::new(Body::new(Box::pin(frames)))
}

/// A mesh of real connections in memory, whose every time is far below ten minutes: those of the
/// calls, and those of the connections, which ping, grow old, and are closed when they are idle.
fn connected(pipes: &Pipes) -> Mesh {
    let mut cluster = cluster([Leaves::address(0)]);
    cluster.transport.idle_timeout = Some(5 * SECOND);
    cluster.transport.max_age = Some(60 * SECOND);
    cluster.transport.http2_ping_interval = Some(3 * SECOND);
    cluster.transport.http2_ping_timeout = Some(2 * SECOND);
    one_cluster(cluster)
        .connect_layer(pipes.clone())
        .service("users", |s| s.timeout(SECOND).attempt_timeout(SECOND).idle_timeout(15 * SECOND))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_ten_minutes_outlives_the_configured_timeout() {
    let mesh = Leaves::new(2)
        .mesh(|_, _| async { Ok(streaming(60)) })
        .service(SERVICE, |s| s.timeout(SECOND).attempt_timeout(SECOND).idle_timeout(15 * SECOND))
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let text = answer.into_body().text().await.unwrap();
    assert!(text.ends_with(",58,59,"));
    assert!(start.elapsed() >= 600 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_a_long_stream_takes_its_share_of_the_other_calls() {
    for (streams, kind) in [(1, "text/plain"), (1, "application/grpc"), (3, "application/grpc")] {
        let leaves = Leaves::new(3);
        let mesh = leaves
            .mesh(|_, request| async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(if request.uri().path() == "/stream" { streaming(60) } else { ok("hello") })
            })
            .seed(1)
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        let mut open = Vec::new();
        for _ in 0..streams {
            let mut request = get("/stream");
            request.headers_mut().insert("content-type", kind.parse().unwrap());
            open.push(client.send(request).await.unwrap());
            tokio::time::sleep(60 * SECOND).await;
        }
        leaves.reset();
        storm(60, 3_000, |_| fetch(&client, get("/"))).await;
        let hits = leaves.all_hits();
        assert!(
            hits.iter().all(|hits| (850..1_150).contains(hits)),
            "{streams} of {kind}: {hits:?}"
        );
        drop(open);
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_response_is_bounded_when_asked() {
    let mesh = Leaves::new(2)
        .mesh(|_, _| async { Ok(streaming(60)) })
        .service(SERVICE, |s| s.timeout(25 * SECOND).whole_response(true))
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let answer = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let error = answer.into_body().text().await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.phase(), Phase::Body);
    assert_eq!(start.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_timeout_bounds_the_body_too() {
    let mesh = Leaves::new(2).mesh(|_, _| async { Ok(streaming(60)) }).build().unwrap();
    let start = tokio::time::Instant::now();
    let mut request = get("/");
    request.extensions_mut().insert(Call::new().timeout(25 * SECOND));
    let answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    let error = answer.into_body().text().await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(start.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_with_the_idle_timeout() {
    let mesh = Leaves::new(2)
        .mesh(|_, _| async {
            let first = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from("first")))]);
            let frames = first.chain(stream::pending());
            Ok(Response::new(Body::new(StreamBody::new(frames))))
        })
        .service(SERVICE, |s| s.idle_timeout(3 * SECOND))
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let mut body = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.phase(), Phase::Body);
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(body.frame().await.is_none());
}

/// A mesh whose endpoint is a gRPC server in this process, without sockets.
fn grpc_mesh(replies: u32) -> Mesh {
    let server = GreeterServer::new(counting(move || {
        Box::pin(stream::iter(0..replies).then(|n| async move {
            tokio::time::sleep(10 * SECOND).await;
            Ok(HelloReply { message: n.to_string() })
        }))
    }));
    Leaves::new(1)
        .mesh(move |_, request: Request<Body>| {
            let mut server = server.clone();
            async move {
                let reply = tonic::codegen::Service::call(&mut server, request).await?;
                Ok(reply.map(Body::new))
            }
        })
        .service(SERVICE, |s| s.timeout(SECOND))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stream_of_ten_minutes_comes_to_its_end() {
    let mesh = grpc_mesh(60);
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let mut replies = client.count(HelloRequest::default()).await.unwrap().into_inner();
    let mut count = 0;
    while replies.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 60);
}

#[tokio::test(start_paused = true)]
async fn over_a_connection_a_stream_of_ten_minutes_outlives_all_its_times() {
    for version in VERSIONS {
        let pipes = Pipes::http(|_, _| async { Response::new(body(frames(60))) });
        let mesh = connected(&pipes);
        mesh.ready().await.unwrap();
        let mut events = Recorder::of(&mesh);
        let client = mesh.client("users").unwrap();
        let start = tokio::time::Instant::now();
        let answer = client.send(over(version, get("/"))).await.unwrap();
        tokio::time::sleep(300 * SECOND).await;
        assert_eq!(events.disconnects(), Vec::<&str>::new(), "{version:?}");
        let text = answer.into_body().text().await.unwrap();
        assert!(text.ends_with(",58,59,"), "{version:?}: {text}");
        assert!(start.elapsed() >= 600 * SECOND);
        // What was kept for the stream alone goes with it.
        tokio::time::sleep(SECOND).await;
        assert_eq!(events.disconnects(), ["age"], "{version:?}");
        assert_eq!(pipes.connections(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_connection_a_grpc_stream_of_ten_minutes_comes_to_its_end() {
    let pipes = Pipes::grpc(|_| {
        counting(|| {
            Box::pin(stream::iter(0..60).then(|n: u32| async move {
                tokio::time::sleep(10 * SECOND).await;
                Ok(HelloReply { message: n.to_string() })
            }))
        })
    });
    let mesh = connected(&pipes);
    let mut client = GreeterClient::new(mesh.client("users").unwrap());
    let mut replies = client.count(HelloRequest::default()).await.unwrap().into_inner();
    let mut count = 0;
    while replies.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!((count, pipes.connections()), (60, 1));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_deadline_of_the_caller_ends_the_stream_with_its_status() {
    let mesh = grpc_mesh(60);
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let mut request = tonic::Request::new(HelloRequest::default());
    request.extensions_mut().insert(Call::new().timeout(25 * SECOND));
    let mut replies = client.count(request).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap().message, "0");
    assert_eq!(replies.message().await.unwrap().unwrap().message, "1");
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
}
