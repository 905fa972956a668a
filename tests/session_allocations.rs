//! What a session costs in allocations: it is read once in a call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../benches/support/counting.rs"]
#[allow(dead_code, reason = "shared: this test counts allocations alone")]
mod counting;

use base64::{Engine, engine::general_purpose::STANDARD};
use counting::{Counting, counted};
use http::{
    HeaderValue, Request, Response,
    header::{COOKIE, SET_COOKIE},
};
use tokio::runtime::Builder;
use tower_mesh::{
    Body, BoxError, LeafEndpoint, Mesh,
    config::{Address, Filter, Route, Service, Session, SessionCookie, WeightedCluster},
    discover::Static,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u32 = 1000;

async fn answer(_: Request<Body>) -> Result<Response<Body>, BoxError> {
    Ok(Response::new(Body::empty()))
}

/// Allocations of so many calls of a caller who stays at the first cluster, on a route that leads to these.
fn allocations(clusters: &[&str]) -> i64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let mut session = Session::default();
        let mut cookie = SessionCookie::default();
        cookie.name = "at".to_owned();
        session.cookie = Some(cookie);
        let mut route = Route::default();
        route.clusters = clusters.iter().map(|name| WeightedCluster::new(*name)).collect();
        let mut service = Service::default();
        service.filters = vec![Filter::Session(Box::new(session))];
        service.routes = vec![route];
        let mut source = Static::default().service("users.prod", service);
        for (name, address) in [("one", "10.0.0.1:80"), ("two", "10.0.0.2:80")] {
            let address: Address = address.parse().unwrap();
            source = source.endpoints(name, [address]);
        }
        let mesh = Mesh::builder()
            .source(source)
            .leaf(|_: &LeafEndpoint| tower::service_fn(answer))
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        mesh.client("users.prod").unwrap()
    });
    let text = format!("at={}", STANDARD.encode("10.0.0.1:80;cluster:one"));
    let cookie = HeaderValue::from_str(&text).unwrap();
    let run = |calls: u32| {
        runtime.block_on(async {
            for _ in 0..calls {
                let mut request = Request::new(Body::empty());
                *request.uri_mut() = "http://users.prod/".parse().unwrap();
                request.headers_mut().insert(COOKIE, cookie.clone());
                let response = client.send(request).await.unwrap();
                // Who has been elsewhere is told so.
                assert!(!response.headers().contains_key(SET_COOKIE), "{response:?}");
            }
        });
    };
    run(500);
    let ((), counted) = counted(|| run(CALLS));
    counted.allocations
}

/// One test in this file: others would be counted with it.
#[test]
fn a_session_that_says_its_cluster_of_several_is_read_once() {
    let more = allocations(&["one", "two"]) - allocations(&["one"]);
    // A table that grows meanwhile, at most.
    assert!(more.abs() < i64::from(CALLS) / 100, "{more}");
}
