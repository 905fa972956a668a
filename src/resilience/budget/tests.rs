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
}
