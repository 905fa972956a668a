//! Which rule ejects, for how long, and by which failures.

use std::time::Duration;

use super::*;
use crate::{balance::health, config::FailureAccrual};

/// Compares the windows, if they are over, beside whatever else is kept; when the next are.
fn compare(sim: &Sim, now: u64) -> Option<u64> {
    let view = sim.balancer.read();
    sim.balancer.health.keep(now, view.all.set.iter().filter_map(|endpoint| endpoint.live()))
}

/// So many failures at once, of the one endpoint that there is.
fn fail(sim: &Sim, times: u32, outcome: Outcome) {
    for _ in 0..times {
        sim.pick().unwrap().finish(sim.now, outcome);
    }
}

#[test]
fn a_draw_above_what_is_enforced_ejects_nobody() {
    let mut ejected = 0;
    for seed in 0..200 {
        let rules = OutlierDetection { enforcing_consecutive_5xx: Some(30), ..outliers() };
        let sim = watched(&config::Balancer::RoundRobin, 1, &rules);
        let random = Arc::new(Random::seeded(seed));
        sim.balancer.health.set(Some(health::Rules::new(&rules)), &random);
        fail(&sim, 4, Outcome::Failure);
        assert_eq!(sim.balancer.health.ejected(), 0);
        fail(&sim, 1, Outcome::Failure);
        let wanted = Random::seeded(seed).next() % 100 < 30;
        assert_eq!(standing(&sim, 1) == Standing::Ejected, wanted, "{seed}");
        // Who is spared takes nobody's place, and is judged anew after a whole row.
        assert_eq!(sim.balancer.health.ejected(), u32::from(wanted));
        fail(&sim, 4, Outcome::Failure);
        assert_eq!(told(&sim, 1).len(), usize::from(wanted));
        ejected += u32::from(wanted);
    }
    assert!((40..=80).contains(&ejected), "{ejected} of 200");
}

#[test]
fn failures_of_a_gateway_eject_for_that_reason_where_it_is_enforced() {
    let rules = OutlierDetection { enforcing_consecutive_gateway_failure: Some(100), ..outliers() };
    let sim = watched(&config::Balancer::RoundRobin, 1, &rules);
    fail(&sim, 5, Outcome::Gateway);
    assert_eq!(told(&sim, 1), ["ejected: consecutive gateway failures for 30 s"]);
    // By default it is not, and the same failures count as the server's.
    let sim = watched(&config::Balancer::RoundRobin, 1, &outliers());
    fail(&sim, 5, Outcome::Gateway);
    assert_eq!(told(&sim, 1), ["ejected: consecutive failures for 30 s"]);
}

#[test]
fn who_returns_begins_every_row_anew() {
    let rules = OutlierDetection {
        consecutive_gateway_failure: Some(3),
        enforcing_consecutive_gateway_failure: Some(100),
        ..outliers()
    };
    let mut sim = watched(&config::Balancer::RoundRobin, 1, &rules);
    // Three of the five that eject as the server's.
    fail(&sim, 3, Outcome::Gateway);
    sim.pass(31 * SECOND);
    fail(&sim, 1, Outcome::Success);
    assert_eq!(told(&sim, 1).last().unwrap(), "returned: probe");
    fail(&sim, 4, Outcome::Failure);
    assert_ne!(standing(&sim, 1), Standing::Ejected, "{:?}", told(&sim, 1));
    fail(&sim, 1, Outcome::Failure);
    assert_eq!(told(&sim, 1).last().unwrap(), "ejected: consecutive failures for 60 s");
}

#[test]
fn accrual_goes_by_failures_in_a_row_and_comes_back_by_one_call() {
    let accrual = FailureAccrual { consecutive_failures: Some(3), ..FailureAccrual::default() };
    let rules = OutlierDetection { accrual: Some(accrual), ..outliers() };
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &rules);
    sim.closed(60, 20, one_fails);
    sim.open(2_000, 10 * MILLI, one_fails);
    let all = told(&sim, 1);
    assert!(all[0].starts_with("ejected: accrued failures for 0."), "{all:?}");
    assert!(all[1..].iter().all(|it| it.starts_with("ejected: probe failed")), "{all:?}");
    // 0.5..1, 1..2, 2..4 and 4..8 s within twenty.
    assert!((4..=6).contains(&all.len()), "{all:?}");
    sim.open(8_000, 10 * MILLI, healthy);
    assert_eq!(told(&sim, 1).last().unwrap(), "returned: probe");
}

