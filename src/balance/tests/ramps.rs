//! Slow start of who is well again: after an ejection, and by a check.

use std::ops::Range;

use super::*;
use crate::{
    balance::health::Checked,
    config::{Balancing, Cluster, OutlierDetection, SlowStart},
};

/// Of four endpoints, as its ramp begins: a tenth of its quarter.
pub(super) const FIRST: Range<f64> = 0.01..0.05;
/// In the middle of it.
const HALF: Range<f64> = 0.09..0.18;
pub(super) const EVEN: Range<f64> = 0.21..0.29;
pub(super) const NOTHING: Range<f64> = 0.0..0.01;

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

/// Its share of so many calls. All take as long, and none is in flight beside another: by latency and
/// by calls in flight there is nothing between the endpoints.
pub(super) fn share(sim: &mut Sim) -> f64 {
    sim.forget();
    for _ in 0..4_000 {
        let flight = sim.pick().unwrap();
        sim.calls += 1;
        *sim.picked.entry(number_of(flight.endpoint())).or_default() += 1;
        flight.finish(sim.now + 1_000, Outcome::Success);
    }
    sim.share(1)
}

/// Its answers have made up for its failures: who compares success has nothing against it any more, so
/// that its ramp alone is left.
fn trust_again(sim: &Sim) {
    let endpoints = sim.balancer.endpoints();
    let first = endpoints.iter().find(|it| number_of(it) == 1).unwrap();
    let (load, decay) = (&first.live().unwrap().load, sim.balancer.read().decay);
    for _ in 0..200 {
        load.succeeded(sim.now, 1_000, decay);
    }
    assert!((load.success_ratio() - 1.0).abs() < 1e-9, "{}", load.success_ratio());
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
            trust_again(&sim);
            return sim;
        }
    }
    panic!("it does not come back");
}

#[test]
fn who_comes_back_from_an_ejection_gets_its_share_by_and_by_under_every_policy() {
    for policy in family() {
        let mut sim = returned(&cluster(&policy, None));
        for (wait, wanted) in [(0, FIRST), (5, HALF), (6, EVEN)] {
            sim.pass(wait * SECOND);
            let met = share(&mut sim);
            assert!(wanted.contains(&met), "after {wait} s: {met} {}", named(&policy));
        }
        let mut sim = returned(&cluster(&policy, Some(false)));
        let met = share(&mut sim);
        assert!(EVEN.contains(&met), "no ramp: {met} {}", named(&policy));
    }
}

#[test]
fn a_passing_check_begins_the_ramp_of_who_failed_and_of_who_has_joined() {
    for policy in family() {
        let mut sim = of(&cluster(&policy, None), 4);
        let set_checked = |sim: &Sim, number: u16, checked: Checked| {
            let endpoints = sim.balancer.endpoints();
            let found = endpoints.iter().find(|it| number_of(it) == number).unwrap();
            sim.balancer.set_checked(0, [(found, checked)], sim.now);
        };
        let expect_share = |sim: &mut Sim, wanted: Range<f64>, what: &str| {
            let met = share(sim);
            assert!(wanted.contains(&met), "{what}: {met} {}", named(&policy));
        };
        // The first ones are not new, whoever is checked first.
        for checked in [Checked::Not, Checked::Fit] {
            (1..=4).for_each(|number| set_checked(&sim, number, checked));
        }
        expect_share(&mut sim, EVEN, "the first ones");

        // One fails its checks, and passes again.
        set_checked(&sim, 1, Checked::Unfit);
        expect_share(&mut sim, NOTHING, "its checks fail");
        set_checked(&sim, 1, Checked::Fit);
        for (wait, wanted) in [(0, FIRST), (5, HALF), (6, EVEN)] {
            sim.pass(wait * SECOND);
            expect_share(&mut sim, wanted, "its checks pass");
        }

        // Who joins is new when its first check has passed, however long that takes.
        sim.balancer.remove(&[address(1)]);
        sim.pass(100 * SECOND);
        sim.balancer.upsert(vec![endpoint(1)]);
        set_checked(&sim, 1, Checked::Not);
        sim.pass(60 * SECOND);
        expect_share(&mut sim, NOTHING, "it waits for its first check");
        set_checked(&sim, 1, Checked::Fit);
        expect_share(&mut sim, FIRST, "it has joined");
        // A further check that passes begins nothing.
        sim.pass(11 * SECOND);
        set_checked(&sim, 1, Checked::Fit);
        expect_share(&mut sim, EVEN, "another check");
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
