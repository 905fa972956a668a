//! The connections of one endpoint.

use std::sync::Arc;

use http::Request;

use super::{
    connect::{Connect, ConnectError},
    dial::{Dialer, Reach},
    h1, h2, prepare,
    send::SendFuture,
    shared::Shared,
};
use crate::{
    config::{Address, Protocol, TransportSettings},
    core::{BoxFuture, Held, Outgoing},
    observe::ClusterMeter,
};

/// The connections of one endpoint; made lazily, each driven by a task of its own.
pub(crate) struct Pool {
    pub(super) dialer: Dialer,
    pub(super) h1: h1::Connections,
    pub(super) h2: h2::Connections,
}

/// The right to send one request on a connection.
pub(crate) enum Lease {
    H1(Box<h1::Lease>),
    H2(h2::Lease),
}

// === impl Lease ===

impl Lease {
    /// Gives the request its form on the wire; `endpoint` names it where it itself names nobody.
    pub(crate) fn prepare(&self, request: &mut Request<Outgoing>, endpoint: &str) {
        match self {
            Self::H2(_) => prepare::http2(request, endpoint),
            Self::H1(_) => prepare::http1(request, endpoint),
        }
    }

    /// Sends a request that has its form on the wire.
    #[inline(always)]
    pub(crate) fn send(self, request: Request<Outgoing>) -> SendFuture {
        match self {
            Self::H2(h2::Lease { mut sender, held }) => {
                SendFuture::new(sender.try_send_request(request), held, false)
            }
            Self::H1(mut lease) => {
                let fresh = lease.is_fresh();
                match lease.sender() {
                    Some(sender) => {
                        let sent = sender.try_send_request(request);
                        SendFuture::new(sent, Held::Owned(lease), fresh)
                    }
                    None => SendFuture::new(std::future::pending(), Held::Nothing, fresh),
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
            dialer: Dialer::new(name, reach, settings, connector, shared, meter),
            h1: h1::Connections::default(),
            h2: h2::Connections::default(),
        })
    }

    /// False while the back-off after a failed connection attempt lasts, unless there is a
    /// connection all the same.
    pub(crate) fn available(&self, now: u64) -> bool {
        self.dialer.available(now) || self.h2.is_live() || self.h1.is_live()
    }

    /// A connection that is there: no wait, and for HTTP/2 no lock and no allocation.
    pub(crate) fn try_acquire(self: &Arc<Self>, protocol: Protocol, now: u64) -> Option<Lease> {
        match protocol {
            Protocol::Http1 => h1::try_acquire(self).map(Lease::H1),
            Protocol::Http2 => h2::try_acquire(self, now).map(Lease::H2),
        }
    }

    /// A connection, made if there is none. Boxed: only a caller that has to wait comes here.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        protocol: Protocol,
    ) -> BoxFuture<Result<Lease, ConnectError>> {
        let pool = Arc::clone(self);
        Box::pin(async move {
            match protocol {
                Protocol::Http1 => h1::acquire(&pool).await.map(Lease::H1),
                Protocol::Http2 => h2::acquire(&pool).await.map(Lease::H2),
            }
        })
    }

    /// Further connections are raced for between these addresses, too.
    pub(crate) fn set_more_addresses(&self, more: Arc<[Address]>) {
        self.dialer.set_more_addresses(more);
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

    /// No new streams; idle connections close now, busy ones when they are done.
    pub(crate) fn drain(&self) {
        self.dialer.drain();
        self.h2.drain();
        self.h1.drain();
    }
}
