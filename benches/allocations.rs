//! Allocations per call and per pick, and G7: bytes per endpoint that was never picked.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench reports")]

#[path = "support/counting.rs"]
mod counting;
#[cfg(all(feature = "otel-033", feature = "tracing"))]
#[allow(dead_code, reason = "shared: not all that is traced is counted")]
#[path = "support/traced.rs"]
mod meshes;
mod support;

use counting::{Counting, counted};
use support::{
    grpc::{Under, grpc},
    picks::{self, Policy},
    stacks::{Above, stack},
    subjects::{Bare, Meshed, Plain, Work},
    units::{CALLS, PICKS},
};
use tower_mesh::{
    balance::bench::{Bench, endpoint},
    config::{Balancer, Endpoint, RingHash},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    // Those of the policies that follow reports are counted in a build that has these policies.
    #[cfg(feature = "orca")]
    if std::env::args().any(|argument| argument == "reports") {
        return following_reports();
    }
    // What telemetry adds is counted in a build that has it.
    #[cfg(all(feature = "otel-033", feature = "tracing"))]
    if std::env::args().any(|argument| argument == "telemetry") {
        return with_telemetry();
    }
    sizes();
    over_http2();
    above_nothing();
    under_tonic();
    picking();
    knowing();
    replacing();
}

/// G1, G2a, G2b, G2c.
fn over_http2() {
    for concurrency in [1, 32] {
        for (name, plain) in
            [("plain", Plain::Default), ("timeout", Plain::Timeout), ("settings", Plain::Settings)]
        {
            let bare = Bare::new(plain);
            let run = || bare.run(concurrency, CALLS);
            per(&format!("path.bare_{concurrency}.{name}"), CALLS, run);
        }
        for (name, work) in [
            ("balance", Work::Balance),
            ("full", Work::Full),
            ("armed", Work::Armed),
            ("idle", Work::Idle),
        ] {
            let meshed = Meshed::new(work);
            let run = || meshed.run(concurrency, CALLS);
            per(&format!("path.mesh_{concurrency}.{name}"), CALLS, run);
        }
    }
}

/// G5a, G5b.
fn above_nothing() {
    for (name, above) in [
        ("nothing", Above::Nothing),
        ("header", Above::Header),
        ("leaf", Above::Leaf),
        ("layers", Above::Layers),
        ("mesh", Above::Mesh),
        ("tower", Above::Tower),
        ("tower_mesh", Above::TowerMesh),
        ("resilience", Above::Resilience),
    ] {
        for (armed, kind) in [(false, "unarmed"), (true, "armed")] {
            let mut stack = stack(above, armed);
            per(&format!("layers.{kind}.{name}"), CALLS, || stack.run(CALLS));
        }
    }
}

/// G3; the servers' threads allocate nothing per call.
fn under_tonic() {
    for (name, under) in [("mesh", Under::Mesh), ("balance_list", Under::BalanceList)] {
        let subject = grpc(under);
        per(&format!("grpc.tonic_1.{name}"), CALLS, || subject.run(1, CALLS));
    }
}

/// G2a, G2b and G3 with a tracer whose callers are not sampled or whose sampler wants nothing, with a meter
/// provider, and with both.
#[cfg(all(feature = "otel-033", feature = "tracing"))]
fn with_telemetry() {
    use meshes::{Trace, Traced, tonic, tonic_metered};
    for concurrency in [1, 32] {
        let bare = Bare::new(Plain::Traced);
        let run = || bare.run(concurrency, CALLS);
        per(&format!("traced.bare_{concurrency}.traced"), CALLS, run);
        for (name, trace) in [
            ("parent_off", Trace::ParentOff),
            ("root_off", Trace::RootOff),
            ("metered", Trace::Metered),
            ("both", Trace::Both),
        ] {
            for (armed, traced) in [("", Traced::new(trace)), ("armed_", Traced::armed(trace))] {
                let run = || traced.run(concurrency, CALLS);
                per(&format!("traced.traced_{concurrency}.{armed}{name}"), CALLS, run);
            }
        }
    }
    for (name, subject) in [
        ("mesh", tonic(Under::Mesh)),
        ("both", tonic_metered(Under::Mesh)),
        ("balance_list", tonic(Under::BalanceList)),
    ] {
        per(&format!("traced.tonic_1.{name}"), CALLS, || subject.run(1, CALLS));
    }
}

