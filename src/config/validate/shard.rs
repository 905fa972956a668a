//! Checks of maps of shards.

use std::collections::HashSet;

use super::Checker;
use crate::config::{Shard, Sharded, SlotRange};

impl Checker {
    pub(super) fn sharded(&mut self, sharded: &Sharded) {
        let Sharded { shards, label, hash } = sharded;
        if shards.is_empty() || shards.len() > Sharded::SLOTS as usize {
            self.refuse("shards", shards.len(), "there must be 1..=16384 of them");
        }
        if label.as_deref() == Some("") {
            self.refuse("label", "\"\"", "must not be empty");
        }
        let (mut names, mut keys) = (HashSet::new(), HashSet::new());
        let mut taken = vec![false; Sharded::SLOTS as usize];
        for (index, shard) in shards.iter().enumerate() {
            let Shard { name, slots, keys: own, replicas } = shard;
            self.within(&format!("shards[{index}]"), |checker| {
                if name.is_empty() || name.contains(',') || name.trim() != name {
                    let reason = "must be a name without commas, and without spaces around it";
                    checker.refuse("name", name, reason);
                }
                if !names.insert(name.as_str()) {
                    checker.refuse("name", name, "is used twice");
                }
                for key in own.iter().filter(|key| !keys.insert(key.as_str())) {
                    checker.refuse("keys", key, "is listed twice");
                }
                let mut seen = HashSet::new();
                for address in replicas.iter().filter(|address| !seen.insert(*address)) {
                    checker.refuse("replicas", address, "is listed twice");
                }
                for range in slots {
                    checker.slots(*range, &mut taken);
                }
            });
        }
        self.hash_policies(hash);
    }

    fn slots(&mut self, range: SlotRange, taken: &mut [bool]) {
        let SlotRange { first, last } = range;
        let shown = format!("{first}..={last}");
        match taken.get_mut(first as usize..=last as usize) {
            Some(slots) if first <= last => {
                if slots.contains(&true) {
                    self.refuse("slots", shown, "a slot is taken twice");
                }
                slots.fill(true);
            }
            _ => self.refuse("slots", shown, "must be in 0..=16383, the first before the last"),
        }
    }
}
