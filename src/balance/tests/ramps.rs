//! Slow start of who is well again: after an ejection, and by a check.

use super::*;
use crate::{
    balance::health::Checked,
    config::{Balancing, Cluster, OutlierDetection, SlowStart},
};

fn cluster(policy: &Cluster, after_ejection: Option<bool>) -> Cluster {
    Cluster {
        slow_start: Some(SlowStart { after_ejection, ..SlowStart::default() }),
        outlier_detection: Some(OutlierDetection::default()),
        ..policy.clone()
    }
}

fn of(cluster: &Cluster, count: u16) -> Sim {
    let sim = Sim::of(&config::Balancer::default(), count);
    sim.balancer.settle(cluster);
    sim
}

/// Its share of the calls of a tenth of a second.
fn share(sim: &mut Sim) -> f64 {
    sim.forget();
    sim.open(4_000, 25_000, |_| (1_000, Outcome::Success));
    sim.share(1)
}

/// By latencies its failures are remembered.
fn slack(policy: &Cluster) -> f64 {
    if is_by_latency(policy) { 0.26 } else { 0.05 }
}

/// The first of four is ejected, and comes back now.
fn returned(cluster: &Cluster) -> Sim {
    let mut sim = of(cluster, 4);
    let fails = |number| (1_000, if number == 1 { Outcome::Failure } else { Outcome::Success });
    for _ in 0..400 {
        sim.open(100, 10 * MILLI, fails);
    }
    assert_eq!(sim.balancer.health.ejected(), 1, "{:?}", cluster.balancer);
    for _ in 0..100_000 {
        sim.open(1, 10 * MILLI, |_| (1_000, Outcome::Success));
        if sim.balancer.health.ejected() == 0 {
            return sim;
        }
    }
    panic!("it does not come back");
}

#[test]
fn who_comes_back_from_an_ejection_gets_its_share_by_and_by_under_every_policy() {
    for policy in family() {
        let mut sim = returned(&cluster(&policy, None));
        let met = share(&mut sim);
        assert!(met < 0.05 + slack(&policy) / 2.0, "{met} {}", named(&policy));
        sim.pass(5 * SECOND);
        let met = share(&mut sim);
        assert!((met - 0.14).abs() < slack(&policy), "{met} {}", named(&policy));
        sim.pass(6 * SECOND);
        let met = share(&mut sim);
        assert!((met - 0.25).abs() < slack(&policy), "{met} {}", named(&policy));

        let mut sim = returned(&cluster(&policy, Some(false)));
        let met = share(&mut sim);
        assert!((met - 0.25).abs() < slack(&policy), "{met} {}", named(&policy));
    }
}

#[test]
fn a_passing_check_begins_the_ramp_of_who_failed_and_of_who_has_joined() {
    for policy in family() {
        let mut sim = of(&cluster(&policy, None), 4);
        let find = |sim: &Sim, number| {
            let found = sim.balancer.endpoints().into_iter();
            found.into_iter().find(|it| number_of(it) == number).unwrap()
        };
        // The first ones are not new, whoever is checked first.
        for number in 1..=4 {
            sim.balancer.set_checked(0, [(&find(&sim, number), Checked::Not)], sim.now);
        }
        for number in 1..=4 {
            sim.balancer.set_checked(0, [(&find(&sim, number), Checked::Fit)], sim.now);
        }
        let met = share(&mut sim);
        assert!((met - 0.25).abs() < slack(&policy), "{met} {}", named(&policy));

        // One fails its checks, and passes again.
        sim.balancer.set_checked(0, [(&find(&sim, 1), Checked::Unfit)], sim.now);
        assert!(share(&mut sim) < 0.01, "{}", named(&policy));
        sim.balancer.set_checked(0, [(&find(&sim, 1), Checked::Fit)], sim.now);
        let met = share(&mut sim);
        assert!(met < 0.05 + slack(&policy) / 2.0, "{met} {}", named(&policy));
        sim.pass(11 * SECOND);
        let met = share(&mut sim);
        assert!((met - 0.25).abs() < slack(&policy), "{met} {}", named(&policy));

        // Who joins is new when its first check has passed, however long that takes.
        sim.balancer.remove(&[address(1)]);
        sim.pass(100 * SECOND);
        sim.balancer.upsert(vec![endpoint(1)]);
        sim.balancer.set_checked(0, [(&find(&sim, 1), Checked::Not)], sim.now);
        sim.pass(60 * SECOND);
        assert!(share(&mut sim) < 0.01, "{}", named(&policy));
        sim.balancer.set_checked(0, [(&find(&sim, 1), Checked::Fit)], sim.now);
        let met = share(&mut sim);
        assert!(met < 0.05 + slack(&policy) / 2.0, "{met} {}", named(&policy));
        // A further check that passes begins nothing.
        sim.pass(11 * SECOND);
        sim.balancer.set_checked(0, [(&find(&sim, 1), Checked::Fit)], sim.now);
        let met = share(&mut sim);
        assert!((met - 0.25).abs() < slack(&policy), "{met} {}", named(&policy));
    }
}

