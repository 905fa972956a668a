//! G4 of the policies that follow load reports: instructions per pick and its end, at 3 to 100,000
//! endpoints. Under Prequal every answer brings a report; reading it off the wire is measured
//! apart, and so is an answer whose head is not searched for one.
#![allow(
    clippy::exit,
    missing_docs,
    unused_qualifications,
    reason = "written by gungraun's macros"
)]

#[path = "support/valgrind.rs"]
mod valgrind;

use std::{hint::black_box, time::Duration};

use gungraun::{library_benchmark, library_benchmark_group, main};
use http::{HeaderMap, HeaderValue};
use tower_mesh::{
    balance::bench::{Bench, read_report},
    config::{Balancer, ClientWeighted, Prequal},
};

const PICKS: u32 = 1000;

/// Every endpoint has been picked before, and has reported.
fn prequal(endpoints: u32) -> Bench {
    let bench = Bench::new(&Balancer::Prequal(Prequal::default()), endpoints);
    for _ in 0..12 * endpoints + 1000 {
        bench.pick();
    }
    for _ in 0..1000 {
        bench.pick_reported();
    }
    bench
}

fn weighted(endpoints: u32) -> Bench {
    let mut config = ClientWeighted::default();
    config.blackout = Some(Duration::ZERO);
    let bench = Bench::new(&Balancer::ClientWeighted(config), endpoints);
    for _ in 0..3 * endpoints + 1000 {
        bench.pick();
    }
    bench.weigh();
    bench
}

#[library_benchmark]
#[bench::n3(args = (3), setup = prequal)]
#[bench::n10(args = (10), setup = prequal)]
#[bench::n100(args = (100), setup = prequal)]
#[bench::n1k(args = (1_000), setup = prequal)]
#[bench::n10k(args = (10_000), setup = prequal)]
#[bench::n100k(args = (100_000), setup = prequal)]
fn prequal_reported(bench: Bench) -> Bench {
    for _ in 0..black_box(PICKS) {
        bench.pick_reported();
    }
    bench
}

#[library_benchmark]
#[bench::n3(args = (3), setup = weighted)]
#[bench::n10(args = (10), setup = weighted)]
#[bench::n100(args = (100), setup = weighted)]
#[bench::n1k(args = (1_000), setup = weighted)]
#[bench::n10k(args = (10_000), setup = weighted)]
#[bench::n100k(args = (100_000), setup = weighted)]
fn client_weighted(bench: Bench) -> Bench {
    for _ in 0..black_box(PICKS) {
        bench.pick();
    }
    bench
}

/// Trailers as our layer writes them, and as text.
fn trailers(binary: bool) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    if binary {
        // rps_fractional 100, prequal_rif 3, prequal_latency_us 1500.
        let value = HeaderValue::from_static(
            "MQAAAAAAAFlAQhYKC3ByZXF1YWxfcmlmEQAAAAAAAAhAQh0KEnByZXF1YWxfbGF0ZW5jeV91cxEAAAAAAHCXQA==",
        );
        trailers.insert("endpoint-load-metrics-bin", value);
    } else {
        let value = HeaderValue::from_static(
            "TEXT rps_fractional:100,named_metrics.prequal_rif:3,named_metrics.prequal_latency_us:1500",
        );
        trailers.insert("endpoint-load-metrics", value);
    }
    trailers
}

#[library_benchmark]
#[bench::binary(args = (true), setup = trailers)]
#[bench::text(args = (false), setup = trailers)]
fn reading(trailers: HeaderMap) -> HeaderMap {
    for _ in 0..black_box(PICKS) {
        assert!(read_report(black_box(&trailers)));
    }
    trailers
}

library_benchmark_group!(name = reports, benchmarks = [prequal_reported, client_weighted, reading]);
main!(config = valgrind::config(), library_benchmark_groups = reports);
