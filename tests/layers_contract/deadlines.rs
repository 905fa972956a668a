//! Deadlines on a mock: what they cover, and what they leave alone.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_mesh::{Body, BoxError, Call, resilience::DeadlineLayer};
use tower_test::mock;

use crate::{
    Mock, Server, Strict, get, mesh_error, readied,
    tokio_test_shim::{assert_pending, assert_ready, spawn},
};

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_and_names_its_bound() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = DeadlineLayer::new(Duration::from_millis(250)).layer(mock);
    let started = Instant::now();
    let call = tokio::spawn(service.oneshot(get()));
    let (_, hung) = server.next_request().await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!((250..260).contains(&started.elapsed().as_millis()));
    assert!(mesh_error(&error).is_timeout());
    assert!(error.to_string().contains("250.0ms were allowed"), "{error}");
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_the_call_and_not_the_wait_for_readiness() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    server.allow(0);
    let service = DeadlineLayer::new(Duration::from_millis(250)).layer(mock);
    let mut call = spawn(service.oneshot(get()));
    assert_pending!(call.poll());
    // Four times what the call may take: it has not begun.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_pending!(call.poll());
    server.allow(1);
    let started = Instant::now();
    assert_pending!(call.poll());
    let (_, hung) = server.next_request().await.unwrap();
    tokio::time::sleep(Duration::from_millis(240)).await;
    assert_pending!(call.poll());
    tokio::time::sleep(Duration::from_millis(11)).await;
    let error = assert_ready!(call.poll()).unwrap_err();
    assert!(mesh_error(&error).is_timeout(), "{error}");
    assert_eq!(started.elapsed().as_millis(), 251);
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_is_not_sent() {
    let strict = Strict::failing(0);
    let calls = Arc::clone(&strict.calls);
    let mut service = DeadlineLayer::explicit().layer(strict);
    let mut late = get();
    late.extensions_mut().insert(Call::new().timeout(Duration::ZERO));
    let error = readied(&mut service).await.call(late).await.unwrap_err();
    assert!(mesh_error(&error).is_timeout());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    // The readied service is still there for the next call.
    assert!(service.call(get()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_configured_timeout_lets_a_stream_live_and_an_explicit_one_does_not() {
    struct Stalled;
    impl http_body::Body for Stalled {
        type Data = bytes::Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
            Poll::Pending
        }
    }
    let timeout = Duration::from_millis(100);
    let inner =
        tower::service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Stalled)));
    let read = async |layer: DeadlineLayer, request: Request<Body>| {
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        let body = Body::new(response.into_body());
        tokio::time::timeout(Duration::from_secs(60), body.bytes()).await
    };
    assert!(read(DeadlineLayer::new(timeout), get()).await.is_err(), "still streaming");
    let whole = read(DeadlineLayer::new(timeout).whole_response(true), get()).await;
    assert!(whole.unwrap().unwrap_err().is_timeout());
    let mut explicit = get();
    explicit.extensions_mut().insert(Call::new().timeout(timeout));
    let explicit = read(DeadlineLayer::explicit(), explicit).await;
    assert!(explicit.unwrap().unwrap_err().is_timeout());
}
