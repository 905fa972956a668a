use std::sync::Arc;

use proptest::prelude::*;

use super::{throttle::Throttle, *};
use crate::config::{InFlightBudget, RetryThrottle};

const SECOND: u64 = 1_000_000_000;

fn budget(ratio: f64, min_per_second: u32) -> Budget {
    Budget::new(&config::Budget::default().ratio(ratio).min_per_second(min_per_second))
}

fn drain(budget: &Budget, now: u64) -> u64 {
    (0..).take_while(|_| budget.withdraw(now)).count() as u64
}

/// The ratios that an integer withdrawal cost of `1 / ratio` gets wrong, in tenths.
const TENTHS: [u64; 8] = [1, 2, 3, 4, 6, 7, 9, 10];

fn tenths(ratio: u64) -> f64 {
    ratio as f64 / 10.0
}

#[test]
fn four_of_ten_calls_may_be_retried_at_a_ratio_of_four_tenths() {
    for ratio in TENTHS {
        let budget = budget(tenths(ratio), 0);
        for _ in 0..10_000 {
            budget.deposit(0);
        }
        assert_eq!(drain(&budget, 0), ratio * 1_000, "{ratio} tenths");
    }
}

#[test]
fn a_call_that_was_refused_is_as_if_it_had_never_begun() {
    let spent = budget(0.5, 0);
    (0..10).for_each(|_| spent.deposit(0));
    (0..4).for_each(|_| spent.take_back(0));
    assert_eq!(drain(&spent, 0), 3);
    // What it paid in is spent already: then nothing is owed.
    spent.deposit(0);
    spent.deposit(0);
    assert_eq!(drain(&spent, 0), 1);
    spent.take_back(0);
    spent.deposit(0);
    spent.deposit(0);
    assert_eq!(drain(&spent, 0), 1);
}

/// What a budget without a reserve would cost processes with few calls.
#[test]
fn a_process_with_few_calls_retries_by_its_reserve_alone() {
    let granted = |budget: &Budget| {
        let calls = (1..=100_u64).map(|call| call * 10 * SECOND);
        let granted = calls.map(|now| {
            budget.deposit(now);
            budget.withdraw(now)
        });
        granted.filter(|granted| *granted).count()
    };
    assert_eq!(granted(&budget(0.2, 10)), 100);
    assert_eq!(granted(&budget(0.1, 0)), 0);
}

#[test]
fn the_reserve_is_there_before_any_call_and_comes_back() {
    let budget = budget(0.2, 10);
    assert_eq!(drain(&budget, 0), 100);
    assert_eq!(drain(&budget, SECOND), 10);
    assert_eq!(drain(&budget, SECOND * 3 / 2), 5);
    assert_eq!(drain(&budget, 60 * SECOND), 100);
}

#[test]
fn a_reserve_that_is_not_used_does_not_pile_up() {
    assert_eq!(drain(&budget(0.2, 10), 3_600 * SECOND), 100);
}

#[test]
fn deposits_expire_after_the_ttl() {
    let budget = budget(0.5, 0);
    for _ in 0..10 {
        budget.deposit(0);
    }
    assert_eq!(budget.balance(9 * SECOND), 5);
    assert_eq!(budget.balance(10 * SECOND), 0);
    assert!(!budget.withdraw(10 * SECOND));
}

#[test]
fn withdrawals_use_the_oldest_tokens_first() {
    let budget = budget(1.0, 0);
    budget.deposit(0);
    budget.deposit(5 * SECOND);
    assert!(budget.withdraw(6 * SECOND));
    // The token of second 0 was spent; that of second 5 lives on when the first would expire.
    assert_eq!(budget.balance(12 * SECOND), 1);
    assert_eq!(budget.balance(15 * SECOND), 0);
}

#[test]
fn hostile_configurations_are_clamped() {
    for ratio in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
        let budget = budget(ratio, 0);
        budget.deposit(0);
        assert!(!budget.withdraw(0));
    }
    let budget = Budget::new(
        &config::Budget::default().ratio(f64::INFINITY).min_per_second(u32::MAX).ttl(Duration::MAX),
    );
    budget.deposit(u64::MAX / 2);
    assert!(budget.withdraw(u64::MAX / 2));
}

#[test]
fn threads_share_exactly_what_was_earned() {
    let budget = budget(0.7, 0);
    let granted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..10_000)
                        .filter(|_| {
                            budget.deposit(0);
                            budget.withdraw(0)
                        })
                        .count() as u64
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted + drain(&budget, 0), 28_000);
}

