//! G3: the same generated tonic client over the mesh and over `Channel::balance_list`.
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
    grpc::{Run, Under, grpc as subject},
    units::CALLS,
};

#[library_benchmark]
#[bench::mesh(args = (Under::Mesh), setup = subject)]
#[bench::balance_list(args = (Under::BalanceList), setup = subject)]
fn tonic_1(subject: Box<dyn Run>) -> Box<dyn Run> {
    subject.run(1, black_box(CALLS));
    subject
}

#[library_benchmark]
#[bench::mesh(args = (Under::Mesh), setup = subject)]
#[bench::balance_list(args = (Under::BalanceList), setup = subject)]
fn tonic_32(subject: Box<dyn Run>) -> Box<dyn Run> {
    subject.run(32, black_box(CALLS));
    subject
}

library_benchmark_group!(name = grpc, benchmarks = [tonic_1, tonic_32]);
main!(config = support::valgrind::config(), library_benchmark_groups = grpc);
