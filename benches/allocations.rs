//! Allocations per call and per pick, and G7: bytes per endpoint that was never picked.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench reports")]

#[path = "support/counting.rs"]
mod counting;
mod support;

use counting::{Counting, counted};
use support::{
    calls::CALLS,
    picks::{self, PICKS, Policy},
    subjects::{Bare, Meshed, Plain, Work},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    sizes();
    for concurrency in [1, 32] {
        for plain in [Plain::Default, Plain::Timeout, Plain::Settings] {
            let bare = Bare::new(plain);
            per(&format!("bare_{concurrency}.{plain:?}"), CALLS, || bare.run(concurrency, CALLS));
        }
        for work in [Work::Balance, Work::Full, Work::Armed] {
            let meshed = Meshed::new(work);
            per(&format!("mesh_{concurrency}.{work:?}"), CALLS, || meshed.run(concurrency, CALLS));
        }
    }
    for policy in Policy::ALL {
        let bench = picks::mesh(policy, 10_000);
        let mut kept = None;
        per(&format!("pick.{policy:?}"), PICKS, || kept = Some(picks::pick(bench, PICKS)));
    }
    let (pending, ewma) = (picks::pending(10_000), picks::ewma(10_000));
    let (mut a, mut b) = (None, None);
    per("pick.tower_pending_requests", PICKS, || a = Some(picks::tower(pending, PICKS)));
    per("pick.tower_peak_ewma", PICKS, || b = Some(picks::tower(ewma, PICKS)));
}

/// Prints allocations and bytes per unit.
fn per(name: &str, units: usize, run: impl FnOnce()) {
    let ((), counted) = counted(run);
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let each = |total: u64| total as f64 / units as f64;
    println!("{name} {:.2} {:.0}", each(counted.allocations), each(counted.bytes));
}

/// Prints what a call moves around.
fn sizes() {
    println!("size.body {}", size_of::<tower_mesh::Body>());
    println!("size.request {}", size_of::<http::Request<tower_mesh::Body>>());
    println!(
        "size.request_bare {}",
        size_of::<http::Request<http_body_util::Full<bytes::Bytes>>>()
    );
    println!("size.call_future {}", size_of::<tower_mesh::CallFuture>());
}
