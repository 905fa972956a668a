//! What a call over mutual TLS costs: instructions through the mesh beside bare hyper on rustls,
//! over HTTP/2 to the same peer in memory, whose side of TLS is in both.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

#[path = "support/secured.rs"]
#[allow(clippy::unwrap_used, reason = "bench support")]
mod secured;
mod support;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};

use secured::{Bare, Meshed};
use support::units::CALLS;

#[library_benchmark]
#[bench::one(args = (1), setup = bare)]
#[bench::many(args = (32), setup = bare)]
fn bare_mtls((bare, concurrency): (Bare, u32)) -> Bare {
    bare.run(concurrency, black_box(CALLS));
    bare
}

#[library_benchmark]
#[bench::one(args = (1), setup = mesh)]
#[bench::many(args = (32), setup = mesh)]
fn mesh_mtls((meshed, concurrency): (Meshed, u32)) -> Meshed {
    meshed.run(concurrency, black_box(CALLS));
    meshed
}

fn bare(concurrency: u32) -> (Bare, u32) {
    (Bare::new(), concurrency)
}

fn mesh(concurrency: u32) -> (Meshed, u32) {
    (Meshed::new(), concurrency)
}

library_benchmark_group!(name = mtls, benchmarks = [bare_mtls, mesh_mtls]);
main!(config = support::valgrind::config(), library_benchmark_groups = mtls);
