//! The use of one HTTP/1.1 connection by one request.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use http::Request;
use hyper::client::conn::http1;
use tokio::sync::Notify;

use crate::{
    core::{Instant, Outgoing},
    observe::trace::Peer,
    transport::{
        allowance::{Allowance, Taken},
        pool::Pool,
        send::{Outcome, Past},
    },
};

pub(in crate::transport) type Sender = http1::SendRequest<Outgoing>;

/// What a lease, its connection's driver and the pool know of each other.
///
/// The mutex is held for a move of a few words, by one lease and one driver; it is no part of
/// HTTP/2 calls.
pub(super) struct Link {
    kept: Mutex<Kept>,
    pub(super) wake: Notify,
    /// It is too old for another request.
    retired: AtomicBool,
    /// That of its pool when it was made.
    era: u32,
    /// Requests that it may still be given, where that is limited.
    allowance: Option<Allowance>,
    /// Which of several addresses of its endpoint the connection leads to.
    at: Option<Arc<Peer>>,
}

/// Senders that are in nobody's hands.
#[derive(Default)]
struct Kept {
    /// That of a connection whose request is under way. Not its lease's, which waits for the answer:
    /// a request that is handed over while hyper takes its channel down lies in there, and its caller
    /// waits for it, until the sender is gone. That it goes is the driver's part.
    lent: Option<Sender>,
    /// A connection that is given back before it is ready again.
    parked: Option<Parked>,
    /// The connection has ended: nothing is kept any more.
    ended: bool,
}

pub(super) struct Parked {
    pub(super) sender: Sender,
    pub(super) past: Past,
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
    /// Until its request has been handed over.
    sender: Option<Sender>,
    link: Arc<Link>,
    pool: Weak<Pool>,
    past: Past,
    /// Since when it had been idle; nothing for a new one.
    idle_since: Option<Instant>,
}

// === impl Link ===

impl Link {
    pub(super) fn new(era: u32, allowance: Option<Allowance>, at: Option<Arc<Peer>>) -> Self {
        let (kept, wake) = (Mutex::default(), Notify::new());
        Self { kept, wake, retired: AtomicBool::new(false), era, allowance, at }
    }

    /// Whether it was given as many requests as it may be.
    pub(super) fn is_spent(&self) -> bool {
        self.allowance.as_ref().is_some_and(Allowance::is_spent)
    }

    pub(super) fn era(&self) -> u32 {
        self.era
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_parked(&self) -> Option<Parked> {
        self.kept().parked.take()
    }

    /// Keeps the sender of a request that has been handed over.
    fn lend(&self, sender: Sender) {
        let mut kept = self.kept();
        if !kept.ended {
            kept.lent = Some(sender);
        }
        // Else it is dropped here, behind the lock.
    }

    /// The connection has ended, and hyper's side of it is gone.
    pub(super) fn end(&self) {
        // Nor is it given back by who has just found it ready.
        self.retire();
        let mut kept = self.kept();
        kept.ended = true;
        let gone = (kept.lent.take(), kept.parked.take());
        drop(kept);
        drop(gone);
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
        past: Past,
        idle_since: Option<Instant>,
    ) -> Self {
        let pool = Arc::downgrade(pool);
        Self { sender: Some(sender), link, pool, past, idle_since }
    }

    /// The peer had closed it while it was idle: those that have been idle for longer are closed
    /// too, or about to be.
    pub(in crate::transport) fn was_closed(&self) {
        if let (Some(pool), Some(since)) = (self.pool.upgrade(), self.idle_since) {
            pool.h1.forget(since);
        }
    }

    /// Which of several addresses its connection leads to.
    pub(in crate::transport) fn at(&self) -> Option<&Arc<Peer>> {
        self.link.at.as_ref()
    }

    /// What has come over it so far.
    pub(in crate::transport) fn past(&self) -> Past {
        self.past
    }

    /// An answer has.
    pub(in crate::transport) fn was_answered(&mut self) {
        self.past = Past::Answered;
    }

    /// Hands the one request over; nothing if that has been done before.
    #[inline]
    pub(in crate::transport) fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Option<impl Future<Output = Outcome> + Send + use<>> {
        let mut sender = self.sender.take()?;
        if self.past == Past::New {
            self.past = Past::Sent;
        }
        if let Some(allowance) = &self.link.allowance
            && allowance.take() != Taken::One
        {
            // It is given back to nobody.
            self.link.retire();
        }
        let sending = sender.try_send_request(request);
        self.link.lend(sender);
        Some(sending)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let kept = || self.link.kept().lent.take();
        let Some(sender) = self.sender.take().or_else(kept) else { return };
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            if let Some(pool) = self.pool.upgrade() {
                pool.h1.give_back(&pool, sender, &self.link, self.past);
            }
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.h1.park();
        }
        let parked = Parked { sender, past: self.past, _counted: Counted(Weak::clone(&self.pool)) };
        self.link.kept().parked = Some(parked);
        self.link.wake.notify_one();
    }
}
