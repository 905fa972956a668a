//! The HTTP/1.1 connections of one endpoint.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{
    driver::{self, Connection, Reaped},
    lease::{Lease, Link, Sender},
};
use crate::{
    config::Protocol,
    core::{BoxFuture, DisconnectReason, Instant},
    observe::Connection as Life,
    transport::{
        allowance::Allowance,
        connect::ConnectError,
        dial::Dialing,
        h2,
        pool::{Berth, Pool},
        send::Past,
        speak::{Http, Spoken},
    },
};

/// The connections of one endpoint.
#[derive(Default)]
pub(in crate::transport) struct Connections {
    /// Idle ones, the latest on top: the others may grow old and close. A lock for a push or pop
    /// beside the 20,000 instructions of an HTTP/1.1 request.
    idle: Mutex<Vec<Idle>>,
    /// Made or being made.
    pub(super) open: AtomicU32,
    /// Made.
    live: AtomicU32,
    pub(super) freed: Notify,
    /// Callers who wait for one of them to be given back.
    pub(super) waiters: AtomicU32,
    /// Given back by their callers, and not ready for another request yet.
    parked: AtomicU32,
}

struct Idle {
    sender: Sender,
    link: Arc<Link>,
    since: Instant,
    past: Past,
}

// === impl Connections ===

impl Connections {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a connection that is ready for another request on top of the idle ones.
    pub(super) fn give_back(&self, pool: &Pool, sender: Sender, link: &Arc<Link>, past: Past) {
        let mut idle = self.idle();
        // Under the lock: a drain empties what was put in before.
        if pool.dialer.is_draining() || link.is_retired() || link.era() != pool.era() {
            return;
        }
        idle.push(Idle { sender, link: Arc::clone(link), since: Instant::now(), past });
        drop(idle);
        self.freed.notify_one();
    }

    /// A connection was given back that is not ready yet.
    pub(super) fn park(&self) {
        self.parked.fetch_add(1, Relaxed);
    }

    /// It is idle, or will never be.
    pub(super) fn unpark(&self) {
        self.parked.fetch_sub(1, Relaxed);
    }

    /// Whether one of them is about to be idle, and not for somebody who waits already.
    pub(super) fn is_soon_idle(&self) -> bool {
        self.parked.load(Relaxed) > self.waiters.load(Relaxed)
    }

    /// Takes the connection out if it has been idle for `timeout`.
    pub(super) fn reap(&self, link: &Arc<Link>, timeout: Duration) -> Reaped {
        let mut idle = self.idle();
        let Some(place) = idle.iter().position(|idle| Arc::ptr_eq(&idle.link, link)) else {
            return Reaped::Busy;
        };
        let since = idle[place].since;
        if since.elapsed() >= timeout {
            return Reaped::Idle(idle.remove(place).sender);
        }
        Reaped::Until(since.checked_add(timeout).unwrap_or(since))
    }

    /// Closes those that have been idle since then or longer.
    pub(super) fn forget(&self, since: Instant) {
        self.idle().retain(|idle| idle.since > since);
    }

    /// Lets every waiting caller look again.
    pub(in crate::transport) fn stir(&self) {
        self.freed.notify_waiters();
    }

    /// Whether there is a connection.
    pub(in crate::transport) fn is_live(&self) -> bool {
        self.live.load(Relaxed) > 0
    }

    /// A connection has ended.
    pub(super) fn ended(&self, link: &Arc<Link>) {
        self.live.fetch_sub(1, Relaxed);
        self.idle().retain(|idle| !Arc::ptr_eq(&idle.link, link));
        self.close_one();
    }

    fn close_one(&self) {
        self.open.fetch_sub(1, SeqCst);
        self.freed.notify_one();
    }

    /// Closes what is idle; the others close when they are given back.
    pub(in crate::transport) fn drain(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
        self.freed.notify_waiters();
    }
}

/// A connection that is idle.
pub(super) fn take(pool: &Arc<Pool>) -> Option<Box<Lease>> {
    let mut idle = pool.h1.idle();
    loop {
        let Idle { sender, link, past, since } = idle.pop()?;
        // If the peer has closed it, its driver is about to say so.
        if sender.is_ready() {
            return Some(Box::new(Lease::new(sender, link, pool, past, Some(since))));
        }
    }
}

/// What a caller gets that waited: a connection, or the news that the endpoint speaks HTTP/2.
pub(super) type Got = Result<Option<Box<Lease>>, ConnectError>;

