//! Whether two lists may have enough in common for it to be looked for.
//!
//! Who is in both is found by a table of all of one. Where everything is replaced, that is made for
//! nothing: a few of each tell it before.

use std::{collections::HashSet, hash::Hash};

use crate::core::Random;

/// Of fewer, all are looked up as soon.
const FEW: usize = 1_000;

/// Whether fewer than `least` can be in both of two lists, of so many each, in whatever order. None is in
/// a list twice.
///
/// So many are drawn of each that of `n` in common `64 · n / (the smaller number)` pairs are met in the mean:
/// if none is, there were less than a quarter but for one time in e^16. Where less than that is
/// enough, nothing is drawn.
pub(super) fn are_others<T: Eq + Hash>(
    least: usize,
    (ours, our): (usize, impl Fn(usize) -> T),
    (theirs, their): (usize, impl Fn(usize) -> T),
) -> bool {
    let (fewer, more) = (ours.min(theirs), ours.max(theirs));
    if least > fewer {
        return true;
    }
    if fewer < FEW || least < fewer / 4 {
        return false;
    }
    // The same of the same lists, and not the same places of both.
    let (random, draws) = (Random::seeded(0), 8 * more.isqrt());
    let drawn: HashSet<T> = (0..draws).map(|_| our(place(&random, ours))).collect();
    !(0..draws).any(|_| drawn.contains(&their(place(&random, theirs))))
}

/// Any of so many.
fn place(random: &Random, of: usize) -> usize {
    usize::try_from(random.next() % of.max(1) as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    const ALL: u32 = 4_000;

    /// Of two lists of as many, so many are in both, in the order of the second one.
    fn judged(least: usize, kept: u32, order: &[u32]) -> bool {
        let ours: Vec<u32> = (0..ALL).collect();
        let theirs: Vec<u32> =
            order.iter().map(|it| if *it < kept { *it } else { *it + ALL }).collect();
        let (our, their) = (|at: usize| ours[at], |at: usize| theirs[at]);
        are_others(least, (ours.len(), our), (theirs.len(), their))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_list_that_is_replaced_is_known_and_one_of_which_half_stays_is_not_taken_for_it(
            order in Just((0..ALL).collect::<Vec<_>>()).prop_shuffle(),
            kept in ALL / 2..=ALL,
            least in 1_000..=4_000_usize,
        ) {
            prop_assert!(judged(least, 0, &order));
            prop_assert!(!judged(least, kept, &order));
        }
    }

    #[test]
    fn the_order_of_the_other_list_or_a_shift_of_it_hides_nothing() {
        let (in_order, turned): (Vec<_>, Vec<_>) = ((0..ALL).collect(), (0..ALL).rev().collect());
        for order in [&in_order, &turned] {
            assert!(!judged(2_000, ALL, order));
            assert!(!judged(2_000, ALL / 2, order));
        }
        for shift in 1..200 {
            let shifted: Vec<u32> = (0..ALL).map(|it| (it + shift) % ALL).collect();
            assert!(!judged(2_000, ALL, &shifted), "{shift}");
        }
    }

    #[test]
    fn few_lists_and_little_that_must_stay_are_left_to_whoever_looks_at_all() {
        let of = |least: usize, ours: usize, theirs: usize| {
            are_others(least, (ours, |at: usize| at), (theirs, |at: usize| at + 1_000_000))
        };
        assert!(!of(500, 999, 999) && of(500, 1_000, 1_000));
        assert!(!of(249, 1_000, 5_000) && of(250, 1_000, 5_000));
        // More than there are cannot be in both.
        assert!(of(11, 10, 20) && !of(10, 10, 20) && of(1, 0, 5) && !of(0, 0, 0));
    }

    #[test]
    fn of_ten_thousand_eight_hundred_of_each_are_looked_at() {
        let looks = Cell::new(0);
        let look = |at: usize| {
            looks.set(looks.get() + 1);
            at
        };
        let other = |at: usize| look(at) + 10_000;
        assert!(are_others(5_000, (10_000, look), (10_000, other)));
        assert_eq!(looks.get(), 1_600);
    }
}
