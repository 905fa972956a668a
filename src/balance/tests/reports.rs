//! Policies that follow what endpoints report: weights, and Prequal.

use std::sync::Arc;

use super::{
    super::{
        Asked,
        report::{Report, Signal},
    },
    Ask, MILLI, Outcome, SECOND, Sim, address, endpoint, healthy, number_of, under,
};
use crate::config::{self, Health};

pub(super) fn weighted() -> config::Balancer {
    config::Balancer::ClientWeighted(config::ClientWeighted::default())
}

pub(super) fn prequal() -> config::Balancer {
    config::Balancer::Prequal(config::Prequal::default())
}

pub(super) fn report(qps: f64, utilization: f64) -> Report {
    Report { rps_fractional: qps, application_utilization: utilization, ..Report::default() }
}

/// Calls of 1 ms for so long, one every 1 ms, whose answers carry this endpoint's report.
pub(super) fn reported(sim: &mut Sim, time: u64, report: impl Fn(u16) -> Option<Report>) {
    for _ in 0..time / MILLI {
        let flight = sim.pick().unwrap();
        let number = number_of(flight.endpoint());
        *sim.picked.entry(number).or_default() += 1;
        sim.calls += 1;
        sim.now += MILLI;
        if let Some(report) = report(number) {
            flight.endpoint().reported(sim.now, &report);
        }
        flight.finish(sim.now, Outcome::Success);
        keep(sim);
    }
}

/// The keeper does what is due.
fn keep(sim: &Sim) {
    let _due = sim.balancer.keep(sim.now);
}

fn forget_counts(sim: &mut Sim) {
    sim.picked.clear();
    sim.calls = 0;
}

#[test]
fn weights_follow_reports_after_the_blackout() {
    let mut sim = Sim::of(&weighted(), 3);
    // Half as loaded at the same rate: twice the weight.
    let told = |number: u16| Some(report(100.0, if number == 1 { 0.25 } else { 0.5 }));
    reported(&mut sim, 9 * SECOND, told);
    for number in 1..=3 {
        let share = sim.share(number);
        assert!((0.32..0.35).contains(&share), "in the blackout {number} got {share}");
    }
    reported(&mut sim, 3 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 10 * SECOND, told);
    assert!((0.49..0.51).contains(&sim.share(1)), "{}", sim.share(1));
    assert!((0.24..0.26).contains(&sim.share(2)), "{}", sim.share(2));
}

#[test]
fn who_says_nothing_gets_the_mean_and_one_report_alone_counts_nothing() {
    let mut sim = Sim::of(&weighted(), 3);
    let told = |number: u16| match number {
        1 => Some(report(300.0, 1.0)),
        2 => Some(report(100.0, 1.0)),
        _ => None,
    };
    reported(&mut sim, 12 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 12 * SECOND, told);
    for (number, share) in [(1, 0.5), (3, 1.0 / 3.0), (2, 1.0 / 6.0)] {
        assert!((sim.share(number) - share).abs() < 0.01, "{number} got {}", sim.share(number));
    }
    let mut sim = Sim::of(&weighted(), 3);
    let told = |number: u16| (number == 1).then(|| report(300.0, 1.0));
    reported(&mut sim, 15 * SECOND, told);
    assert!((1..=3).all(|number| (sim.share(number) - 1.0 / 3.0).abs() < 0.01));
}

// gRFC A58, `OnSubchannelBecomesReady`.
#[test]
fn the_blackout_begins_anew_when_an_endpoint_is_connected_to_again() {
    let mut sim = Sim::of(&weighted(), 3);
    let told = |number: u16| Some(report(100.0, if number == 1 { 0.25 } else { 0.5 }));
    reported(&mut sim, 12 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 3 * SECOND, told);
    assert!((sim.share(1) - 0.5).abs() < 0.01, "{}", sim.share(1));
    let flights: Vec<_> = (0..4).map(|_| sim.pick().unwrap()).collect();
    let first = flights.iter().find(|flight| number_of(flight.endpoint()) == 1).unwrap();
    first.endpoint().extra().unwrap().returns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    flights.into_iter().for_each(|flight| flight.finish(sim.now, Outcome::Success));
    // The weights are computed once a second; from then on it has the mean of the others.
    reported(&mut sim, 2 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 6 * SECOND, told);
    assert!((sim.share(1) - 1.0 / 3.0).abs() < 0.01, "in the blackout: {}", sim.share(1));
    reported(&mut sim, 4 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 3 * SECOND, told);
    assert!((sim.share(1) - 0.5).abs() < 0.01, "after it: {}", sim.share(1));
}

