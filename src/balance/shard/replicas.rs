//! Which endpoints of a set hold which shard.

use std::{collections::HashMap, sync::Arc};

use super::Map;
use crate::{balance::set::Set, config::Address};

/// The places of the replicas, by shard.
#[derive(Clone, Debug)]
pub(in crate::balance) struct Replicas {
    pub(in crate::balance) map: Arc<Map>,
    held: Vec<Held>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    places: Box<[u32]>,
    /// The same by address: what a later set is searched for when the map is ahead of it.
    addresses: Vec<Address>,
}

impl Replicas {
    /// The replicas in this set.
    ///
    /// A shard that moves to endpoints that are not in the set yet stays with those that held it
    /// before, as far as they are there: map and endpoints may come in either order, and no call
    /// is lost between.
    pub(in crate::balance) fn of<X>(map: &Arc<Map>, set: &Set<X>, before: Option<&Self>) -> Self {
        let mut by_label: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut by_address = HashMap::new();
        for (place, endpoint) in (0_u32..).zip(set.iter()) {
            by_address.insert(endpoint.spec().address(), place);
            let names = endpoint.spec().label(&map.label).unwrap_or_default();
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                by_label.entry(name).or_default().push(place);
            }
        }
        let find = |addresses: &[Address]| -> Vec<u32> {
            addresses.iter().filter_map(|address| by_address.get(address)).copied().collect()
        };
        let held = map.shards.iter().map(|shard| {
            let mut places = match shard.replicas.as_slice() {
                [] => by_label.get(shard.name.as_str()).cloned().unwrap_or_default(),
                listed => find(listed),
            };
            if places.is_empty()
                && let Some(before) = before
                && let Some(number) =
                    before.map.shards.iter().position(|known| known.name == shard.name)
                && let Some(held) = before.held.get(number)
            {
                places = find(&held.addresses);
            }
            let addresses = places.iter().filter_map(|place| set.get(*place as usize));
            let addresses = addresses.map(|endpoint| endpoint.spec().address().clone()).collect();
            Held { places: places.into(), addresses }
        });
        Self { map: Arc::clone(map), held: held.collect() }
    }

    /// The name of the shard that a hash belongs to.
    pub(in crate::balance) fn shard(&self, hash: u64) -> Option<&str> {
        let shard = self.map.of(hash).and_then(|shard| self.map.shards.get(shard));
        shard.map(|shard| shard.name.as_str())
    }

    /// Where the replicas of the shard are that a hash belongs to.
    #[inline]
    pub(in crate::balance) fn at(&self, hash: u64) -> &[u32] {
        let held = self.map.of(hash).and_then(|shard| self.held.get(shard));
        held.map_or(&[], |held| &held.places)
    }
}
