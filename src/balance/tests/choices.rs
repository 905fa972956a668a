//! Least request in full: n choices, all of them, and turns by weight and calls in flight.

use proptest::prelude::*;

use super::{Ask, InFlight, MILLI, Mock, Outcome, PickError, Sim, endpoint, healthy, under};
use crate::config::{self, Balancer, Health, LeastRequest};

fn cluster(settings: LeastRequest) -> config::Cluster {
    config::Cluster { least_request: Some(settings), ..under(&Balancer::LeastRequest) }
}

fn choices(count: u32) -> LeastRequest {
    LeastRequest { choices: Some(count), ..LeastRequest::default() }
}

fn full_scan() -> LeastRequest {
    LeastRequest { full_scan: Some(true), ..LeastRequest::default() }
}

fn bias(bias: f64) -> LeastRequest {
    LeastRequest { active_bias: Some(bias), ..LeastRequest::default() }
}

/// Endpoints of these weights that have so many calls in flight.
fn busy(settings: LeastRequest, endpoints: &[(u32, u32)]) -> (Sim, Vec<InFlight<Mock>>) {
    let list = (1..).zip(endpoints).map(|(number, (weight, _))| endpoint(number).weight(*weight));
    let sim = Sim::new(&Balancer::RoundRobin, list.collect());
    let mut held = Vec::new();
    let mut wanted: Vec<u32> = endpoints.iter().map(|(_, calls)| *calls).collect();
    while wanted.iter().any(|calls| *calls > 0) {
        let flight = sim.pick().unwrap();
        let place = usize::from(super::number_of(flight.endpoint())) - 1;
        if wanted[place] > 0 {
            wanted[place] -= 1;
            held.push(flight);
        } else {
            flight.finish(sim.now, Outcome::Ignored);
        }
    }
    sim.balancer.settle(&cluster(settings));
    (sim, held)
}

/// So many calls, each of which is over before the next.
fn call(sim: &mut Sim, calls: u64) {
    sim.forget();
    for _ in 0..calls {
        let flight = sim.pick().unwrap();
        *sim.picked.entry(super::number_of(flight.endpoint())).or_default() += 1;
        sim.calls += 1;
        flight.finish(sim.now + MILLI, Outcome::Success);
        sim.now += MILLI;
    }
}

#[test]
fn a_full_scan_finds_the_one_with_the_fewest_calls() {
    // Envoy's FullScanOneHostWithLeastRequests.
    let (mut sim, _held) = busy(full_scan(), &[(1, 4), (1, 3), (1, 2), (1, 1), (1, 5)]);
    call(&mut sim, 1_000);
    assert_eq!(sim.count(4), 1_000);
    // And as many choices as there are endpoints are all of them.
    sim.balancer.settle(&cluster(choices(5)));
    call(&mut sim, 1_000);
    assert_eq!(sim.count(4), 1_000);
}

#[test]
fn of_those_with_the_fewest_calls_it_is_any() {
    // Envoy's FullScanMultipleHostsWithLeastRequests.
    let (mut sim, _held) = busy(full_scan(), &[(1, 3), (1, 3), (1, 1), (1, 1), (1, 1)]);
    call(&mut sim, 30_000);
    for number in 3..=5 {
        assert!((0.32..0.347).contains(&sim.share(number)), "{}", sim.share(number));
    }
    assert_eq!(sim.count(1) + sim.count(2), 0);
}

#[test]
fn the_more_choices_the_less_busy_the_one_that_is_called() {
    let loads: Vec<(u32, u32)> = (0..20).map(|calls| (1, calls)).collect();
    let mut means = Vec::new();
    for count in [2, 3, 5, 10, 19, 20, 50, u32::MAX] {
        let (mut sim, _held) = busy(choices(count), &loads);
        call(&mut sim, 4_000);
        let mean: f64 = (1..=20).map(|it| f64::from(it - 1) * sim.share(it)).sum();
        means.push(mean);
        if count >= 20 {
            assert_eq!(sim.count(1), 4_000, "{count}");
        }
    }
    assert!(means.windows(2).all(|pair| pair[1] <= pair[0]), "{means:?}");
    // The least of n draws is over k if all are: ((19 - k) / 20)^n.
    for (count, mean) in [2, 3, 5, 10].into_iter().zip(&means) {
        let over = (0..19).map(|calls| (f64::from(19 - calls) / 20.0).powi(count));
        let expected: f64 = over.sum();
        assert!((mean - expected).abs() < 0.3, "{count}: {mean} and not {expected}");
    }
}

#[test]
fn the_bias_scales_unequal_weights_by_the_calls_in_flight() {
    // Envoy's WeightImbalance and WeightImbalanceWithCustomActiveRequestBias.
    for (by, loads, first, second) in [
        (1.0, [(1, 0), (2, 0)], 1, 2),
        (1.0, [(1, 0), (2, 1)], 1, 1),
        (1.0, [(1, 1), (2, 0)], 1, 4),
        (0.0, [(1, 0), (2, 1)], 1, 2),
        (0.0, [(1, 7), (2, 0)], 1, 2),
        (2.0, [(1, 1), (2, 0)], 1, 8),
        (0.5, [(1, 3), (2, 0)], 1, 4),
    ] {
        let (mut sim, _held) = busy(bias(by), &loads);
        let round = first + second;
        call(&mut sim, 200 * round);
        // Exact, but for the rounds that are not over.
        let (got, wanted) = (sim.count(2), 200 * second);
        assert!(got.abs_diff(wanted) <= 1 + second, "{by} {loads:?}: {got} and not {wanted}");
    }
}

