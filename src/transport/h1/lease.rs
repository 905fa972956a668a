//! The use of one HTTP/1.1 connection by one request.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use hyper::client::conn::http1;
use tokio::sync::Notify;

use crate::{
    core::{Instant, Outgoing},
    transport::pool::Pool,
};

pub(in crate::transport) type Sender = http1::SendRequest<Outgoing>;

/// What a lease, its connection's driver and the pool know of each other.
///
/// The mutex is held for a move of two words, by one lease and one driver; it is no part of
/// HTTP/2 calls.
pub(super) struct Link {
    /// A connection that is given back before it is ready again.
    parked: Mutex<Option<Parked>>,
    pub(super) wake: Notify,
    /// It is too old for another request.
    retired: AtomicBool,
    /// That of its pool when it was made.
    era: u32,
}

pub(super) struct Parked {
    pub(super) sender: Sender,
    pub(super) fresh: bool,
    /// Counted for as long as it is parked.
    _counted: Counted,
}

/// Counts a parked connection while it lives.
struct Counted(Weak<Pool>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.h1.unpark();
        }
    }
}

/// Gives the connection back when the response body has ended or the request was dropped.
pub(crate) struct Lease {
    sender: Option<Sender>,
    link: Arc<Link>,
    pool: Weak<Pool>,
    /// No answer has ever come over it.
    fresh: bool,
    sent: bool,
    /// Since when it had been idle; nothing for a new one.
    idle_since: Option<Instant>,
}

// === impl Link ===

impl Link {
    pub(super) fn new(era: u32) -> Self {
        let (parked, wake) = (Mutex::new(None), Notify::new());
        Self { parked, wake, retired: AtomicBool::new(false), era }
    }

    pub(super) fn era(&self) -> u32 {
        self.era
    }

    fn parked(&self) -> MutexGuard<'_, Option<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_parked(&self) -> Option<Parked> {
        self.parked().take()
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }
}

// === impl Lease ===

impl Lease {
    pub(super) fn new(
        sender: Sender,
        link: Arc<Link>,
        pool: &Arc<Pool>,
        fresh: bool,
        idle_since: Option<Instant>,
    ) -> Self {
        let pool = Arc::downgrade(pool);
        Self { sender: Some(sender), link, pool, fresh, sent: false, idle_since }
    }

    /// The peer had closed it while it was idle: those that have been idle for longer are closed
    /// too, or about to be.
    pub(in crate::transport) fn was_closed(&self) {
        if let (Some(pool), Some(since)) = (self.pool.upgrade(), self.idle_since) {
            pool.h1.forget(since);
        }
    }

    /// Whether no answer has ever come over it.
    pub(in crate::transport) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The sender for the one request.
    pub(in crate::transport) fn sender(&mut self) -> Option<&mut Sender> {
        self.sent = true;
        self.sender.as_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        if sender.is_closed() {
            return;
        }
        // What comes back after a request has been answered.
        let fresh = self.fresh && !self.sent;
        if sender.is_ready() {
            if let Some(pool) = self.pool.upgrade() {
                pool.h1.give_back(&pool, sender, &self.link, fresh);
            }
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.h1.park();
        }
        let parked = Parked { sender, fresh, _counted: Counted(Weak::clone(&self.pool)) };
        *self.link.parked() = Some(parked);
        self.link.wake.notify_one();
    }
}