#[test]
fn weights_expire() {
    let mut config = config::ClientWeighted::default();
    (config.blackout, config.expiration) =
        (Some(std::time::Duration::ZERO), Some(std::time::Duration::from_secs(5)));
    let mut sim = Sim::of(&config::Balancer::ClientWeighted(config), 2);
    let told = |number: u16| Some(report(if number == 1 { 900.0 } else { 100.0 }, 1.0));
    reported(&mut sim, 3 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 3 * SECOND, told);
    assert!((sim.share(1) - 0.9).abs() < 0.02, "{}", sim.share(1));
    reported(&mut sim, 7 * SECOND, |_| None);
    forget_counts(&mut sim);
    reported(&mut sim, SECOND, |_| None);
    assert!((sim.share(1) - 0.5).abs() < 0.01, "{}", sim.share(1));
}

#[test]
fn a_keeper_is_asked_once_a_period_and_parks_when_nothing_comes() {
    let sim = Sim::of(&weighted(), 3);
    assert!(sim.balancer.takes_keeper() && !sim.balancer.takes_keeper());
    assert!(!Sim::of(&prequal(), 3).balancer.takes_keeper());
    assert_eq!(sim.balancer.keep(SECOND), None);
    assert_eq!(sim.balancer.keep(SECOND + MILLI), Some(2 * SECOND));
    let flight = sim.pick().unwrap();
    flight.endpoint().reported(SECOND + 2 * MILLI, &report(1.0, 1.0));
    assert_eq!(sim.balancer.keep(2 * SECOND), Some(3 * SECOND));
    assert_eq!(sim.balancer.keep(3 * SECOND), None);
}

#[test]
fn weights_survive_updates_and_the_weights_of_the_source_do_not_count() {
    let mut sim = Sim::of(&weighted(), 3);
    let told = |number: u16| Some(report(if number == 1 { 200.0 } else { 100.0 }, 0.5));
    reported(&mut sim, 12 * SECOND, told);
    sim.balancer.upsert(vec![endpoint(2).weight(50)]);
    sim.balancer.remove(&[address(3)]);
    forget_counts(&mut sim);
    reported(&mut sim, 5 * SECOND, told);
    assert!((sim.share(1) - 2.0 / 3.0).abs() < 0.01, "{}", sim.share(1));
}

#[test]
fn absurd_reports_stop_no_traffic() {
    let mut sim = Sim::of(&weighted(), 4);
    let absurd = [f64::NAN, f64::INFINITY, -1.0, 1e300];
    let told = |number: u16| match number {
        1 => Some(report(1e300, 5e-324)),
        2 => Some(report(1.0, 1e300)),
        number => Some(report(absurd[usize::from(number) % 4], absurd[usize::from(number) % 3])),
    };
    reported(&mut sim, 15 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 20 * SECOND, told);
    // The least that a weight comes to is a hundredth of the mean.
    for number in 1..=4 {
        assert!(sim.count(number) > 10, "{number} got {}", sim.count(number));
    }
}

#[test]
fn another_policy_gets_the_reports_from_then_on() {
    let mut sim = Sim::of(&config::Balancer::Random, 4);
    let told = |number: u16| Some(report(if number == 1 { 300.0 } else { 100.0 }, 0.5));
    reported(&mut sim, 20 * SECOND, told);
    sim.balancer.settle(&under(&weighted()));
    forget_counts(&mut sim);
    // What was told before was told to nobody.
    reported(&mut sim, 9 * SECOND, told);
    assert!((sim.share(1) - 0.25).abs() < 0.01, "{}", sim.share(1));
    reported(&mut sim, 3 * SECOND, told);
    forget_counts(&mut sim);
    reported(&mut sim, 3 * SECOND, told);
    assert!((sim.share(1) - 0.5).abs() < 0.02, "{}", sim.share(1));
    sim.balancer.settle(&under(&config::Balancer::RoundRobin));
    forget_counts(&mut sim);
    reported(&mut sim, 3 * SECOND, told);
    assert!((sim.share(1) - 0.25).abs() < 0.01, "{}", sim.share(1));
}

/// Calls that answer with these signals; each is answered before the next.
pub(super) fn signalled(sim: &mut Sim, calls: u64, signal: impl Fn(u16) -> Option<Signal>) {
    for _ in 0..calls {
        let flight = sim.pick().unwrap();
        let number = number_of(flight.endpoint());
        *sim.picked.entry(number).or_default() += 1;
        sim.calls += 1;
        sim.now += MILLI;
        if let Some(signal) = signal(number) {
            flight.endpoint().signalled(sim.now, signal);
        }
        flight.finish(sim.now, Outcome::Success);
    }
}

