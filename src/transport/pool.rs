//! The connections of one endpoint.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::Request;
use tokio::sync::{Notify, oneshot};

use super::{
    backoff::Backoff,
    connect::{Connect, ConnectError, ConnectTarget, Io},
    h1::{self, H1, Link, Reaped},
    h2::{self, Driver, H2},
    prepare,
    send::SendFuture,
    shared::Shared,
};
use crate::{
    config::{Address, Protocol, TransportSettings},
    core::{Body, BoxFuture, Event, Held, Instant, Release},
};

/// The connections of one endpoint; made lazily, each driven by a task of its own.
pub(crate) struct Pool {
    name: Arc<str>,
    address: Address,
    settings: Arc<TransportSettings>,
    connector: Arc<dyn Connect>,
    shared: Arc<Shared>,
    backoff: Backoff,
    draining: AtomicBool,
    h2: ArcSwap<Vec<Arc<H2>>>,
    /// The HTTP/2 connection attempt that callers wait for together.
    connecting: Mutex<Option<Arc<Joined>>>,
    /// Idle HTTP/1.1 connections, the latest on top: the others may grow old and close. A lock
    /// for a push or pop beside the 20,000 instructions of an HTTP/1.1 request; no HTTP/2 call
    /// takes it.
    idle: Mutex<Vec<H1>>,
    h1_open: AtomicU32,
    h1_freed: Notify,
    last_error: Mutex<Option<ConnectError>>,
}

/// A connection attempt that several callers wait for.
#[derive(Default)]
struct Joined {
    done: Notify,
    result: OnceLock<Result<(), ConnectError>>,
}

