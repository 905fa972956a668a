//! Endpoints of a cluster with active checks, before the first of them is over.

use super::*;
use crate::{
    balance::{
        health::Checked,
        pick::{Rank, standing},
    },
    config::{Balancing, Cluster, Protocol},
};

/// Three endpoints whose checks have passed, and the number of who checks them.
fn checked(cluster: &Cluster) -> (Sim, u64) {
    let sim = Sim::of(&config::Balancer::default(), 3);
    sim.balancer.settle(cluster);
    let by = sim.balancer.begin_checks();
    let endpoints = sim.balancer.endpoints();
    sim.balancer.set_checked(by, endpoints.iter().map(|it| (it, Checked::Fit)), sim.now);
    (sim, by)
}

fn of_number(sim: &Sim, number: u16) -> Arc<Endpoint<Mock>> {
    sim.balancer.endpoints().into_iter().find(|it| number_of(it) == number).unwrap()
}

fn told(sim: &Sim) -> String {
    sim.balancer.places(sim.now)[0].clone()
}

#[test]
fn one_that_joins_gets_no_calls_before_who_checks_has_even_heard_of_it() {
    for cluster in family() {
        let (mut sim, by) = checked(&cluster);
        sim.balancer.upsert(vec![endpoint(4)]);
        sim.open(2_000, MILLI, healthy);
        assert_eq!(sim.count(4), 0, "{}", named(&cluster));
        let joined = of_number(&sim, 4);
        sim.balancer.set_checked(by, [(&joined, Checked::Not)], sim.now);
        sim.open(2_000, MILLI, healthy);
        assert_eq!(sim.count(4), 0, "{}", named(&cluster));
        sim.balancer.set_checked(by, [(&joined, Checked::Fit)], sim.now);
        sim.open(2_000, MILLI, healthy);
        assert!(sim.count(4) > 200, "{} {}", sim.count(4), named(&cluster));
    }
}

#[test]
fn one_whose_connections_are_to_be_others_is_checked_anew_before_it_is_called() {
    let (mut sim, _) = checked(&under(&config::Balancer::RoundRobin));
    let changed = config::Endpoint { protocol: Some(Protocol::Http2), ..endpoint(1) };
    sim.balancer.upsert(vec![changed]);
    sim.open(300, MILLI, healthy);
    assert_eq!(sim.count(1), 0);
}

#[test]
fn one_that_joins_counts_as_its_first_check_makes_it_count() {
    let balancing = |waits| Balancing { wait_for_first_check: Some(waits), ..Balancing::default() };
    for (waits, expected) in [(false, "3 of 4 healthy"), (true, "3 of 3 healthy")] {
        let cluster = Cluster { balancing: Some(balancing(waits)), ..Cluster::default() };
        let (sim, _) = checked(&cluster);
        sim.balancer.upsert(vec![endpoint(4)]);
        assert!(told(&sim).contains(expected), "{}", told(&sim));
    }
}

#[test]
fn checks_that_begin_find_nobody_well_without_having_asked() {
    let sim = Sim::of(&config::Balancer::RoundRobin, 3);
    sim.balancer.begin_checks();
    let all = sim.balancer.endpoints();
    assert!(all.iter().all(|endpoint| standing(endpoint, sim.now) == Rank::Suspect));
    // There is nothing better: they are called all the same.
    assert!(sim.pick().is_ok());
}

#[test]
fn nobody_waits_for_checks_that_are_over() {
    let (mut sim, _) = checked(&under(&config::Balancer::RoundRobin));
    sim.balancer.upsert(vec![endpoint(4)]);
    sim.balancer.forget_checks(sim.now);
    sim.balancer.upsert(vec![endpoint(5)]);
    sim.open(500, MILLI, healthy);
    assert_eq!((sim.count(4), sim.count(5)), (100, 100));
}
