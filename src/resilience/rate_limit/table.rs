//! Buckets of their own for the values of a wildcard: a bounded number of them, found without a lock.
//!
//! A key's place is one set of eight slots, by its hash. A key that is met for the first time takes
//! a free slot there, or that of a bucket that is full again, whose key loses nothing by it: its
//! next bucket is as full. Where every bucket of the set is in use, or the bound is reached, the
//! key is told so, and its requests share one bucket with the others that found no place. So no
//! number of keys makes a limit larger, or the table.
//!
//! Envoy keeps the newest keys instead, and forgets what the others have used: there a caller that
//! changes its key often enough has no limit.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;

use super::bucket::{Bucket, Rate, Taken};
use crate::config::MOST_BUCKETS;

/// Slots of one set.
const WAYS: usize = 8;
/// Slots that are looked through for a bucket to give up when the bound is reached.
const SWEEP: usize = 64;

#[derive(Debug)]
pub(super) struct Table {
    /// So many keys at most.
    most: usize,
    slots: Box<[ArcSwapOption<Entry>]>,
    hasher: RandomState,
    /// Held while a key is added: how many there are, and where the next sweep begins.
    adding: Mutex<(usize, usize)>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    key: Box<str>,
    bucket: Bucket,
}

// === impl Table ===

impl Table {
    /// A table of at most so many keys.
    pub(super) fn new(most: u32) -> Self {
        let most = most.clamp(1, MOST_BUCKETS) as usize;
        // Twice the room, so that sets seldom overflow before the bound is reached.
        let slots = (most * 2).next_multiple_of(WAYS);
        Self {
            most,
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            hasher: RandomState::new(),
            adding: Mutex::new((0, 0)),
        }
    }

    /// Takes tokens of the key's bucket; nothing, if the key has found no place.
    pub(super) fn take(&self, key: &str, rate: Rate, hits: u64, now: u64) -> Option<(Taken, u64)> {
        let hash = self.hasher.hash_one(key);
        let mut found = self.find(hash, key);
        loop {
            let entry = match found.take() {
                Some(entry) => entry,
                None => self.add(hash, key, rate, now)?,
            };
            match entry.bucket.take(rate, hits, now) {
                // It has just been given up: whoever does so holds the lock until its slot is empty, or
                // another key's.
                Taken::Gone => {}
                taken => return Some((taken, entry.bucket.tokens(rate, now))),
            }
        }
    }

    /// What is left for the key, without a place for it.
    pub(super) fn tokens(&self, key: &str, rate: Rate, now: u64) -> u64 {
        let entry = self.find(self.hasher.hash_one(key), key);
        entry.map_or_else(|| u64::from(rate.max()), |entry| entry.bucket.tokens(rate, now))
    }

    fn set(&self, hash: u64) -> &[ArcSwapOption<Entry>] {
        let sets = self.slots.len() / WAYS;
        #[expect(clippy::cast_possible_truncation, reason = "a remainder")]
        let first = (hash % sets as u64) as usize * WAYS;
        self.slots.get(first..first + WAYS).unwrap_or_default()
    }

    fn find(&self, hash: u64, key: &str) -> Option<Arc<Entry>> {
        self.set(hash).iter().find_map(|slot| {
            let entry = slot.load();
            entry.as_ref().filter(|it| it.hash == hash && *it.key == *key).map(Arc::clone)
        })
    }

    #[cold]
    fn add(&self, hash: u64, key: &str, rate: Rate, now: u64) -> Option<Arc<Entry>> {
        let mut adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have added it meanwhile.
        if let Some(entry) = self.find(hash, key) {
            return Some(entry);
        }
        let (count, hand) = &mut *adding;
        if *count >= self.most {
            for _ in 0..SWEEP.min(self.slots.len()) {
                *hand = (*hand + 1) % self.slots.len();
                if let Some(slot) = self.slots.get(*hand)
                    && give_up(slot, rate, now)
                {
                    *count -= 1;
                }
            }
        }
        let set = self.set(hash);
        let free = set.iter().find(|slot| slot.load().is_none());
        let slot = match free.filter(|_| *count < self.most) {
            Some(slot) => {
                *count += 1;
                slot
            }
            // In the place of another one.
            None => set.iter().find(|slot| give_up(slot, rate, now))?,
        };
        let entry = Arc::new(Entry { hash, key: key.into(), bucket: Bucket::new() });
        slot.store(Some(Arc::clone(&entry)));
        Some(entry)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.slots.iter().filter(|slot| slot.load().is_some()).count()
    }
}

