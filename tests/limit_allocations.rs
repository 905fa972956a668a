//! What limits of calls in flight cost in allocations: nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../benches/support/mod.rs"]
mod bench;
#[path = "../benches/support/counting.rs"]
#[allow(dead_code, reason = "shared: this test counts allocations alone")]
mod counting;

use bench::{
    calls::{read, runtime},
    peer::{Answer, Peers},
};
use counting::{Counting, counted};
use http::{HeaderMap, Request, Version};
use tower_mesh::{
    Body, Mesh, Retry,
    config::{Address, Protocol, Route, Service, WeightedCluster},
    discover::Static,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u32 = 1000;

/// Allocations of so many calls over HTTP/2 to a peer in memory, under these limits.
fn allocations(of_service: Option<u32>, of_route: Option<u32>) -> i64 {
    let runtime = runtime();
    let client = runtime.block_on(async {
        let mut route = Route::default();
        route.clusters = vec![WeightedCluster::new("users.prod")];
        route.policy.max_requests = of_route;
        let mut service = Service::default();
        service.policy.max_requests = of_service;
        service.routes = vec![route];
        let address: Address = "10.0.0.1:80".parse().unwrap();
        let source = Static::default().endpoints("users.prod", [address]);
        let mesh = Mesh::builder()
            .source(source.service("users.prod", service))
            .service("users.prod", |s| {
                s.retry(Retry::standard().attempts(1)).protocol(Protocol::Http2)
            })
            .connect_layer(Peers::new(Answer::http()))
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        mesh.client("users.prod").unwrap()
    });
    let run = |calls: u32| {
        runtime.block_on(async {
            for _ in 0..calls {
                let mut request = Request::new(Body::from("hello"));
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = "http://users.prod/".parse().unwrap();
                *request.headers_mut() = HeaderMap::with_capacity(16);
                read(client.send(request).await.unwrap()).await;
            }
        });
    };
    run(500);
    let ((), counted) = counted(|| run(CALLS));
    counted.allocations
}

/// One test in this file: others would be counted with it.
#[test]
fn calls_under_limits_allocate_nothing_for_them() {
    let without = allocations(None, None);
    for (of_service, of_route) in [(Some(10), None), (None, Some(10)), (Some(10), Some(9))] {
        let more = allocations(of_service, of_route) - without;
        // A table that grows meanwhile, at most.
        assert!(more.abs() < i64::from(CALLS) / 100, "{of_service:?}, {of_route:?}: {more}");
    }
}
