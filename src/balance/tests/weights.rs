//! What weights do to the shares.

use super::{MILLI, Outcome, SECOND, Sim, endpoint, healthy, policies};
use crate::config::{self, Health};

fn weighted(policy: &config::Balancer, weights: &[u32]) -> Sim {
    let endpoints = (1..).zip(weights).map(|(number, weight)| endpoint(number).weight(*weight));
    Sim::new(policy, endpoints.collect())
}

fn assert_shares(sim: &Sim, weights: &[u32], tolerance: f64, what: &str) {
    let total: u32 = weights.iter().sum();
    for (number, weight) in (1..).zip(weights) {
        let (share, wanted) = (sim.share(number), f64::from(*weight) / f64::from(total));
        assert!(
            (share - wanted).abs() <= wanted * tolerance,
            "{what}: {number} of weight {weight} got {share:.4}, wanted {wanted:.4}",
        );
    }
}

#[test]
fn the_static_stride_is_exact() {
    // Weights that divide the largest repeat after as many rounds; the first begins anywhere.
    let is_about = |count: u64, wanted: u64| count.abs_diff(wanted) <= 1;
    let mut sim = weighted(&config::Balancer::RoundRobin, &[1, 2, 3]);
    sim.closed(600, 1, healthy);
    for (number, wanted) in [(1, 100), (2, 200), (3, 300)] {
        assert!(is_about(sim.count(number), wanted), "{number}: {}", sim.count(number));
    }
    let mut sim = weighted(&config::Balancer::RoundRobin, &[5, 1, 1, 1]);
    sim.closed(800, 1, healthy);
    for (number, wanted) in [(1, 500), (2, 100), (4, 100)] {
        assert!(is_about(sim.count(number), wanted), "{number}: {}", sim.count(number));
    }
}

#[test]
fn every_policy_honours_weights_under_load() {
    let weights = [1, 2, 4, 1];
    for policy in policies() {
        let mut sim = weighted(&policy, &weights);
        sim.closed(40_000, 64, healthy);
        assert_shares(&sim, &weights, 0.12, &format!("{policy:?}"));
    }
}

#[test]
fn weights_are_shares_of_calls_one_by_one() {
    let weights = [1, 2, 4, 1];
    for policy in &policies()[1..] {
        let mut sim = weighted(policy, &weights);
        sim.closed(40_000, 1, healthy);
        assert_shares(&sim, &weights, 0.05, &format!("{policy:?}"));
    }
    // Of idle endpoints the one that was faster last wins, and evens the shares out.
    let mut sim = weighted(&config::Balancer::default(), &weights);
    sim.closed(40_000, 1, healthy);
    assert_shares(&sim, &weights, 0.5, "peak EWMA");
}

#[test]
fn one_heavy_endpoint_among_many_light_ones_gets_its_share() {
    let mut weights = vec![1; 100];
    weights[42] = 100;
    for policy in &policies()[2..] {
        let mut sim = weighted(policy, &weights);
        sim.closed(40_000, 64, healthy);
        assert!((0.48..0.52).contains(&sim.share(43)), "{policy:?}: {}", sim.share(43));
    }
    // Its share is 100 of 199, but any idle endpoint has less in flight.
    for policy in &policies()[..2] {
        let mut sim = weighted(policy, &weights);
        sim.closed(40_000, 64, healthy);
        assert!((0.25..0.52).contains(&sim.share(43)), "{policy:?}: {}", sim.share(43));
    }
}

#[test]
fn one_heavy_endpoint_of_a_large_cluster_gets_its_share() {
    let mut weights = vec![1; 2_000];
    weights[1_042] = 1_999;
    for policy in [config::Balancer::Random, config::Balancer::RoundRobin] {
        let mut sim = weighted(&policy, &weights);
        sim.closed(8_000, 1, healthy);
        assert!((0.48..0.52).contains(&sim.share(1_043)), "{policy:?}: {}", sim.share(1_043));
    }
}

#[test]
fn shares_are_those_of_the_weights_however_far_these_are_apart() {
    // The five sevenths of the heavy ones lie in one chunk of four.
    let mut weights = vec![2; 1_000];
    for (place, weight) in [(300, 1_000), (301, 4_000), (302, 5)] {
        weights[place] = weight;
    }
    let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let mut sim = weighted(&config::Balancer::Random, &weights);
    sim.closed(40_000, 1, healthy);
    for (place, within) in [(300, 0.01), (301, 0.01), (302, 0.002), (999, 0.002)] {
        let (met, wanted) =
            (sim.share(u16::try_from(place).unwrap() + 1), f64::from(weights[place]) / sum);
        assert!((met - wanted).abs() < within, "{place}: {met} for {wanted}");
    }
}

#[test]
fn the_largest_weight_beside_the_smallest() {
    for policy in policies() {
        let mut sim = weighted(&policy, &[65_535, 1]);
        sim.closed(20_000, 16, healthy);
        assert!(sim.share(1) > 0.99, "{policy:?}: {}", sim.share(1));
    }
}

#[test]
fn a_heavy_endpoint_that_takes_no_calls_leaves_them_to_a_light_one() {
    for policy in policies() {
        let heavy = endpoint(1).weight(100).health(Health::Draining);
        let mut sim = Sim::new(&policy, vec![heavy, endpoint(2)]);
        for _ in 0..1_000 {
            assert_eq!(sim.call(healthy), 2, "{policy:?}");
        }
    }
}

#[test]
fn a_heavy_endpoint_in_connect_back_off_is_avoided() {
    for policy in policies() {
        let mut sim = weighted(&policy, &[100, 1, 1]);
        sim.set_available(1, false);
        for _ in 0..1_000 {
            assert_ne!(sim.call(healthy), 1, "{policy:?}");
        }
    }
}

#[test]
fn a_heavy_endpoint_that_fails_gets_only_probes() {
    let answer =
        |number| if number == 1 { (1, Outcome::Failure) } else { (5 * MILLI, Outcome::Success) };
    for policy in policies() {
        let mut sim = weighted(&policy, &[100, 1, 1]);
        sim.open(10 * SECOND / MILLI, MILLI, answer);
        assert!(sim.count(1) <= 10, "{policy:?}: {}", sim.count(1));
    }
}
