//! Admission control in simulations, under seeds.

use proptest::prelude::*;

use super::decision::{Admission, probability};
use crate::{
    config::{self, Criticality},
    core::Random,
};

const SECOND: u64 = 1_000_000_000;

fn admission(change: impl FnOnce(&mut config::AdmissionControl)) -> Admission {
    let mut config = config::AdmissionControl::default();
    change(&mut config);
    Admission::new(&config)
}

fn seconds(
    admission: &Admission,
    random: &Random,
    from: u64,
    seconds: u64,
    level: impl Fn(u64) -> Criticality,
    succeeds: impl Fn(u64) -> bool,
) -> [u64; 4] {
    let mut sent = [0; 4];
    for call in 0..seconds * 100 {
        let (now, level) = ((from * 100 + call) * SECOND / 100, level(call));
        if admission.enter(now, level, random).is_ok() {
            sent[level as usize] += 1;
            admission.ended(now, succeeds(call));
        }
    }
    sent
}

fn usual(_: u64) -> Criticality {
    Criticality::Critical
}

#[test]
fn the_formula_is_envoys() {
    // Of its documentation: nothing is refused at or over the threshold.
    assert!(probability(100, 95, 0.95, 1.0).abs() < 1e-9);
    assert!(probability(100, 100, 0.95, 1.0).abs() < 1e-9);
    let half = (100.0 - 50.0 / 0.95) / 101.0;
    assert!((probability(100, 50, 0.95, 1.0) - half).abs() < 1e-9);
    assert!((probability(100, 50, 0.95, 0.5) - half.sqrt()).abs() < 1e-9);
    assert!((probability(100, 0, 0.95, 1.0) - 100.0 / 101.0).abs() < 1e-9);
}

#[test]
fn a_service_that_fails_is_spared_at_most_eighty_percent() {
    let (admission, random) = (admission(|_| {}), Random::seeded(1));
    seconds(&admission, &random, 0, 60, usual, |_| false);
    assert!((admission.refusing(60 * SECOND) - 0.8).abs() < 1e-9);
    let sent = seconds(&admission, &random, 60, 60, usual, |_| false)[2];
    assert!((1_050..1_350).contains(&sent), "{sent} of 6000");
}

#[test]
fn a_service_that_recovers_gets_all_again() {
    let (admission, random) = (admission(|_| {}), Random::seeded(2));
    seconds(&admission, &random, 0, 60, usual, |_| false);
    seconds(&admission, &random, 60, 31, usual, |_| true);
    assert!(admission.refusing(91 * SECOND).abs() < 1e-9);
    assert_eq!(seconds(&admission, &random, 91, 1, usual, |_| true)[2], 100);
}

#[test]
fn few_calls_a_second_are_not_refused_where_it_is_said() {
    let (admission, random) =
        (admission(|config| config.min_per_second = Some(101.0)), Random::seeded(3));
    assert_eq!(seconds(&admission, &random, 0, 30, usual, |_| false)[2], 3_000);
}

#[test]
fn what_is_refused_is_no_failure() {
    // Else the rate of success would fall with each refusal, down to the most that is refused.
    let (admission, random) = (admission(|_| {}), Random::seeded(4));
    // Nine of ten succeed: p = (n - 0.9 n / 0.95) / (n + 1), about 5 %.
    let sent = seconds(&admission, &random, 0, 120, usual, |call| call % 10 > 0)[2];
    assert!(sent > 11_000, "{sent} of 12000");
}

#[test]
fn the_lowest_are_refused_first_and_the_highest_live() {
    let (admission, random) = (admission(|_| {}), Random::seeded(5));
    let level = |call: u64| match call % 4 {
        0 => Criticality::Sheddable,
        1 => Criticality::SheddablePlus,
        2 => Criticality::Critical,
        _ => Criticality::CriticalPlus,
    };
    // Whatever the level, six of ten fail.
    let fails = |call: u64| call / 4 % 10 < 6;
    seconds(&admission, &random, 0, 60, level, |call| !fails(call));
    let sent = seconds(&admission, &random, 60, 40, level, |call| !fails(call));
    // p = 1 - 0.4 / 0.95 = 0.58: the two lowest levels, and a third of the next.
    let [sheddable, sheddable_plus, critical, critical_plus] = sent;
    assert_eq!(critical_plus, 1_000);
    assert!((550..800).contains(&critical), "{critical}");
    assert!(sheddable + sheddable_plus < 20, "{sheddable} {sheddable_plus}");
}

proptest! {
    #[test]
    fn the_probability_is_one(
        ended in 0..1_000_000_u64,
        share in 0.0..=1.0_f64,
        threshold in 0.01..=1.0_f64,
        aggression in 1.0..10.0_f64,
    ) {
        let succeeded = (ended as f64 * share) as u64;
        let p = probability(ended, succeeded, threshold, 1.0 / aggression);
        prop_assert!((0.0..1.0).contains(&p), "{}", p);
        prop_assert!(probability(ended, succeeded + 1, threshold, 1.0 / aggression) <= p);
        // A sharper one refuses no less.
        prop_assert!(probability(ended, succeeded, threshold, 0.5 / aggression) >= p - 1e-12);
    }
}
