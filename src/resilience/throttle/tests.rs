//! The throttle in simulations, under seeds.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    decision::{Throttle, probability},
    young::Young,
};
use crate::{
    config::{self, Criticality},
    core::Random,
};

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

fn throttle(change: impl FnOnce(&mut config::Throttle)) -> Throttle {
    let mut config = config::Throttle::default();
    change(&mut config);
    Throttle::new(&config)
}

/// A second of calls; how many were sent. `accepts` says of each whether the service takes it.
fn second(
    throttle: &Throttle,
    random: &Random,
    from: u64,
    calls: u64,
    level: impl Fn(u64) -> Criticality,
    mut accepts: impl FnMut(u64) -> bool,
) -> [u64; 4] {
    let mut sent = [0; 4];
    for call in 0..calls {
        let now = from + call * SECOND / calls;
        let level = level(call);
        if let Ok(it) = throttle.enter(now, level, random) {
            sent[level as usize] += 1;
            throttle.ended(it, now + MILLI, accepts(call));
        }
    }
    sent
}

fn usual(_: u64) -> Criticality {
    Criticality::Critical
}

#[test]
fn the_formula_is_that_of_the_book() {
    assert!((probability(100, 50, 2.0) - 0.0).abs() < 1e-9);
    assert!((probability(100, 25, 2.0) - 50.0 / 101.0).abs() < 1e-9);
    assert!((probability(100, 0, 2.0) - 100.0 / 101.0).abs() < 1e-9);
    assert!((probability(0, 0, 2.0) - 0.0).abs() < 1e-9);
    assert!((probability(100, 95, 1.1) - 0.0).abs() < 1e-9);
}

/// go-zero #5011: its breaker counted a call when it ended, so that a service that hangs was found
/// only after its callers' timeouts, and a window shorter than these never saw anything at all.
#[test]
fn go_zero_5011_calls_in_flight_are_counted_before_they_end() {
    let (throttle, random) = (throttle(|_| {}), Random::seeded(1));
    let mut refused = 0;
    for call in 0..1_000_u64 {
        // A hundred per second, none of which ever ends.
        let sent = throttle.enter(call * 10 * MILLI, Criticality::Critical, &random);
        refused += u64::from(sent.is_err());
    }
    assert!(refused > 500, "{refused} of 1000 were refused though nothing was ever answered");
}

#[test]
fn a_burst_to_a_service_that_is_well_is_not_refused() {
    let (throttle, random) = (throttle(|_| {}), Random::seeded(2));
    let sent: Vec<_> = (0..10_000)
        .map(|_| throttle.enter(SECOND, Criticality::Critical, &random).unwrap())
        .collect();
    for it in sent {
        throttle.ended(it, SECOND + 300 * MILLI, true);
    }
    assert!(throttle.refusing(3 * SECOND).abs() < 1e-9);
}

#[test]
fn an_overloaded_service_gets_at_most_k_times_what_it_accepts() {
    // It takes 100 per second, and refuses what is over that; 1,000 are wanted.
    let (throttle, random) = (throttle(|_| {}), Random::seeded(3));
    let mut last = 0;
    for at in 0..240 {
        let mut taken = 0;
        let sent = second(&throttle, &random, at * SECOND, 1_000, usual, |_| {
            taken += 1;
            taken <= 100
        });
        last = sent[2];
    }
    // Without a throttle it would get 1,000.
    assert!((190..230).contains(&last), "{last}");
}

/// How many seconds after an outage of five minutes nothing is refused any more.
fn recovery(throttle: &Throttle, most: u64) -> Option<u64> {
    let random = Random::seeded(4);
    for at in 0..300 {
        second(throttle, &random, at * SECOND, 200, usual, |_| false);
    }
    assert!(throttle.refusing(300 * SECOND) > 0.99);
    (0..most).find(|after| {
        let at = 300 + after;
        second(throttle, &random, at * SECOND, 200, usual, |_| true);
        throttle.refusing((at + 1) * SECOND) < 0.01
    })
}

#[test]
fn a_service_that_comes_back_is_seen_and_what_is_forced_shows_it() {
    let forced = recovery(&throttle(|_| {}), 1_000).unwrap();
    let window = |config: &mut config::Throttle| config.window = Some(Duration::from_secs(10));
    let short = recovery(&throttle(window), 1_000).unwrap();
    // Each second lets in more than the one before: the time grows with the window.
    assert!(forced < 420, "{forced}");
    assert!(short < 50, "{short}");
    let never = Duration::from_secs(3_600);
    let unforced = throttle(|config| config.force_after = Some(never));
    assert_eq!(recovery(&unforced, forced), None, "it took no longer without a forced call");
}

