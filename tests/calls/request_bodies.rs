//! Bodies of requests: those that fail, those over the cap, those that outlast their answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tower::ServiceExt;
use tower_mesh::{Body, ErrorKind, Mesh, Retry, config::Budget, resilience::RetryLayer};

use crate::support::{
    BoxError, Recorder, Server, VERSIONS, fetch, get, over, patience, reply,
    server::{Reply, body},
    status,
};

/// Yields half of what it should, and fails; at once, or while it is waited for.
fn failing(waits: bool) -> Body {
    let frames = stream::iter([Ok(Frame::data(Bytes::from("half"))), Err("my disk".into())]);
    let frames = frames.then(move |frame: Result<_, BoxError>| async move {
        if waits {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        frame
    });
    Body::new(StreamBody::new(frames))
}

/// Yields fifty bytes within a quarter of a second.
fn slow() -> Body {
    let frames = stream::iter(0..5).then(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"0123456789")))
    });
    Body::new(StreamBody::new(frames))
}

fn request(method: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri("/").body(body).unwrap()
}

/// Says 503 at once, and how many bytes it has read when all have come.
async fn early_503() -> Server {
    Server::start(|request: Request<Incoming>| async move {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let read = request.into_body().collect().await.map(|all| all.to_bytes().len());
            drop(sender.send(format!("{read:?}")));
        });
        let said = stream::once(async {
            Ok::<_, BoxError>(Frame::data(Bytes::from(receiver.await.unwrap())))
        });
        let mut reply: Reply = Response::new(body(StreamBody::new(said)));
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        reply
    })
    .await
}

#[tokio::test]
async fn a_failed_upload_is_the_callers_failure_and_not_its_endpoints() {
    let server = Server::start(|request: Request<Incoming>| async {
        drop(request.into_body().collect().await);
        reply("stored")
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let mut events = Recorder::of(&mesh);
    for version in VERSIONS {
        // The connection is there before the upload begins, or is not.
        for warm in [false, true] {
            if warm {
                fetch(&client, over(version, get("/"))).await.unwrap();
            }
            for method in ["PUT", "POST"] {
                for waits in [false, true] {
                    let request = over(version, request(method, failing(waits)));
                    let error = patience(fetch(&client, request)).await.unwrap_err();
                    let told = format!("{version:?} {method} {waits}: {}", error.chain());
                    assert_eq!(error.kind(), ErrorKind::RequestBody, "{told}");
                    if version == Version::HTTP_11 {
                        assert!(told.contains("my disk"), "{told}");
                    }
                }
            }
        }
    }
    assert_eq!(events.retries(), [""; 0]);
    let told = mesh.describe().to_string();
    assert!(told.contains("success 100"), "{told}");
}

#[tokio::test]
async fn a_failed_upload_is_never_sent_as_a_shorter_whole_one() {
    let whole = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&whole);
    let server = Server::start(move |request: Request<Incoming>| {
        let whole = Arc::clone(&counter);
        async move {
            if request.into_body().collect().await.is_ok() {
                whole.fetch_add(1, Ordering::SeqCst);
            }
            reply("stored")
        }
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    for version in VERSIONS {
        for method in ["PUT", "POST"] {
            let request = over(version, request(method, failing(false)));
            patience(fetch(&mesh.client("users").unwrap(), request)).await.unwrap_err();
        }
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(whole.load(Ordering::SeqCst), 0, "half an upload was stored");
}

#[tokio::test]
async fn the_retry_layer_replays_no_failed_body() {
    let met = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&met);
    let service = tower::ServiceBuilder::new()
        .layer(RetryLayer::new(&Retry::idempotent()).unwrap())
        .service_fn(move |request: Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                let whole = request.into_body().bytes().await.is_ok();
                seen.lock().unwrap().push(whole);
                Ok::<_, BoxError>(Response::builder().status(503).body(Body::empty()).unwrap())
            }
        });
    let answer = service.oneshot(request("PUT", failing(false))).await.unwrap();
    assert_eq!((answer.status().as_u16(), met.lock().unwrap().as_slice()), (503, &[false][..]));
}

#[tokio::test]
async fn a_refused_retry_does_not_break_an_answer_that_comes_before_its_upload_is_over() {
    let server = early_503().await;
    let unarmed = Retry::idempotent().attempts(1);
    let without_budget = Retry::idempotent().budget(Budget::new(0.0).min_per_second(0));
    for retry in [unarmed, without_budget] {
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .service("users", |s| s.retry(retry))
            .build()
            .unwrap();
        for version in VERSIONS {
            let request = over(version, request("POST", slow()));
            let answer = patience(mesh.client("users").unwrap().send(request)).await.unwrap();
            assert_eq!(answer.status(), 503);
            let text = patience(answer.into_body().text()).await;
            assert_eq!(text.map_err(|error| error.chain()).as_deref(), Ok("Ok(50)"), "{version:?}");
        }
    }
}

#[tokio::test]
async fn an_upload_is_sent_again_up_to_the_cap_and_not_above() {
    const CAP: usize = 64 << 10;
    for version in VERSIONS {
        for (length, retried) in [(CAP, true), (CAP + 1, false)] {
            let calls = AtomicUsize::new(0);
            let server = Server::start(move |request: Request<Incoming>| {
                let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    let read = request.into_body().collect().await.unwrap().to_bytes().len();
                    let mut answer = reply(read.to_string());
                    if first {
                        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    }
                    answer
                }
            })
            .await;
            let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
            let mut events = Recorder::of(&mesh);
            let upload = vec![0; length];
            let parts = upload.chunks(4096).map(Bytes::copy_from_slice);
            let frames: Vec<_> = parts.map(|part| Ok::<_, BoxError>(Frame::data(part))).collect();
            let frames = stream::iter(frames);
            let request = over(version, request("PUT", Body::new(StreamBody::new(frames))));
            let answer = patience(fetch(&mesh.client("users").unwrap(), request)).await.unwrap();
            assert_eq!(*answer.body(), length.to_string(), "{version:?}");
            assert_eq!(answer.status() == 200, retried, "{version:?} {length}");
            let refusals: &[_] = if retried { &[] } else { &["body too large"] };
            assert_eq!(events.refusals(), refusals);
        }
    }
}

#[tokio::test]
async fn a_lost_answer_keeps_the_status_that_came_with_it() {
    let server = Server::start(|_| async { status(StatusCode::SERVICE_UNAVAILABLE) }).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    for version in VERSIONS {
        let request = over(version, request("POST", slow()));
        let answer = patience(fetch(&mesh.client("users").unwrap(), request)).await.unwrap();
        assert_eq!(answer.status(), 503, "{version:?}");
    }
}
