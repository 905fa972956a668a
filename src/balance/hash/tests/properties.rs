//! What holds for any members.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    super::{Function, Maglev, Ring, Sizes},
    members,
};

const SIZES: Sizes = Sizes { least: 4_096, most: 8_388_608 };

/// Distinct keys with weights, in any order.
fn some() -> impl Strategy<Value = Vec<(String, u32)>> {
    let weight = prop_oneof![3 => Just(1_u32), 2 => 1..10_u32, 1 => 1..2_000_u32];
    prop::collection::btree_map(0..5_000_u32, weight, 1..40)
        .prop_map(|of| of.into_iter().map(|(n, weight)| (format!("10.0.0.{n}:80"), weight)))
        .prop_map(Iterator::collect::<Vec<_>>)
        .prop_shuffle()
}

/// As the balancer gives them to a ring: in the order of their keys.
fn in_order(mut keys: Vec<(String, u32)>) -> Vec<(String, u32)> {
    keys.sort();
    keys
}

fn ring(keys: &[(String, u32)]) -> Ring {
    Ring::build(&members(keys), SIZES, Function::XxHash)
}

/// By key, how many of the hashes it has.
fn shares(keys: &[(String, u32)], at: impl Fn(u64) -> Option<u32>) -> BTreeMap<&str, f64> {
    let mut counts = BTreeMap::new();
    for hash in hashes() {
        let position = at(hash).unwrap();
        *counts.entry(&*keys[position as usize].0).or_insert(0.0) += 1.0 / HASHES as f64;
    }
    counts
}

const HASHES: u64 = 20_000;

fn hashes() -> impl Iterator<Item = u64> {
    (0..HASHES).map(|number| Function::XxHash.hash(&number.to_le_bytes()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn entries_follow_the_weights(keys in some()) {
        let sum: u32 = keys.iter().map(|(_, weight)| weight).sum();
        let (keys, table) = (in_order(keys.clone()), Maglev::build(&members(&keys), 65_537));
        let ring = ring(&keys);
        let (mut on_ring, mut in_table) = (BTreeMap::new(), BTreeMap::new());
        for owner in &ring.owners {
            *on_ring.entry(*owner).or_insert(0) += 1;
        }
        for entry in 0..table.len() {
            *in_table.entry(table.at(entry as u64, 0).unwrap()).or_insert(0) += 1;
        }
        let sorted = in_table.values().copied().max();
        prop_assert!(sorted.is_some());
        for (position, (_, weight)) in (0_u32..).zip(&keys) {
            let share = f64::from(*weight) / f64::from(sum);
            let entries = f64::from(on_ring.get(&position).copied().unwrap_or(0));
            let expected = share * ring.len() as f64;
            prop_assert!((entries - expected).abs() <= 1.5, "ring: {entries} of {expected}");
        }
        let total: i32 = in_table.values().sum();
        prop_assert_eq!(total, 65_537);
    }

    #[test]
    fn maglev_shares_are_exact_but_for_the_last_rounds(keys in some()) {
        let table = Maglev::build(&members(&keys), 65_537);
        let (sum, largest) = keys
            .iter()
            .fold((0, 0), |(sum, most), (_, weight)| (sum + weight, most.max(*weight)));
        let mut counts = vec![0.0; keys.len()];
        for entry in 0..65_537 {
            counts[table.at(entry, 0).unwrap() as usize] += 1.0;
        }
        // A round is 1/largest of the weights; each takes one in its first.
        let rounds = 65_537.0 / (f64::from(sum) / f64::from(largest));
        for ((key, weight), count) in keys.iter().zip(counts) {
            let expected = rounds * f64::from(*weight) / f64::from(largest);
            let slack = 2.0 + keys.len() as f64 * f64::from(*weight) / f64::from(sum);
            prop_assert!((count - expected).abs() <= slack, "{key}: {count} of {expected}");
        }
    }

    #[test]
    fn the_order_in_which_members_come_changes_nothing(keys in some()) {
        let other = in_order(keys.clone());
        let (one, two) =
            (Maglev::build(&members(&keys), 1_009), Maglev::build(&members(&other), 1_009));
        for hash in hashes().take(2_000) {
            let one = one.at(hash, 0).map(|position| &keys[position as usize].0);
            let two = two.at(hash, 0).map(|position| &other[position as usize].0);
            prop_assert_eq!(one, two);
        }
    }

    /// Only what the one that leaves had, or the one that comes gets, changes hands; of maglev, and
    /// of a ring whose size the weights change, a little more.
    #[test]
    fn one_that_leaves_disturbs_little(keys in some(), which in any::<prop::sample::Index>()) {
        prop_assume!(keys.len() > 1);
        let all: Vec<_> = in_order(keys).into_iter().map(|(key, _)| (key, 1)).collect();
        let mut rest = all.clone();
        let (gone, _) = rest.remove(which.index(all.len()));
        // As many entries for each, whether it is there or not.
        let fixed = |keys: &[(String, u32)]| {
            let size = u32::try_from(keys.len() * 100).unwrap();
            let sizes = Sizes { least: size, most: size };
            Ring::build(&members(keys), sizes, Function::XxHash)
        };
        let (before, after) = (fixed(&all), fixed(&rest));
        let mut moved = 0.0;
        for hash in hashes().take(5_000) {
            let one = &all[before.at(hash, 0).unwrap() as usize].0;
            let two = &rest[after.at(hash, 0).unwrap() as usize].0;
            prop_assert!(*one == *two || *one == gone, "{one} became {two}, {gone} left");
        }
        let (before, after) =
            (Maglev::build(&members(&all), 65_537), Maglev::build(&members(&rest), 65_537));
        for entry in 0..65_537 {
            let one = &all[before.at(entry, 0).unwrap() as usize].0;
            let two = &rest[after.at(entry, 0).unwrap() as usize].0;
            moved += f64::from(u8::from(*one != *two && *one != gone)) / 65_537.0;
        }
        // NSDI '16, figure 12: a table 100 times as long as its members are many.
        prop_assert!(moved < 0.05, "{moved} of the others' hashes moved");
    }

    /// The way by turns, which is chosen for unequal weights, fills as the rounds do.
    #[test]
    fn both_ways_to_fill_a_table_agree(keys in some(), heavy in 1..60_000_u32) {
        let mut keys = keys;
        keys[0].1 = heavy;
        let members = members(&keys);
        let size = 4_099;
        prop_assert_eq!(
            super::super::maglev::by_rounds(&members, size),
            super::super::maglev::by_turns(&members, size)
        );
    }
}

#[test]
fn hashes_spread_by_weight() {
    let keys: Vec<_> = (1..=20_u32).map(|n| (format!("10.0.0.{n}:80"), 1 + n % 4)).collect();
    let keys = in_order(keys);
    let sum: u32 = keys.iter().map(|(_, weight)| weight).sum();
    let sizes = Sizes { least: 65_536, most: 8_388_608 };
    let ring = Ring::build(&members(&keys), sizes, Function::XxHash);
    let table = Maglev::build(&members(&keys), 65_537);
    for (name, shares, within) in [
        ("ring", shares(&keys, |hash| ring.at(hash, 0)), 0.15),
        ("maglev", shares(&keys, |hash| table.at(hash, 0)), 0.10),
    ] {
        for (key, weight) in &keys {
            let expected = f64::from(*weight) / f64::from(sum);
            let share = shares.get(&**key).copied().unwrap_or(0.0);
            assert!((share / expected - 1.0).abs() < within, "{name} {key}: {share} of {expected}");
        }
    }
}