#[test]
fn one_call_a_second_is_sent_though_all_fail() {
    // So many calls that the chance of one that passes by itself is small.
    let (throttle, random) = (throttle(|config| config.window = None), Random::seeded(5));
    for at in 0..120 {
        second(&throttle, &random, at * SECOND, 20_000, usual, |_| false);
    }
    for at in 120..130 {
        let sent = second(&throttle, &random, at * SECOND, 20, usual, |_| false);
        assert!(sent[2] >= 1, "none was sent in second {at}");
    }
}

#[test]
fn the_lowest_are_refused_first_and_the_highest_live() {
    let (throttle, random) = (throttle(|_| {}), Random::seeded(6));
    let levels = [
        Criticality::Sheddable,
        Criticality::SheddablePlus,
        Criticality::Critical,
        Criticality::CriticalPlus,
    ];
    let level = |call: u64| levels[(call % 4) as usize];
    let mut sent = [0; 4];
    for at in 0..240 {
        // It takes 300 of the 1,000 per second.
        let mut taken = 0;
        sent = second(&throttle, &random, at * SECOND, 1_000, level, |_| {
            taken += 1;
            taken <= 300
        });
    }
    let [sheddable, sheddable_plus, critical, critical_plus] = sent;
    assert_eq!(critical_plus, 250, "the highest are all sent");
    assert!(critical >= 245, "{critical}");
    assert!(sheddable_plus < 150, "{sheddable_plus}");
    assert!(sheddable <= 1, "{sheddable}");
}

#[test]
fn callers_that_leave_at_once_are_as_if_they_had_not_called() {
    let (throttle, random) = (throttle(|_| {}), Random::seeded(7));
    for call in 0..1_000_u64 {
        let now = call * 10 * MILLI;
        let it = throttle.enter(now, Criticality::Critical, &random).unwrap();
        throttle.left(it, now + 5 * MILLI);
    }
    assert!(throttle.refusing(10 * SECOND).abs() < 1e-9);
}

#[test]
fn a_service_that_hangs_does_not_hide_behind_its_callers_patience() {
    let (throttle, random) = (throttle(|_| {}), Random::seeded(8));
    for call in 0..2_000_u64 {
        let now = call * 10 * MILLI;
        if let Ok(it) = throttle.enter(now, Criticality::Critical, &random) {
            throttle.left(it, now + 2 * SECOND);
        }
    }
    assert!(throttle.refusing(20 * SECOND) > 0.5);
}

#[test]
fn few_calls_say_nothing() {
    let (throttle, random) = (throttle(|_| {}), Random::seeded(9));
    for call in 0..99_u64 {
        let it = throttle.enter(call * MILLI, Criticality::Sheddable, &random).unwrap();
        throttle.ended(it, call * MILLI, false);
    }
    assert!(throttle.refusing(5 * SECOND).abs() < 1e-9);
}

#[test]
fn a_window_of_its_own_forgets_in_its_own_time() {
    let short = throttle(|config| config.window = Some(Duration::from_secs(10)));
    let random = Random::seeded(10);
    for at in 0..10 {
        second(&short, &random, at * SECOND, 200, usual, |_| false);
    }
    assert!(short.refusing(10 * SECOND) > 0.9);
    assert!(short.refusing(21 * SECOND).abs() < 1e-9);
}

proptest! {
    #[test]
    fn the_probability_is_one(requests in 0..1_000_000_u64, accepts in 0..1_000_000_u64, k in 1.0..10.0_f64) {
        let p = probability(requests, accepts, k);
        prop_assert!((0.0..1.0).contains(&p), "{}", p);
        // More that is accepted never refuses more.
        prop_assert!(probability(requests, accepts + 1, k) <= p);
        prop_assert!(probability(requests + 1, accepts, k) >= p);
    }

    #[test]
    fn the_young_are_those_that_are_open_and_new(
        calls in proptest::collection::vec((0..2_000_u64, 0..5_000_u64), 1..60),
    ) {
        // Begin and length in milliseconds, in the order of begins.
        let young = Young::default();
        let mut events = Vec::new();
        let mut now = 0;
        for (step, length) in calls {
            now += step;
            events.push((now, None));
            events.push((now + length, Some(now)));
        }
        events.sort();
        let mut open: Vec<u64> = Vec::new();
        for (at, ends) in events {
            let nanos = at * MILLI;
            match ends {
                None => {
                    young.began(nanos);
                    open.push(at);
                }
                Some(began) => {
                    young.ended(began * MILLI, nanos);
                    let place = open.iter().position(|it| *it == began).unwrap();
                    open.swap_remove(place);
                }
            }
            let new = open.iter().filter(|began| **began / 1_000 + 1 >= at / 1_000).count();
            prop_assert_eq!(young.open(nanos), new as u64);
        }
    }
}
