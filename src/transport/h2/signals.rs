//! Which parts of a connection have been woken: one word, and the waker of the task that polls
//! them all.

use std::task::Waker;

use super::atomic::{AtomicU8, AtomicWaker, Ordering::SeqCst};

/// The half that reads and writes.
pub(super) const FRAMES: u8 = 1;
/// The half that opens streams.
pub(super) const REQUESTS: u8 = 1 << 1;
/// The streams that await their response.
pub(super) const STREAMS: u8 = 1 << 2;
/// The word that what vouched for the peer is trusted no more.
pub(super) const TRUST: u8 = 1 << 3;
/// The task is at it: a signal needs no wake-up.
const POLLING: u8 = 1 << 7;

pub(super) struct Signals {
    task: AtomicWaker,
    word: AtomicU8,
}

impl Signals {
    /// Whose first poll comes by itself, and is to poll `parts`.
    pub(super) fn new(parts: u8) -> Self {
        Self { task: AtomicWaker::new(), word: AtomicU8::new(parts) }
    }

    /// Whom to wake from now on.
    pub(super) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// What has been woken. Until [`Self::rest`] or [`Self::leave`], a signal only leaves its mark.
    pub(super) fn take(&self) -> u8 {
        self.word.swap(POLLING, SeqCst) & !POLLING
    }

    /// Nothing has been woken since: from here on a signal wakes the task.
    pub(super) fn rest(&self) -> bool {
        self.word.compare_exchange(POLLING, 0, SeqCst, SeqCst).is_ok()
    }

    /// The task comes back by itself, for `parts` and for what has been woken since.
    pub(super) fn leave(&self, parts: u8) {
        self.word.fetch_or(parts, SeqCst);
        self.word.fetch_and(!POLLING, SeqCst);
    }

    /// Wakes a part, by its task unless that knows or will look before it rests.
    pub(super) fn raise(&self, part: u8) {
        if self.word.fetch_or(part, SeqCst) == 0 {
            self.task.wake();
        }
    }
}
