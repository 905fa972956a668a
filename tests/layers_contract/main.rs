//! The layers keep tower's contract: on mocks, and under tower's own concurrency limit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod deadlines;
mod limits;
mod readiness;
mod retries;

use std::{
    future::Ready,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode};
use tower::{Service, ServiceExt};
use tower_mesh::{
    Body, BoxError, Error, config,
    resilience::{Retry, RetryLayer},
};
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
