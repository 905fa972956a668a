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
    config::{CallPriority, Protocol},
    core::{BoxFuture, DisconnectReason, Instant},
    observe::Connection as Life,
    transport::{
        connect::ConnectError,
        dial::Dialing,
        h2,
        pool::{Berth, Pool},
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
    open: AtomicU32,
    /// Made.
    live: AtomicU32,
    freed: Notify,
    /// Callers who wait for one of them to be given back.
    waiters: AtomicU32,
    /// Given back by their callers, and not ready for another request yet.
    parked: AtomicU32,
}

/// How long a caller waits for a connection that is about to be ready before it makes one: less
/// than a new one takes.
const SOON: Duration = Duration::from_millis(1);

struct Idle {
    sender: Sender,
    link: Arc<Link>,
    since: Instant,
    fresh: bool,
}

// === impl Connections ===

impl Connections {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a connection that is ready for another request on top of the idle ones.
    pub(super) fn give_back(&self, pool: &Pool, sender: Sender, link: &Arc<Link>, fresh: bool) {
        let mut idle = self.idle();
        // Under the lock: a drain empties what was put in before.
        if pool.dialer.is_draining() || link.is_retired() || link.era() != pool.era() {
            return;
        }
        idle.push(Idle { sender, link: Arc::clone(link), since: Instant::now(), fresh });
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
    fn is_soon_idle(&self) -> bool {
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

/// A connection that is idle, unless somebody waits for one already.
pub(in crate::transport) fn try_acquire(pool: &Arc<Pool>) -> Option<Box<Lease>> {
    if pool.h1.waiters.load(Relaxed) > 0 { None } else { take(pool) }
}

fn take(pool: &Arc<Pool>) -> Option<Box<Lease>> {
    let mut idle = pool.h1.idle();
    loop {
        let Idle { sender, link, fresh, since } = idle.pop()?;
        // If the peer has closed it, its driver is about to say so.
        if sender.is_ready() {
            return Some(Box::new(Lease::new(sender, link, pool, fresh, Some(since))));
        }
    }
}

/// What a caller gets that waited: a connection, or the news that the endpoint speaks HTTP/2.
type Got = Result<Option<Box<Lease>>, ConnectError>;

/// A connection, once there is one: new, or given back.
pub(in crate::transport) async fn acquire(pool: &Arc<Pool>, priority: CallPriority) -> Got {
    let connections = &pool.h1;
    if connections.waiters.load(Relaxed) > 0 {
        // One that was just given back is for the caller who was woken for it.
        tokio::task::yield_now().await;
    }
    let most = pool.dialer.settings.http1_max_connections;
    let mut is_patient = true;
    loop {
        let mut freed = std::pin::pin!(connections.freed.notified());
        freed.as_mut().enable();
        if pool.agreed.get(Protocol::Http1) != Some(Protocol::Http1) {
            return Ok(None);
        }
        if let Some(lease) = take(pool) {
            return Ok(Some(lease));
        }
        if let Err(error) = pool.dialer.may_dial() {
            // What this caller was woken for is the next one's.
            connections.freed.notify_one();
            return Err(error);
        }
        // One caller after another needs one connection.
        if is_patient && connections.is_soon_idle() {
            is_patient = false;
            let _waiting = Waiting::new(&connections.waiters);
            // In vain or not: it looks again.
            drop(tokio::time::timeout(SOON, freed).await);
            continue;
        }
        // Not even for a moment more than there may be: who sees it would wait for nobody.
        let place = connections.open.fetch_update(SeqCst, SeqCst, |n| (n < most).then(|| n + 1));
        let mut was_last = false;
        let room = place.ok().and_then(|open| {
            let room = pool.dialer.room(priority, open == 0);
            if room.is_none() {
                // Of those that are open one will be free; nobody is woken for this one.
                was_last = connections.open.fetch_sub(1, SeqCst) == 1;
            }
            room
        });
        if was_last {
            // They have ended meanwhile: nobody is left to wait for, and there is room in any case.
            continue;
        }
        if let Some(room) = room {
            let (caller, lease) = oneshot::channel();
            let place = Place(Some(Arc::clone(pool)));
            let made = connect(place, Berth::new(room, pool), pool.dialer.dialing(), caller);
            pool.dialer.shared.spawn(made);
            // What is given back meanwhile is for one who waits for it.
            freed.set(connections.freed.notified());
            return lease
                .await
                .unwrap_or_else(|_| Err(ConnectError::new("the connection attempt was given up")));
        }
        let _waiting = Waiting::new(&connections.waiters);
        freed.await;
    }
}

/// Counts a caller as waiting while it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(waiters: &'a AtomicU32) -> Self {
        waiters.fetch_add(1, Relaxed);
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A place among the open connections, given back even by a task that panics or is aborted.
struct Place(Option<Arc<Pool>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.h1.close_one();
        }
    }
}

/// Makes a connection for one caller (or, if it has left, for the next) and drives it.
async fn connect(place: Place, berth: Berth, dialing: Dialing, caller: oneshot::Sender<Got>) {
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
    pool.h1.live.fetch_add(1, Relaxed);
    let link = Arc::new(Link::new(pool.era()));
    match caller {
        // Made as the endpoint was secured before: the caller picks again.
        Some(caller) if pool.dialer.is_draining() => {
            drop(caller.send(Err(ConnectError::left())));
        }
        // A caller that has left drops the lease, which returns the connection.
        Some(caller) => {
            let lease = Box::new(Lease::new(sender, Arc::clone(&link), &pool, true, None));
            drop(caller.send(Ok(Some(lease))));
        }
        None => pool.h1.give_back(&pool, sender, &link, true),
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
