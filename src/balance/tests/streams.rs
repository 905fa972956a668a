//! Streams beside other calls: in flight to the end of their bodies, and of no age.

use std::sync::Arc;

use super::{MILLI, Outcome, SECOND, Sim, endpoint, healthy, number_of};
use crate::{
    config,
    core::{BodyEnd, Instant, Random, Ticket, Watcher},
};

const LATENCY: u64 = 5 * MILLI;

type Stream = (Arc<dyn Watcher>, Ticket);

/// A call to this endpoint whose head comes soon, and whose body goes on.
///
/// Of a gRPC call, whose status comes in trailers, the outcome stays open.
fn stream(sim: &mut Sim, number: u16, is_grpc: bool) -> Stream {
    loop {
        let mut flight = sim.pick().unwrap();
        if number_of(flight.endpoint()) != number {
            flight.finish(sim.now, Outcome::Ignored);
            sim.pass(SECOND / 10);
            continue;
        }
        sim.pass(LATENCY);
        if !is_grpc {
            flight.record(sim.now, Outcome::Success);
        }
        return flight.into_ticket(sim.now);
    }
}

/// Streams of different ages on these endpoints, the last of which has just begun.
fn streams(sim: &mut Sim, on: impl Iterator<Item = u16>, is_grpc: bool) -> Vec<Stream> {
    on.map(|number| {
        sim.pass(60 * SECOND);
        stream(sim, number, is_grpc)
    })
    .collect()
}

/// Answers that take from 4 to 6 ms.
fn about(random: &Random) -> impl Fn(u16) -> (u64, Outcome) {
    |_| (LATENCY - MILLI + random.next() % (2 * MILLI), Outcome::Success)
}

/// The latency of this endpoint by the estimate of this moment, in nanoseconds.
fn latency(sim: &Sim, number: u16) -> f32 {
    let view = sim.balancer.view.load();
    let set = &view.all.set;
    let found = (0..set.len()).filter_map(|at| set.get(at)).find(|it| number_of(it) == number);
    found.unwrap().live().unwrap().load.latency_at(sim.now, view.decay)
}

#[test]
fn streams_leave_their_endpoints_an_even_share_of_the_other_calls() {
    for count in 2..=10 {
        for (last, is_grpc, seed) in
            [(1, false, 1), (1, true, 2), (count, false, 3), (count, true, 4)]
        {
            let mut sim = Sim::of(&config::Balancer::default(), count);
            sim.random = Random::seeded(seed);
            let _streams = streams(&mut sim, 1..=last, is_grpc);
            sim.pass(60 * SECOND);
            let random = Random::seeded(100 + seed);
            sim.closed(1_000 * u64::from(count), 16 * usize::from(count), about(&random));
            for number in 1..=count {
                let share = sim.share(number) * f64::from(count);
                assert!(
                    (0.9..1.1).contains(&share),
                    "streams on 1..={last} of {count} (gRPC: {is_grpc}): {number} got {share}",
                );
            }
        }
    }
}

#[test]
fn an_endpoint_whose_first_call_is_a_stream_is_measured_by_its_head() {
    for is_grpc in [false, true] {
        let mut sim = Sim::of(&config::Balancer::default(), 2);
        let _stream = stream(&mut sim, 1, is_grpc);
        let measured = latency(&sim, 1);
        assert!((measured - LATENCY as f32).abs() < 1.0, "gRPC: {is_grpc}: {measured}");
    }
}

#[test]
fn a_new_endpoint_with_a_stream_takes_calls_before_that_ends() {
    let mut sim = Sim::of(&config::Balancer::default(), 3);
    sim.closed(1_000, 30, healthy);
    sim.balancer.upsert(vec![endpoint(4)]);
    let _stream = stream(&mut sim, 4, true);
    sim.forget();
    sim.closed(4_000, 64, about(&Random::seeded(1)));
    assert!((0.22..0.28).contains(&sim.share(4)), "{}", sim.share(4));
}

/// Its head came at once, and its failure in trailers.
#[tokio::test(start_paused = true)]
async fn the_first_failure_of_a_grpc_server_that_nobody_knows_is_enough_behind_its_head_too() {
    let mut sim = Sim::of(&config::Balancer::default(), 2);
    let (watcher, ticket) = stream(&mut sim, 1, true);
    let now = sim.balancer.epoch.at(sim.now);
    watcher.ended(ticket, BodyEnd::Complete(Some(13)), Some(now));
    let view = sim.balancer.view.load();
    let set = &view.all.set;
    let first = (0..set.len()).filter_map(|at| set.get(at)).find(|it| number_of(it) == 1).unwrap();
    assert!(first.live().unwrap().load.state.is_suspect());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_long_stream_says_nothing_of_the_latency() {
    for (end, is_grpc) in [
        (BodyEnd::Complete(Some(0)), true),
        (BodyEnd::Expired, true),
        (BodyEnd::Dropped, true),
        (BodyEnd::Complete(None), false),
        (BodyEnd::Failed, true),
        (BodyEnd::Failed, false),
    ] {
        let mut sim = Sim::of(&config::Balancer::default(), 2);
        let (watcher, ticket) = stream(&mut sim, 1, is_grpc);
        sim.pass(3_600 * SECOND);
        sim.closed(1_000, 32, |_| (LATENCY, Outcome::Success));
        sim.pass(SECOND);
        let before = latency(&sim, 1);
        let now = sim.balancer.epoch.at(sim.now);
        tokio::time::advance(now - Instant::now()).await;
        watcher.ended(ticket, end, is_grpc.then_some(now));
        let after = latency(&sim, 1);
        // What breaks counts as slow.
        let most = if end == BodyEnd::Failed { 2.1 * before } else { before };
        assert!((before..=most).contains(&after), "{end:?}: {after} ns, {before} ns before");
    }
}

#[test]
fn an_endpoint_that_hangs_beside_its_streams_is_left() {
    let mut sim = Sim::of(&config::Balancer::default(), 2);
    let _streams = streams(&mut sim, 1..=2, true);
    sim.open(1_000, MILLI, about(&Random::seeded(1)));
    sim.forget();
    let random = Random::seeded(2);
    let hung = |number| {
        if number == 1 { (3_600 * SECOND, Outcome::Failure) } else { about(&random)(number) }
    };
    sim.open(10_000, MILLI, hung);
    assert!(sim.share(1) < 0.01, "{}", sim.share(1));
}
