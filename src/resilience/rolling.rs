//! Counters over a sliding window, without a lock.
//!
//! The window is a ring of slots. Each word holds the number of its slot beside two counts, so that
//! one compare-and-swap both forgets what is too old and counts: nothing is lost when a slot is
//! used again, and nothing old is counted as new. What is counted lives for one slot less than
//! the window to the whole window.

use std::array;

use super::atomic::{AtomicU64, Ordering};

/// Two counts share a word.
const PAIRS: usize = 3;
/// What is counted apart.
pub(crate) const COUNTERS: usize = 2 * PAIRS;
const BITS: u32 = 24;
/// The most that one slot counts; more is as much.
const MOST: u64 = (1 << BITS) - 1;
/// So many slots may a caller be behind that has read the clock before another.
const LATE: u16 = 20;

/// Six counters over one window.
#[derive(Debug)]
pub(crate) struct Rolling<const SLOTS: usize = 10> {
    slot_nanos: u64,
    slots: [[AtomicU64; PAIRS]; SLOTS],
}

// === impl Rolling ===

impl<const SLOTS: usize> Rolling<SLOTS> {
    pub(crate) fn new(window: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            slot_nanos: (window / SLOTS as u64).max(1),
            slots: array::from_fn(|_| array::from_fn(|_| zero())),
        }
    }

    /// Counts one.
    pub(crate) fn add(&self, now: u64, counter: usize) {
        let slot = now / self.slot_nanos;
        let Some(word) = self.slots[Self::index(slot)].get(counter / 2) else { return };
        let shift = BITS * u32::from(counter % 2 == 1);
        let tag = tag(slot);
        // Only the closure's answer is stored, and it is always one.
        let _counted = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let there = (word >> (2 * BITS)) as u16;
            let is_late = (1..=LATE).contains(&there.wrapping_sub(tag));
            let word = if there == tag || is_late { word } else { u64::from(tag) << (2 * BITS) };
            let is_full = (word >> shift) & MOST == MOST;
            Some(if is_full { word } else { word + (1 << shift) })
        });
    }

    /// What was counted within the window.
    pub(crate) fn sums(&self, now: u64) -> [u64; COUNTERS] {
        let mut sums = [0; COUNTERS];
        for (words, tag) in self.window(now) {
            for (word, pair) in words.iter().zip(sums.chunks_exact_mut(2)) {
                let (even, odd) = counts(word, tag);
                pair[0] += even;
                pair[1] += odd;
            }
        }
        sums
    }

    /// The same of two counters alone, which share their words: that of this even number, and the next.
    pub(crate) fn pair(&self, now: u64, counter: usize) -> (u64, u64) {
        let words =
            self.window(now).filter_map(|(words, tag)| Some((words.get(counter / 2)?, tag)));
        words
            .map(|(word, tag)| counts(word, tag))
            .fold((0, 0), |sums, counts| (sums.0 + counts.0, sums.1 + counts.1))
    }

    /// The slots of the window, with the tag of what was counted within it.
    fn window(&self, now: u64) -> impl Iterator<Item = (&[AtomicU64; PAIRS], u16)> {
        let slot = now / self.slot_nanos;
        (0..SLOTS as u64).map_while(move |age| {
            let slot = slot.checked_sub(age)?;
            Some((&self.slots[Self::index(slot)], tag(slot)))
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of SLOTS")]
    fn index(slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
    }
}

/// What a word holds, if it is of the slot of this tag.
fn counts(word: &AtomicU64, of: u16) -> (u64, u64) {
    let word = word.load(Ordering::Acquire);
    if (word >> (2 * BITS)) as u16 == of { (word & MOST, (word >> BITS) & MOST) } else { (0, 0) }
}

#[expect(clippy::cast_possible_truncation, reason = "the number of a slot comes around")]
fn tag(slot: u64) -> u16 {
    slot as u16
}
