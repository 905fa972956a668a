//! Latencies that peak EWMA reckons with though nobody has measured them.

use std::{cell::Cell, time::Duration};

use super::{MILLI, Outcome, SECOND, Sim, endpoint, healthy, number_of};
use crate::config::Balancer;

fn peak_ewma(first: Option<u64>, failure: Option<u64>, asked: Option<u64>) -> Balancer {
    let seconds = |time: Option<u64>| time.map(Duration::from_nanos);
    Balancer::PeakEwma {
        decay: Duration::from_secs(10),
        default_rtt: seconds(first),
        penalty: seconds(failure),
        max_retry_after: seconds(asked),
    }
}

/// Two endpoints that answer in `latency`, and a third that has just joined.
async fn joined(policy: &Balancer, latency: u64) -> Sim {
    let mut sim = Sim::of(policy, 2);
    sim.closed(200, 4, |_| (latency, Outcome::Success));
    sim.pass(SECOND);
    // It joins at the time of the clock.
    let clock = sim.balancer.epoch.nanos(crate::core::Instant::now());
    tokio::time::advance(Duration::from_nanos(sim.now - clock)).await;
    sim.balancer.upsert(vec![endpoint(3)]);
    sim.forget();
    sim
}

#[tokio::test(start_paused = true)]
async fn who_was_never_measured_is_taken_to_have_the_latency_that_is_said() {
    // Beside those of 100 ms one of 30 ms is the better one, and takes more than one call at a time.
    let mut sim = joined(&peak_ewma(Some(30 * MILLI), None, None), 100 * MILLI).await;
    for _ in 0..12 {
        sim.call(|_| (100 * MILLI, Outcome::Success));
    }
    assert!((4..12).contains(&sim.count(3)), "{} of 12 at once", sim.count(3));
    // Unless that is said one call finds out.
    let mut sim = joined(&peak_ewma(None, None, None), 100 * MILLI).await;
    for _ in 0..12 {
        sim.call(|_| (100 * MILLI, Outcome::Success));
    }
    assert_eq!(sim.count(3), 1);
    // Beside those of 1 ms it is no better one; it is not forgotten either.
    let mut sim = joined(&peak_ewma(Some(30 * MILLI), None, None), MILLI).await;
    sim.open(100, 5 * MILLI, healthy);
    assert_eq!(sim.count(3), 0, "in the first half of a second");
    sim.open(2_000, 5 * MILLI, healthy);
    assert!((5..50).contains(&sim.count(3)), "{} of 2000, in ten seconds", sim.count(3));
}

/// The share of the calls that endpoint 1 of three gets, which fails one of its calls of ten, and the
/// others none.
fn failing_at_times(policy: &Balancer) -> f64 {
    let mut sim = Sim::of(policy, 3);
    sim.closed(300, 12, healthy);
    sim.forget();
    let calls = Cell::new(0);
    sim.closed(3_000, 12, |number| {
        calls.set(calls.get() + u32::from(number == 1));
        let fails = number == 1 && calls.get().is_multiple_of(10);
        (MILLI, if fails { Outcome::Failure } else { Outcome::Success })
    });
    sim.share(1)
}

#[test]
fn a_failure_counts_as_the_penalty() {
    let usual = failing_at_times(&peak_ewma(None, None, None));
    let less = failing_at_times(&peak_ewma(None, Some(5 * SECOND), None));
    assert!(usual > 0.1, "{usual}");
    assert!(less < 0.02, "{less}");
}

/// How long endpoint 1 of three gets next to nothing after it has answered once with 429 and a
/// `Retry-After` of a minute, in seconds.
fn left_alone(policy: &Balancer) -> u64 {
    let mut sim = Sim::of(policy, 3);
    sim.open(100, 2 * MILLI, healthy);
    let asks = loop {
        let flight = sim.pick().unwrap();
        if number_of(flight.endpoint()) == 1 {
            break flight;
        }
        flight.finish(sim.now + MILLI, Outcome::Success);
    };
    sim.now += MILLI;
    let mut asks = asks;
    asks.answered(sim.now, (429, Some(Outcome::Success)), || Some(Duration::from_secs(60)));
    asks.finish(sim.now, Outcome::Success);
    for second in 0..200 {
        sim.forget();
        sim.open(100, 10 * MILLI, healthy);
        if sim.share(1) > 0.1 {
            return second;
        }
    }
    200
}

#[test]
fn who_asks_to_be_left_alone_gets_fewer_calls_and_no_longer_than_is_allowed() {
    assert_eq!(left_alone(&peak_ewma(None, None, None)), 0, "nobody listens");
    let [short, long] =
        [SECOND, 30 * SECOND].map(|most| left_alone(&peak_ewma(None, None, Some(most))));
    assert!(short > 3, "{short} s");
    assert!(long > short, "{long} s after {short} s");
    assert!(left_alone(&peak_ewma(None, Some(SECOND), None)) > 3, "429 is a failure to do more");
}

#[test]
fn another_policy_forgets_them() {
    let mut sim = Sim::of(&peak_ewma(Some(SECOND), Some(SECOND), Some(SECOND)), 3);
    assert!(sim.balancer.bias.is_on());
    sim.balancer.settle(&super::under(&Balancer::LeastRequest));
    assert!(!sim.balancer.bias.is_on());
    assert_eq!(sim.balancer.bias.first(), 0);
    sim.open(10, MILLI, healthy);
}
