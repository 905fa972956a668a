use proptest::prelude::*;
use twox_hash::XxHash64;

use super::Map;
use crate::config::{Shard, Sharded, SlotRange};

fn shard(name: &str, slots: &[(u32, u32)], keys: &[&str]) -> Shard {
    let mut shard = Shard::default();
    shard.name = name.into();
    shard.slots = slots.iter().map(|(first, last)| SlotRange::new(*first, *last)).collect();
    shard.keys = keys.iter().map(|key| (*key).to_owned()).collect();
    shard
}

fn map(shards: Vec<Shard>) -> Map {
    let mut sharded = Sharded::default();
    sharded.shards = shards;
    Map::new(&sharded)
}

fn of(map: &Map, key: &str) -> Option<usize> {
    map.of(XxHash64::oneshot(0, key.as_bytes()))
}

#[test]
fn slots_are_ranges_and_a_slot_may_be_nobodys() {
    let map =
        map(vec![shard("a", &[(0, 99), (16_383, 16_383)], &[]), shard("b", &[(100, 200)], &[])]);
    for (hash, expected) in [
        (0, Some(0)),
        (99, Some(0)),
        (100, Some(1)),
        (200, Some(1)),
        (201, None),
        (16_383, Some(0)),
    ] {
        assert_eq!(map.of(hash), expected, "{hash}");
        assert_eq!(map.of(hash + 16_384 * 7), expected, "{hash}");
    }
}

#[test]
fn a_key_that_is_listed_belongs_to_the_shard_that_lists_it() {
    let map = map(vec![shard("a", &[], &["vip"]), shard("b", &[], &["own", "other"])]);
    assert_eq!((of(&map, "vip"), of(&map, "own"), of(&map, "other")), (Some(0), Some(1), Some(1)));
}

proptest! {
    #[test]
    fn without_slots_the_shards_have_equal_parts(count in 1_usize..400) {
        let shards = (0..count).map(|number| shard(&number.to_string(), &[], &[])).collect();
        let map = map(shards);
        let mut counts = vec![0; count];
        for slot in 0..16_384 {
            counts[map.of(slot).unwrap()] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{least} to {most}");
    }
}
