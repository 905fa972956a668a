//! The connect back-off.

use std::time::Duration;

use proptest::prelude::*;

use super::super::backoff::Backoff;
use crate::core::Random;

const BASE: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(30);

#[test]
fn it_doubles_to_its_maximum_and_ends_with_a_success() {
    let backoff = Backoff::default();
    let random = Random::seeded(5);
    let mut now = 0;
    for expected in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
        let wait = backoff.failed(now, BASE, MAX, &random);
        let millis = wait.as_millis();
        assert!((expected * 8 / 10..=expected * 12 / 10).contains(&millis), "{millis}");
        assert!(wait <= MAX);
        assert!(backoff.lasts(now + 1));
        now += u64::try_from(wait.as_nanos()).unwrap();
        assert!(!backoff.lasts(now));
    }
    backoff.succeeded();
    let wait = backoff.failed(now, BASE, MAX, &random);
    assert!(wait <= BASE * 12 / 10, "it begins anew: {wait:?}");
}

#[test]
fn attempts_that_fail_together_are_one_failure() {
    let backoff = Backoff::default();
    let random = Random::seeded(5);
    for _ in 0..50 {
        let wait = backoff.failed(0, BASE, MAX, &random);
        assert!(wait <= BASE * 12 / 10, "{wait:?}");
    }
}

#[test]
fn within_the_back_off_one_caller_per_base_may_try() {
    let backoff = Backoff::default();
    let random = Random::seeded(5);
    assert!(backoff.may_try(0, BASE));
    for at in [0, 100_000_000, 200_000_000, 400_000_000] {
        backoff.failed(at, BASE, MAX, &random);
    }
    assert!(backoff.lasts(600_000_000));
    assert!(!backoff.may_try(499_999_999, BASE));
    assert!(backoff.may_try(500_000_000, BASE));
    assert!(!backoff.may_try(500_000_000, BASE), "the one try is taken");
    assert!(backoff.may_try(600_000_000, BASE));
}

proptest! {
    #[test]
    fn a_wait_is_a_fifth_around_its_doubling_and_ends(
        base in 1..10_000_u64,
        more in 0..1_000_000_u64,
        failures in 1..40_u32,
        start in 0..u64::MAX / 2,
        seed: u64,
    ) {
        let (base, max) = (Duration::from_millis(base), Duration::from_millis(base + more));
        let (backoff, random) = (Backoff::default(), Random::seeded(seed));
        let mut now = start;
        for failure in 0..failures {
            let wait = backoff.failed(now, base, max, &random);
            let plain = base.saturating_mul(1 << failure.min(20)).min(max);
            prop_assert!(wait >= plain.mul_f64(0.799), "{wait:?} of {plain:?}");
            prop_assert!(wait <= plain.mul_f64(1.201).min(max), "{wait:?} of {plain:?}");
            let end = now + u64::try_from(wait.as_nanos()).unwrap();
            prop_assert!(backoff.lasts(now) && backoff.lasts(end - 1) && !backoff.lasts(end));
            let again = backoff.failed(end - 1, base, max, &random);
            prop_assert_eq!(again, Duration::from_nanos(1), "it is the same failure");
            now = end;
        }
        backoff.succeeded();
        prop_assert!(!backoff.lasts(now) && backoff.may_try(now, base));
    }

    #[test]
    fn within_the_back_off_tries_are_a_base_apart(
        asks in prop::collection::vec(0..150_000_000_u64, 1..100),
    ) {
        let (backoff, random) = (Backoff::default(), Random::seeded(3));
        let mut now = 0;
        while backoff.failed(now, BASE, MAX, &random) < Duration::from_secs(20) {
            now += 40_000_000_000;
        }
        let base = u64::try_from(BASE.as_nanos()).unwrap();
        let mut last = now;
        for ask in asks {
            now += ask;
            let allowed = !backoff.lasts(now) || now >= last + base;
            prop_assert_eq!(backoff.may_try(now, BASE), allowed);
            if allowed {
                last = now;
            }
        }
    }
}

#[test]
fn the_largest_durations_do_not_overflow() {
    let backoff = Backoff::default();
    // The most that validation lets through.
    let year = Duration::from_secs(86_400 * 365);
    for seed in 0..100 {
        let random = Random::seeded(seed);
        let wait = backoff.failed(u64::MAX - 1, year, year, &random);
        assert!(wait > Duration::ZERO);
        assert!(backoff.lasts(u64::MAX - 1));
    }
}
