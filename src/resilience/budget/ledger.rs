//! The lock-free account under the budget: two counters that only grow.
//!
//! Tokens form a queue in the order of their deposit. `earned` is the queue's tail and `spent` its
//! head; a withdrawal moves the head by one compare-and-swap, so no token is granted twice and
//! none is lost. Expiry moves the head too: no withdrawal may start before what had been earned
//! one time-to-live ago, which a ring of marks remembers slot by slot. All sums wrap and are
//! compared by difference.

use std::array;

use super::atomic::{AtomicU64, Ordering};

/// An account whose time-to-live has `SLOTS` slots: a token lives for `SLOTS - 1` to `SLOTS`.
#[derive(Debug)]
pub(super) struct Ledger<const SLOTS: usize = 10> {
    slot_nanos: u64,
    earned: AtomicU64,
    spent: AtomicU64,
    /// The newest slot that has been seen.
    slot: AtomicU64,
    /// What had been earned when slot `n` began, at `n % SLOTS`.
    marks: [AtomicU64; SLOTS],
}

/// The reserve at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserve {
    /// What has come in since the epoch; it grows with the time.
    pub(super) income: u64,
    /// What comes in within one time-to-live, and is there from the start.
    pub(super) full: u64,
}

// === impl Ledger ===

impl<const SLOTS: usize> Ledger<SLOTS> {
    pub(super) fn new(ttl: u64) -> Self {
        Self {
            slot_nanos: (ttl / SLOTS as u64).max(1),
            earned: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            slot: AtomicU64::new(0),
            marks: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    pub(super) fn deposit(&self, now: u64, amount: u64) {
        self.rotate(now);
        self.earned.fetch_add(amount, Ordering::AcqRel);
    }

    /// When the newest slot that has been seen began: about the last use.
    pub(super) fn used(&self) -> u64 {
        self.slot.load(Ordering::Acquire).saturating_mul(self.slot_nanos)
    }

    /// Takes `amount`, or nothing if less is there.
    pub(super) fn withdraw(&self, now: u64, amount: u64, reserve: Reserve) -> bool {
        let slot = self.rotate(now);
        let mut spent = self.spent.load(Ordering::Acquire);
        loop {
            let (head, left) = self.left(slot, spent, reserve);
            if left < amount {
                return false;
            }
            let next = head.wrapping_add(amount);
            match self.spent.compare_exchange_weak(spent, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(newer) => spent = newer,
            }
        }
    }

    /// What is left.
    pub(super) fn balance(&self, now: u64, reserve: Reserve) -> u64 {
        let slot = self.rotate(now);
        self.left(slot, self.spent.load(Ordering::Acquire), reserve).1
    }

    /// Where the next withdrawal starts, and how much is left from there.
    fn left(&self, slot: u64, spent: u64, reserve: Reserve) -> (u64, u64) {
        let mark = self.marks[Self::index(slot.wrapping_add(1))].load(Ordering::Acquire);
        // What the reserve gave one time-to-live ago: its first filling, and the income till then.
        let expired = mark.wrapping_add(reserve.income);
        let head = if ahead(expired, spent) > 0 { expired } else { spent };
        let tail = self
            .earned
            .load(Ordering::Acquire)
            .wrapping_add(reserve.income)
            .wrapping_add(reserve.full);
        (head, ahead(tail, head))
    }

    /// Notes what had been earned when a new slot begins; returns the newest slot.
    fn rotate(&self, now: u64) -> u64 {
        let slot = now / self.slot_nanos;
        let seen = self.slot.load(Ordering::Acquire);
        if slot <= seen {
            return seen;
        }
        // Read before the slot is claimed: later deposits belong to the new slot.
        let earned = self.earned.load(Ordering::Acquire);
        match self.slot.compare_exchange(seen, slot, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                let skipped = (slot - seen).min(SLOTS as u64);
                for begun in slot - skipped + 1..=slot {
                    self.marks[Self::index(begun)].store(earned, Ordering::Release);
                }
                slot
            }
            Err(newer) => newer.max(slot),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of SLOTS")]
    fn index(slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
    }
}

/// How far `a` is ahead of `b`; 0 when it is behind.
#[expect(clippy::cast_sign_loss, reason = "not negative")]
fn ahead(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b).cast_signed().max(0) as u64
}
