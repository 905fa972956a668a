//! What events cost in allocations: nothing while nobody listens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
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
    config::{Address, Protocol},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u32 = 1000;

/// Who listens to the events while calls are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Listener {
    Never,
    Gone,
    There,
}

/// Allocations of so many calls over HTTP/2 to a peer in memory.
fn allocations(listener: Listener) -> i64 {
    let runtime = runtime();
    let (mesh, client) = runtime.block_on(async {
        let address: Address = "10.0.0.1:80".parse().unwrap();
        let mesh = Mesh::builder()
            .endpoints("users.prod", [address])
            .service("users.prod", |s| {
                s.retry(Retry::standard().attempts(1)).protocol(Protocol::Http2)
            })
            .connect_layer(Peers::new(Answer::http()))
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client("users.prod").unwrap();
        (mesh, client)
    });
    let mut events = (listener != Listener::Never).then(|| mesh.events());
    let mut heard = 0;
    let mut run = |calls: u32, events: &mut Option<tower_mesh::EventStream>| {
        runtime.block_on(async {
            for _ in 0..calls {
                let mut request = Request::new(Body::from("hello"));
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = "http://users.prod/".parse().unwrap();
                *request.headers_mut() = HeaderMap::with_capacity(16);
                read(client.send(request).await.unwrap()).await;
                while events.as_mut().and_then(tower_mesh::EventStream::try_recv).is_some() {
                    heard += 1;
                }
            }
        });
    };
    run(500, &mut events);
    if listener == Listener::Gone {
        events = None;
    }
    let ((), counted) = counted(|| run(CALLS, &mut events));
    // Begin and end of the call and of its attempt.
    let least = if listener == Listener::There { 1500 * 4 } else { 0 };
    assert!(heard >= least, "{listener:?}: {heard} events");
    counted.allocations
}

/// One test in this file: others would be counted with it.
#[test]
fn events_that_nobody_listens_to_allocate_nothing() {
    let never = allocations(Listener::Never);
    let gone = allocations(Listener::Gone) - never;
    // A table that grows meanwhile, at most.
    assert!(gone.abs() < i64::from(CALLS) / 100, "a listener that has gone: {gone}");
    let there = allocations(Listener::There) - never;
    println!("{never} allocations of {CALLS} calls; with a listener {there} more");
    assert!(there >= 0, "{there}");
}