/// The right to send one request on a connection.
pub(crate) enum Lease {
    H2 { h2: Arc<H2>, held: Held, name: Arc<str> },
    H1 { lease: Box<h1::Lease>, name: Arc<str> },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Lease ===

impl Lease {
    /// Sends the request.
    pub(crate) fn send(self, mut request: Request<Body>) -> SendFuture {
        match self {
            Self::H2 { h2, held, name } => {
                prepare::http2(&mut request, &name);
                let mut sender = h2.sender.clone();
                SendFuture::new(sender.try_send_request(request), held)
            }
            Self::H1 { mut lease, name } => {
                prepare::http1(&mut request, &name);
                match &mut lease.sender {
                    Some(sender) => {
                        let sent = sender.try_send_request(request);
                        SendFuture::new(sent, Held::Owned(lease))
                    }
                    None => SendFuture::new(std::future::pending(), Held::Nothing),
                }
            }
        }
    }
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(
        name: Arc<str>,
        address: Address,
        settings: Arc<TransportSettings>,
        connector: Arc<dyn Connect>,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            address,
            settings,
            connector,
            shared,
            backoff: Backoff::default(),
            draining: AtomicBool::new(false),
            h2: ArcSwap::from_pointee(Vec::new()),
            connecting: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
            h1_open: AtomicU32::new(0),
            h1_freed: Notify::new(),
            last_error: Mutex::new(None),
        })
    }

    /// False while the back-off after a failed connection attempt lasts.
    pub(crate) fn available(&self, now: u64) -> bool {
        !self.backoff.lasts(now)
    }

    /// A connection that is there: no wait, and for HTTP/2 no lock and no allocation.
    pub(crate) fn try_acquire(self: &Arc<Self>, protocol: Protocol) -> Option<Lease> {
        match protocol {
            Protocol::Http1 => self.try_h1(),
            Protocol::Http2 => self.try_h2(),
        }
    }

    fn try_h2(self: &Arc<Self>) -> Option<Lease> {
        let connections = self.h2.load();
        let mut best: Option<(u32, &Arc<H2>)> = None;
        for h2 in connections.iter() {
            if let Some(active) = h2.load()
                && best.is_none_or(|(least, _)| active < least)
            {
                best = Some((active, h2));
            }
        }
        let (active, h2) = best?;
        let full = active >= h2.limit(self.settings.http2_streams_per_connection);
        if full && connections.len() < self.settings.max_http2_connections as usize {
            // This stream waits its turn on the full one; the next finds another connection.
            self.join_connect();
        }
        h2.begin();
        let held = Held::Shared(Arc::<H2>::clone(h2) as Arc<dyn Release>);
        Some(Lease::H2 { h2: Arc::clone(h2), held, name: Arc::clone(&self.name) })
    }

    fn try_h1(self: &Arc<Self>) -> Option<Lease> {
        let mut idle = lock(&self.idle);
        loop {
            let H1 { sender, link, .. } = idle.pop()?;
            if !sender.is_ready() {
                // The peer has closed it; its driver is about to say so.
                continue;
            }
            let pool = Arc::downgrade(self);
            let lease = Box::new(h1::Lease { sender: Some(sender), link, pool });
            return Some(Lease::H1 { lease, name: Arc::clone(&self.name) });
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
                Protocol::Http1 => pool.wait_h1().await,
                Protocol::Http2 => pool.wait_h2().await,
            }
        })
    }

    async fn wait_h2(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        loop {
            if let Some(lease) = self.try_h2() {
                return Ok(lease);
            }
            self.refuse_early()?;
            let joined = self.join_connect();
            loop {
                let done = joined.done.notified();
                if joined.result.get().is_some() {
                    break;
                }
                done.await;
            }
            if let Some(Err(error)) = joined.result.get() {
                return Err(error.clone());
            }
        }
    }

    async fn wait_h1(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        loop {
            let freed = self.h1_freed.notified();
            if let Some(lease) = self.try_h1() {
                return Ok(lease);
            }
            self.refuse_early()?;
            if self.h1_open.fetch_add(1, Relaxed) < self.settings.http1_max_connections {
                let (sender, receiver) = oneshot::channel();
                self.shared.spawn(connect_h1(Arc::clone(self), sender));
                return receiver
                    .await
                    .unwrap_or_else(|_| Err(ConnectError::new("the mesh is shut down")));
            }
            self.h1_open.fetch_sub(1, Relaxed);
            freed.await;
        }
    }

    /// In back-off, a caller with nowhere else to go learns the last failure at once.
    fn refuse_early(&self) -> Result<(), ConnectError> {
        if self.draining.load(Relaxed) {
            return Err(ConnectError::left());
        }
        let now = self.shared.epoch.nanos(Instant::now());
        if self.backoff.may_try(now, self.settings.connect_backoff_base) {
            return Ok(());
        }
        let last = lock(&self.last_error).clone();
        Err(last.unwrap_or_else(|| ConnectError::new("the last attempt failed just now")))
    }

    /// Joins the HTTP/2 connection attempt under way, or starts one.
    fn join_connect(self: &Arc<Self>) -> Arc<Joined> {
        let mut connecting = lock(&self.connecting);
        if let Some(joined) = &*connecting {
            return Arc::clone(joined);
        }
        let joined = Arc::new(Joined::default());
        *connecting = Some(Arc::clone(&joined));
        drop(connecting);
        self.shared.spawn(connect_h2(Arc::clone(self), Arc::clone(&joined)));
        joined
    }

    /// Makes the byte stream, under the connect timeout; notes the outcome for the balancer.
    async fn connect(&self) -> Result<Box<dyn Io>, ConnectError> {
        let started = Instant::now();
        let target = ConnectTarget {
            address: self.address.clone(),
            tcp_keepalive: self.settings.tcp_keepalive,
        };
        let io = self.connector.connect(target);
        match tokio::time::timeout(self.settings.connect_timeout, io).await {
            Ok(Ok(io)) => {
                self.shared.events.emit(|| Event::Connected {
                    endpoint: Arc::clone(&self.name),
                    elapsed: started.elapsed(),
                });
                Ok(io)
            }
            Ok(Err(cause)) => Err(ConnectError::caused("connection attempt failed", cause)),
            Err(_) => Err(ConnectError::new("connect timeout")),
        }
    }

    fn connect_failed(&self, error: &ConnectError) {
        let settings = &self.settings;
        let now = self.shared.epoch.nanos(Instant::now());
        let (base, max) = (settings.connect_backoff_base, settings.connect_backoff_max);
        let backoff = self.backoff.failed(now, base, max, &self.shared.random);
        *lock(&self.last_error) = Some(error.clone());
        self.shared.events.emit(|| Event::ConnectFailed {
            endpoint: Arc::clone(&self.name),
            cause: error.to_string().into(),
            backoff,
        });
    }

    /// The end of a connection's life, 10 % earlier or later than configured.
    fn retire_at(&self) -> Instant {
        let spread = 0.2_f64.mul_add(self.shared.random.ratio(), 0.9);
        let now = Instant::now();
        now.checked_add(self.settings.max_age.mul_f64(spread)).unwrap_or(now)
    }

    /// No new streams; idle connections close now, busy ones when they are done.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
        let connections = self.h2.swap(Arc::new(Vec::new()));
        for h2 in connections.iter() {
            h2.retire();
        }
        let idle = std::mem::take(&mut *lock(&self.idle));
        drop(idle);
        self.h1_freed.notify_waiters();
    }

    pub(super) fn h2_retired(&self, gone: &Arc<H2>) {
        self.h2.rcu(|connections| {
            let left = connections.iter().filter(|h2| !Arc::ptr_eq(h2, gone));
            left.cloned().collect::<Vec<_>>()
        });
    }

    pub(super) fn h2_ended(&self, gone: &Weak<H2>) {
        if let Some(h2) = gone.upgrade() {
            h2.retire();
            self.h2_retired(&h2);
        }
    }

    /// Puts a connection that is ready again on top of the idle ones.
    pub(super) fn h1_returned(
        &self,
        sender: hyper::client::conn::http1::SendRequest<Body>,
        link: &Arc<Link>,
    ) {
        if self.draining.load(Relaxed) {
            return;
        }
        let idle_since = Instant::now();
        lock(&self.idle).push(H1 { sender, link: Arc::clone(link), idle_since });
        self.h1_freed.notify_one();
    }

    /// Takes the connection out if it has been idle for `timeout`.
    pub(super) fn h1_reap(&self, link: &Arc<Link>, timeout: Duration) -> Reaped {
        let mut idle = lock(&self.idle);
        let Some(place) = idle.iter().position(|h1| Arc::ptr_eq(&h1.link, link)) else {
            return Reaped::Busy;
        };
        let since = idle[place].idle_since;
        if since.elapsed() >= timeout {
            return Reaped::Idle(idle.remove(place).sender);
        }
        Reaped::Until(since.checked_add(timeout).unwrap_or(since))
    }

    pub(super) fn h1_ended(&self, link: &Arc<Link>) {
        self.h1_open.fetch_sub(1, Relaxed);
        lock(&self.idle).retain(|h1| !Arc::ptr_eq(&h1.link, link));
        self.h1_freed.notify_one();
    }
}