#[test]
fn prequal_keeps_to_those_with_little_in_flight() {
    let mut sim = Sim::of(&prequal(), 20);
    let told = |number: u16| {
        let busy = number > 5;
        let (in_flight, latency) = if busy { (50, 80_000) } else { (2, 20_000) };
        Some(Signal { in_flight, latency })
    };
    signalled(&mut sim, 500, told);
    forget_counts(&mut sim);
    signalled(&mut sim, 5_000, told);
    let idle: f64 = (1..=5).map(|number| sim.share(number)).sum();
    // A quarter of the endpoints; what explores still finds the others.
    assert!(idle > 0.6, "{idle}");
}

#[test]
fn prequal_without_reports_is_peak_ewma() {
    let mut sim = Sim::of(&prequal(), 2);
    let answer = |number| (if number == 1 { MILLI } else { 50 * MILLI }, Outcome::Success);
    sim.closed(5_000, 2, answer);
    assert!(sim.share(1) > 0.9, "{}", sim.share(1));
}

#[test]
fn reports_age_out_and_the_fallback_goes_on() {
    let mut sim = Sim::of(&prequal(), 10);
    let signal = |number: u16| Some(Signal { in_flight: u32::from(number), latency: 1_000 });
    signalled(&mut sim, 200, signal);
    sim.pass(2 * SECOND);
    forget_counts(&mut sim);
    signalled(&mut sim, 2_000, |_| None);
    assert!((1..=10).all(|number| sim.share(number) > 0.05), "{:?}", sim.picked);
}

#[test]
fn no_report_picks_an_endpoint_that_left_or_drains() {
    let mut sim = Sim::of(&prequal(), 12);
    // The lower the number, the better it looks.
    let signal = |number: u16| Some(Signal { in_flight: u32::from(number), latency: 1 });
    for round in 1..=10 {
        signalled(&mut sim, 300, signal);
        match round % 2 {
            0 => sim.balancer.remove(&[address(round)]),
            _ => sim.balancer.upsert(vec![endpoint(round).health(Health::Draining)]),
        };
        forget_counts(&mut sim);
        signalled(&mut sim, 300, signal);
        assert!((1..=round).all(|gone| sim.count(gone) == 0), "{round}: {:?}", sim.picked);
    }
}

#[test]
fn whoever_fails_is_not_believed_to_be_idle() {
    use Outcome::{Connect, Failure, Gateway, Reset, Timeout};
    for failure in [Failure, Gateway, Connect, Reset, Timeout] {
        let mut sim = Sim::of(&prequal(), 20);
        // A sinkhole: it fails at once, and says that it has nothing to do.
        for _ in 0..5_000 {
            let flight = sim.pick().unwrap();
            let number = number_of(flight.endpoint());
            *sim.picked.entry(number).or_default() += 1;
            sim.calls += 1;
            let (took, signal, outcome) = match number {
                1 => (MILLI / 10, Signal { in_flight: 0, latency: 100 }, failure),
                _ => (MILLI, Signal { in_flight: 10, latency: 10_000 }, Outcome::Success),
            };
            sim.now += took;
            flight.endpoint().signalled(sim.now, signal);
            flight.finish(sim.now, outcome);
        }
        assert!(sim.share(1) < 0.01, "{failure:?}: {}", sim.share(1));
    }
}

#[test]
fn what_who_fails_has_told_is_forgotten_however_it_fails() {
    use Outcome::{Connect, Failure, Gateway, Reset, Timeout};
    for failure in [Failure, Gateway, Connect, Reset, Timeout] {
        let mut sim = Sim::of(&prequal(), 3);
        signalled(&mut sim, 100, |_| Some(Signal { in_flight: 1, latency: 1_000 }));
        let flight = sim.pick().unwrap();
        flight.endpoint().signalled(sim.now, Signal { in_flight: 0, latency: 1 });
        let failed = Arc::clone(flight.endpoint());
        flight.finish(sim.now, failure);
        let policy = &sim.balancer.view.load().policy;
        let reports = policy.reports(sim.now, 3);
        let who = failed.live().unwrap().who();
        assert!(reports.iter().all(|report| report.who != who), "{failure:?}");
    }
}

#[test]
fn a_retry_goes_elsewhere() {
    let mut sim = Sim::of(&prequal(), 5);
    signalled(&mut sim, 100, |_| Some(Signal { in_flight: 1, latency: 1 }));
    let first = Arc::clone(sim.pick().unwrap().endpoint());
    for _ in 0..50 {
        let tried = [Arc::clone(&first)];
        let again = sim.balancer.pick(Ask::any(sim.now, &sim.random, &tried)).unwrap();
        assert!(!again.endpoint().is(&first));
    }
    let mut sim = Sim::of(&weighted(), 5);
    reported(&mut sim, 12 * SECOND, |_| Some(report(1.0, 1.0)));
    let first = Arc::clone(sim.pick().unwrap().endpoint());
    for _ in 0..50 {
        let tried = [Arc::clone(&first)];
        let again = sim.balancer.pick(Ask::any(sim.now, &sim.random, &tried)).unwrap();
        assert!(!again.endpoint().is(&first));
    }
}

