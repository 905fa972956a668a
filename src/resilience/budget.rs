//! The retry budget: an exact share of the calls of the last seconds, plus a floor.
//!
//! Finagle's `RetryBudget`, without tower's truncation: a ratio of 0.4 grants 40 of 100, where
//! `tower::retry::budget::TpsBudget` grants 50. Lock-free: each second of the window is one
//! atomic word that carries its own second, so no deposit is lost when the window moves.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{config, core::Epoch};

/// Parts of one retry.
const SCALE: i64 = 10_000;
const SLOTS: usize = 10;
const VALUE_BITS: u32 = 40;

/// One budget per service, shared by all of its calls.
#[derive(Debug)]
pub(crate) struct Budget {
    deposit: i64,
    reserve: i64,
    slot_nanos: u64,
    slots: [AtomicU64; SLOTS],
}

/// A slot's word: the period that it belongs to and its signed value.
fn pack(period: u64, value: i64) -> u64 {
    let mask = (1_u64 << VALUE_BITS) - 1;
    (period << VALUE_BITS) | (value.cast_unsigned() & mask)
}

fn value_of(word: u64) -> i64 {
    (word << (64 - VALUE_BITS)).cast_signed() >> (64 - VALUE_BITS)
}

fn period_of(word: u64) -> u64 {
    word >> VALUE_BITS
}

impl Budget {
    #[expect(clippy::cast_possible_truncation, reason = "a validated ratio of at most 10")]
    pub(crate) fn new(config: &config::Budget, _epoch: Epoch) -> Self {
        let ttl = config.ttl.as_nanos().max(1);
        let seconds = i64::try_from(config.ttl.as_secs()).unwrap_or(60).clamp(1, 60);
        Self {
            deposit: (config.ratio * SCALE as f64).round() as i64,
            reserve: i64::from(config.min_per_second) * seconds * SCALE,
            slot_nanos: u64::try_from(ttl / SLOTS as u128).unwrap_or(u64::MAX).max(1),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The period of a moment, never 0, which marks a slot as unused.
    fn period(&self, now: u64) -> u64 {
        (now / self.slot_nanos + 1) & ((1 << (64 - VALUE_BITS)) - 1)
    }

    fn slot(&self, period: u64) -> &AtomicU64 {
        let index = usize::try_from(period % SLOTS as u64).unwrap_or(0);
        &self.slots[index]
    }

    /// A call was made.
    pub(crate) fn deposit(&self, now: u64) {
        let period = self.period(now);
        let slot = self.slot(period);
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            let value = if period_of(word) == period { value_of(word) } else { 0 };
            let limit = (1_i64 << (VALUE_BITS - 1)) - 1;
            let next = pack(period, value.saturating_add(self.deposit).min(limit));
            match slot.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes a retry, if one is left.
    pub(crate) fn withdraw(&self, now: u64) -> bool {
        let period = self.period(now);
        let slot = self.slot(period);
        loop {
            let word = slot.load(Ordering::Acquire);
            let value = if period_of(word) == period { value_of(word) } else { 0 };
            let mut balance = self.reserve.saturating_add(value);
            for other in &self.slots {
                let word = other.load(Ordering::Acquire);
                let age = period.wrapping_sub(period_of(word));
                if (1..SLOTS as u64).contains(&age) && period_of(word) != 0 {
                    balance = balance.saturating_add(value_of(word));
                }
            }
            if balance < SCALE {
                return false;
            }
            let next = pack(period, value - SCALE);
            if slot.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn budget(ratio: f64, min_per_second: u32) -> Budget {
        let config = config::Budget::new(ratio).min_per_second(min_per_second);
        Budget::new(&config, Epoch::now())
    }

    fn granted(budget: &Budget, deposits: u32) -> u32 {
        for _ in 0..deposits {
            budget.deposit(0);
        }
        (0..deposits * 11).filter(|_| budget.withdraw(0)).count().try_into().unwrap()
    }

    #[test]
    fn a_budget_of_40_percent_grants_40_percent_and_not_50() {
        for (ratio, expected) in
            [(0.1, 100), (0.2, 200), (0.3, 300), (0.4, 400), (0.6, 600), (0.7, 700), (0.9, 900)]
        {
            assert_eq!(granted(&budget(ratio, 0), 1000), expected, "{ratio}");
        }
    }

    #[test]
    fn the_floor_is_granted_without_any_call_and_comes_back_after_the_ttl() {
        let budget = budget(0.2, 10);
        let ttl = u64::try_from(Duration::from_secs(10).as_nanos()).unwrap();
        assert_eq!((0..1000).filter(|_| budget.withdraw(0)).count(), 100);
        assert!(!budget.withdraw(ttl / 2));
        assert_eq!((0..1000).filter(|_| budget.withdraw(ttl * 2)).count(), 100);
    }

    #[test]
    fn deposits_expire() {
        let budget = budget(1.0, 0);
        budget.deposit(0);
        assert!(!budget.withdraw(11_000_000_000));
        budget.deposit(11_000_000_000);
        assert!(budget.withdraw(11_500_000_000));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let budget = budget(0.5, 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| budget.deposit(0)));
            }
        });
        assert_eq!((0..4000).filter(|_| budget.withdraw(0)).count(), 2000);
    }

    proptest! {
        #[test]
        fn words_keep_their_parts(period in 0_u64..1 << 24, value in -(1_i64 << 39)..(1_i64 << 39)) {
            let word = pack(period, value);
            prop_assert_eq!((period_of(word), value_of(word)), (period, value));
        }

        #[test]
        fn never_more_than_the_ratio(ratio in 0.0_f64..1.0, deposits in 0_u32..500) {
            let granted = granted(&budget(ratio, 0), deposits);
            prop_assert!(f64::from(granted) <= f64::from(deposits) * (ratio + 0.000_051));
            prop_assert!(f64::from(granted) + 1.0 >= f64::from(deposits) * (ratio - 0.000_051));
        }
    }
}
