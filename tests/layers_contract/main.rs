//! The layers keep tower's contract: on mocks, and under tower's own concurrency limit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod deadlines;
mod limits;
mod readiness;
mod refusals;
mod retries;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode};
use tower::{Service, ServiceExt};
use tower_mesh::{Body, BoxError, Error, config, resilience::RetryLayer};
use tower_test::mock::{self, Handle};

type Mock = mock::Mock<Request<Body>, Response<Body>>;

type Server = Handle<Request<Body>, Response<Body>>;

/// The little of `tokio-test` that these tests need.
mod tokio_test_shim {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    pub(super) struct Task<F>(Pin<Box<F>>);

    pub(super) fn spawn<F: Future>(future: F) -> Task<F> {
        Task(Box::pin(future))
    }

    impl<F: Future> Task<F> {
        pub(super) fn poll(&mut self) -> Poll<F::Output> {
            self.0.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        }
    }

    macro_rules! assert_pending {
        ($poll:expr) => {
            assert!(matches!($poll, std::task::Poll::Pending))
        };
    }
    macro_rules! assert_ready {
        ($poll:expr) => {
            match $poll {
                std::task::Poll::Ready(value) => value,
                std::task::Poll::Pending => panic!("pending"),
            }
        };
    }
    pub(super) use {assert_pending, assert_ready};
}

fn get() -> Request<Body> {
    Request::get("http://users.prod/1").body(Body::empty()).unwrap()
}

fn post() -> Request<Body> {
    Request::post("http://users.prod/").body(Body::from("new")).unwrap()
}

fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

async fn readied<S>(service: &mut S) -> &mut S
where
    S: Service<Request<Body>, Error = BoxError>,
{
    service.ready().await.unwrap()
}

fn retries() -> RetryLayer {
    RetryLayer::new(&config::Retry::standard()).unwrap()
}

fn mesh_error(error: &BoxError) -> &Error {
    error.downcast_ref().unwrap()
}

/// A service that panics when it is called without having been made ready, as `Buffer` does, and
/// that answers 503 until `failures` are used up.
#[derive(Debug)]
struct Strict {
    failures: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    ready: bool,
}

impl Strict {
    fn failing(failures: u32) -> Self {
        Self { failures: Arc::new(failures.into()), calls: Arc::default(), ready: false }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { failures: self.failures.clone(), calls: self.calls.clone(), ready: false }
    }
}

impl<R> Service<R> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        let left = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        ready(Ok(status(if left.is_ok() { 503 } else { 200 })))
    }
}
