//! G10: instructions per call through the front door in reqwest's shape, beside plain reqwest.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

#[path = "support/door.rs"]
mod door;
mod support;

use std::{hint::black_box, time::Duration};

use gungraun::{library_benchmark, library_benchmark_group, main};
use http::Version;

use door::{Door, Subject};
use support::units::CALLS;

fn bounded(door: Door, version: Version) -> Subject {
    Subject::bounded(door, version, Some(Duration::from_secs(10)))
}

#[library_benchmark]
#[bench::plain(args = (Door::Plain, Version::HTTP_11), setup = Subject::new)]
#[bench::plain_timeout(args = (Door::Plain, Version::HTTP_11), setup = bounded)]
#[bench::mesh(args = (Door::Mesh, Version::HTTP_11), setup = Subject::new)]
#[bench::mesh_timeout(args = (Door::Mesh, Version::HTTP_11), setup = bounded)]
fn http1(subject: Subject) -> Subject {
    subject.run(1, black_box(CALLS));
    subject
}

#[library_benchmark]
#[bench::plain(args = (Door::Plain, Version::HTTP_2), setup = Subject::new)]
#[bench::plain_timeout(args = (Door::Plain, Version::HTTP_2), setup = bounded)]
#[bench::mesh(args = (Door::Mesh, Version::HTTP_2), setup = Subject::new)]
#[bench::mesh_timeout(args = (Door::Mesh, Version::HTTP_2), setup = bounded)]
fn http2(subject: Subject) -> Subject {
    subject.run(1, black_box(CALLS));
    subject
}

library_benchmark_group!(name = reqwest, benchmarks = [http1, http2]);
main!(config = support::valgrind::config(), library_benchmark_groups = reqwest);
