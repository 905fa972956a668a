use proptest::prelude::*;

use super::*;

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
