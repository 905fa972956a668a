//! G1, G2a, G2b, G2c: instructions per call through the mesh beside bare hyper, over HTTP/2 to a
//! canned peer in memory.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

mod support;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};

use support::{
    subjects::{Bare, Meshed, Plain, Work},
    units::CALLS,
};

#[library_benchmark]
#[bench::plain(args = (Plain::Default), setup = Bare::new)]
#[bench::timeout(args = (Plain::Timeout), setup = Bare::new)]
#[bench::settings(args = (Plain::Settings), setup = Bare::new)]
fn bare_1(bare: Bare) -> Bare {
    bare.run(1, black_box(CALLS));
    bare
}

#[library_benchmark]
#[bench::plain(args = (Plain::Default), setup = Bare::new)]
#[bench::timeout(args = (Plain::Timeout), setup = Bare::new)]
#[bench::settings(args = (Plain::Settings), setup = Bare::new)]
fn bare_32(bare: Bare) -> Bare {
    bare.run(32, black_box(CALLS));
    bare
}

#[library_benchmark]
#[bench::balance(args = (Work::Balance), setup = Meshed::new)]
#[bench::full(args = (Work::Full), setup = Meshed::new)]
#[bench::safe(args = (Work::Safe), setup = Meshed::new)]
#[bench::armed(args = (Work::Armed), setup = Meshed::new)]
#[bench::idle(args = (Work::Idle), setup = Meshed::new)]
fn mesh_1(meshed: Meshed) -> Meshed {
    meshed.run(1, black_box(CALLS));
    meshed
}

#[library_benchmark]
#[bench::balance(args = (Work::Balance), setup = Meshed::new)]
#[bench::full(args = (Work::Full), setup = Meshed::new)]
#[bench::safe(args = (Work::Safe), setup = Meshed::new)]
#[bench::armed(args = (Work::Armed), setup = Meshed::new)]
#[bench::idle(args = (Work::Idle), setup = Meshed::new)]
fn mesh_32(meshed: Meshed) -> Meshed {
    meshed.run(32, black_box(CALLS));
    meshed
}

#[library_benchmark]
#[bench::balance(args = (Work::Balance), setup = Meshed::new)]
fn mesh_http_1(meshed: Meshed) -> Meshed {
    meshed.run_by_authority(1, black_box(CALLS));
    meshed
}

library_benchmark_group!(name = path, benchmarks = [bare_1, bare_32, mesh_1, mesh_32, mesh_http_1]);
main!(config = support::valgrind::config(), library_benchmark_groups = path);