#[test]
fn a_millionth_short_of_a_token_is_no_token() {
    let budget = budget(0.999_999, 0);
    budget.deposit(0);
    assert!(!budget.withdraw(0));
    budget.deposit(0);
    assert_eq!(drain(&budget, 0), 1);
}

proptest! {
    #[test]
    fn a_ratio_grants_its_share_of_any_number_of_calls(
        ratio in proptest::sample::select(TENTHS.to_vec()),
        calls in 0_u64..20_000,
    ) {
        let budget = budget(tenths(ratio), 0);
        for _ in 0..calls {
            budget.deposit(0);
        }
        prop_assert_eq!(drain(&budget, 0), calls * ratio / 10);
    }

    #[test]
    fn interleaved_retries_get_the_same_share(
        ratio in proptest::sample::select(TENTHS.to_vec()),
        calls in 0_u64..5_000,
    ) {
        let budget = budget(tenths(ratio), 0);
        let mut granted = 0;
        for _ in 0..calls {
            budget.deposit(0);
            granted += u64::from(budget.withdraw(0));
        }
        prop_assert_eq!(granted + drain(&budget, 0), calls * ratio / 10);
    }

    #[test]
    fn it_agrees_with_a_queue_of_dated_tokens(
        steps in proptest::collection::vec((0_u64..2_000, any::<bool>()), 1..400),
    ) {
        // Whole slots, so that the model's expiry is as exact as the ledger's.
        let budget = budget(1.0, 0);
        let mut queue = std::collections::VecDeque::new();
        let mut now = 0;
        for (step, deposit) in steps {
            now += step * SECOND / 1_000;
            let slot = now / SECOND;
            if deposit {
                budget.deposit(now);
                queue.push_back(slot);
            } else {
                queue.retain(|born| born + 10 > slot);
                prop_assert_eq!(budget.withdraw(now), queue.pop_front().is_some());
            }
        }
    }

    #[test]
    fn it_never_grants_more_than_was_deposited_and_reserved(
        ratio in 0.0..3.0_f64,
        per_second in 0..50_u32,
        ttl in 1..60_u64,
        steps in proptest::collection::vec((0..3 * SECOND, 0..40_u8, 0..40_u8), 1..80),
    ) {
        let settings = config::Budget::default().ratio(ratio).min_per_second(per_second);
        let budget = Budget::new(&settings.ttl(Duration::from_secs(ttl)));
        let (mut now, mut calls, mut granted) = (0, 0_u64, 0_u64);
        for (step, deposits, withdrawals) in steps {
            now += step;
            for _ in 0..deposits {
                budget.deposit(now);
                calls += 1;
            }
            granted += (0..withdrawals).filter(|_| budget.withdraw(now)).count() as u64;
            let reserve = u128::from(per_second) * u128::from(now + ttl * SECOND) / 1_000;
            let earned = u128::from(calls) * u128::from(parts(ratio)) + reserve;
            prop_assert!(u128::from(granted) * u128::from(TOKEN) <= earned, "{granted} granted");
        }
    }

    #[test]
    fn within_the_ttl_a_ratio_grants_exactly_its_share(
        ratio in 0.0..3.0_f64,
        steps in proptest::collection::vec((0..SECOND / 10, 0..40_u8, 0..40_u8), 1..80),
    ) {
        // 80 steps last for less than nine of the ten slots.
        let budget = budget(ratio, 0);
        let (mut now, mut tokens) = (0, 0_u64);
        for (step, deposits, withdrawals) in steps {
            now += step;
            for _ in 0..deposits {
                budget.deposit(now);
                tokens += parts(ratio);
            }
            for _ in 0..withdrawals {
                let enough = tokens >= TOKEN;
                prop_assert_eq!(budget.withdraw(now), enough);
                tokens -= if enough { TOKEN } else { 0 };
            }
            prop_assert_eq!(budget.balance(now), tokens / TOKEN);
        }
    }

    #[test]
    fn the_reserve_grants_its_rate_over_any_time(
        per_second in 1..1_000_u32,
        seconds in 1..20_u64,
        asks in 1..50_u64,
    ) {
        let budget = budget(0.0, per_second);
        let rate = u64::from(per_second);
        prop_assert_eq!(drain(&budget, 0), rate * 10);
        // Asked at any pace within the ttl, what has come in is what is granted.
        let mut granted = 0;
        for ask in 1..=asks {
            granted += drain(&budget, ask * seconds * SECOND / asks);
        }
        let piled = if seconds / asks >= 10 { rate * 10 } else { rate * seconds };
        prop_assert!(granted <= rate * seconds);
        prop_assert!(granted >= piled.min(rate * 9) - 1, "{granted} of {piled}");
    }

    #[test]
    fn time_that_steps_back_grants_nothing_twice(
        times in proptest::collection::vec(0..100 * SECOND, 1..60),
    ) {
        // Threads read the clock before they touch the budget.
        let budget = budget(1.0, 0);
        let mut granted = 0;
        for (call, now) in times.iter().enumerate() {
            budget.deposit(*now);
            granted += u64::from(budget.withdraw(now.saturating_sub(SECOND)));
            prop_assert!(granted <= call as u64 + 1);
        }
    }
}

