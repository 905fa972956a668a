//! Calls that are too young to say anything: sent within the last one to two seconds, and open.
//!
//! A call in flight is counted as wanted and not as accepted. That is right for those that hang,
//! and wrong for the first ones of a burst: a thousand calls at once would look like a thousand
//! that nobody accepts. So those that are still young are taken out of the sum.

use super::atomic::{AtomicU64, Ordering};

/// How long a call is young, at least; at most twice as long. Unit: nanoseconds.
pub(super) const AGE: u64 = 1_000_000_000;
const BITS: u32 = 20;
const MOST: u64 = (1 << BITS) - 1;

/// The age of a generation's number, and how many of it and of the one before are open: in one
/// word.
#[derive(Debug)]
pub(super) struct Young(AtomicU64);

// === impl Young ===

impl Default for Young {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Young {
    pub(super) fn began(&self, now: u64) {
        self.change(now, |parts| parts.open = (parts.open + 1).min(MOST));
    }

    pub(super) fn ended(&self, began: u64, now: u64) {
        let of = generation(began);
        self.change(now, |parts| {
            if parts.number == of {
                parts.open = parts.open.saturating_sub(1);
            } else if parts.number == of.wrapping_add(1) & NUMBERS {
                parts.before = parts.before.saturating_sub(1);
            }
        });
    }

    /// How many are young and open.
    pub(super) fn open(&self, now: u64) -> u64 {
        let parts = Parts::of(self.0.load(Ordering::Acquire)).at(generation(now));
        parts.open + parts.before
    }

    fn change(&self, now: u64, change: impl Fn(&mut Parts)) {
        let number = generation(now);
        let _changed = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let mut parts = Parts::of(word).at(number);
            change(&mut parts);
            Some(parts.word())
        });
    }
}

const NUMBERS: u64 = (1 << 24) - 1;

fn generation(nanos: u64) -> u64 {
    (nanos / AGE) & NUMBERS
}

#[derive(Clone, Copy)]
struct Parts {
    number: u64,
    before: u64,
    open: u64,
}

impl Parts {
    fn of(word: u64) -> Self {
        Self { number: word >> (2 * BITS), before: (word >> BITS) & MOST, open: word & MOST }
    }

    /// The same when the generation of this number is the newest.
    fn at(self, number: u64) -> Self {
        match number.wrapping_sub(self.number) & NUMBERS {
            0 => self,
            1 => Self { number, before: self.open, open: 0 },
            // Half a cycle ahead is behind: a caller that has read the clock before another.
            behind if behind > NUMBERS / 2 => self,
            _ => Self { number, before: 0, open: 0 },
        }
    }

    fn word(self) -> u64 {
        self.number << (2 * BITS) | self.before << BITS | self.open
    }
}
