//! Ejections and returns in the balancer, in virtual time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    balance::health::{self, Checked},
    config::{Cluster, FailureAccrual, Health, OutlierDetection},
    core::BodyEnd,
};

/// One that may eject as many as it likes.
pub(super) fn outliers() -> OutlierDetection {
    OutlierDetection { max_ejection_percent: Some(100.0), ..OutlierDetection::default() }
}

pub(super) fn watched(policy: &config::Balancer, count: u16, outliers: &OutlierDetection) -> Sim {
    watched_under(&under(policy), count, outliers)
}

fn watched_under(cluster: &Cluster, count: u16, outliers: &OutlierDetection) -> Sim {
    let sim = Sim::of(&config::Balancer::default(), count);
    let outlier_detection = Some(outliers.clone());
    sim.balancer.settle(&Cluster { outlier_detection, ..cluster.clone() });
    sim
}

/// What has happened to the endpoint, in words.
fn told(sim: &Sim, number: u16) -> Vec<String> {
    let view = sim.balancer.read();
    let found = view.all.set.iter().find(|endpoint| number_of(endpoint) == number).unwrap();
    found.extra().map(|extra| extra.told.lock().unwrap().clone()).unwrap_or_default()
}

fn standing(sim: &Sim, number: u16) -> Standing {
    let mut found = None;
    sim.balancer.census(sim.now, |seen| {
        if *seen.address == address(number) {
            found = Some(seen.standing);
        }
    });
    found.unwrap()
}

/// Compares the windows, if they are over, beside whatever else is kept; when the next are.
fn compare(sim: &Sim, now: u64) -> Option<u64> {
    let view = sim.balancer.read();
    sim.balancer.health.keep(now, view.all.set.iter().filter_map(|endpoint| endpoint.live()))
}

/// The first of three fails, the others answer.
pub(super) fn one_fails(number: u16) -> (u64, Outcome) {
    (MILLI, if number == 1 { Outcome::Failure } else { Outcome::Success })
}

#[test]
fn five_failures_in_a_row_eject_and_one_call_brings_it_back() {
    for cluster in family() {
        let policy = named(&cluster);
        let mut sim = watched_under(&cluster, 3, &outliers());
        sim.open(3_000, MILLI, one_fails);
        sim.pass(5 * SECOND);
        // A suspect is probed at intervals: it may take a while to five.
        for _ in 0..100 {
            sim.open(100, 10 * MILLI, one_fails);
        }
        let first = told(&sim, 1);
        assert_eq!(first[0], "ejected: consecutive failures for 30 s", "{policy}");
        assert_eq!(standing(&sim, 1), Standing::Ejected, "{policy}");
        // Until its probes succeed, each call to it is one of them.
        let (before, probes) = (sim.count(1), told(&sim, 1).len());
        sim.open(60_000, 10 * MILLI, one_fails);
        let failed = told(&sim, 1).len() - probes;
        assert!(failed >= 2, "{policy}: {:?}", told(&sim, 1));
        let met = sim.count(1) - before;
        assert!(met.abs_diff(failed as u64) <= 1, "{policy}: {met} calls, {failed} probes");
        assert!(told(&sim, 1).contains(&"ejected: probe failed for 60 s".to_owned()));
        // It is well: one call finds out, and then it gets its share.
        sim.open(60_000, 10 * MILLI, healthy);
        assert_eq!(told(&sim, 1).last().unwrap(), "returned: probe", "{policy}");
        assert_eq!(sim.balancer.health.ejected(), 0);
        sim.forget();
        sim.open(3_000, MILLI, healthy);
        assert!((0.25..0.42).contains(&sim.share(1)), "{policy}: {}", sim.share(1));
    }
}

