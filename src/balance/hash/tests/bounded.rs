//! Vectors of Envoy's `bounded_load_hlb_test.cc`.

use super::super::{Shuffle, is_full, overload};

fn order(seed: u64, len: usize) -> Vec<usize> {
    Shuffle::new(seed, len).collect()
}

#[test]
fn the_order_is_that_of_the_seed() {
    assert_eq!(order(2, 5), [2, 1, 0, 4, 3]);
    assert_eq!(order(6, 5), [4, 0, 2, 3, 1]);
    assert_eq!(order(7, 5), [0, 1, 4, 3, 2]);
    // The seed is the lower half.
    assert_eq!(order((5 << 32) | 2, 5), [2, 1, 0, 4, 3]);
    assert_eq!((order(1, 0), order(1, 1)), (vec![], vec![0]));
}

#[test]
fn the_first_of_many_are_distinct_and_spread() {
    let mut seen = [0_u32; 1_000];
    for seed in 0..1_000 {
        let mut order = order(seed * 7_919, 1_000);
        assert_eq!(order.len(), 64);
        order.iter().for_each(|position| seen[*position] += 1);
        order.sort_unstable();
        order.dedup();
        assert_eq!(order.len(), 64);
    }
    // 64 of 1,000 each; a deviation of eight sigma.
    assert!(seen.iter().all(|count| (8..130).contains(count)), "{seen:?}");
}

#[test]
fn slots_are_the_factor_times_the_share_of_all_calls() {
    // ActualHostOverloaded: a factor of 1 %, 5 members, 2 calls, all on one.
    assert!(overload(0, 2, 1, 0.2) <= 1.0);
    assert!(overload(2, 2, 1, 0.2) > 1.0);
    // (9 + 1) calls · 1.5 = 15 slots, a fifth of them is 3.
    assert!(overload(3, 9, 150, 0.2) <= 1.0);
    assert!(overload(4, 9, 150, 0.2) > 1.0);
    // One slot at least.
    assert!(overload(1, 100, 100, 1e-6) <= 1.0);
    assert!(overload(u32::MAX, u32::MAX, u32::MAX, 1.0) <= 1.0);
}

proptest::proptest! {
    /// Without `ceil` and without the division it is the same.
    #[test]
    fn who_is_full_is_over_one(
        active in proptest::prelude::any::<u32>(), total in proptest::prelude::any::<u32>(),
        percent in proptest::prelude::any::<u32>(), share in 0.0..=1.0_f64, of_few in 0_u32..200,
    ) {
        for (active, total) in [(active, total), (of_few, active % 1000), (of_few, of_few)] {
            for percent in [percent, 100 + percent % 400] {
                let slots = ((u64::from(total) + 1) * u64::from(percent)).div_ceil(100);
                let by_the_book = f64::from(active) / (slots as f64 * share).ceil().max(1.0);
                let known = overload(active, total, percent, share);
                proptest::prop_assert_eq!(known.to_bits(), by_the_book.to_bits());
                proptest::prop_assert_eq!(is_full(active, total, percent, share), known > 1.0);
            }
        }
    }
}
