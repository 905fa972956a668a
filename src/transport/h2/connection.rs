//! One HTTP/2 connection, and the count of its streams.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use hyper::client::conn::http2;

use super::slots::{Count, Slots};
use crate::core::{Epoch, Instant, Outgoing, Release};

/// A connection that streams share.
pub(crate) struct H2 {
    pub(super) sender: http2::SendRequest<Outgoing>,
    count: Count,
    /// When the last stream began, in nanoseconds.
    used: AtomicU64,
    retired: AtomicBool,
    /// A stream has begun on it.
    begun: AtomicBool,
    epoch: Epoch,
    slots: Arc<Slots>,
}

impl H2 {
    pub(super) fn new(
        sender: http2::SendRequest<Outgoing>,
        max_streams: u32,
        epoch: Epoch,
        slots: Arc<Slots>,
    ) -> Self {
        Self {
            sender,
            count: Count::new(max_streams),
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
        self.count.load()
    }

    /// Whether streams may end on it, even if it takes no more now.
    pub(super) fn is_live(&self) -> bool {
        !self.retired.load(Relaxed) && !self.sender.is_closed()
    }

    /// Counts one more stream, unless the peer allows no more.
    ///
    /// hyper would queue it in front of everybody else's.
    pub(super) fn reserve(&self, now: u64) -> bool {
        self.used.store(now, Relaxed);
        let reserved = self.count.reserve();
        if reserved && !self.begun.load(Relaxed) {
            self.begun.store(true, SeqCst);
        }
        reserved
    }

    /// Whether the peer's limit matters now: half of it is used, or somebody waits for a stream.
    pub(super) fn is_crowded(&self) -> bool {
        self.count.is_crowded() || self.slots.is_awaited()
    }

    /// Publishes the peer's limit.
    pub(super) fn publish_limit(&self, streams: usize) {
        self.count.publish(u32::try_from(streams).unwrap_or(u32::MAX), &self.slots);
    }

    /// For how long no stream has begun, if none is in flight.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        let idle = self.epoch.nanos(now).saturating_sub(self.used.load(Relaxed));
        self.count.is_zero().then(|| Duration::from_nanos(idle))
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
        self.count.release(&self.slots);
    }

    fn refused(&self) {
        self.count.refused();
    }
}