#[test]
fn while_the_probe_is_out_nobody_else_is_sent() {
    let mut sim = watched(&config::Balancer::RoundRobin, 2, &outliers());
    let fails = |number| (MILLI, if number == 1 { Outcome::Gateway } else { Outcome::Success });
    // Ahead of suspicion: all five are under way at once.
    sim.closed(40, 20, fails);
    sim.pass(SECOND);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    sim.forget();
    sim.pass(40 * SECOND);
    // It answers late, if at all.
    sim.open(2_000, MILLI, |number| {
        (if number == 1 { 20 * SECOND } else { MILLI }, Outcome::Success)
    });
    assert_eq!((sim.count(1), standing(&sim, 1)), (1, Standing::Probing));
    sim.pass(20 * SECOND);
    assert_eq!(standing(&sim, 1), Standing::Healthy);
}

#[test]
fn a_probe_whose_caller_leaves_is_made_by_another_call() {
    let mut sim = watched(&config::Balancer::RoundRobin, 2, &outliers());
    sim.closed(40, 20, |n| (MILLI, if n == 1 { Outcome::Failure } else { Outcome::Success }));
    sim.pass(40 * SECOND);
    let find = |sim: &Sim| loop {
        let flight = sim.pick().unwrap();
        if number_of(flight.endpoint()) == 1 {
            break flight;
        }
        flight.finish(sim.now, Outcome::Success);
    };
    let probe = find(&sim);
    assert_eq!(standing(&sim, 1), Standing::Probing);
    probe.finish(sim.now, Outcome::Ignored);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    let probe = find(&sim);
    probe.finish(sim.now, Outcome::Success);
    assert_eq!(standing(&sim, 1), Standing::Healthy);
}

#[test]
fn a_probe_that_never_ends_gives_way_after_its_lease() {
    let mut sim = watched(&config::Balancer::RoundRobin, 2, &outliers());
    sim.closed(40, 20, |n| (MILLI, if n == 1 { Outcome::Failure } else { Outcome::Success }));
    sim.pass(40 * SECOND);
    let hung = |number| (if number == 1 { 10_000 * SECOND } else { MILLI }, Outcome::Success);
    sim.forget();
    sim.open(100, 100 * MILLI, hung);
    assert_eq!(sim.count(1), 1);
    sim.open(700, 100 * MILLI, hung);
    assert_eq!(sim.count(1), 3);
}

#[test]
fn when_all_are_ejected_they_are_called_all_the_same() {
    for cluster in family() {
        let policy = named(&cluster);
        let mut sim = watched_under(&cluster, 3, &outliers());
        sim.closed(600, 60, |_| (MILLI, Outcome::Failure));
        sim.pass(SECOND);
        for number in 1..=3 {
            assert_eq!(standing(&sim, number), Standing::Ejected, "{policy}");
        }
        sim.forget();
        sim.open(900, MILLI, healthy);
        assert_eq!(sim.calls, 900);
        // None was due to be probed: what was called in need decides nothing.
        assert_eq!(sim.balancer.health.ejected(), 3);
        sim.pass(30 * SECOND);
        sim.open(300, MILLI, healthy);
        assert_eq!(sim.balancer.health.ejected(), 0, "{policy}");
    }
}

#[test]
fn pick_first_leaves_one_that_is_ejected_and_probes_it_when_it_has_to_choose_again() {
    let mut sim = watched_under(&pick_first(), 3, &outliers());
    sim.open(10, MILLI, healthy);
    assert_eq!(sim.count(1), 10);
    // All five are under way at once.
    sim.closed(40, 20, one_fails);
    sim.pass(SECOND);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    sim.forget();
    sim.open(100, MILLI, healthy);
    assert_eq!((sim.count(1), sim.count(2)), (0, 100));
    // It stays where it is, and probes nobody whom it does not need.
    sim.pass(40 * SECOND);
    sim.open(100, MILLI, healthy);
    assert_eq!((sim.count(1), sim.count(2)), (0, 200));
    sim.balancer.remove(&[address(2), address(3)]);
    sim.open(100, MILLI, healthy);
    assert_eq!(sim.count(1), 100);
    assert_eq!(told(&sim, 1).last().unwrap(), "returned: probe");
}

