//! One HTTP/2 connection, and the count of its streams.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use super::{
    handshake::Sender,
    slots::{Count, Slots},
};
use crate::{
    core::{Epoch, Instant, Release},
    observe::trace::Peer,
    transport::allowance::{Allowance, Taken},
};

/// A connection that takes streams, as its pool lists it.
#[derive(Clone)]
pub(crate) struct H2 {
    pub(super) sender: Sender,
    pub(super) streams: Arc<Streams>,
}

/// What the streams of a connection have in common: held by each of them, whether their connection
/// is still listed or not.
pub(crate) struct Streams {
    count: Count,
    /// When the last stream began, or the last of those in flight ended, in nanoseconds.
    used: AtomicU64,
    retired: AtomicBool,
    /// A stream has begun on it.
    begun: AtomicBool,
    epoch: Epoch,
    slots: Arc<Slots>,
    /// What keeps hyper opening streams: until the last of them has ended, or hyper has, but no
    /// longer. A request that is handed over while hyper takes its channel down lies in there, and
    /// its caller waits for it, until nobody can hand over another.
    kept: Mutex<Option<Sender>>,
    /// Streams that may still begin on it, where that is limited.
    allowance: Option<Allowance>,
    /// Which of several addresses of its endpoint it leads to.
    at: Option<Arc<Peer>>,
}

// === impl H2 ===

impl H2 {
    pub(super) fn new(
        sender: Sender,
        max_streams: u32,
        epoch: Epoch,
        slots: Arc<Slots>,
        allowance: Option<Allowance>,
        at: Option<Arc<Peer>>,
    ) -> Self {
        let streams = Streams {
            count: Count::new(max_streams),
            used: AtomicU64::new(epoch.nanos(Instant::now())),
            retired: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            epoch,
            slots,
            kept: Mutex::new(Some(sender.clone())),
            allowance,
            at,
        };
        Self { sender, streams: Arc::new(streams) }
    }

    /// How many streams it has; nothing if it takes no more, or is gone.
    pub(super) fn load(&self) -> Option<u32> {
        if self.is_live() { self.streams.count.load() } else { None }
    }

    /// Whether a stream that ends on it makes room for another, even if it takes no more now.
    //= RFC 9113 §6.5.2: a limit of zero prevents the creation of streams; servers should set it for short
    //= durations only
    pub(super) fn is_live(&self) -> bool {
        !self.streams.is_retired() && !self.sender.is_closed() && !self.streams.count.is_barred()
    }
}

// === impl Streams ===

impl Streams {
    /// Counts one more stream, unless the peer allows no more.
    ///
    /// hyper would queue it in front of everybody else's.
    pub(super) fn reserve(&self, now: u64) -> bool {
        self.used.store(now, Relaxed);
        let reserved = self.count.reserve();
        if reserved && !self.begun.load(Relaxed) {
            self.begun.store(true, SeqCst);
        }
        match &self.allowance {
            Some(allowance) if reserved => self.spend(allowance),
            _ => reserved,
        }
    }

    /// The stream that is counted is one of those that may still begin. After the last no other does.
    #[cold]
    fn spend(&self, allowance: &Allowance) -> bool {
        let taken = allowance.take();
        if taken != Taken::One {
            self.retire();
        }
        if taken == Taken::Nothing {
            self.count.release(&self.slots);
        }
        taken != Taken::Nothing
    }

    /// Whether as many streams have begun on it as may.
    pub(super) fn is_spent(&self) -> bool {
        self.allowance.as_ref().is_some_and(Allowance::is_spent)
    }

    /// Whether the peer's limit matters now: half of it is used, somebody waits for a stream, or none is
    /// in flight, and the next may find that none may begin.
    pub(super) fn is_limit_due(&self) -> bool {
        self.count.is_crowded() || self.count.is_zero() || self.slots.is_awaited()
    }

    /// Whether so many are nearly as many as the peer allows.
    pub(super) fn is_nearly_full(&self, active: u32) -> bool {
        self.count.is_nearly_full(active)
    }

    /// Whether it has as many as the peer allows.
    pub(super) fn is_full(&self) -> bool {
        self.count.is_full()
    }

    /// Publishes the peer's limit.
    pub(super) fn publish_limit(&self, streams: usize) {
        self.count.publish(u32::try_from(streams).unwrap_or(u32::MAX), &self.slots);
    }

    /// For how long none has been in flight; nothing while one is.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        let idle = self.epoch.nanos(now).saturating_sub(self.used.load(Relaxed));
        self.count.is_zero().then(|| Duration::from_nanos(idle))
    }

    pub(super) fn at(&self) -> Option<&Arc<Peer>> {
        self.at.as_ref()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// No more streams; says whether it ends without ever having had one.
    pub(super) fn retire(&self) -> bool {
        !self.retired.swap(true, SeqCst) && !self.begun.load(SeqCst)
    }

    /// hyper opens no more: whatever was handed over too late comes back to its caller.
    pub(super) fn close(&self) {
        drop(self.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Release for Streams {
    fn release(&self) {
        let stamp = || self.used.store(self.epoch.nanos(Instant::now()), Relaxed);
        let seems_last = self.count.is_last();
        if seems_last {
            // Before: who looks finds it in flight, or just ended.
            stamp();
        }
        // Two that end at once each see the other still.
        if self.count.release(&self.slots) && !seems_last {
            stamp();
        }
    }

    fn refused(&self) {
        self.count.refused();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_connection_is_due_before_the_limit() {
        let due = |max, active| Count::new(max).is_nearly_full(active);
        assert!(!due(100, 87) && due(100, 88) && due(100, 99));
        assert!(!due(8, 6) && due(8, 7));
        for few in 1..8 {
            assert!((0..few).all(|active| !due(few, active)), "of {few} all are used first");
        }
        assert!(!due(u32::MAX, 1_000_000));
    }
}
