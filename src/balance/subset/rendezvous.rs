//! So many endpoints of all, by rendezvous hashing (gRFC A68): those with the least hashes of their
//! address under this process's seed.
//!
//! Each process draws its own, so that over many of them every endpoint has about as many; an
//! endpoint that comes or goes changes at most one of a subset.

use twox_hash::XxHash64;

/// The places of those that are used, ascending: `size` of them, or all when there are no more
/// than that or fewer than `above`.
pub(crate) fn subset<K: AsRef<[u8]>>(
    keys: impl Iterator<Item = K>,
    seed: u64,
    size: usize,
    above: usize,
) -> Option<Vec<u32>> {
    let mut hashes: Vec<(u64, u32)> = (0..)
        .zip(keys)
        .map(|(place, key)| (XxHash64::oneshot(seed, key.as_ref()), place))
        .collect();
    if hashes.len() <= size || hashes.len() < above {
        return None;
    }
    hashes.select_nth_unstable(size);
    hashes.truncate(size);
    let mut places: Vec<u32> = hashes.into_iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    Some(places)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn chosen(addresses: &[String], seed: u64, size: usize) -> BTreeSet<String> {
        match subset(addresses.iter(), seed, size, 0) {
            None => addresses.iter().cloned().collect(),
            Some(places) => places.iter().map(|it| addresses[*it as usize].clone()).collect(),
        }
    }

    fn addresses(numbers: impl Iterator<Item = u32>) -> Vec<String> {
        numbers.map(|number| format!("10.0.{}.{}:80", number / 256, number % 256)).collect()
    }

    #[test]
    fn of_ten_thousand_twenty_are_used() {
        let all = addresses(0..10_000);
        assert_eq!(subset(all.iter(), 7, 20, 100).unwrap().len(), 20);
        assert_ne!(chosen(&all, 7, 20), chosen(&all, 8, 20));
        assert_eq!(chosen(&all, 7, 20), chosen(&all, 7, 20));
    }

    #[test]
    fn few_endpoints_are_all_used() {
        let few = addresses(0..99);
        assert_eq!(subset(few.iter(), 7, 20, 100), None);
        assert!(subset(addresses(0..100).iter(), 7, 20, 100).is_some());
        assert_eq!(subset(addresses(0..20).iter(), 7, 20, 0), None);
    }

    #[test]
    fn many_processes_load_all_endpoints_alike() {
        let all = addresses(0..100);
        let mut uses = vec![0_u32; all.len()];
        for seed in 0..2_000 {
            for place in subset(all.iter(), seed, 20, 0).unwrap() {
                uses[place as usize] += 1;
            }
        }
        // 400 each in the mean, with a deviation of 18.
        assert!(uses.iter().all(|uses| (320..480).contains(uses)), "{uses:?}");
    }

    proptest! {
        #[test]
        fn one_endpoint_more_or_less_changes_at_most_one(
            numbers in prop::collection::btree_set(0_u32..5_000, 2..200),
            size in 1_usize..40,
            seed in any::<u64>(),
            gone in any::<prop::sample::Index>(),
        ) {
            let all = addresses(numbers.iter().copied());
            let mut fewer = all.clone();
            fewer.remove(gone.index(all.len()));
            let (with, without) = (chosen(&all, seed, size), chosen(&fewer, seed, size));
            prop_assert!(with.difference(&without).count() <= 1);
            prop_assert!(without.difference(&with).count() <= 1);
        }

        #[test]
        fn the_order_of_the_list_does_not_matter(
            numbers in prop::collection::btree_set(0_u32..5_000, 2..100), seed in any::<u64>(),
        ) {
            let mut all = addresses(numbers.iter().copied());
            let before = chosen(&all, seed, 5);
            all.reverse();
            prop_assert_eq!(before, chosen(&all, seed, 5));
        }
    }
}
