//! The map of shards, compiled: from a hash to the number of a shard.

use std::collections::HashMap;

use twox_hash::XxHash64;

use crate::config::{self, Address};

const SLOTS: usize = config::Sharded::SLOTS as usize;
/// A slot that no shard has.
const NOBODY: u16 = u16::MAX;

#[derive(Debug, PartialEq)]
pub(in crate::balance) struct Map {
    /// By slot.
    slots: Box<[u16]>,
    /// By the hash of a key that is listed.
    keys: HashMap<u64, u16>,
    pub(super) shards: Vec<Shard>,
    pub(super) label: String,
}

/// Who holds a shard, as the map says it.
#[derive(Debug, PartialEq)]
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) replicas: Vec<Address>,
}

impl Map {
    /// Compiles a validated map.
    pub(in crate::balance) fn new(sharded: &config::Sharded) -> Self {
        let mut map = Self {
            slots: vec![NOBODY; SLOTS].into(),
            keys: HashMap::new(),
            shards: Vec::with_capacity(sharded.shards.len()),
            label: sharded.label().to_owned(),
        };
        let in_parts = sharded.shards.iter().all(|shard| shard.slots.is_empty());
        let count = sharded.shards.len().max(1);
        for (number, shard) in (0_u16..).zip(&sharded.shards) {
            for range in &shard.slots {
                let slots = range.first as usize..=range.last as usize;
                map.slots.get_mut(slots).unwrap_or_default().fill(number);
            }
            if in_parts {
                let at = usize::from(number);
                let slots = SLOTS * at / count..SLOTS * (at + 1) / count;
                map.slots.get_mut(slots).unwrap_or_default().fill(number);
            }
            for key in &shard.keys {
                map.keys.insert(XxHash64::oneshot(0, key.as_bytes()), number);
            }
            let (name, replicas) = (shard.name.clone(), shard.replicas.clone());
            map.shards.push(Shard { name, replicas });
        }
        map
    }

    /// The number of the shard that a hash belongs to.
    #[inline]
    pub(in crate::balance) fn of(&self, hash: u64) -> Option<usize> {
        if !self.keys.is_empty()
            && let Some(shard) = self.keys.get(&hash)
        {
            return Some(usize::from(*shard));
        }
        let slot = usize::try_from(hash % SLOTS as u64).ok()?;
        let shard = *self.slots.get(slot)?;
        (shard != NOBODY).then(|| usize::from(shard))
    }
}
