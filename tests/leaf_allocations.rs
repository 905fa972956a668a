//! What a call through an own leaf costs in allocations: nothing that grows with its headers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../benches/support/counting.rs"]
#[allow(dead_code, reason = "shared: this test counts allocations alone")]
mod counting;

use counting::{Counting, counted};
use http::{HeaderValue, Request, Response};
use tokio::runtime::Builder;
use tower_mesh::{Body, BoxError, LeafEndpoint, Mesh, Retry, config::Address};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u32 = 1000;
/// Names that no list of usual ones has: a copy of each costs an allocation.
const NAMES: [&str; 6] = ["x-one", "x-two", "x-three", "x-four", "x-five", "x-six"];

async fn answer(_: Request<Body>) -> Result<Response<Body>, BoxError> {
    Ok(Response::new(Body::empty()))
}

fn request(headers: usize) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "http://users.prod/".parse().unwrap();
    request.headers_mut().reserve(16);
    for name in NAMES.iter().take(headers) {
        request.headers_mut().insert(*name, HeaderValue::from_static("1"));
    }
    request
}

/// Allocations of so many calls with so many headers, without those of their requests.
fn allocations(headers: usize) -> i64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let address: Address = "10.0.0.1:80".parse().unwrap();
        let mesh = Mesh::builder()
            .endpoints("users.prod", [address])
            .service("users.prod", |s| s.retry(Retry::standard().attempts(1)))
            .leaf(|_: &LeafEndpoint| tower::service_fn(answer))
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        mesh.client("users.prod").unwrap()
    });
    let run = |calls: u32| {
        runtime.block_on(async {
            for _ in 0..calls {
                assert!(client.send(request(headers)).await.unwrap().status().is_success());
            }
        });
    };
    run(500);
    let ((), called) = counted(|| run(CALLS));
    let ((), made) = counted(|| (0..CALLS).for_each(|_| drop(request(headers))));
    called.allocations - made.allocations
}

/// One test in this file: others would be counted with it.
#[test]
fn a_call_to_an_own_leaf_that_is_not_sent_again_has_no_copy_of_its_head() {
    let more = allocations(NAMES.len()) - allocations(0);
    // A table that grows meanwhile, at most.
    assert!(more.abs() < i64::from(CALLS) / 100, "{more}");
}