fn share(percent: Option<u32>, least: Option<u32>, interval: Option<Duration>) -> Arc<Share> {
    let mut budget = InFlightBudget::default();
    (budget.percent, budget.min_concurrency, budget.interval) = (percent, least, interval);
    Share::resized(None, Some(&budget), None).unwrap()
}

/// Places that a share gives while so many attempts are in flight.
fn places(share: &Share, now: u64, active: u32) -> usize {
    let slot = Slot { share, active };
    let mut all = Vec::new();
    // Each is held while the next is asked for.
    all.extend(std::iter::from_fn(|| slot.take(now)).take(10_000));
    all.len()
}

//= Envoy resource_manager_impl_test.cc, RetryBudgetOverrideGauge and the proto's defaults
#[test]
fn a_share_of_what_is_in_flight_has_envoys_defaults() {
    let share = share(None, None, None);
    for (active, expected) in [(0, 3), (1, 3), (15, 3), (19, 3), (20, 4), (100, 20), (1_000, 200)] {
        assert_eq!(places(&share, 0, active), expected, "{active} in flight");
    }
    assert_eq!(share.taken(), 0, "all places are given back");
}

#[test]
fn a_share_of_nothing_still_gives_its_minimum() {
    assert_eq!(places(&share(Some(0), Some(0), None), 0, u32::MAX), 0);
    assert_eq!(places(&share(Some(0), Some(7), None), 0, u32::MAX), 7);
    assert_eq!(places(&share(Some(100), Some(0), None), 0, 250), 250);
}

#[test]
fn a_share_of_an_interval_counts_what_is_over() {
    let share = share(Some(20), Some(0), Some(Duration::from_secs(10)));
    for _ in 0..100 {
        share.begun(0);
    }
    assert_eq!(places(&share, 5 * SECOND, 0), 20);
    assert_eq!(places(&share, 5 * SECOND, 200), 40, "what is in flight counts if it is more");
    assert_eq!(places(&share, 10 * SECOND, 0), 0);
}

#[test]
fn a_budget_takes_the_place_of_a_number_and_counts_on() {
    assert!(Share::resized(None, None, None).is_none());
    let number = Share::resized(None, None, Some(2)).unwrap();
    assert_eq!(places(&number, 0, 1_000), 2);
    let held = Slot { share: &number, active: 0 }.take(0).unwrap();
    let same = Share::resized(Some(&number), None, Some(2)).unwrap();
    assert!(Arc::ptr_eq(&same, &number));
    let budget = InFlightBudget::default();
    let other = Share::resized(Some(&number), Some(&budget), Some(2)).unwrap();
    assert_eq!(places(&other, 0, 0), 2, "one of three is taken");
    drop(held);
    assert_eq!(places(&other, 0, 0), 3);
}

#[test]
fn retries_of_one_name_are_counted_together() {
    let shares = |name: Option<&str>, kept: Option<&Arc<Shares>>| {
        let mut breakers = config::Breakers::default();
        (breakers.max_retries, breakers.shared) = (Some(2), name.map(str::to_owned));
        breakers.high = Some(Box::default());
        breakers.high.as_mut().unwrap().max_retries = Some(1);
        Shares::of(Some(&breakers), kept).unwrap()
    };
    let share =
        |shares: &Arc<Shares>| places(shares.share(config::CallPriority::Default).unwrap(), 0, 0);
    let (one, other) = (shares(Some("retries"), None), shares(Some("retries"), None));
    let own = shares(None, None);
    let slot = Slot { share: one.share(config::CallPriority::Default).unwrap(), active: 0 };
    let held = slot.take(0).unwrap();
    assert_eq!((share(&one), share(&other), share(&own)), (1, 1, 2));
    let high = other.share(config::CallPriority::High).unwrap();
    assert_eq!(places(high, 0, 0), 1, "of the other priority");
    // Settings that keep the name count on, others anew.
    assert_eq!(share(&shares(Some("retries"), Some(&one))), 1);
    assert_eq!(share(&shares(None, Some(&one))), 2);
    drop(held);
    assert_eq!((share(&one), share(&other)), (2, 2));
}

