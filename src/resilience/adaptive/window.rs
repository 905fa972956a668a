//! What was seen since the limit was last computed, without a lock.

use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// A window holds so many answers; more are as good.
const MOST: u64 = (1 << 20) - 1;
const BITS: u32 = 44;
/// The longest latency that is told apart, in microseconds: 16.7 s. With the most answers there is room for
/// each of them.
const LONGEST: u64 = (1 << (BITS - 20)) - 1;

/// Answers are counted beside the sum of their latencies, in one word: whoever takes a window takes
/// each answer whole.
#[derive(Debug)]
pub(super) struct Window {
    answers: AtomicU64,
    /// The most calls in flight that an end has met.
    in_flight: AtomicU32,
    drops: AtomicU32,
}

/// A window that has been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Taken {
    pub(super) answers: u32,
    /// The sum of their latencies, in microseconds.
    pub(super) micros: u64,
    pub(super) in_flight: u32,
    pub(super) drops: u32,
}

// === impl Window ===

impl Window {
    pub(super) fn new() -> Self {
        Self { answers: AtomicU64::new(0), in_flight: AtomicU32::new(0), drops: AtomicU32::new(0) }
    }

    pub(super) fn answered(&self, micros: u64, in_flight: u32) {
        self.meet(in_flight);
        // Two threads may both find the last place: there is room for far more threads than are.
        if self.answers.load(Ordering::Relaxed) >> BITS < MOST - 1024 {
            self.answers.fetch_add(1 << BITS | micros.min(LONGEST), Ordering::AcqRel);
        }
    }

    pub(super) fn dropped(&self, in_flight: u32) {
        self.meet(in_flight);
        self.drops.fetch_add(1, Ordering::AcqRel);
    }

    /// How many calls have ended in it.
    pub(super) fn ends(&self) -> u64 {
        let answers = self.answers.load(Ordering::Acquire) >> BITS;
        answers + u64::from(self.drops.load(Ordering::Acquire))
    }

    /// Takes all of it, and begins anew.
    pub(super) fn take(&self) -> Taken {
        let answers = self.answers.swap(0, Ordering::AcqRel);
        Taken {
            answers: (answers >> BITS) as u32,
            micros: answers & ((1 << BITS) - 1),
            in_flight: self.in_flight.swap(0, Ordering::AcqRel),
            drops: self.drops.swap(0, Ordering::AcqRel),
        }
    }

    fn meet(&self, in_flight: u32) {
        if in_flight > self.in_flight.load(Ordering::Relaxed) {
            self.in_flight.fetch_max(in_flight, Ordering::AcqRel);
        }
    }
}

// === impl Taken ===

impl Taken {
    /// The mean latency, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "a latency")]
    pub(super) fn mean(&self) -> f64 {
        if self.answers == 0 { 0.0 } else { self.micros as f64 / f64::from(self.answers) }
    }
}
