//! How a request gets an HTTP/1.1 connection: one that is idle, one that comes free, or a new one.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Poll,
    time::Duration,
};

use tokio::sync::{futures::Notified, oneshot};

use super::{
    connections::{Got, Place, connect, take},
    lease::Lease,
};
use crate::{
    config::{CallPriority, Protocol},
    core::Instant,
    transport::{
        connect::ConnectError,
        pool::{Berth, Pool},
    },
};

/// How long a caller waits for a connection that is about to be ready before it makes one: less
/// than a new one takes.
const SOON: Duration = Duration::from_millis(1);

/// A connection that is idle, unless somebody waits for one already.
pub(in crate::transport) fn try_acquire(pool: &Arc<Pool>) -> Option<Box<Lease>> {
    if pool.h1.waiters.load(Relaxed) > 0 { None } else { take(pool) }
}

/// A connection, once there is one: new, or given back.
pub(in crate::transport) async fn acquire(pool: &Arc<Pool>, priority: CallPriority) -> Got {
    let connections = &pool.h1;
    if connections.waiters.load(Relaxed) > 0 {
        // One that was just given back is for the caller who was woken for it.
        tokio::task::yield_now().await;
    }
    let most = pool.dialer.settings.http1_max_connections;
    let mut is_patient = true;
    // How long a caller waits in a back-off.
    let mut until = None;
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
            let now = Instant::now();
            let most = || now.checked_add(pool.dialer.settings.connect_timeout).unwrap_or(now);
            let until = *until.get_or_insert_with(most);
            if pool.dialer.is_draining() || !connections.is_live() || now >= until {
                // What this caller was woken for is the next one's.
                connections.freed.notify_one();
                return Err(error);
            }
            // Of those that there are one may come free, and at the end of the back-off another may be
            // made; it waits for no longer than it would for a new one.
            let _waiting = Waiting::new(&connections.waiters);
            drop(tokio::time::timeout_at(until.min(pool.dialer.backoff_ends()), freed).await);
            continue;
        }
        // One caller after another needs one connection.
        if is_patient && connections.is_soon_idle() {
            is_patient = false;
            let _waiting = Waiting::new(&connections.waiters);
            // In vain or not: it looks again.
            drop(tokio::time::timeout(SOON, freed).await);
            continue;
        }
        // Room may come of another endpoint of the cluster, too.
        let mut roomy = std::pin::pin!(pool.dialer.room_freed());
        roomy.as_mut().enable();
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
            return first_of(pool, lease, freed).await;
        }
        let _waiting = Waiting::new(&connections.waiters);
        either(freed, roomy).await;
    }
}

/// The connection that is made for this caller, or one that comes free before: the other is the
/// next caller's.
async fn first_of<'a>(
    pool: &'a Arc<Pool>,
    mut made: oneshot::Receiver<Got>,
    mut freed: Pin<&mut Notified<'a>>,
) -> Got {
    let connections = &pool.h1;
    loop {
        // Not beside the one before, which would be woken in its place.
        freed.set(connections.freed.notified());
        freed.as_mut().enable();
        if let Some(lease) = take(pool) {
            return Ok(Some(lease));
        }
        let made = std::future::poll_fn(|cx| match Pin::new(&mut made).poll(cx) {
            Poll::Ready(made) => Poll::Ready(Some(made)),
            Poll::Pending => freed.as_mut().poll(cx).map(|()| None),
        });
        match made.await {
            Some(Ok(Ok(made))) => return Ok(made),
            // Unless there is one all the same.
            Some(Ok(Err(error))) => return take(pool).map(Some).ok_or(error),
            Some(Err(_)) => {
                return Err(ConnectError::new("the connection attempt was given up"));
            }
            None if connections.waiters.load(Relaxed) > 0 => {
                if let Some(lease) = take(pool) {
                    return Ok(Some(lease));
                }
                // It was room to make one, which is for who has none under way.
                connections.freed.notify_one();
                tokio::task::yield_now().await;
            }
            None => {}
        }
    }
}

/// Waits for whichever comes first.
pub(in crate::transport) async fn either(
    mut one: Pin<&mut Notified<'_>>,
    mut other: Pin<&mut Notified<'_>>,
) {
    std::future::poll_fn(|cx| {
        if one.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        other.as_mut().poll(cx)
    })
    .await;
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
