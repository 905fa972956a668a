//! The latencies of the last 30 seconds: a histogram that calls write without a lock or an
//! allocation, and the one quantile of it that is asked for.
//!
//! A sample is counted twice, in the slot of its time and in the total. A slot whose time is over
//! is emptied, and what was in it is taken out of the total: each sample is taken out exactly once,
//! whoever races. The total is written first, so that it is never less than its slots.

use std::array;

use super::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Parts of an octave: a quantile is at most a sixteenth too high.
pub(super) const PARTS: u64 = 16;
/// 17 octaves, from 1 ms to 131 s, and what is below; what is above is in the last.
pub(super) const BUCKETS: usize = 16 * 17 + 1;
/// So many parts of an octave are a millisecond: the resolution there.
pub(super) const UNIT: u64 = 1_000_000 / PARTS;
/// Nobody waits less before a hedge: the clock and the timer are no finer.
//= Finagle BackupRequestFilter.MinSendBackupAfterMs: 1
pub(super) const LEAST: u64 = 1_000_000;
/// How often the quantile is looked at again.
pub(super) const REFRESH: u64 = 100_000_000;
/// The wait that says that there is none.
const UNKNOWN: u64 = u64::MAX;

/// A window of `SLOTS` slots.
#[derive(Debug)]
pub(crate) struct Recent<const SLOTS: usize = 10, const SIZE: usize = BUCKETS> {
    /// How much of the samples may be above the quantile, in parts of a million.
    share: u64,
    slot_nanos: u64,
    /// The newest slot that has been seen.
    slot: AtomicU64,
    slots: [[AtomicU32; SIZE]; SLOTS],
    total: [AtomicU32; SIZE],
    /// The quantile when it was last looked at, and when that was.
    wait: AtomicU64,
    looked: AtomicU64,
}

impl<const SLOTS: usize, const SIZE: usize> Recent<SLOTS, SIZE> {
    /// `share` of the samples, in 0..=1, may be above the quantile.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..=1")]
    pub(crate) fn new(share: f64, slot_nanos: u64) -> Self {
        Self {
            share: (share.clamp(0.0, 1.0) * 1e6).round() as u64,
            slot_nanos: slot_nanos.max(1),
            slot: AtomicU64::new(0),
            slots: array::from_fn(|_| array::from_fn(|_| AtomicU32::new(0))),
            total: array::from_fn(|_| AtomicU32::new(0)),
            wait: AtomicU64::new(UNKNOWN),
            looked: AtomicU64::new(0),
        }
    }

    /// Counts a latency.
    pub(crate) fn record(&self, now: u64, nanos: u64) {
        let slot = self.rotate(now);
        let bucket = bucket(nanos).min(SIZE - 1);
        self.total[bucket].fetch_add(1, Relaxed);
        self.slots[Self::place(slot)][bucket].fetch_add(1, Relaxed);
    }

    /// What only the allowed share of the calls takes longer than, as far as so much is known.
    pub(crate) fn wait(&self, now: u64) -> Option<u64> {
        let looked = self.looked.load(Relaxed);
        let is_old = looked == 0 || now.saturating_sub(looked) >= REFRESH;
        if is_old && self.looked.compare_exchange(looked, now.max(1), Relaxed, Relaxed).is_ok() {
            self.rotate(now);
            self.wait.store(self.quantile().unwrap_or(UNKNOWN), Relaxed);
        }
        Some(self.wait.load(Relaxed)).filter(|wait| *wait != UNKNOWN)
    }

    /// What the quantile was last, whatever has happened since.
    pub(crate) fn last_wait(&self) -> Option<u64> {
        Some(self.wait.load(Relaxed)).filter(|wait| *wait != UNKNOWN)
    }

    /// Samples in the window.
    pub(crate) fn count(&self) -> u64 {
        self.total.iter().map(|count| u64::from(count.load(Relaxed))).sum()
    }

    /// The bound above which the share of the samples is.
    fn quantile(&self) -> Option<u64> {
        let total = self.count();
        if total < self.enough() {
            return None;
        }
        let allowed = u64::try_from(u128::from(total) * u128::from(self.share) / 1_000_000);
        let mut left = allowed.unwrap_or(u64::MAX);
        for (place, count) in self.total.iter().enumerate().rev() {
            let count = u64::from(count.load(Relaxed));
            if count > left {
                // As if they were spread evenly in it.
                let (from, to) = (place.checked_sub(1).map_or(0, bound), bound(place));
                let above = u128::from(to - from) * u128::from(left) / u128::from(count);
                return Some(to.saturating_sub(u64::try_from(above).unwrap_or(0)).max(LEAST));
            }
            left -= count;
        }
        Some(LEAST)
    }

    /// Of fewer samples the quantile is not known: of so many, one is above it.
    fn enough(&self) -> u64 {
        (1_000_000 / self.share.max(1)).clamp(20, 100)
    }

    /// Empties the slots whose time is over; returns the newest slot.
    fn rotate(&self, now: u64) -> u64 {
        let slot = now / self.slot_nanos;
        let seen = self.slot.load(Relaxed);
        if slot <= seen {
            return seen;
        }
        match self.slot.compare_exchange(seen, slot, Relaxed, Relaxed) {
            Ok(_) => {
                let passed = (slot - seen).min(SLOTS as u64);
                for begun in slot - passed + 1..=slot {
                    self.empty(Self::place(begun));
                }
                slot
            }
            Err(newer) => newer.max(slot),
        }
    }

    fn empty(&self, place: usize) {
        for (count, total) in self.slots[place].iter().zip(&self.total) {
            let gone = count.swap(0, Relaxed);
            if gone > 0 {
                total.fetch_sub(gone, Relaxed);
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of SLOTS")]
    fn place(slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
    }
}

/// Where a latency is counted.
#[expect(clippy::cast_possible_truncation, reason = "less than the number of buckets")]
pub(super) fn bucket(nanos: u64) -> usize {
    let units = nanos / UNIT;
    if units < PARTS {
        return 0;
    }
    let octave = units.ilog2() - PARTS.ilog2();
    let part = (units >> octave) - PARTS;
    let place = 1 + u64::from(octave) * PARTS + part;
    (place as usize).min(BUCKETS - 1)
}

/// Where it ends: no latency in it is longer, but in the last.
pub(super) fn bound(place: usize) -> u64 {
    let Some(place) = place.checked_sub(1) else { return LEAST };
    let place = place as u64;
    let (octave, part) = (place / PARTS, place % PARTS);
    ((PARTS + part + 1) << octave) * UNIT
}
