//! What a trace costs a call: instructions beside the same mesh that nobody asks to trace.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

#[path = "support/traced.rs"]
mod meshes;
mod support;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};

use meshes::{Trace, Traced, tonic, tonic_metered};
use support::{
    grpc::{Run, Under},
    subjects::{Bare, Plain},
    units::CALLS,
};

#[library_benchmark]
#[bench::traced(args = (Plain::Traced), setup = Bare::new)]
#[bench::timeout(args = (Plain::Timeout), setup = Bare::new)]
fn bare_1(bare: Bare) -> Bare {
    bare.run(1, black_box(CALLS));
    bare
}

#[library_benchmark]
#[bench::nothing(args = (Trace::Nothing), setup = Traced::new)]
#[bench::carried(args = (Trace::Carried), setup = Traced::new)]
#[bench::parent_off(args = (Trace::ParentOff), setup = Traced::new)]
#[bench::root_off(args = (Trace::RootOff), setup = Traced::new)]
#[bench::root_on(args = (Trace::RootOn), setup = Traced::new)]
#[bench::parent_on(args = (Trace::ParentOn), setup = Traced::new)]
#[bench::no_subscriber(args = (Trace::NoSubscriber), setup = Traced::new)]
#[bench::metered(args = (Trace::Metered), setup = Traced::new)]
#[bench::armed_parent_off(args = (Trace::ParentOff), setup = Traced::armed)]
#[bench::armed_root_off(args = (Trace::RootOff), setup = Traced::armed)]
#[bench::armed_metered(args = (Trace::Metered), setup = Traced::armed)]
#[bench::both(args = (Trace::Both), setup = Traced::new)]
#[bench::armed_both(args = (Trace::Both), setup = Traced::armed)]
fn traced_1(traced: Traced) -> Traced {
    traced.run(1, black_box(CALLS));
    traced
}

#[library_benchmark]
#[bench::traced(args = (Plain::Traced), setup = Bare::new)]
#[bench::timeout(args = (Plain::Timeout), setup = Bare::new)]
fn bare_32(bare: Bare) -> Bare {
    bare.run(32, black_box(CALLS));
    bare
}

#[library_benchmark]
#[bench::parent_off(args = (Trace::ParentOff), setup = Traced::new)]
#[bench::root_off(args = (Trace::RootOff), setup = Traced::new)]
#[bench::parent_on(args = (Trace::ParentOn), setup = Traced::new)]
#[bench::metered(args = (Trace::Metered), setup = Traced::new)]
#[bench::armed_parent_off(args = (Trace::ParentOff), setup = Traced::armed)]
#[bench::armed_root_off(args = (Trace::RootOff), setup = Traced::armed)]
#[bench::armed_metered(args = (Trace::Metered), setup = Traced::armed)]
#[bench::both(args = (Trace::Both), setup = Traced::new)]
#[bench::armed_both(args = (Trace::Both), setup = Traced::armed)]
fn traced_32(traced: Traced) -> Traced {
    traced.run(32, black_box(CALLS));
    traced
}

#[library_benchmark]
#[bench::mesh(args = (Under::Mesh), setup = tonic)]
#[bench::both(args = (Under::Mesh), setup = tonic_metered)]
#[bench::balance_list(args = (Under::BalanceList), setup = tonic)]
fn tonic_1(subject: Box<dyn Run>) -> Box<dyn Run> {
    subject.run(1, black_box(CALLS));
    subject
}

#[library_benchmark]
#[bench::mesh(args = (Under::Mesh), setup = tonic)]
#[bench::both(args = (Under::Mesh), setup = tonic_metered)]
#[bench::balance_list(args = (Under::BalanceList), setup = tonic)]
fn tonic_32(subject: Box<dyn Run>) -> Box<dyn Run> {
    subject.run(32, black_box(CALLS));
    subject
}

library_benchmark_group!(
    name = traced,
    benchmarks = [bare_1, traced_1, bare_32, traced_32, tonic_1, tonic_32]
);
main!(config = support::valgrind::config(), library_benchmark_groups = traced);