#[test]
fn endpoints_whose_first_check_is_awaited_make_their_priority_neither_unwell_nor_panic() {
    for (waits, first, panics) in [(Some(true), "100 %", false), (None, "35 %", true)] {
        let balancing = Balancing { wait_for_first_check: waits, ..Balancing::default() };
        let cluster =
            Cluster { balancing: Some(balancing), ..under(&config::Balancer::RoundRobin) };
        let sim = of(&cluster, 4);
        let come = (5..=16).map(endpoint);
        let next = [config::Endpoint { priority: 1, ..endpoint(20) }];
        sim.balancer.upsert(come.chain(next).collect());
        for endpoint in sim.balancer.endpoints() {
            if (5..=16).contains(&number_of(&endpoint)) {
                sim.balancer.set_checked(0, [(&endpoint, Checked::Not)], sim.now);
            }
        }
        let told = |sim: &Sim| sim.balancer.places(sim.now).join("\n");
        assert!(told(&sim).contains(&format!("priority 0: {first} of calls")), "{}", told(&sim));
        // The other one is gone: without those that wait there is no panic.
        sim.balancer.remove(&[address(20)]);
        assert_eq!(told(&sim).contains("in panic"), panics, "{}", told(&sim));
        // They fail: that counts.
        for endpoint in sim.balancer.endpoints() {
            if (5..=16).contains(&number_of(&endpoint)) {
                sim.balancer.set_checked(0, [(&endpoint, Checked::Unfit)], sim.now);
            }
        }
        assert!(told(&sim).contains("4 of 16 healthy, in panic"), "{}", told(&sim));
    }
}

#[test]
fn what_a_probe_says_after_its_checks_were_switched_off_changes_nothing() {
    let mut sim = Sim::of(&config::Balancer::RoundRobin, 2);
    let first = sim.find(1);
    let by = sim.balancer.begin_checks();
    sim.balancer.set_checked(by, [(&first, Checked::Not)], sim.now);
    sim.balancer.set_checked(by, [(&first, Checked::Unfit)], sim.now);
    assert!(first.live().unwrap().load.state.is_unfit());
    sim.balancer.forget_checks(sim.now);
    // Its probe was under way meanwhile.
    sim.balancer.set_checked(by, [(&first, Checked::Unfit)], sim.now);
    assert!(!first.live().unwrap().load.state.is_unfit());
    sim.open(100, MILLI, healthy);
    assert_eq!(sim.count(1), 50);
    // Nor does what another set of checks has found count for those that have taken its place.
    let next = sim.balancer.begin_checks();
    sim.balancer.set_checked(by, [(&first, Checked::Unfit)], sim.now);
    sim.balancer.set_checked(next, [(&first, Checked::Fit)], sim.now);
    assert!(!first.live().unwrap().load.state.is_unfit());
}

#[test]
fn many_endpoints_whose_checks_begin_or_end_together_are_counted_once() {
    let cluster = Cluster { balancing: Some(Balancing::default()), ..Cluster::default() };
    let balancer = Balancer::<Mock>::new(&cluster, (), Epoch::now());
    balancer.replace((1..=5_000).map(endpoint).collect());
    let counts = || {
        let view = balancer.view.load();
        view.placed.as_ref().map(|placed| placed.plan.counts.load(Relaxed))
    };
    let (before, by) = (counts().unwrap(), balancer.begin_checks());
    let endpoints = balancer.endpoints();
    balancer.set_checked(by, endpoints.iter().map(|it| (it, Checked::Not)), SECOND);
    assert_eq!(counts().unwrap(), before + 1);
    balancer.set_checked(by, endpoints.iter().map(|it| (it, Checked::Fit)), SECOND);
    assert_eq!(counts().unwrap(), before + 2);
    // What is no news is not counted.
    balancer.set_checked(by, endpoints.iter().map(|it| (it, Checked::Fit)), SECOND);
    assert_eq!(counts().unwrap(), before + 2);
}