//= gRFC A6 §"Throttling Retry Attempts and Hedged RPCs": max_tokens 10, token_ratio 0.1
#[test]
fn the_throttle_of_grpc_by_its_own_example() {
    let throttle = Throttle::new(10.0, 0.1);
    for failures in 1..=4 {
        throttle.ended(true);
        assert!(throttle.allows(), "{failures} failures");
    }
    // Five tokens are half of them, and half is not enough.
    throttle.ended(true);
    assert!(!throttle.allows());
    throttle.ended(false);
    assert!(throttle.allows());
    for _ in 0..100 {
        throttle.ended(true);
    }
    assert_eq!(throttle.tokens(), 0, "never below zero");
    for _ in 0..50 {
        throttle.ended(false);
    }
    assert!(!throttle.allows());
    throttle.ended(false);
    assert!(throttle.allows());
    for _ in 0..1_000 {
        throttle.ended(false);
    }
    assert_eq!(throttle.tokens(), 10_000, "never over its maximum");
}

#[test]
fn a_throttle_of_hostile_numbers_is_a_throttle() {
    for (most, ratio) in [(f64::NAN, f64::NAN), (-1.0, -1.0), (f64::INFINITY, f64::INFINITY)] {
        let throttle = Throttle::new(most, ratio);
        throttle.ended(true);
        throttle.ended(false);
        let _allowed = throttle.allows();
    }
    assert!(!Throttle::new(0.0, 1.0).allows());
}

fn purse(ratio: f64, named: bool, throttle: Option<(f64, f64)>) -> Purse {
    let throttle = throttle.map(|(max_tokens, token_ratio)| {
        Throttled::new(&RetryThrottle { max_tokens, token_ratio })
    });
    Purse::new(Arc::new(budget(ratio, 0)), named, throttle)
}

#[test]
fn another_form_takes_the_place_of_the_default_one() {
    let tokens = purse(0.0, false, None);
    assert!(tokens.withdraw(0, None).is_none());
    let share = share(None, None, None);
    let slot = || Some(Slot { share: &share, active: 0 });
    assert!(tokens.withdraw(0, slot()).is_some());
    assert!(purse(0.0, false, Some((10.0, 0.1))).withdraw(0, None).is_some());
}

#[test]
fn all_forms_that_are_named_must_grant() {
    let share = share(None, None, None);
    let slot = || Some(Slot { share: &share, active: 0 });
    let named = purse(0.0, true, Some((10.0, 0.1)));
    assert!(named.withdraw(0, slot()).is_none(), "there is no token");
    assert_eq!(share.taken(), 0, "the place is given back");
    let both = purse(1.0, true, Some((10.0, 0.1)));
    both.deposit(0);
    let grant = both.withdraw(0, slot());
    assert!(grant.is_some() && share.taken() == 1);
    drop(grant);
    assert!(both.withdraw(0, slot()).is_none(), "the token is spent");
    both.deposit(0);
    for _ in 0..5 {
        both.ended(true);
    }
    assert!(both.withdraw(0, slot()).is_none(), "too few tokens of the throttle");
    assert_eq!(both.tokens().balance(0), 1, "a refusal costs no token");
}

#[test]
fn what_was_paid_is_given_back_and_no_more() {
    let named = purse(1.0, true, None);
    named.deposit(0);
    let share = share(None, None, None);
    let grant = named.withdraw(0, Some(Slot { share: &share, active: 0 })).unwrap();
    assert_eq!((share.taken(), named.tokens().balance(0)), (1, 0));
    named.refund(0, grant);
    assert_eq!((share.taken(), named.tokens().balance(0)), (0, 1));
    let free = purse(0.0, false, Some((10.0, 0.1)));
    let grant = free.withdraw(0, None).unwrap();
    free.refund(0, grant);
    assert_eq!(free.tokens().balance(0), 0, "it had cost no token");
}
