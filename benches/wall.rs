//! Wall-clock times for reading: medians of interleaved rounds, each subject beside its peer.
//!
//! No gate: on a shared machine only the ratios of one run mean anything.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench reports")]

mod support;

use std::time::Duration;

use support::{
    cpu::median,
    grpc::{Under, grpc},
    picks::{self, Policy},
    stacks::{Above, stack},
    subjects::{Bare, Meshed, Plain, Work},
    units::{CALLS, PICKS},
};
use tokio::time::Instant;

const ROUNDS: usize = 15;

/// A subject: its name, and one round of it.
type Subject = (String, Box<dyn FnMut()>);

fn main() {
    println!("| | median | best | ratio |\n|---|--:|--:|--:|");
    for concurrency in [1, 32] {
        let (bare, timeout) = (Bare::new(Plain::Default), Bare::new(Plain::Timeout));
        let mut subjects: Vec<Subject> = vec![
            (format!("bare hyper h2, c={concurrency}"), run(move || bare.run(concurrency, CALLS))),
            ("the same with a timeout header".into(), run(move || timeout.run(concurrency, CALLS))),
        ];
        for work in [Work::Balance, Work::Full, Work::Armed] {
            let meshed = Meshed::new(work);
            let name = format!("mesh, {work:?}, c={concurrency}");
            subjects.push((name, run(move || meshed.run(concurrency, CALLS))));
        }
        compare(subjects, CALLS);

        let subjects = [Under::BalanceList, Under::Mesh].map(|under| {
            let subject = grpc(under);
            let name = format!("tonic over {under:?}, TCP, c={concurrency}");
            (name, run(move || subject.run(concurrency, CALLS)))
        });
        compare(subjects.into(), CALLS);
    }
    for armed in [false, true] {
        let above =
            [Above::Header, Above::TowerMesh, Above::Resilience, Above::Layers, Above::Mesh];
        let subjects = above.map(|above| {
            let mut stack = stack(above, armed);
            (format!("{above:?} above nothing, armed {armed}"), run(move || stack.run(CALLS)))
        });
        compare(subjects.into(), CALLS);
    }
    for count in [100, 10_000, 100_000] {
        let mut pending = Some(picks::pending(usize::try_from(count).unwrap()));
        let mut subjects: Vec<Subject> = vec![(
            format!("tower p2c, pending requests, {count} endpoints"),
            run(move || pending = pending.take().map(|it| picks::tower(it, PICKS))),
        )];
        for (name, policy) in Policy::ALL {
            if policy == Policy::FullScan && count > 10_000 {
                continue;
            }
            let mut bench = Some(picks::mesh(policy, count));
            subjects.push((
                format!("pick, {name}, {count} endpoints"),
                run(move || bench = bench.take().map(|it| picks::pick(it, PICKS))),
            ));
        }
        compare(subjects, PICKS);
    }
}

fn run(round: impl FnMut() + 'static) -> Box<dyn FnMut()> {
    Box::new(round)
}

/// Measures the subjects in turns; the first is what the others are compared with.
fn compare(mut subjects: Vec<Subject>, units: u32) {
    let mut times = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for ((_, round), times) in subjects.iter_mut().zip(&mut times) {
            let began = Instant::now();
            round();
            times.push(began.elapsed() / units);
        }
    }
    let mut first = None;
    for ((name, _), times) in subjects.iter().zip(times) {
        let best = times.iter().copied().min().unwrap_or_default();
        let median = median(times);
        let ratio = median.as_secs_f64() / first.get_or_insert(median).as_secs_f64();
        println!("| {name} | {} | {} | {ratio:.2} |", shown(median), shown(best));
    }
}

fn shown(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}