/// Empties a slot whose bucket is full.
fn give_up(slot: &ArcSwapOption<Entry>, rate: Rate, now: u64) -> bool {
    let is_up = slot.load().as_ref().is_some_and(|entry| entry.bucket.retire(rate, now));
    if is_up {
        slot.store(None);
    }
    is_up
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn each_key_has_its_own_tokens() {
        let (table, rate) = (Table::new(100), Rate::new(2, 1, SECOND));
        for key in ["a", "b"] {
            assert_eq!(table.tokens(key, rate, 0), 2);
            assert_eq!(table.take(key, rate, 1, 0), Some((Taken::Yes, 1)));
            assert_eq!(table.take(key, rate, 1, 0), Some((Taken::Yes, 0)));
            assert_eq!(table.take(key, rate, 1, 0), Some((Taken::No(Some(SECOND)), 0)));
        }
    }

    #[test]
    fn no_number_of_keys_makes_it_larger_or_forgets_what_was_used() {
        let (table, rate) = (Table::new(16), Rate::new(1, 1, SECOND));
        assert_eq!(table.take("mine", rate, 1, 0).map(|it| it.0), Some(Taken::Yes));
        let placed = (0..10_000).filter(|key| table.take(&key.to_string(), rate, 1, 0).is_some());
        assert!(placed.count() < 16);
        assert!(table.keys() <= 16);
        assert_eq!(table.take("mine", rate, 1, 0).map(|it| it.0), Some(Taken::No(Some(SECOND))));
    }

    #[test]
    fn no_bound_that_is_asked_for_takes_more_room_than_a_million_keys() {
        assert_eq!(Table::new(u32::MAX).slots.len(), 2_000_000);
        assert_eq!(Table::new(0).slots.len(), WAYS);
    }

    #[test]
    fn who_meets_a_bucket_that_is_being_given_up_waits_until_it_is() {
        let (table, rate) = (Table::new(4), Rate::new(1, 1, SECOND));
        assert!(table.take("a", rate, 1, 0).is_some());
        let entry = table.find(table.hasher.hash_one("a"), "a").unwrap();
        let set = table.set(entry.hash);
        let slot = set.iter().find(|slot| slot.load().is_some()).unwrap();
        let mut adding = table.adding.lock().unwrap();
        assert!(entry.bucket.retire(rate, SECOND));
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| table.take("a", rate, 1, SECOND));
            slot.store(None);
            adding.0 -= 1;
            drop(adding);
            assert_eq!(taken.join().unwrap(), Some((Taken::Yes, 0)));
        });
    }

    #[test]
    fn buckets_that_are_full_again_give_their_place_up() {
        let (table, rate) = (Table::new(16), Rate::new(1, 1, SECOND));
        for round in 0..100 {
            let now = round * SECOND;
            let placed = (0..8).filter(|key| {
                let key = format!("{round}/{key}");
                table.take(&key, rate, 1, now).is_some_and(|it| it.0 == Taken::Yes)
            });
            assert_eq!(placed.count(), 8, "round {round}");
            assert!(table.keys() <= 16);
        }
    }

    #[test]
    fn threads_that_come_and_go_get_no_more_than_each_key_has() {
        let (table, rate) = (Table::new(4), Rate::new(3, 1, 1_000));
        // Time stands still for each round, so that a key has three tokens in each.
        for round in 0..200_u64 {
            let now = round * 10_000;
            let granted: usize = std::thread::scope(|scope| {
                let ask = || {
                    let key = ["a", "b"][round as usize % 2];
                    let asks = (0..4).filter(|_| {
                        table.take(key, rate, 1, now).is_some_and(|it| it.0 == Taken::Yes)
                    });
                    asks.count()
                };
                let others = || {
                    for key in 0..8 {
                        let _taken = table.take(&format!("{round}/{key}"), rate, 1, now);
                    }
                    0
                };
                let threads = [scope.spawn(ask), scope.spawn(ask), scope.spawn(others)];
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            // Those that found no place took none of the table's tokens.
            assert!(granted <= 3, "round {round}: {granted}");
        }
    }
}
