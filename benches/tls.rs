//! G9: instructions of a full mutual handshake, and of one that resumes a session, both sides
//! together, beside bare rustls.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

#[path = "support/handshakes.rs"]
#[allow(clippy::unwrap_used, reason = "bench support")]
mod handshakes;
#[path = "support/units.rs"]
#[allow(dead_code, reason = "bench support, of which each bench uses a part")]
mod units;
#[path = "support/valgrind.rs"]
mod valgrind;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use tower_mesh::security::bench::Bench;

use handshakes::{BareTls, Handshake, Handshakes};
use units::HANDSHAKES;

#[library_benchmark]
#[bench::full(args = (Handshake::Full), setup = Handshakes::bare)]
#[bench::resumed(args = (Handshake::Resumed), setup = Handshakes::bare)]
fn bare(handshakes: Handshakes<BareTls>) -> Handshakes<BareTls> {
    handshakes.run(black_box(HANDSHAKES));
    handshakes
}

#[library_benchmark]
#[bench::full(args = (Handshake::Full), setup = Handshakes::mesh)]
#[bench::resumed(args = (Handshake::Resumed), setup = Handshakes::mesh)]
fn mesh(handshakes: Handshakes<Bench>) -> Handshakes<Bench> {
    handshakes.run(black_box(HANDSHAKES));
    handshakes
}

library_benchmark_group!(name = tls, benchmarks = [bare, mesh]);
main!(config = valgrind::config(), library_benchmark_groups = tls);