#[test]
fn endpoints_that_come_and_go_lose_no_call() {
    let mut sim = Sim::of(&prequal(), 50);
    for round in 0..100_u16 {
        let from = round * 7 % 50 + 1;
        sim.balancer.replace((from..from + 50).map(endpoint).collect());
        signalled(&mut sim, 40, |number| {
            Some(Signal { in_flight: u32::from(number % 9), latency: 5 })
        });
        sim.balancer.updater().check(&sim.balancer.view.load());
    }
    assert_eq!(sim.calls, 4_000);
    sim.closed(500, 20, healthy);
}

#[test]
fn prequal_follows_reports_where_a_plan_asks_more_of_a_pick() {
    let zone = |number: u16, zone: &str| {
        let locality = Some(Box::new(config::Locality::new("eu", zone)));
        config::Endpoint { locality, ..endpoint(number) }
    };
    let slow = config::Cluster {
        slow_start: Some(config::SlowStart {
            window: Some(std::time::Duration::from_secs(3_600)),
            min_weight_percent: Some(50.0),
            ..config::SlowStart::default()
        }),
        ..under(&prequal())
    };
    let locality = config::LocalityBalancing::Weighted;
    let balancing = config::Balancing { locality, ..config::Balancing::default() };
    let weight = |zone: &str| config::LocalityWeight {
        locality: config::Locality::new("eu", zone),
        weight: 1,
        ..config::LocalityWeight::default()
    };
    let split = config::Cluster {
        balancing: Some(balancing),
        localities: vec![weight("a"), weight("b")],
        ..under(&prequal())
    };
    for cluster in [slow, split] {
        let mut sim = Sim::of(&prequal(), 0);
        sim.balancer.settle(&cluster);
        // In turns, so that nobody has the same place in the whole and in its locality.
        let endpoints = |numbers: std::ops::RangeInclusive<u16>| {
            numbers.map(|it| zone(it, if it % 2 == 0 { "a" } else { "b" })).collect::<Vec<_>>()
        };
        sim.balancer.replace(endpoints(1..=2));
        sim.now += SECOND;
        sim.balancer.upsert(endpoints(3..=40));
        let told = |number: u16| {
            let busy = number <= 30;
            let (in_flight, latency) = if busy { (50, 80_000) } else { (2, 20_000) };
            Some(Signal { in_flight, latency })
        };
        keep(&sim);
        signalled(&mut sim, 1_000, told);
        forget_counts(&mut sim);
        signalled(&mut sim, 5_000, told);
        let idle: f64 = (31..=40).map(|number| sim.share(number)).sum();
        // A quarter of the endpoints.
        assert!(idle > 0.5, "{idle} {:?} {:?}", sim.picked, cluster.balancing);
    }
}

/// Weights are those of the whole cluster; here the one that had all turns has just left.
#[test]
fn a_pick_by_turns_ends_soon_where_nobody_has_them_all() {
    let mut config = config::ClientWeighted::default();
    config.blackout = Some(std::time::Duration::ZERO);
    let count = 200;
    let mut sim = Sim::of(&config::Balancer::ClientWeighted(config), count);
    // One has a thousand times the turns of each other but two.
    let told = |number: u16| match number {
        1 => report(1e9, 1.0),
        2 => report(1e4, 1.0),
        3 => report(2e4, 1.0),
        _ => report(1e-3, 1.0),
    };
    for number in 1..=count {
        let found = sim.find(number);
        found.reported(sim.now, &told(number));
    }
    keep(&sim);
    sim.balancer.remove(&[address(1)]);
    let rule = |sim: &Sim| sim.balancer.explain(&Asked::default(), sim.now, |_| String::new()).rule;
    assert_eq!(rule(&sim), "one after the other, by weights from load reports");
    let at = |sim: &Sim| sim.balancer.read().all.turn.load(std::sync::atomic::Ordering::Relaxed);
    let (mut most, calls) = (0, 20_000);
    forget_counts(&mut sim);
    for _ in 0..calls {
        let before = at(&sim);
        sim.call(healthy);
        sim.pass(MILLI);
        most = most.max(at(&sim) - before);
    }
    assert!(most <= u64::from(count), "a pick has looked at {most} of {count}");
    let light = (4..=count).map(|number| sim.share(number)).fold(0.0, f64::max);
    assert!(light < 0.01, "each of the light ones gets its share: {light}");
}