/// Envoy's panic ignores ejection: of whom we have ejected ourselves, too, not of the source's word
/// alone.
#[test]
fn in_panic_those_that_we_have_ejected_are_called() {
    let fails = |number| (MILLI, if number > 1 { Outcome::Failure } else { Outcome::Success });
    for cluster in family() {
        for (threshold, all) in [(None, true), (Some(0.0), false)] {
            let cluster = Cluster { panic_threshold: threshold, ..cluster.clone() };
            let mut sim = watched_under(&cluster, 4, &outliers());
            sim.closed(400, 80, fails);
            sim.pass(SECOND);
            assert_eq!(sim.balancer.health.ejected(), 3, "{}", named(&cluster));
            sim.balancer.keep(sim.now);
            sim.forget();
            sim.open(4_000, MILLI, healthy);
            for number in 2..=4 {
                let met = sim.count(number);
                // By latency and success, who has failed loses nearly every comparison.
                let least = if is_by_latency(&cluster) { 1 } else { 20 };
                let is_called = if all { met >= least } else { met == 0 };
                assert!(is_called, "{met} calls to {number}: {}", named(&cluster));
            }
            // What was called in need decides nothing.
            assert_eq!(sim.balancer.health.ejected(), 3);
        }
    }
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
fn of_three_one_is_ejected_and_no_more() {
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &OutlierDetection::default());
    sim.closed(600, 60, |_| (MILLI, Outcome::Failure));
    sim.pass(SECOND);
    assert_eq!(sim.balancer.health.ejected(), 1);
}

#[test]
fn one_that_leaves_while_it_is_ejected_is_counted_no_more() {
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &outliers());
    sim.closed(60, 20, one_fails);
    sim.pass(SECOND);
    assert_eq!(sim.balancer.health.ejected(), 1);
    sim.balancer.remove(&[address(1)]);
    assert_eq!(sim.balancer.health.ejected(), 0);
    // It is a new one when it comes back.
    sim.balancer.upsert(vec![endpoint(1)]);
    assert_eq!(standing(&sim, 1), Standing::Healthy);
}

#[test]
fn without_rules_nobody_stays_out() {
    let mut sim = watched(&config::Balancer::RoundRobin, 3, &outliers());
    sim.closed(60, 20, one_fails);
    sim.pass(SECOND);
    assert_eq!(standing(&sim, 1), Standing::Ejected);
    sim.balancer.settle(&under(&config::Balancer::RoundRobin));
    assert_eq!(told(&sim, 1).last().unwrap(), "returned: rules");
    assert_eq!(sim.balancer.health.ejected(), 0);
}

