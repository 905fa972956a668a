//! Whom the policies pick.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    super::{Ask, HealthSet, Over, pick::scale},
    MILLI, Outcome, PickError, SECOND, Sim, address, endpoint, healthy, number_of, policies,
};
use crate::{
    config::{self, Health},
    core::Random,
};

fn p2c() -> [config::Balancer; 2] {
    [config::Balancer::default(), config::Balancer::LeastRequest]
}

fn with_health(count: u16, special: u16, health: Health) -> Vec<config::Endpoint> {
    let of = |number| if number == special { health } else { Health::Unknown };
    (1..=count).map(|number| endpoint(number).health(of(number))).collect()
}

proptest! {
    #[test]
    fn a_scaled_word_is_an_index(word: u64, len in 1_usize..1 << 31) {
        prop_assert!(scale(word, len) < len);
        prop_assert_eq!(scale(0, len), 0);
        prop_assert_eq!(scale(u64::MAX, len), len - 1);
    }

    #[test]
    fn scaling_keeps_the_order(a: u64, b: u64, len in 1_usize..1 << 31) {
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(scale(low, len) <= scale(high, len));
    }
}

#[test]
fn equal_endpoints_get_equal_shares() {
    for policy in policies() {
        let mut sim = Sim::of(&policy, 10);
        sim.closed(50_000, 20, healthy);
        for number in 1..=10 {
            let share = sim.share(number);
            assert!((0.09..0.11).contains(&share), "{policy:?}: {number} got {share}");
        }
    }
}

#[test]
fn one_after_the_other_is_exact() {
    let mut sim = Sim::of(&config::Balancer::RoundRobin, 7);
    sim.closed(700, 1, healthy);
    assert!((1..=7).all(|number| sim.count(number) == 100), "{:?}", sim.picked);
}

#[test]
fn one_seed_gives_one_sequence() {
    for policy in policies() {
        let sequence = |seed| {
            let mut sim = Sim::of(&policy, 9);
            sim.random = Random::seeded(seed);
            (0..200).map(|_| sim.call(healthy)).collect::<Vec<_>>()
        };
        assert_eq!(sequence(4), sequence(4), "{policy:?}");
    }
    let first = |seed| {
        let mut sim = Sim::of(&config::Balancer::Random, 9);
        sim.random = Random::seeded(seed);
        (0..200).map(|_| sim.call(healthy)).collect::<Vec<_>>()
    };
    assert_ne!(first(4), first(5));
}

#[test]
fn the_fast_one_gets_nine_tenths() {
    let answer = |number| (if number == 1 { MILLI } else { 50 * MILLI }, Outcome::Success);
    let mut sim = Sim::of(&config::Balancer::default(), 2);
    sim.closed(5_000, 8, answer);
    assert!(sim.share(1) >= 0.9, "{}", sim.share(1));
    let mut sim = Sim::of(&config::Balancer::LeastRequest, 2);
    sim.closed(5_000, 8, answer);
    assert!(sim.share(1) >= 0.9, "{}", sim.share(1));
}

#[test]
fn the_fast_one_gets_nine_tenths_of_few_calls_too() {
    // From ten a second to one in ten seconds.
    for gap in [SECOND / 10, SECOND / 2, 3 * SECOND / 2, 10 * SECOND] {
        for fast in [1, 2] {
            let answer =
                |number| (if number == fast { MILLI } else { 50 * MILLI }, Outcome::Success);
            let mut sim = Sim::of(&config::Balancer::default(), 2);
            sim.open(2_000, gap, answer);
            let share = sim.share(fast);
            assert!((0.9..0.999).contains(&share), "one call in {gap} ns: {share}");
        }
    }
}

#[test]
fn one_that_got_fast_again_is_found_out() {
    let slow = |number| (if number == 1 { MILLI } else { 50 * MILLI }, Outcome::Success);
    let mut sim = Sim::of(&config::Balancer::default(), 2);
    sim.closed(10_000, 8, slow);
    assert!(sim.share(1) > 0.9);
    // Of a peak of 50 times the truth 2 % are left after eight decay times.
    sim.open(80_000, MILLI, healthy);
    sim.forget();
    sim.closed(10_000, 8, healthy);
    assert!((0.4..0.6).contains(&sim.share(1)), "{}", sim.share(1));
}

#[test]
fn one_that_fails_at_once_gets_only_probes() {
    let answer =
        |number| if number == 1 { (1, Outcome::Failure) } else { (5 * MILLI, Outcome::Success) };
    for policy in policies() {
        let mut sim = Sim::of(&policy, 5);
        sim.open(60_000, MILLI, answer);
        // Its first call, and those after 1, 2, 4, 8, 16 and 30 s; a call may be under way.
        assert!(sim.count(1) <= 10, "{policy:?}: {}", sim.count(1));
        assert!(sim.count(1) >= 5, "{policy:?}: not probed");
        sim.forget();
        sim.open(120_000, MILLI, healthy);
        assert!(sim.share(1) > 0.1, "{policy:?}: not trusted again: {}", sim.share(1));
    }
}

#[test]
fn a_hung_one_is_left() {
    for policy in p2c() {
        let mut sim = Sim::of(&policy, 2);
        let hung =
            |number| if number == 1 { (3_600 * SECOND, Outcome::Failure) } else { healthy(number) };
        sim.open(10_000, MILLI, hung);
        assert!(sim.share(1) < 0.01, "{policy:?}: {}", sim.share(1));
    }
}

#[test]
fn one_that_hangs_later_is_left() {
    for policy in p2c() {
        let mut sim = Sim::of(&policy, 2);
        sim.open(1_000, MILLI, healthy);
        sim.forget();
        let hung =
            |number| if number == 1 { (3_600 * SECOND, Outcome::Failure) } else { healthy(number) };
        sim.open(10_000, MILLI, hung);
        assert!(sim.share(1) < 0.01, "{policy:?}: {}", sim.share(1));
    }
}

