//! What a cluster knows of its own discovery: how old its endpoints are, and what is wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

/// Shared by a cluster, its connections, and what discovers its endpoints. No call locks it.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    /// Notified when an endpoint cannot be connected to.
    pub(crate) unreachable: Arc<Notify>,
    /// The first answer is on its way: a call that finds no endpoint waits for it.
    awaited: AtomicBool,
    /// Nanoseconds of the mesh's life, and one more; 0 before the first.
    last_good: AtomicU64,
    trouble: ArcSwapOption<String>,
}

impl Discovered {
    /// Whether endpoints are on their way that a call should wait for.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Acquire)
    }

    /// Why the endpoints are not, or not all, what discovery says now.
    pub(crate) fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }

    /// The age of the last good answer, if there was one.
    pub(crate) fn age(&self, now: u64) -> Option<Duration> {
        let at = self.last_good.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_nanos(now.saturating_sub(at)))
    }
}

#[cfg(feature = "dns")]
impl Discovered {
    pub(super) fn await_first(&self) {
        self.awaited.store(true, Ordering::Release);
    }

    /// Something came, or went wrong; whether it was awaited.
    pub(super) fn came(&self) -> bool {
        self.awaited.swap(false, Ordering::AcqRel)
    }

    pub(super) fn set_good(&self, at: u64) {
        self.last_good.store(at.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        self.trouble.store(trouble.map(Arc::new));
    }

    /// There is no discovery any more.
    pub(super) fn clear(&self) {
        self.awaited.store(false, Ordering::Release);
        self.last_good.store(0, Ordering::Relaxed);
        self.trouble.store(None);
    }
}