#[test]
fn accrual_goes_by_the_ratio_of_a_window() {
    let accrual = FailureAccrual {
        consecutive_failures: Some(0),
        success_ratio: Some(0.8),
        ..FailureAccrual::default()
    };
    let rules = OutlierDetection { accrual: Some(accrual), ..outliers() };
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &rules);
    // Two of three calls succeed: never in a row, and never suspect.
    let turn = std::cell::Cell::new(0);
    sim.open(300, 10 * MILLI, |number| {
        turn.set(turn.get() + u32::from(number == 1));
        let fails = number == 1 && turn.get().is_multiple_of(3);
        (MILLI, if fails { Outcome::Failure } else { Outcome::Success })
    });
    let all = told(&sim, 1);
    assert!(all[0].starts_with("ejected: accrued success ratio"), "{all:?}");
}

#[test]
fn a_retry_after_lengthens_an_ejection() {
    let rules = OutlierDetection { respect_retry_after: Some(true), ..outliers() };
    let mut sim = watched(&config::Balancer::RoundRobin, 1, &rules);
    for _ in 0..5 {
        sim.now += SECOND;
        let mut flight = sim.pick().unwrap();
        flight.answered(sim.now, (503, None), || Some(Duration::from_secs(100)));
        flight.record(sim.now, Outcome::of_http(503));
    }
    assert_eq!(told(&sim, 1), ["ejected: consecutive failures for 100 s"]);
}

#[test]
fn a_limit_that_is_lowered_in_the_middle_of_a_row_ejects_with_the_next_failure() {
    for before in [0, 20] {
        let rules = |limit| OutlierDetection { consecutive_5xx: Some(limit), ..outliers() };
        let sim = watched(&config::Balancer::RoundRobin, 1, &rules(before));
        let fail = || sim.pick().unwrap().finish(sim.now, Outcome::Failure);
        (0..7).for_each(|_| fail());
        assert!(told(&sim, 1).is_empty(), "{:?}", told(&sim, 1));
        let outlier_detection = Some(rules(5));
        let cluster = under(&config::Balancer::RoundRobin);
        sim.balancer.settle(&Cluster { outlier_detection, ..cluster });
        fail();
        assert_eq!(told(&sim, 1), ["ejected: consecutive failures for 30 s"], "{before}");
    }
}

#[test]
fn success_rates_are_compared_at_intervals_and_not_without_calls() {
    let rate = config::SuccessRate { request_volume: Some(20), ..Default::default() };
    let rules = OutlierDetection {
        consecutive_5xx: Some(0),
        success_rate: Some(rate),
        ..OutlierDetection::default()
    };
    let mut sim = watched(&config::Balancer::RoundRobin, 5, &rules);
    assert!(sim.balancer.takes_keeper());
    assert_eq!(compare(&sim, sim.now), None, "nothing was called");
    let turn = std::cell::Cell::new(0);
    let flaky = |number| {
        turn.set(turn.get() + u32::from(number == 1));
        let fails = number == 1 && turn.get().is_multiple_of(5);
        (MILLI, if fails { Outcome::Failure } else { Outcome::Success })
    };
    sim.open(10, MILLI, flaky);
    let due = compare(&sim, sim.now).unwrap();
    assert_eq!(due, sim.now + 10 * SECOND);
    sim.open(300, 10 * MILLI, flaky);
    assert_eq!(compare(&sim, sim.now), Some(due), "not yet");
    assert_eq!(standing(&sim, 1), Standing::Healthy);
    sim.pass(due - sim.now);
    assert_eq!(compare(&sim, due), Some(due + 10 * SECOND));
    assert_eq!(told(&sim, 1), ["ejected: success rate for 30 s"]);
    // Nothing came since: nothing is due until it does.
    sim.pass(10 * SECOND);
    assert_eq!(compare(&sim, due + 10 * SECOND), None);
    assert_eq!(compare(&sim, due + 1_000 * SECOND), None);
}
