//! Between a call and the task that keeps the balancer: a call leaves its mark and looks whether the
//! task is parked; the task says that it parks and looks for marks. One of the two sees the other.

use super::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{Relaxed, SeqCst},
    fence,
};

/// What a call does besides, as bits.
#[derive(Debug, Default)]
pub(super) struct Asks(AtomicU8);

/// The task is parked until a call.
const PARKED: u8 = 1;
/// A call owes probes.
const PROBES: u8 = 2;

/// Whether a call has come since the last look.
#[derive(Debug)]
pub(super) struct Mark(AtomicBool);

// === impl Asks ===

impl Asks {
    /// Whether a call does anything besides.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    pub(super) fn is_parked(&self) -> bool {
        self.0.load(Relaxed) & PARKED != 0
    }

    /// The task is about to look for marks, and parks if there are none.
    pub(super) fn park(&self) {
        self.0.fetch_or(PARKED, Relaxed);
        // Beside that of `Mark::leave`: without the two a call and the task could miss each other.
        fence(SeqCst);
    }

    /// The task does not park, or is woken.
    pub(super) fn unpark(&self) {
        self.0.fetch_and(!PARKED, Relaxed);
    }

    #[cfg_attr(not(feature = "orca"), allow(dead_code, reason = "for probes of load"))]
    pub(super) fn owes_probes(&self) -> bool {
        self.0.load(Relaxed) & PROBES != 0
    }

    #[cfg_attr(not(feature = "orca"), allow(dead_code, reason = "for probes of load"))]
    pub(super) fn set_probes(&self, owes: bool) {
        if owes {
            self.0.fetch_or(PROBES, Relaxed);
        } else {
            self.0.fetch_and(!PROBES, Relaxed);
        }
    }
}

// === impl Mark ===

impl Mark {
    pub(super) fn new(left: bool) -> Self {
        Self(AtomicBool::new(left))
    }

    /// A call has come: before it asks whether the task is parked. It costs one load where the mark
    /// is there already.
    #[inline]
    pub(super) fn leave(&self) {
        if !self.0.load(Relaxed) {
            self.0.store(true, Relaxed);
            fence(SeqCst);
        }
    }

    /// Whether there is one; there is none then.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}