#[test]
fn a_new_one_is_probed_by_one_call_until_it_answers() {
    let mut sim = Sim::of(&config::Balancer::default(), 3);
    sim.open(1_000, MILLI, healthy);
    sim.balancer.upsert(vec![endpoint(4)]);
    sim.forget();
    let slow_start = |number| (if number == 4 { 900 * MILLI } else { MILLI }, Outcome::Success);
    sim.open(800, MILLI, slow_start);
    assert_eq!(sim.count(4), 1, "{:?}", sim.picked);
    // Its first answer was a peak, which takes its time.
    sim.open(90_000, MILLI, healthy);
    sim.forget();
    sim.closed(4_000, 8, healthy);
    assert!(sim.share(4) > 0.2, "{:?}", sim.picked);
}

#[test]
fn draining_endpoints_are_never_picked() {
    for policy in policies() {
        let mut sim = Sim::new(&policy, with_health(4, 2, Health::Draining));
        sim.closed(5_000, 3, healthy);
        assert_eq!(sim.count(2), 0, "{policy:?}");
        sim.balancer.replace(with_health(1, 1, Health::Draining));
        assert_eq!(sim.pick().err(), Some(PickError::Unavailable), "{policy:?}");
        sim.balancer.replace(Vec::new());
        assert_eq!(sim.pick().err(), Some(PickError::Empty), "{policy:?}");
    }
}

#[test]
fn one_that_takes_calls_is_found_among_many_that_drain() {
    for policy in policies() {
        for (count, good) in [(70, 70), (300, 1), (1_000, 500)] {
            let endpoints = (1..=count).map(|number| {
                let good = number == good;
                endpoint(number).health(if good { Health::Unknown } else { Health::Draining })
            });
            let mut sim = Sim::new(&policy, endpoints.collect());
            for _ in 0..100 {
                assert_eq!(sim.call(healthy), good, "{policy:?} of {count}");
            }
        }
    }
}

#[test]
fn unhealthy_endpoints_are_called_only_when_nothing_better_is_there() {
    for policy in policies() {
        let mut sim = Sim::new(&policy, with_health(4, 2, Health::Unhealthy));
        sim.closed(5_000, 3, healthy);
        assert_eq!(sim.count(2), 0, "{policy:?}");
        sim.balancer.replace(with_health(1, 1, Health::Unhealthy));
        assert!(sim.pick().is_ok(), "{policy:?}");
    }
}

#[test]
fn endpoints_in_connect_back_off_are_avoided() {
    for policy in policies() {
        let mut sim = Sim::of(&policy, 3);
        sim.set_available(2, false);
        sim.closed(5_000, 3, healthy);
        assert_eq!(sim.count(2), 0, "{policy:?}");
        // With nowhere else to go they are called.
        let gone = [address(1), address(3)];
        sim.balancer.remove(&gone);
        assert_eq!(sim.call(healthy), 2, "{policy:?}");
    }
}

#[test]
fn tried_endpoints_are_picked_only_when_there_is_no_other() {
    for policy in policies() {
        let sim = Sim::of(&policy, 4);
        let mut tried = Vec::new();
        for _ in 0..4 {
            let flight = sim.balancer.pick(Ask::any(sim.now, &sim.random, &tried)).unwrap();
            assert!(!tried.iter().any(|other| flight.endpoint().is(other)), "{policy:?}");
            tried.push(Arc::clone(flight.endpoint()));
        }
        assert!(sim.balancer.pick(Ask::any(sim.now, &sim.random, &tried)).is_ok(), "{policy:?}");
    }
}

#[test]
fn a_tried_endpoint_is_known_after_its_source_changed_it() {
    let sim = Sim::of(&config::Balancer::RoundRobin, 2);
    let tried = [sim.find(1)];
    sim.balancer.upsert(vec![endpoint(1).weight(9)]);
    for _ in 0..100 {
        let flight = sim.balancer.pick(Ask::any(sim.now, &sim.random, &tried)).unwrap();
        assert_eq!(number_of(flight.endpoint()), 2);
    }
}

#[test]
fn a_degraded_endpoint_keeps_its_sessions() {
    let degraded = config::Endpoint { health: Health::Degraded, ..endpoint(2) };
    let sim = Sim::new(&config::Balancer::RoundRobin, vec![endpoint(1), degraded, endpoint(3)]);
    let over = Over { address: address(2), strict: false, health: HealthSet::default() };
    let ask = Ask { over: Some(&over), ..Ask::any(sim.now, &sim.random, &[]) };
    for _ in 0..10 {
        assert_eq!(number_of(sim.balancer.pick(ask).unwrap().endpoint()), 2);
    }
}

/// Which of several clusters an address is of is asked of all of them; what finds it fast is of the one that is
/// called.
#[test]
fn whether_an_address_is_known_is_asked_without_making_anything() {
    let sim = Sim::of(&config::Balancer::RoundRobin, 3);
    let known = || [1, 3, 4].map(|number| sim.balancer.lists(&address(number)));
    let pins = || format!("{:?}", sim.balancer.read().pins);
    let before = pins();
    assert_eq!(known(), [true, true, false]);
    assert_eq!(pins(), before);
    let over = Over { address: address(2), strict: false, health: HealthSet::default() };
    let ask = Ask { over: Some(&over), ..Ask::any(sim.now, &sim.random, &[]) };
    assert_eq!(number_of(sim.balancer.pick(ask).unwrap().endpoint()), 2);
    assert_ne!(pins(), before);
    assert_eq!(known(), [true, true, false]);
}