/// A place among the open connections, given back even by a task that panics or is aborted.
pub(super) struct Place(pub(super) Option<Arc<Pool>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.h1.close_one();
        }
    }
}

/// Makes a connection for one caller (or, if it has left, for the next) and drives it.
pub(super) async fn connect(
    place: Place,
    berth: Berth,
    dialing: Dialing,
    caller: oneshot::Sender<Got>,
) {
    let Some(pool) = place.0.clone() else { return };
    match pool.dialer.dial(Protocol::Http1, dialing).await {
        Ok((Spoken { http: Http::V1(sender, connection), distrusted }, life)) => {
            let made = (sender, connection);
            run(pool, (place, berth), made, distrusted, life, Some(caller)).await;
        }
        Ok((Spoken { http: Http::V2(sender, halves), distrusted }, life)) => {
            drop(place);
            let told = move || drop(caller.send(Ok(None)));
            h2::adopt(pool, berth, (sender, halves), distrusted, life, told).await;
        }
        Err(error) => {
            drop((place, berth));
            drop(caller.send(Err(error)));
        }
    }
}

/// Takes over a connection that was asked for as HTTP/2 and has come out as HTTP/1.1: it is idle
/// when `told` is called. Drives it.
pub(in crate::transport) async fn adopt(
    pool: Arc<Pool>,
    berth: Berth,
    made: (Sender, Connection),
    distrusted: Option<BoxFuture<DisconnectReason>>,
    life: Life,
    told: impl FnOnce(),
) {
    pool.agreed.set(Protocol::Http1);
    pool.h1.open.fetch_add(1, SeqCst);
    let place = Place(Some(Arc::clone(&pool)));
    let driven = run(pool.clone(), (place, berth), made, distrusted, life, None);
    pool.h2.stir();
    told();
    drop(pool);
    driven.await;
}

/// Drives a new connection, which is the caller's, or idle if there is none.
fn run(
    pool: Arc<Pool>,
    (mut place, berth): (Place, Berth),
    (sender, connection): (Sender, Connection),
    distrusted: Option<BoxFuture<DisconnectReason>>,
    life: Life,
    caller: Option<oneshot::Sender<Got>>,
) -> impl Future<Output = ()> + Send {
    if pool.is_failing() {
        pool.returned();
    }
    pool.h1.live.fetch_add(1, Relaxed);
    let allowance = Allowance::of(&pool.dialer.settings);
    let link = Arc::new(Link::new(berth.era, allowance, life.at()));
    match caller {
        // Made as the endpoint was before, in its security or its addresses: the caller picks again.
        Some(caller) if pool.dialer.is_draining() || berth.era != pool.era() => {
            drop(caller.send(Err(ConnectError::left())));
        }
        // A caller that has left drops the lease, which returns the connection.
        Some(caller) => {
            let lease = Box::new(Lease::new(sender, Arc::clone(&link), &pool, Past::New, None));
            drop(caller.send(Ok(Some(lease))));
        }
        None => pool.h1.give_back(&pool, sender, &link, Past::New),
    }
    let (retire_at, idle) = (pool.dialer.retire_at(), pool.dialer.settings.idle_timeout);
    let weak = Arc::downgrade(&pool);
    // The driver gives the place back; from here on the connection must not keep its pool alive.
    drop(place.0.take());
    drop(pool);
    async move {
        let why = driver::drive(connection, link, weak, retire_at, idle, distrusted).await;
        drop(berth);
        life.ended(why);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Waker},
    };

    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::runtime::Handle;

    use super::*;
    use crate::{
        core::Outgoing,
        transport::{Io, tests::handed_over::pool},
    };

    /// Who has found it ready gives it back a moment after its end.
    #[tokio::test]
    async fn a_connection_that_has_ended_is_not_given_back() {
        let pool = pool(&Handle::current(), &Arc::default());
        for has_ended in [false, true] {
            let (near, _far) = tokio::io::duplex(1024);
            let io: Box<dyn Io> = Box::new(TokioIo::new(near));
            let (sender, mut connection) = http1::handshake::<_, Outgoing>(io).await.unwrap();
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut connection).poll(&mut cx).is_pending());
            assert!(sender.is_ready());
            let link = Arc::new(Link::new(pool.era(), None, None));
            if has_ended {
                link.end();
                pool.h1.idle().clear();
            }
            pool.h1.give_back(&pool, sender, &link, Past::New);
            assert_eq!(pool.h1.idle().len(), usize::from(!has_ended));
        }
    }
}
