//! Instructions per look-up in a route table, typical and hostile, and per table that is made.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

#[path = "support/units.rs"]
#[allow(dead_code, reason = "of which this bench uses one")]
mod units;
#[path = "support/valgrind.rs"]
mod valgrind;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use tower_mesh::{
    config::RouteOrder,
    route::bench::{Bench, Kind},
};

fn table(count: usize, kind: Kind, order: RouteOrder) -> Bench {
    let bench = Bench::new(count, kind, order);
    assert_eq!(bench.find(500), 0, "another route was found");
    bench
}

#[library_benchmark]
#[bench::few(args = (5, Kind::Typical, RouteOrder::Listed), setup = table)]
#[bench::n1k(args = (1_000, Kind::Typical, RouteOrder::Listed), setup = table)]
#[bench::n10k(args = (10_000, Kind::Typical, RouteOrder::Listed), setup = table)]
#[bench::specific_1k(args = (1_000, Kind::Headers, RouteOrder::Specificity), setup = table)]
fn look_up(bench: Bench) -> (Bench, usize) {
    let wrong = bench.find(black_box(units::LOOKUPS as usize));
    (bench, wrong)
}

#[library_benchmark]
#[bench::slashes_1k(args = (1_000, Kind::Slashes, RouteOrder::Listed), setup = table)]
#[bench::patterns_1k(args = (1_000, Kind::Patterns, RouteOrder::Listed), setup = table)]
#[bench::regexes_100(args = (100, Kind::Regexes, RouteOrder::Listed), setup = table)]
fn hostile(bench: Bench) -> (Bench, usize) {
    let wrong = bench.find(black_box(1));
    (bench, wrong)
}

library_benchmark_group!(name = routes, benchmarks = [look_up, hostile]);
main!(config = valgrind::config(), library_benchmark_groups = routes);
