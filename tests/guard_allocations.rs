//! What guards that let every call pass cost in allocations: one box for what all of them keep.
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

use std::time::Duration;

use bench::{
    calls::{read, runtime},
    peer::{Answer, Peers},
};
use counting::{Counting, counted};
use http::{HeaderMap, Request, Version};
use tower_mesh::{
    Body, Mesh, Retry,
    config::{Action, AdaptiveConcurrency, Address, Authorization, Filter, Protocol, Service},
    discover::Static,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u32 = 1000;

/// Allocations of so many calls over HTTP/2 to a peer in memory, past these filters.
fn allocations(filters: Vec<Filter>, max_requests: Option<u32>, longest: Option<Duration>) -> i64 {
    let runtime = runtime();
    let client = runtime.block_on(async {
        let mut service = Service::default();
        service.filters = filters;
        service.policy.timeout = Some(Duration::from_secs(10));
        service.policy.max_requests = max_requests;
        service.policy.max_stream_duration = longest;
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

/// A limit that follows nothing, so that nothing is computed.
fn adaptive() -> Filter {
    let mut limit = AdaptiveConcurrency::default();
    limit.initial_concurrency = Some(100);
    (limit.min_concurrency, limit.max_concurrency) = (Some(100), Some(100));
    Filter::AdaptiveConcurrency(Box::new(limit))
}

/// One test in this file: others would be counted with it.
#[test]
fn calls_past_guards_allocate_one_box_for_what_all_of_them_keep() {
    let rules = || {
        let mut rules = Authorization::default();
        rules.otherwise = Some(Action::Allow);
        Filter::Authorize(rules)
    };
    let throttle = || Filter::Throttle(Box::default());
    let admission = || Filter::AdmissionControl(Box::default());
    let long = Some(Duration::from_secs(600));
    let without = allocations(Vec::new(), None, long);
    for (what, filters, max_requests, boxes) in [
        ("rules keep nothing", vec![rules()], None, 0),
        ("a throttle", vec![rules(), throttle()], None, 1),
        ("a limit, whose place outlives the head", vec![adaptive()], None, 1),
        ("a limit beside the service's", vec![throttle(), admission(), adaptive()], Some(10), 1),
    ] {
        let more = allocations(filters, max_requests, long) - without;
        let expected = i64::from(CALLS) * boxes;
        // A table that grows meanwhile, at most.
        assert!((more - expected).abs() < i64::from(CALLS) / 50, "{what}: {more}");
    }
    let bounded = without - allocations(Vec::new(), None, None);
    assert!(bounded.abs() < i64::from(CALLS) / 50, "the longest stream: {bounded}");
}
