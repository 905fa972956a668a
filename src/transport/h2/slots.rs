//! The streams of an HTTP/2 connection, counted against the peer's limit, and the callers who wait
//! for one of any connection to end.

use super::atomic::{
    AtomicU32, Notify,
    Ordering::{Relaxed, SeqCst},
};

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Count {
    /// Streams in flight; one counts until its response body has ended.
    active: AtomicU32,
    /// The peer's limit, published by the driver: hyper's sender does not know it.
    max: AtomicU32,
    /// What the peer has taken when it refused one more, below its limit; else no limit.
    taken: AtomicU32,
    /// Streams that have ended since.
    ended: AtomicU32,
}

/// Streams that end after a refusal until one more is tried.
const ENDS: u32 = 8;
/// The peer has refused nothing.
const ALL: u32 = u32::MAX;

/// Callers who wait for a stream of any connection to end.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) freed: Notify,
    waiters: AtomicU32,
}

/// Counts a caller as waiting while it lives.
pub(super) struct Waiting<'a>(&'a Slots);

// === impl Count ===

impl Count {
    pub(super) fn new(max: u32) -> Self {
        Self {
            active: AtomicU32::new(0),
            max: AtomicU32::new(max),
            taken: AtomicU32::new(ALL),
            ended: AtomicU32::new(0),
        }
    }

    /// How many streams it has; nothing if it takes no more.
    pub(super) fn load(&self) -> Option<u32> {
        let active = self.active.load(SeqCst);
        let most = self.max.load(SeqCst).min(self.taken.load(SeqCst));
        (active < most).then_some(active)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.active.load(Relaxed) == 0
    }

    /// Whether its stream in flight is the last one.
    pub(super) fn is_last(&self) -> bool {
        self.active.load(Relaxed) == 1
    }

    /// More than half of the limit is used, or there is none to use.
    pub(super) fn is_crowded(&self) -> bool {
        let max = self.max.load(Relaxed);
        self.active.load(Relaxed) > max / 2 || max == 0
    }

    /// The peer lets no stream begin, however many end.
    pub(super) fn is_barred(&self) -> bool {
        self.max.load(Relaxed) == 0
    }

    /// Seven eighths of the limit are used: there is time to make another connection. Of a limit below
    /// eight there is no such time.
    pub(super) fn is_nearly_full(&self, active: u32) -> bool {
        let max = self.max.load(Relaxed);
        active >= max - max / 8
    }

    /// All of the limit is used.
    pub(super) fn is_full(&self) -> bool {
        self.active.load(Relaxed) >= self.max.load(Relaxed)
    }

    /// Counts one more stream, unless the peer allows no more.
    pub(super) fn reserve(&self) -> bool {
        let most = self.max.load(Relaxed).min(self.taken.load(Relaxed));
        self.active.fetch_update(SeqCst, SeqCst, |n| (n < most).then(|| n + 1)).is_ok()
    }

    /// The peer has refused a stream, which is about to be [released](Self::release). It counts one
    /// that has ended for a moment longer, or has less room than it says: it gets no more than it
    /// has taken until some of them have ended.
    pub(super) fn refused(&self) {
        let taken = self.active.load(SeqCst).saturating_sub(1);
        self.taken.swap(taken.max(1), SeqCst);
        self.ended.swap(0, SeqCst);
    }

    /// A stream has ended; whether it was the last.
    pub(super) fn release(&self, slots: &Slots) -> bool {
        let was_last = self.active.fetch_sub(1, SeqCst) == 1;
        if self.taken.load(Relaxed) != ALL {
            self.recover();
        }
        slots.free();
        was_last
    }

    /// A stream has ended on a connection that has refused one: now and then one more is tried.
    #[cold]
    fn recover(&self) {
        if (self.ended.fetch_add(1, SeqCst) + 1).is_multiple_of(ENDS) {
            let max = self.max.load(Relaxed);
            let more = |taken: u32| Some(if taken < max { taken + 1 } else { ALL });
            let _ = self.taken.fetch_update(SeqCst, SeqCst, more);
        }
    }

    /// Publishes the peer's limit.
    pub(super) fn publish(&self, max: u32, slots: &Slots) {
        if self.max.load(Relaxed) == max {
            return;
        }
        if self.max.swap(max, SeqCst) < max {
            self.taken.swap(ALL, SeqCst);
            slots.freed.notify_waiters();
        } else if max == 0 {
            // No stream that ends is of use to who waits for one.
            slots.freed.notify_waiters();
        }
    }
}

// === impl Slots ===

impl Slots {
    /// A stream has ended. One load unless somebody waits.
    fn free(&self) {
        // Sequentially consistent, like the reservations: a waiter counts itself before it tries
        // to reserve, so either it sees the slot or is seen here.
        if self.waiters.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Whether somebody waits for a stream.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiters.load(SeqCst) > 0
    }

    /// How many wait for a stream.
    pub(super) fn waiting(&self) -> u32 {
        self.waiters.load(SeqCst)
    }

    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiters.fetch_add(1, SeqCst);
        Waiting(self)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, SeqCst);
    }
}