#[test]
fn some_come_back_when_others_leave() {
    let rules = OutlierDetection { min_ready_endpoints: Some(2), ..outliers() };
    let mut sim = watched(&config::Balancer::RoundRobin, 6, &rules);
    sim.closed(200, 60, |n| (MILLI, if n <= 4 { Outcome::Failure } else { Outcome::Success }));
    sim.pass(SECOND);
    assert_eq!(sim.balancer.health.ejected(), 4);
    sim.balancer.remove(&[address(6)]);
    assert_eq!(sim.balancer.health.ejected(), 3);
    // One that drains is not ready either.
    let draining = config::Endpoint { health: Health::Draining, ..endpoint(5) };
    sim.balancer.upsert(vec![draining]);
    assert_eq!(sim.balancer.health.ejected(), 2);
    let returned = (1..=4).flat_map(|n| told(&sim, n)).filter(|it| it == "returned: floor");
    assert_eq!(returned.count(), 2);
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
fn the_clusters_own_list_says_which_statuses_are_failures() {
    let statuses = vec![config::IntegerRange { start: 429, end: 430 }];
    let rules = OutlierDetection { statuses: Some(statuses), ..outliers() };
    let sim = watched(&config::Balancer::RoundRobin, 1, &rules);
    let answer = |status: u16| {
        for _ in 0..5 {
            let mut flight = sim.pick().unwrap();
            flight.answered(sim.now, (status, None), || None);
            flight.record(sim.now, Outcome::of_http(status));
        }
        standing(&sim, 1)
    };
    // The balancer itself goes by what a status means.
    assert_eq!(answer(500), Standing::Suspect);
    assert_eq!(answer(429), Standing::Ejected);
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
fn a_stream_counts_by_its_trailers_and_without_a_status_as_a_failure() {
    for end in
        [BodyEnd::Complete(Some(14)), BodyEnd::Complete(None), BodyEnd::Failed, BodyEnd::Stalled]
    {
        let sim = watched(&config::Balancer::RoundRobin, 1, &outliers());
        for _ in 0..5 {
            let (watcher, ticket) = sim.pick().unwrap().into_ticket(sim.now);
            watcher.ended(ticket, end, Some(crate::core::Instant::now()));
        }
        assert_eq!(standing(&sim, 1), Standing::Ejected, "{end:?}");
    }
    for end in [BodyEnd::Complete(Some(0)), BodyEnd::Expired, BodyEnd::Dropped] {
        let sim = watched(&config::Balancer::RoundRobin, 1, &outliers());
        for _ in 0..20 {
            let (watcher, ticket) = sim.pick().unwrap().into_ticket(sim.now);
            watcher.ended(ticket, end, Some(crate::core::Instant::now()));
        }
        assert_eq!(standing(&sim, 1), Standing::Healthy, "{end:?}");
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

#[test]
fn an_error_of_the_transport_counts_as_slow() {
    for outcome in [Outcome::Connect, Outcome::Reset] {
        let mut sim = Sim::of(&config::Balancer::default(), 2);
        sim.open(200, 10 * MILLI, |_| (10 * MILLI, Outcome::Success));
        let latency = |sim: &Sim| {
            let mut found = 0.0;
            sim.balancer.census(sim.now, |seen| {
                if *seen.address == address(1) {
                    found = seen.latency.unwrap();
                }
            });
            found
        };
        let before = latency(&sim);
        let flight = loop {
            let flight = sim.pick().unwrap();
            if number_of(flight.endpoint()) == 1 {
                break flight;
            }
        };
        // At once.
        flight.finish(sim.now, outcome);
        assert!(latency(&sim) > 1.9 * before, "{outcome:?}: {} of {before}", latency(&sim));
    }
}

/// Four endpoints, two of which stay ready, and whose checks have passed; and who checks them.
fn two_of_four() -> (Sim, u64) {
    let rules =
        OutlierDetection { consecutive_5xx: Some(2), min_ready_endpoints: Some(2), ..outliers() };
    let mut sim = watched(&config::Balancer::RoundRobin, 4, &rules);
    let by = sim.balancer.begin_checks();
    let endpoints = sim.balancer.endpoints();
    sim.balancer.set_checked(by, endpoints.iter().map(|it| (it, Checked::Fit)), sim.now);
    sim.open(40, MILLI, healthy);
    sim.pass(SECOND);
    (sim, by)
}

fn check(sim: &Sim, by: u64, number: u16, checked: Checked) {
    let all = sim.balancer.endpoints();
    let found = all.iter().find(|it| number_of(it) == number).unwrap();
    sim.balancer.set_checked(by, [(found, checked)], sim.now);
}

/// So many calls, which fail at these endpoints.
fn fail_at(sim: &Sim, numbers: &[u16]) {
    for _ in 0..40 {
        let flight = sim.pick().unwrap();
        let fails = numbers.contains(&number_of(flight.endpoint()));
        flight.finish(sim.now, if fails { Outcome::Failure } else { Outcome::Success });
    }
}

#[test]
fn those_whose_checks_fail_are_not_among_the_ready_ones_that_stay() {
    for (ill, out) in [(&[3, 4][..], 0), (&[3], 1), (&[], 2)] {
        let (sim, by) = two_of_four();
        ill.iter().for_each(|number| check(&sim, by, *number, Checked::Unfit));
        fail_at(&sim, &[1, 2]);
        assert_eq!(sim.balancer.health.ejected(), out, "{ill:?}");
    }
}

#[test]
fn those_in_back_off_are_not_among_the_ready_ones_that_stay() {
    for (away, out) in [(&[3, 4][..], 0), (&[3], 1), (&[], 2)] {
        let (sim, _) = two_of_four();
        away.iter().for_each(|number| sim.set_available(*number, false));
        fail_at(&sim, &[1, 2]);
        assert_eq!(sim.balancer.health.ejected(), out, "{away:?}");
    }
}

#[test]
fn one_that_is_about_to_be_ejected_is_not_missed_twice() {
    let (sim, _) = two_of_four();
    let calls: Vec<_> = (0..40).map(|_| sim.pick().unwrap()).collect();
    sim.set_available(1, false);
    for flight in calls {
        let fails = number_of(flight.endpoint()) <= 2;
        flight.finish(sim.now, if fails { Outcome::Failure } else { Outcome::Success });
    }
    assert_eq!(sim.balancer.health.ejected(), 2, "3 and 4 are ready");
}

#[test]
fn who_is_out_comes_back_when_the_checks_take_out_too_many_of_the_others() {
    let (sim, by) = two_of_four();
    fail_at(&sim, &[1, 2]);
    assert_eq!(sim.balancer.health.ejected(), 2);
    check(&sim, by, 3, Checked::Unfit);
    assert_eq!(sim.balancer.health.ejected(), 1);
    let back = [1, 2].map(|number| told(&sim, number).pop().unwrap());
    assert!(back.contains(&"returned: floor".to_owned()), "{back:?}");
}

proptest! {
    /// Whatever happens, so many are ready as the floor asks for, if so many are there.
    #[test]
    fn the_floor_is_kept_whatever_happens(
        seed in any::<u64>(),
        steps in prop::collection::vec((0..9_u8, 1..30_u16), 1..120),
        min_ready in 0..6_u32,
        percent in 0..=100_u32,
    ) {
        let rules = OutlierDetection {
            consecutive_5xx: Some(2),
            max_ejection_percent: Some(percent.into()),
            min_ready_endpoints: Some(min_ready),
            ..OutlierDetection::default()
        };
        let mut sim = watched(&config::Balancer::Random, 10, &rules);
        sim.random = Random::seeded(seed);
        let by = sim.balancer.begin_checks();
        let checked = |sim: &Sim, number: u16, checked: Checked| {
            for endpoint in sim.balancer.endpoints() {
                if number_of(&endpoint) % 30 == number || number == 0 {
                    sim.balancer.set_checked(by, [(&endpoint, checked)], sim.now);
                }
            }
        };
        checked(&sim, 0, Checked::Fit);
        for (step, value) in steps {
            let out_before = sim.balancer.health.ejected();
            match step {
                0 => sim.balancer.replace((1..=value).map(endpoint).collect()).added,
                1 => sim.balancer.remove(&[address(value)]).removed,
                2 => {
                    let health = Health::Draining;
                    sim.balancer.upsert(vec![config::Endpoint { health, ..endpoint(value) }]).added
                }
                3 => {
                    sim.now += u64::from(value) * 3 * SECOND;
                    0
                }
                6 => {
                    checked(&sim, value, Checked::Unfit);
                    0
                }
                7 => {
                    checked(&sim, value % 2 * value, Checked::Fit);
                    0
                }
                8 => {
                    for endpoint in sim.balancer.endpoints() {
                        if let Some(extra) = endpoint.extra() {
                            let is_out = number_of(&endpoint).is_multiple_of(value);
                            extra.available.store(!is_out || value == 1, Relaxed);
                        }
                    }
                    0
                }
                _ => {
                    for _ in 0..value {
                        let Ok(flight) = sim.pick() else { continue };
                        let bad = !number_of(flight.endpoint()).is_multiple_of(4) && step == 4;
                        let outcome = if bad { Outcome::Failure } else { Outcome::Success };
                        flight.finish(sim.now, outcome);
                    }
                    0
                }
            };
            let view = sim.balancer.read();
            let (mut out, mut ready, mut reached) = (0_u32, 0_u32, 0_u32);
            for endpoint in view.all.set.iter() {
                let state = endpoint.live().map(|live| &live.load.state);
                let ejected = state.is_some_and(|state| state.is_ejected());
                let checked = state.is_some_and(|it| !it.is_unfit() && !it.is_unchecked());
                let drains = endpoint.spec().health() == Health::Draining;
                let is_ready = !ejected && !drains && checked;
                out += u32::from(ejected);
                ready += u32::from(is_ready);
                reached += u32::from(is_ready && endpoint.extra().unwrap().available(sim.now));
            }
            prop_assert_eq!(out, sim.balancer.health.ejected());
            prop_assert!(out == 0 || ready >= min_ready, "{} ready, {} out", ready, out);
            // A back-off brings nobody back that is out, but who is in back-off is no reason to eject.
            let fewer = out <= out_before || reached >= min_ready;
            prop_assert!(fewer, "{} of {} reached, {} out", reached, ready, out);
            let all = view.all.set.len() as u32;
            prop_assert!(out <= 1 || 100 * out <= percent * all, "{} of {} out", out, all);
        }
    }
}

#[test]
fn whoever_claims_the_probe_of_a_suspect_makes_it() {
    for cluster in family() {
        let mut sim = Sim::of(&config::Balancer::default(), 4);
        sim.balancer.settle(&cluster);
        let find =
            |sim: &Sim| sim.balancer.endpoints().into_iter().find(|it| number_of(it) == 1).unwrap();
        sim.open(200, MILLI, |number| {
            (MILLI, if number == 1 { Outcome::Failure } else { Outcome::Success })
        });
        let due = |sim: &Sim| find(sim).live().map_or(0, |live| live.load.state.probe_at());
        let mut claims = 0;
        for _ in 0..20_000 {
            let before = due(&sim);
            let flight = sim.pick().unwrap();
            let number = number_of(flight.endpoint());
            if due(&sim) != before {
                claims += 1;
                assert_eq!(number, 1, "{}", named(&cluster));
            }
            let outcome = if number == 1 { Outcome::Failure } else { Outcome::Success };
            flight.finish(sim.now, outcome);
            sim.pass(10 * MILLI);
        }
        assert!(claims > 2, "{claims} {}", named(&cluster));
    }
}

#[test]
fn a_grpc_server_that_throws_at_once_draws_no_calls() {
    let clusters = [
        under(&config::Balancer::default()),
        #[cfg(feature = "orca")]
        under(&config::Balancer::Prequal(config::Prequal::default())),
    ];
    for cluster in clusters {
        let mut sim = Sim::of(&config::Balancer::default(), 5);
        sim.balancer.settle(&cluster);
        // `UNKNOWN` is what a handler's exception comes to.
        sim.closed(3_200, 32, |number| match number {
            1 => (MILLI / 5, Outcome::of_grpc(2)),
            _ => (20 * MILLI, Outcome::of_grpc(0)),
        });
        assert!(sim.share(1) <= 0.01, "{} {}", sim.share(1), named(&cluster));
    }
}

#[test]
fn a_grpc_status_counts_against_its_endpoint_unless_it_speaks_of_the_call() {
    let gateway = [4, 14];
    // Neither 17 nor -1 is a status: they count as `UNKNOWN`.
    let failures = [2, 8, 13, 15, 17, -1, i32::MAX, i32::MIN];
    for code in gateway {
        assert_eq!(Outcome::of_grpc(code), Outcome::Gateway, "{code}");
    }
    for code in failures {
        assert_eq!(Outcome::of_grpc(code), Outcome::Failure, "{code}");
    }
    for code in [0, 1, 3, 5, 6, 7, 9, 10, 11, 12, 16] {
        assert_eq!(Outcome::of_grpc(code), Outcome::Success, "{code}");
    }
}
