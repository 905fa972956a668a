//! The connections of one endpoint.

use std::sync::{
    Arc, Weak,
    atomic::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
};

use http::Request;

use super::{
    agreed::Agreed,
    connect::{Connect, ConnectError, Io},
    dial::{Dialer, Reach},
    h1, h2, prepare,
    send::{Past, SendFuture},
    shared::Shared,
};
use crate::{
    config::{Address, CallPriority, Protocol, TransportSettings},
    core::{BoxFuture, Held, Outgoing},
    observe::{ClusterMeter, trace::Peer},
    resilience::breaker::Room,
};

/// The connections of one endpoint; made lazily, each driven by a task of its own.
pub(crate) struct Pool {
    pub(super) dialer: Dialer,
    pub(super) agreed: Agreed,
    pub(super) h1: h1::Connections,
    pub(super) h2: h2::Connections,
    /// How often its connections were replaced.
    era: AtomicU32,
    /// How often its endpoint has come back.
    returns: AtomicU32,
}

/// A connection's room under the limits of its cluster. Who waits for some looks again when it has been
/// given back: before that there is none to be found.
pub(super) struct Berth {
    room: Option<Room>,
    pool: Weak<Pool>,
    /// The era of its pool when it was begun: what is replaced meanwhile is replaced with it.
    pub(super) era: u32,
}

/// The right to send one request on a connection.
pub(crate) enum Lease {
    H1(Box<h1::Lease>),
    H2(h2::Lease),
}

// === impl Berth ===

impl Berth {
    pub(super) fn new(room: Room, pool: &Arc<Pool>) -> Self {
        Self { room: Some(room), pool: Arc::downgrade(pool), era: pool.era() }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        drop(self.room.take());
        // Of those who wait each may be of another priority; without limits nobody waits for room.
        if let Some(pool) = self.pool.upgrade()
            && pool.dialer.is_limited()
        {
            pool.h1.stir();
            pool.h2.stir();
        }
    }
}

// === impl Lease ===