#[test]
fn a_bias_of_nothing_is_round_robin() {
    let (mut sim, _held) = busy(bias(0.0), &[(1, 0), (2, 30), (3, 5)]);
    call(&mut sim, 600);
    for (number, wanted) in [(1, 100), (2, 200), (3, 300)] {
        assert!(sim.count(number).abs_diff(wanted) <= 1, "{number}: {}", sim.count(number));
    }
    // With equal weights it is the better of two.
    let (mut sim, _held) = busy(bias(3.0), &[(2, 0), (2, 30)]);
    call(&mut sim, 600);
    assert_eq!(sim.count(1), 600);
}

#[test]
fn endpoints_that_are_all_busy_share_by_what_is_left_of_their_weights() {
    // No turn comes for hundreds of rounds: it is drawn.
    let (mut sim, _held) = busy(bias(1.0), &[(1, 999), (2, 999), (1, 1_999)]);
    call(&mut sim, 20_000);
    for (number, wanted) in [(1, 2.0 / 7.0), (2, 4.0 / 7.0), (3, 1.0 / 7.0)] {
        let share = sim.share(number);
        assert!((share - wanted).abs() < 0.02, "{number}: {share} and not {wanted}");
    }
}

#[test]
fn what_cannot_be_called_is_passed_over_and_the_best_of_the_bad_is_called_last() {
    for settings in [choices(3), full_scan(), bias(1.0)] {
        let mut list: Vec<_> =
            (1..=6).map(|number| endpoint(number).weight(u32::from(number))).collect();
        list[4] = endpoint(5).weight(5).health(Health::Draining);
        let mut sim = Sim::new(&Balancer::RoundRobin, list);
        sim.set_available(6, false);
        sim.balancer.settle(&cluster(settings.clone()));
        call(&mut sim, 2_000);
        assert_eq!(sim.count(5) + sim.count(6), 0, "{settings:?}");
        assert!((1..=4).all(|number| sim.count(number) > 0), "{settings:?}");
        // A call that has met all the good ones takes the next best.
        let tried: Vec<_> = (1..=4).map(|number| sim.find(number)).collect();
        for _ in 0..100 {
            let flight = sim.balancer.pick(Ask::any(sim.now, &sim.random, &tried)).unwrap();
            assert_eq!(super::number_of(flight.endpoint()), 6, "{settings:?}");
        }
        let drains = (1..=6).map(|number| endpoint(number).health(Health::Draining)).collect();
        sim.balancer.replace(drains);
        assert_eq!(sim.pick().err(), Some(PickError::Unavailable), "{settings:?}");
        sim.balancer.replace(Vec::new());
        assert_eq!(sim.pick().err(), Some(PickError::Empty), "{settings:?}");
    }
}

#[test]
fn one_that_fails_gets_only_probes() {
    let answer =
        |number| if number == 1 { (1, Outcome::Failure) } else { (5 * MILLI, Outcome::Success) };
    for settings in [choices(3), full_scan(), bias(1.0)] {
        let mut sim = Sim::new(
            &Balancer::RoundRobin,
            (1..=4).map(|number| endpoint(number).weight(u32::from(number))).collect(),
        );
        sim.balancer.settle(&cluster(settings.clone()));
        sim.open(10_000, MILLI, answer);
        assert!(sim.count(1) <= 12, "{settings:?}: {}", sim.count(1));
        // And it comes back.
        sim.forget();
        sim.open(60_000, MILLI, healthy);
        assert!(sim.count(1) > 1_000, "{settings:?}: {}", sim.count(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn weights_are_shares_while_nothing_is_in_flight(
        weights in proptest::collection::vec(1_u32..=40, 2..9),
        which in 0_usize..6,
    ) {
        let settings = match which {
            0 => choices(2),
            1 => choices(3),
            2 => full_scan(),
            3 => bias(0.0),
            4 => bias(1.0),
            _ => bias(2.5),
        };
        let list = (1..).zip(&weights).map(|(number, weight)| endpoint(number).weight(*weight));
        let mut sim = Sim::new(&Balancer::RoundRobin, list.collect());
        sim.balancer.settle(&cluster(settings.clone()));
        call(&mut sim, 20_000);
        let total: u32 = weights.iter().sum();
        for (number, weight) in (1..).zip(&weights) {
            let wanted = f64::from(*weight) / f64::from(total);
            let got = sim.share(number);
            // Five standard deviations of draws by weight.
            let bound = 5.0 * (wanted * (1.0 - wanted) / 20_000.0).sqrt() + 1e-3;
            prop_assert!(
                (got - wanted).abs() <= bound,
                "{settings:?} {weights:?}: {number} got {got}, wanted {wanted}"
            );
        }
    }
}

#[test]
fn clients_that_start_together_do_not_take_turns_in_step() {
    let firsts: std::collections::BTreeSet<_> = (0..30)
        .map(|seed| {
            let endpoints = (1..=8).map(|it| endpoint(it).weight(u32::from(it) + 7)).collect();
            let sim = Sim::new(&Balancer::RoundRobin, endpoints);
            sim.balancer.settle(&cluster(bias(1.0)));
            let random = crate::core::Random::seeded(seed);
            let flight = sim.balancer.pick(Ask::any(sim.now, &random, &[])).unwrap();
            super::number_of(flight.endpoint())
        })
        .collect();
    assert!(firsts.len() > 3, "{firsts:?}");
}

#[test]
fn a_full_scan_probes_a_suspect_no_more_often_than_two_choices_do() {
    for settings in [full_scan(), choices(9)] {
        let (mut sim, _held) = busy(settings, &[(1, 0); 10]);
        let answer = |number| match number {
            1 => (MILLI, Outcome::Failure),
            number => healthy(number),
        };
        sim.closed(1_000, 3, answer);
        sim.forget();
        sim.closed(20_000, 3, answer);
        assert!(sim.share(1) < 0.02, "{}", sim.share(1));
    }
}
