//! G5a, G5b: the policy path above a service that does nothing.
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
    stacks::{Above, Run, stack},
    units::CALLS,
};

#[library_benchmark]
#[bench::nothing(args = (Above::Nothing, false), setup = stack)]
#[bench::header(args = (Above::Header, false), setup = stack)]
#[bench::leaf(args = (Above::Leaf, false), setup = stack)]
#[bench::layers(args = (Above::Layers, false), setup = stack)]
#[bench::mesh(args = (Above::Mesh, false), setup = stack)]
#[bench::tower(args = (Above::Tower, false), setup = stack)]
#[bench::tower_mesh(args = (Above::TowerMesh, false), setup = stack)]
#[bench::resilience(args = (Above::Resilience, false), setup = stack)]
fn unarmed(mut stack: Box<dyn Run>) -> Box<dyn Run> {
    stack.run(black_box(CALLS));
    stack
}

#[library_benchmark]
#[bench::layers(args = (Above::Layers, true), setup = stack)]
#[bench::mesh(args = (Above::Mesh, true), setup = stack)]
#[bench::tower(args = (Above::Tower, true), setup = stack)]
#[bench::tower_mesh(args = (Above::TowerMesh, true), setup = stack)]
#[bench::resilience(args = (Above::Resilience, true), setup = stack)]
fn armed(mut stack: Box<dyn Run>) -> Box<dyn Run> {
    stack.run(black_box(CALLS));
    stack
}

library_benchmark_group!(name = layers, benchmarks = [unarmed, armed]);
main!(config = support::stacks::steady(), library_benchmark_groups = layers);