/// Makes an HTTP/2 connection, tells who waits for it, and drives it.
async fn connect_h2(pool: Arc<Pool>, joined: Arc<Joined>) {
    let made = async {
        let io = pool.connect().await?;
        h2::handshake(io, &pool.settings, pool.shared.epoch)
            .await
            .map_err(|cause| ConnectError::caused("HTTP/2 handshake failed", cause))
    };
    let made = made.await;
    let (driver, result) = match made {
        Ok((h2, connection)) => {
            pool.backoff.succeeded();
            let (retire_at, idle) = (pool.retire_at(), pool.settings.idle_timeout);
            let driver = Driver::new(connection, &h2, &pool, retire_at, idle);
            if !pool.draining.load(Relaxed) {
                pool.h2.rcu(|connections| {
                    let mut connections = Vec::clone(connections);
                    connections.push(Arc::clone(&h2));
                    connections
                });
            }
            (Some(driver), Ok(()))
        }
        Err(error) => {
            pool.connect_failed(&error);
            (None, Err(error))
        }
    };
    // Only now: who comes in between finds the connection.
    lock(&pool.connecting).take();
    // Set once, here.
    drop(joined.result.set(result));
    joined.done.notify_waiters();
    // From here on the connection must not keep its pool alive.
    let (events, endpoint) = (Arc::clone(&pool.shared.events), Arc::clone(&pool.name));
    drop(pool);
    if let Some(driver) = driver {
        let reason = driver.await;
        events.emit(|| Event::Disconnected { endpoint, reason });
    }
}

/// Makes an HTTP/1.1 connection for one caller (or, if it has left, for the next) and drives it.
async fn connect_h1(pool: Arc<Pool>, caller: oneshot::Sender<Result<Lease, ConnectError>>) {
    let made = async {
        let io = pool.connect().await?;
        h1::handshake(io)
            .await
            .map_err(|cause| ConnectError::caused("HTTP/1.1 handshake failed", cause))
    };
    match made.await {
        Ok((sender, connection)) => {
            pool.backoff.succeeded();
            let link = Arc::new(Link::default());
            let lease = h1::Lease {
                sender: Some(sender),
                link: Arc::clone(&link),
                pool: Arc::downgrade(&pool),
            };
            let lease = Lease::H1 { lease: Box::new(lease), name: Arc::clone(&pool.name) };
            // A caller that has left drops the lease, which returns the connection.
            drop(caller.send(Ok(lease)));
            let (retire_at, idle) = (pool.retire_at(), pool.settings.idle_timeout);
            let weak = Arc::downgrade(&pool);
            let (events, endpoint) = (Arc::clone(&pool.shared.events), Arc::clone(&pool.name));
            drop(pool);
            let reason = h1::drive(connection, link, weak, retire_at, idle).await;
            events.emit(|| Event::Disconnected { endpoint, reason });
        }
        Err(error) => {
            pool.h1_open.fetch_sub(1, Relaxed);
            pool.h1_freed.notify_one();
            pool.connect_failed(&error);
            drop(caller.send(Err(error)));
        }
    }
}
