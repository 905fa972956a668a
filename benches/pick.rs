//! G4: instructions per pick and its end, at 3 to 100,000 endpoints, beside tower's p2c.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

mod support;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use tower_mesh::balance::bench::{Bench, Named};

use support::{
    picks::{self, Ewma, Pending, Policy},
    units::PICKS,
};

macro_rules! policy {
    ($name:ident, $policy:expr) => {
        #[library_benchmark]
        #[bench::n3(args = ($policy, 3), setup = picks::mesh)]
        #[bench::n10(args = ($policy, 10), setup = picks::mesh)]
        #[bench::n100(args = ($policy, 100), setup = picks::mesh)]
        #[bench::n1k(args = ($policy, 1_000), setup = picks::mesh)]
        #[bench::n10k(args = ($policy, 10_000), setup = picks::mesh)]
        #[bench::n100k(args = ($policy, 100_000), setup = picks::mesh)]
        fn $name(bench: Bench) -> Bench {
            picks::pick(bench, black_box(PICKS))
        }
    };
}

policy!(random, Policy::Random);
policy!(least_request, Policy::LeastRequest);
policy!(peak_ewma, Policy::PeakEwma);
policy!(round_robin, Policy::RoundRobin);
policy!(weighted_round_robin, Policy::Weighted);
policy!(ring_hash, Policy::RingHash);
policy!(maglev, Policy::Maglev);
policy!(bounded_load, Policy::Bounded);

/// What is not flat by nature.
macro_rules! told {
    ($name:ident, $policy:expr, $picks:expr) => {
        #[library_benchmark]
        #[bench::n3(args = ($policy, 3), setup = picks::mesh)]
        #[bench::n100(args = ($policy, 100), setup = picks::mesh)]
        #[bench::n10k(args = ($policy, 10_000), setup = picks::mesh)]
        fn $name(bench: Bench) -> Bench {
            picks::pick(bench, black_box($picks))
        }
    };
}

told!(three_choices, Policy::ThreeChoices, PICKS);
told!(full_scan, Policy::FullScan, PICKS);
told!(biased, Policy::Biased, PICKS);
policy!(pick_first, Policy::PickFirst);

#[library_benchmark]
#[bench::n100(args = (100), setup = picks::sharded)]
#[bench::n10k(args = (10_000), setup = picks::sharded)]
#[bench::n100k(args = (100_000), setup = picks::sharded)]
fn sharded(bench: Bench) -> Bench {
    picks::keyed(bench, black_box(PICKS))
}

#[library_benchmark]
#[bench::n100(args = (100), setup = picks::named)]
#[bench::n10k(args = (10_000), setup = picks::named)]
#[bench::n100k(args = (100_000), setup = picks::named)]
fn override_host(bench: (Bench, Vec<Named>)) -> (Bench, Vec<Named>) {
    picks::pick_named(bench, black_box(PICKS))
}

#[library_benchmark]
#[bench::n3(args = (3), setup = picks::pending)]
#[bench::n100(args = (100), setup = picks::pending)]
#[bench::n1k(args = (1_000), setup = picks::pending)]
#[bench::n10k(args = (10_000), setup = picks::pending)]
fn tower_pending_requests(balance: Pending) -> Pending {
    picks::tower(balance, black_box(PICKS))
}

#[library_benchmark]
#[bench::n3(args = (3), setup = picks::ewma)]
#[bench::n100(args = (100), setup = picks::ewma)]
#[bench::n1k(args = (1_000), setup = picks::ewma)]
#[bench::n10k(args = (10_000), setup = picks::ewma)]
fn tower_peak_ewma(balance: Ewma) -> Ewma {
    picks::tower(balance, black_box(PICKS))
}

library_benchmark_group!(
    name = pick,
    benchmarks = [
        random,
        least_request,
        peak_ewma,
        round_robin,
        weighted_round_robin,
        ring_hash,
        maglev,
        bounded_load,
        three_choices,
        full_scan,
        biased,
        pick_first,
        sharded,
        override_host,
        tower_pending_requests,
        tower_peak_ewma
    ]
);
main!(config = support::valgrind::config(), library_benchmark_groups = pick);