/// G4.
fn picking() {
    for (name, policy) in Policy::ALL {
        let bench = picks::mesh(policy, 10_000);
        let mut kept = None;
        per(&format!("pick.{name}"), PICKS, || kept = Some(picks::pick(bench, PICKS)));
    }
    let bench = picks::planned(10_000);
    let mut kept = None;
    per("pick.planned", PICKS, || kept = Some(picks::pick(bench, PICKS)));
    let bench = picks::sharded(10_000);
    let mut kept = None;
    per("pick.sharded", PICKS, || kept = Some(picks::keyed(bench, PICKS)));
    let named = picks::named(10_000);
    let mut kept = None;
    per("pick.override_host", PICKS, || kept = Some(picks::pick_named(named, PICKS)));
    let (pending, ewma) = (picks::pending(10_000), picks::ewma(10_000));
    let (mut a, mut b) = (None, None);
    per("pick.tower_pending_requests", PICKS, || a = Some(picks::tower(pending, PICKS)));
    per("pick.tower_peak_ewma", PICKS, || b = Some(picks::tower(ewma, PICKS)));
}

/// G4 of the policies that follow reports: a pick, its end, and the report of its answer.
#[cfg(feature = "orca")]
fn following_reports() {
    use tower_mesh::config::{ClientWeighted, Prequal};
    let reported = |bench: &Bench, picks: u32| (0..picks).for_each(|_| bench.pick_reported());
    let mut weighted = ClientWeighted::default();
    weighted.blackout = Some(std::time::Duration::ZERO);
    for (name, policy) in [
        ("prequal", Balancer::Prequal(Prequal::default())),
        ("client_weighted", Balancer::ClientWeighted(weighted)),
    ] {
        let bench = picks::pick(Bench::new(&Balancer::RoundRobin, 10_000), 30_000);
        bench.settle(&policy);
        reported(&bench, 1_000);
        bench.weigh();
        per(&format!("pick.{name}"), PICKS, || reported(&bench, PICKS));
    }
}

/// G7: bytes per endpoint that is known and was never picked, its key in the index included.
fn knowing() {
    for (name, count) in [("1k", 1_000), ("10k", 10_000), ("100k", 100_000)] {
        let (bench, counted) = counted(|| Bench::new(&Balancer::default(), count));
        println!("memory.mesh_{name} {:.0}", each(counted.live, count));
        drop(bench);
    }
    let (ewma, counted) = counted(|| picks::ewma(10_000));
    println!("memory.tower_10k {:.0}", each(counted.live, 10_000));
    drop(ewma);
}

/// What 100,000 endpoints that are replaced again and again keep: nothing of those that are gone.
fn replacing() {
    const COUNT: u32 = 100_000;
    let ring = Balancer::RingHash(RingHash::default());
    let plain: fn(u32) -> Endpoint = endpoint;
    let kinds = [
        ("plan", Bench::of(&picks::plan(), Vec::new()), picks::placed as fn(u32) -> Endpoint),
        ("ring", Bench::new(&ring, 0), plain),
    ];
    for (name, bench, endpoint) in kinds {
        let replace = |round: u32| {
            bench.replace((round * COUNT..(round + 1) * COUNT).map(endpoint).collect());
            for _ in 0..1_000 {
                bench.pick();
            }
        };
        let ((), first) = counted(|| (0..2).for_each(replace));
        let ((), more) = counted(|| (2..22).for_each(replace));
        println!("memory.replaced_{name} {:.0}", each(first.live, COUNT));
        println!("memory.kept_{name} {:.2}", each(more.live, COUNT));
    }
}

/// Prints allocations and bytes per unit.
fn per(name: &str, units: u32, run: impl FnOnce()) {
    let ((), counted) = counted(run);
    println!("allocations.{name} {:.2}", each(counted.allocations, units));
    println!("bytes.{name} {:.0}", each(counted.bytes, units));
}

fn each(total: i64, units: u32) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let total = total as f64;
    total / f64::from(units)
}

/// Prints what a call moves around.
fn sizes() {
    println!("size.body {}", size_of::<tower_mesh::Body>());
    println!("size.request {}", size_of::<http::Request<tower_mesh::Body>>());
    println!(
        "size.request_bare {}",
        size_of::<http::Request<http_body_util::Full<bytes::Bytes>>>()
    );
    println!("size.call_future {}", size_of::<tower_mesh::CallFuture>());
}
