//! Deadlines where they are easily forgotten: before configuration, in busy bodies, in streams.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::ServiceExt;
use tower_mesh::{
    Body, Call, Discover, Mesh, Publisher, Retry,
    config::Budget,
    resilience::{DeadlineLayer, RetryLayer},
};

use crate::support::{
    BoxError, GreeterClient, HelloReply, HelloRequest, Leaves, SERVICE, Server, VERSIONS, fetch,
    get, greeters::counting, leaf::ok, over, patience, post, server::body, within,
};

const SECOND: Duration = Duration::from_secs(1);

/// A source that never says anything.
struct Silent;

impl Discover for Silent {
    fn name(&self) -> String {
        "silent".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let _publish = publish;
            std::future::pending::<()>().await;
        })
    }
}

/// A body without end, whose next frame is always there.
fn busy() -> StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>>> {
    StreamBody::new(stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![0; 16_384])))))
}

/// Reads until something fails, a frame every five milliseconds.
async fn end_of<B: http_body::Body + Unpin>(mut body: B) -> B::Error {
    let reading = async {
        loop {
            if let Err(error) = body.frame().await.expect("an endless body") {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patience(reading).await
}

#[tokio::test(start_paused = true)]
async fn a_calls_own_deadline_bounds_the_wait_for_configuration() {
    let mesh = Mesh::builder().source(Silent).build().unwrap();
    // Of two that pass together it is the caller's that has passed.
    for (allowed, waited, code, status) in
        [(200, 200, 4, 504), (5000, 5000, 4, 504), (5100, 5000, 14, 503), (60_000, 5000, 14, 503)]
    {
        let start = tokio::time::Instant::now();
        let call = within(Duration::from_millis(allowed), get("/"));
        let error = mesh.client("users").unwrap().send(call).await.unwrap_err();
        assert_eq!(start.elapsed().as_millis() / 10, waited / 10, "{error}");
        let told = (error.grpc_code(), error.http_status().as_u16(), error.is_timeout());
        assert_eq!(told, (code, status, code == 4), "{allowed} ms: {error}");
        assert_eq!(error.to_string().contains("(`resolve_timeout`)"), code == 14, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_in_code_bounds_the_wait_for_configuration_too() {
    let mesh = Mesh::builder()
        .source(Silent)
        .service("users", |s| s.timeout(Duration::from_millis(200)))
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let error = mesh.client("users").unwrap().send(get("/")).await.unwrap_err();
    assert_eq!(start.elapsed().as_millis() / 10, 20, "{error}");
    assert!(error.is_timeout(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_is_retried_though_the_call_has_no_timeout() {
    let leaves = Leaves::new(2);
    let hangs = Arc::new(AtomicBool::new(true));
    let mesh = leaves
        .mesh(move |_, _| {
            let hangs = hangs.swap(false, Ordering::SeqCst);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(ok("hello"))
            }
        })
        .service(SERVICE, |s| s.attempt_timeout(SECOND).retry(Retry::standard()))
        .build()
        .unwrap();
    let answer = fetch(&mesh.client(SERVICE).unwrap(), get("/")).await.unwrap();
    assert_eq!(answer.body(), "hello");
    assert_eq!(leaves.total(), 2);
}

#[tokio::test]
async fn a_deadline_ends_a_body_whose_next_frame_is_always_there() {
    let server = Server::start(|_| async { Response::new(body(busy())) }).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    for version in VERSIONS {
        let call = within(Duration::from_millis(100), over(version, get("/")));
        let answer = mesh.client("users").unwrap().send(call).await.unwrap();
        let error = end_of(answer.into_body()).await;
        assert!(error.is_timeout(), "{version:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_layers_deadline_ends_such_a_body_too() {
    let service = tower::ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_millis(100)).whole_response(true))
        .service_fn(|_: Request<Body>| async {
            Ok::<_, BoxError>(Response::new(Body::new(busy())))
        });
    let answer = service.oneshot(get("/")).await.unwrap();
    let start = tokio::time::Instant::now();
    drop(end_of(Box::pin(answer.into_body())).await);
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_armed_grpc_stream_that_is_quiet_at_first_outlives_the_timeout_of_its_head() {
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| async {
            let frames = stream::once(async {
                tokio::time::sleep(5 * SECOND).await;
                Ok::<_, BoxError>(Frame::data(Bytes::from("late")))
            });
            let head = Response::builder().header("content-type", "application/grpc");
            Ok(head.body(Body::new(StreamBody::new(Box::pin(frames)))).unwrap())
        })
        .service(SERVICE, |s| s.timeout(SECOND).retry(Retry::idempotent()))
        .build()
        .unwrap();
    let mut call = get("/");
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let answer = fetch(&mesh.client(SERVICE).unwrap(), call).await.unwrap();
    assert_eq!(answer.body(), "late", "{:?}", answer.headers());
}

#[tokio::test]
async fn an_armed_tonic_stream_that_is_quiet_at_first_lives_too() {
    let late = || {
        stream::once(async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(HelloReply { message: "late".into() })
        })
        .boxed()
    };
    let server = Server::grpc(counting(late)).await;
    let mesh = Mesh::builder()
        .endpoints("greeter", [server.address()])
        .service("greeter", |s| s.timeout(Duration::from_millis(200)).retry(Retry::idempotent()))
        .build()
        .unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    let mut replies = greeter.count(HelloRequest::default()).await.unwrap().into_inner();
    assert_eq!(patience(replies.message()).await.unwrap().unwrap().message, "late");
}

#[tokio::test(start_paused = true)]
async fn streams_that_end_by_their_callers_deadline_do_not_make_an_endpoint_suspect() {
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| async {
            let frames = stream::pending::<Result<Frame<Bytes>, BoxError>>();
            Ok(Response::new(Body::new(StreamBody::new(frames))))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..5 {
        fetch(&client, within(60 * SECOND, get("/"))).await.unwrap_err();
    }
    let told = mesh.describe().to_string();
    assert!(told.contains("success 100"), "{told}");
}

#[tokio::test]
async fn no_time_whatever_makes_a_call_panic() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .resolve_timeout(Duration::from_secs(365 * 86_400))
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    for time in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_secs(1 << 40),
        Duration::from_secs(u64::MAX / 4),
        Duration::MAX,
    ] {
        let mut grpc = over(Version::HTTP_2, post("/", "x"));
        grpc.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        for call in [get("/"), grpc] {
            drop(patience(fetch(&client, within(time, call))).await);
        }
    }
    for told in ["99999999H", "999999999S", "0n", "1x", "-1S", "", "1\u{661}S"] {
        let mut inbound = HeaderMap::new();
        inbound.insert("grpc-timeout", HeaderValue::from_bytes(told.as_bytes()).unwrap());
        let mut call = get("/");
        call.extensions_mut().insert(Call::new().inherit(&inbound));
        drop(patience(fetch(&client, call)).await);
    }
    patience(mesh.shutdown(Duration::MAX)).await;
}

#[tokio::test(start_paused = true)]
async fn no_retry_setting_or_answer_makes_the_layers_panic() {
    for ratio in [f64::NAN, f64::INFINITY, -1.0, 0.5] {
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let mut retry = Retry::idempotent().attempts(100);
            retry.backoff_base = Some(time);
            retry.backoff_max = Some(time);
            retry.retry_after_max = Some(time);
            retry.budget = Some(Budget::new(ratio).ttl(time).min_per_second(u32::MAX));
            // What is out of its range is refused by name, and not met in a call.
            let Ok(layer) = RetryLayer::new(&retry) else { continue };
            let service = tower::ServiceBuilder::new()
                .layer(DeadlineLayer::new(SECOND))
                .layer(layer)
                .service_fn(|_: Request<Body>| async {
                    let answer = Response::builder()
                        .status(503)
                        .header("retry-after", "99999999999999999999");
                    Ok::<_, BoxError>(answer.body(Body::empty()).unwrap())
                });
            drop(patience(service.oneshot(get("/"))).await);
        }
    }
}
