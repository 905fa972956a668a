//! Layers that drop, map or deny what they are handed: what the mesh keeps of its promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{
    Service,
    layer::util::Identity,
    retry::{Policy, RetryLayer},
    util::{MapRequestLayer, MapResponseLayer},
};
use tower_mesh::{
    Body, ErrorKind, Mesh, Next, Retry,
    config::{Match, PathMatch, Route, Service as ServiceConfig, WeightedCluster},
    discover::Static,
};

use crate::support::{
    BoxError, Leaves, SERVICE, Server, dead_address, fetch, get, leaf::ok, patience,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn with_a_call_layer_each_route_keeps_its_own_timeout() {
    let route = |path: Option<&str>, timeout| {
        let mut route = Route::default();
        route.matches.extend(path.map(|path| {
            let mut matched = Match::default();
            matched.path = Some(PathMatch::Exact(path.into()));
            matched
        }));
        route.clusters = vec![WeightedCluster::new(SERVICE)];
        route.policy.timeout = Some(timeout);
        route
    };
    let mut service = ServiceConfig::default();
    service.routes = vec![route(Some("/fast"), SECOND / 10), route(None, 10 * SECOND)];
    let mesh = Leaves::new(1)
        .mesh(|_, _| async {
            tokio::time::sleep(SECOND).await;
            Ok(ok("late"))
        })
        .source(Static::default().service(SERVICE, service))
        .call_layer(Identity::new())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    assert_eq!(fetch(&client, get("/slow")).await.unwrap().body(), "late");
    assert!(fetch(&client, get("/fast")).await.unwrap_err().is_timeout());
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_kept_to_the_end_of_a_body_that_a_layer_maps() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async {
            let frames = stream::pending::<Result<Frame<Bytes>, BoxError>>();
            Ok(Response::new(Body::new(StreamBody::new(frames))))
        })
        .attempt_layer(MapResponseLayer::new(|answer: Response<Body>| {
            answer.map(|body| body.map_frame(|frame| frame))
        }))
        .service(SERVICE, |s| s.max_requests(1))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let first = client.send(get("/")).await.unwrap();
    let error = client.send(get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    drop(first);
    client.send(get("/")).await.unwrap();
}

/// Forgets what the mesh keeps in the request.
fn forgetful(mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().clear();
    request
}

#[tokio::test]
async fn a_layer_that_drops_the_extensions_is_told_so_and_nothing_hangs() {
    let server = Server::named("hello").await;
    let layer = || MapRequestLayer::new(forgetful);
    let builder = || Mesh::builder().endpoints("users", [server.address()]);
    for builder in [builder().call_layer(layer()), builder().attempt_layer(layer())] {
        let mesh = builder.build().unwrap();
        let call = fetch(&mesh.client("users").unwrap(), get("/"));
        let error = patience(call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Layer, "{error}");
        assert!(error.to_string().contains("extensions"), "{error}");
    }
    let mesh = builder().endpoint_layer(layer()).build().unwrap();
    patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap();
}

/// Retries everything once.
#[derive(Clone)]
struct Once(bool);

impl<T, E> Policy<Request<Body>, T, E> for Once {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _request: &mut Request<Body>,
        _result: &mut Result<T, E>,
    ) -> Option<Ready<()>> {
        std::mem::take(&mut self.0).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = get("/");
        copy.extensions_mut().clone_from(request.extensions());
        Some(copy)
    }
}

#[tokio::test]
async fn a_call_layer_that_calls_twice_is_told_so() {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .call_layer(RetryLayer::new(Once(true)))
        .build()
        .unwrap();
    let error = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Layer, "{error}");
    assert!(error.chain().contains("called `Next` twice"), "{}", error.chain());
    assert!(!error.chain().contains("extensions"), "{}", error.chain());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn behind_layers_at_every_stage_an_error_still_tells_its_attempts() {
    let (dead, _socket) = dead_address();
    let mesh = Mesh::builder()
        .endpoints("users", [dead])
        .call_layer(Identity::new())
        .attempt_layer(Identity::new())
        .endpoint_layer(Identity::new())
        .build()
        .unwrap();
    let error = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(!error.attempts().is_empty(), "{error:?}");
}

/// A service that panics when it is called, once.
#[derive(Clone)]
struct Fragile<S> {
    inner: S,
    left: Arc<AtomicUsize>,
}

impl<S: Service<R>, R> Service<R> for Fragile<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        let broken = self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        assert!(!broken, "a layer's bug");
        self.inner.call(request)
    }
}

#[tokio::test]
async fn a_layer_that_panics_takes_its_own_call_and_no_place_with_it() {
    let fragile = || {
        let left = Arc::new(AtomicUsize::new(1));
        tower::layer::layer_fn(move |inner: Next| Fragile { inner, left: Arc::clone(&left) })
    };
    let builder = || {
        Leaves::new(1)
            .mesh(|_, _| async { Ok(ok("hello")) })
            .service(SERVICE, |s| s.max_requests(1).retry(Retry::standard()))
    };
    for builder in [
        builder().call_layer(fragile()),
        builder().attempt_layer(fragile()),
        builder().endpoint_layer(fragile()),
    ] {
        let client = builder.build().unwrap().client(SERVICE).unwrap();
        tokio::spawn(fetch(&client, get("/"))).await.unwrap_err();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "hello");
    }
}
