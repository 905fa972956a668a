//! One HTTP/2 connection, and the count of its streams.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use hyper::client::conn::http2;
use tokio::sync::Notify;

use crate::core::{Epoch, Instant, Outgoing, Release};

/// A connection that streams share.
pub(crate) struct H2 {
    pub(super) sender: http2::SendRequest<Outgoing>,
    /// Streams in flight; one counts until its response body has ended.
    active: AtomicU32,
    /// The peer's limit, published by the driver: hyper's sender does not know it.
    max_streams: AtomicU32,
    /// When the last stream began, in nanoseconds.
    used: AtomicU64,
    retired: AtomicBool,
    /// A stream has begun on it.
    begun: AtomicBool,
    epoch: Epoch,
    slots: Arc<Slots>,
}

/// Callers who wait for a stream of any connection to end.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) freed: Notify,
    waiters: AtomicU32,
}

/// Counts a caller as waiting while it lives.
pub(super) struct Waiting<'a>(&'a Slots);

impl H2 {
    pub(super) fn new(
        sender: http2::SendRequest<Outgoing>,
        max_streams: u32,
        epoch: Epoch,
        slots: Arc<Slots>,
    ) -> Self {
        Self {
            sender,
            active: AtomicU32::new(0),
            max_streams: AtomicU32::new(max_streams),
            used: AtomicU64::new(epoch.nanos(Instant::now())),
            retired: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            epoch,
            slots,
        }
    }

    /// How many streams it has; nothing if it takes no more, or is gone.
    pub(super) fn load(&self) -> Option<u32> {
        if self.retired.load(Relaxed) || self.sender.is_closed() {
            return None;
        }
        let active = self.active.load(SeqCst);
        (active < self.max_streams.load(SeqCst)).then_some(active)
    }

    /// Whether streams may end on it, even if it takes no more now.
    pub(super) fn is_live(&self) -> bool {
        !self.retired.load(Relaxed) && !self.sender.is_closed()
    }

    /// Counts one more stream, unless the peer allows no more.
    ///
    /// hyper would queue it in front of everybody else's.
    pub(super) fn reserve(&self, now: u64) -> bool {
        let max = self.max_streams.load(Relaxed);
        self.used.store(now, Relaxed);
        let reserved = self.active.fetch_update(SeqCst, SeqCst, |n| (n < max).then(|| n + 1));
        if reserved.is_ok() && !self.begun.load(Relaxed) {
            self.begun.store(true, SeqCst);
        }
        reserved.is_ok()
    }

    /// Whether the peer's limit matters now: half of it is used, or somebody waits for a stream.
    pub(super) fn is_crowded(&self) -> bool {
        self.active.load(Relaxed) > self.max_streams.load(Relaxed) / 2 || self.slots.is_awaited()
    }

    /// Publishes the peer's limit.
    pub(super) fn publish_limit(&self, streams: usize) {
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        if self.max_streams.load(Relaxed) != streams
            && self.max_streams.swap(streams, SeqCst) < streams
        {
            self.slots.freed.notify_waiters();
        }
    }

    /// For how long no stream has begun, if none is in flight.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        let idle = self.epoch.nanos(now).saturating_sub(self.used.load(Relaxed));
        (self.active.load(Relaxed) == 0).then(|| Duration::from_nanos(idle))
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// No more streams; says whether it ends without ever having had one.
    pub(super) fn retire(&self) -> bool {
        !self.retired.swap(true, SeqCst) && !self.begun.load(SeqCst)
    }
}

impl Release for H2 {
    fn release(&self) {
        self.active.fetch_sub(1, SeqCst);
        self.slots.free();
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