impl Lease {
    /// Which of several addresses of its endpoint its connection leads to; none where there is one alone,
    /// or whoever made the connection has not said.
    pub(crate) fn at(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::H2(lease) => lease.at(),
            Self::H1(lease) => lease.at(),
        }
    }

    /// Gives the request its form on the wire; `endpoint` names it where it itself names nobody. False
    /// of one that its protocol cannot carry ([`no_upgrade`](prepare::no_upgrade)).
    #[must_use]
    pub(crate) fn prepare(&self, request: &mut Request<Outgoing>, endpoint: &str) -> bool {
        match self {
            Self::H2(lease) => prepare::http2(request, endpoint, lease.secured),
            Self::H1(_) => {
                prepare::http1(request, endpoint);
                true
            }
        }
    }

    /// Sends a request that has its form on the wire.
    #[inline(always)]
    pub(crate) fn send(self, request: Request<Outgoing>) -> SendFuture {
        match self {
            Self::H2(h2::Lease { mut sender, held, .. }) => {
                SendFuture::new(sender.try_send_request(request), held, Past::Answered)
            }
            Self::H1(mut lease) => {
                let past = lease.past();
                match lease.send(request) {
                    Some(sent) => SendFuture::new(sent, Held::Owned(lease), past),
                    None => SendFuture::new(std::future::pending(), Held::Nothing, past),
                }
            }
        }
    }
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(
        name: Arc<str>,
        reach: Reach,
        settings: Arc<TransportSettings>,
        connector: Arc<dyn Connect>,
        shared: Arc<Shared>,
        meter: Arc<ClusterMeter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            agreed: Agreed::new(reach.protection.offered(), Arc::clone(&reach.http2_chosen)),
            dialer: Dialer::new(name, reach, settings, connector, shared, meter),
            h1: h1::Connections::default(),
            h2: h2::Connections::default(),
            era: AtomicU32::new(0),
            returns: AtomicU32::new(0),
        })
    }

    /// False while the back-off after a failed connection attempt lasts, unless there is a
    /// connection all the same.
    pub(crate) fn available(&self, now: u64) -> bool {
        self.dialer.available(now) || self.h2.is_live() || self.h1.is_live()
    }

    /// Whether a connection is there.
    pub(crate) fn is_live(&self) -> bool {
        self.h2.is_live() || self.h1.is_live()
    }

    /// How often it could be connected to after it had no connection: of HTTP/2, whose connections stay; of
    /// HTTP/1.1, where they come and go, only after one could not be made.
    #[cfg(feature = "orca")]
    pub(crate) fn returns(&self) -> u32 {
        self.returns.load(Relaxed)
    }

    /// There is one again.
    pub(super) fn returned(&self) {
        self.returns.fetch_add(1, Relaxed);
    }

    /// Whether there is a connection of HTTP/2 that takes calls.
    #[cfg(feature = "orca")]
    pub(crate) fn is_live_http2(&self) -> bool {
        self.h2.is_live()
    }

    /// Whether one is being made.
    pub(crate) fn is_dialing(&self) -> bool {
        self.dialer.is_dialing()
    }

    /// Whether there is no connection, and the last one could not be made: the next is a trial.
    pub(crate) fn is_failing(&self) -> bool {
        self.dialer.is_failing() && !self.h2.is_live() && !self.h1.is_live()
    }

    /// How much of the back-off is left. Nanoseconds.
    pub(crate) fn back_off(&self, now: u64) -> u64 {
        self.dialer.back_off(now)
    }

    /// The shortest time that a byte stream to it took to be made.
    pub(crate) fn round_trip(&self) -> Option<std::time::Duration> {
        self.dialer.round_trip()
    }

    /// A connection that is there: no wait, and for HTTP/2 no lock and no allocation.
    ///
    /// On plaintext it speaks what is asked for, under TLS what the endpoint has chosen; a gRPC
    /// call takes none of HTTP/1.1 then.
    pub(crate) fn try_acquire(
        self: &Arc<Self>,
        asked: Protocol,
        is_grpc: bool,
        now: u64,
    ) -> Option<Lease> {
        match self.agreed.get(asked)? {
            Protocol::Http2 => h2::try_acquire(self, now).map(Lease::H2),
            Protocol::Http1 if is_grpc && self.agreed.is_http1() => None,
            Protocol::Http1 => h1::try_acquire(self).map(Lease::H1),
        }
    }

    /// A connection, made if there is none. Boxed: only a caller that has to wait comes here.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        asked: Protocol,
        is_grpc: bool,
        priority: CallPriority,
    ) -> BoxFuture<Result<Lease, ConnectError>> {
        let (pool, pending) = (Arc::clone(self), self.dialer.pending(priority));
        Box::pin(async move {
            let _pending = pending?;
            loop {
                let lease = match pool.agreed.get(asked) {
                    Some(Protocol::Http2) => h2::acquire(&pool, priority).await?.map(Lease::H2),
                    Some(Protocol::Http1) if is_grpc && pool.agreed.is_http1() => {
                        if pool.h1.is_live() || !pool.dialer.protection.offers_both() {
                            return Err(ConnectError::no_http2());
                        }
                        // Its choice was that of a connection that is gone: it is asked once more.
                        h2::first(&pool, priority).await?;
                        if pool.agreed.is_http1() {
                            return Err(ConnectError::no_http2());
                        }
                        None
                    }
                    Some(Protocol::Http1) => h1::acquire(&pool, priority).await?.map(Lease::H1),
                    // All wait for the one handshake that tells.
                    None => {
                        h2::first(&pool, priority).await?;
                        None
                    }
                };
                if let Some(lease) = lease {
                    return Ok(lease);
                }
            }
        })
    }

    /// A byte stream of its own to the endpoint, on which nothing is spoken.
    pub(crate) async fn bytes(&self) -> Result<Box<dyn Io>, ConnectError> {
        self.dialer.bytes().await
    }

    /// Further connections are raced for between these addresses, too. Where one may lead to an
    /// address that is none of them any more, calls to come make others.
    pub(crate) fn set_more_addresses(&self, more: Arc<[Address]>) {
        if self.dialer.set_more_addresses(more) {
            self.renew();
        }
    }

    /// Where its endpoint listens behind its first address, as its source says now.
    pub(crate) fn more_addresses(&self) -> Arc<[Address]> {
        self.dialer.more_addresses()
    }

    /// The mesh's clock.
    pub(crate) fn now(&self) -> u64 {
        self.dialer.now()
    }

    /// An answer has come.
    pub(crate) fn answered(&self) {
        self.dialer.answered();
    }

    /// A connection that was just made was closed before a request could be sent on it: to the
    /// callers, the endpoint cannot be connected to. Not so if this pool has closed it itself.
    pub(crate) fn closed_at_once(&self) -> ConnectError {
        if self.dialer.is_draining() {
            return ConnectError::left();
        }
        let error = ConnectError::new("the endpoint closes its connections at once");
        self.dialer.failed(&error);
        error
    }

    /// The endpoint has refused who we are on a connection that was just made.
    pub(crate) fn refused(&self, error: &ConnectError) {
        self.dialer.failed(error);
    }

    /// No new streams on what is there; idle connections close now, busy ones when they are done,
    /// and calls to come make others.
    pub(crate) fn renew(&self) {
        self.era.fetch_add(1, SeqCst);
        self.h2.drain();
        self.h1.drain();
    }

    /// How often its connections were replaced.
    pub(super) fn era(&self) -> u32 {
        self.era.load(SeqCst)
    }

    /// No new streams; idle connections close now, busy ones when they are done.
    pub(crate) fn drain(&self) {
        self.dialer.drain();
        self.h2.drain();
        self.h1.drain();
    }
}
