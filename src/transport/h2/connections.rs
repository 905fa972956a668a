//! The HTTP/2 connections of one endpoint: few, and shared.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::Poll,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{
    connection::{H2, Streams},
    driver::Driver,
    halves::Halves,
    handshake::Sender,
    slots::Slots,
};
use crate::{
    config::{CallPriority, Protocol},
    core::{BoxFuture, DisconnectReason, Held, Release},
    observe::{Connection as Life, trace::Peer},
    transport::{
        allowance::Allowance,
        connect::ConnectError,
        dial::Dialing,
        h1,
        pool::{Berth, Pool},
        speak::{Http, Spoken},
    },
};

/// The connections of one endpoint.
#[derive(Default)]
pub(in crate::transport) struct Connections {
    list: ArcSwap<Vec<H2>>,
    slots: Arc<Slots>,
    /// Connections that ended before a stream was begun on them, and not by this side.
    useless: AtomicU64,
    /// The connection attempts under way, the newest last: callers wait for it together.
    connecting: Mutex<Vec<Arc<Attempt>>>,
    /// The last one took all the requests that it was allowed, which is no loss.
    spent: AtomicBool,
}

/// A connection attempt that several callers wait for.
#[derive(Default)]
struct Attempt {
    done: Notify,
    result: OnceLock<Result<(), ConnectError>>,
}

/// The right to one stream.
pub(crate) struct Lease {
    pub(in crate::transport) sender: Sender,
    pub(in crate::transport) held: Held,
    /// Its connection is one of TLS.
    pub(in crate::transport) secured: bool,
}

// === impl Lease ===

impl Lease {
    /// Which of several addresses its connection leads to.
    pub(in crate::transport) fn at(&self) -> Option<&Arc<Peer>> {
        let Held::Shared(stream) = &self.held else { return None };
        let stream: &dyn Any = &**stream;
        stream.downcast_ref::<Streams>()?.at()
    }
}

// === impl Connections ===

impl Connections {
    /// Whether there is a connection.
    pub(in crate::transport) fn is_live(&self) -> bool {
        self.list.load().iter().any(|h2| h2.is_live())
    }

    fn connecting(&self) -> MutexGuard<'_, Vec<Arc<Attempt>>> {
        self.connecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more callers wait than so many connections may be given requests.
    fn are_too_few(&self, connections: usize, most: Option<u32>) -> bool {
        most.is_some_and(|most| {
            u64::from(self.slots.waiting()) > u64::from(most).saturating_mul(connections as u64)
        })
    }

    fn add(&self, h2: &H2) {
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            list.push(h2.clone());
            list
        });
        // Those, too, who wait for no more than a stream that ends.
        self.slots.freed.notify_waiters();
    }

    /// A connection has ended, or its peer lets no more streams begin.
    pub(super) fn ended(&self, gone: &Arc<Streams>) {
        if gone.retire() {
            self.useless.fetch_add(1, SeqCst);
        }
        self.remove(gone);
    }

    /// Takes a connection out, whose streams go on.
    pub(super) fn remove(&self, gone: &Arc<Streams>) {
        gone.retire();
        self.list.rcu(|list| {
            list.iter().filter(|h2| !Arc::ptr_eq(&h2.streams, gone)).cloned().collect::<Vec<_>>()
        });
        self.slots.freed.notify_waiters();
    }

    /// How many have ended so.
    #[cfg(test)]
    pub(in crate::transport) fn useless(&self) -> u64 {
        self.useless.load(SeqCst)
    }

    /// Lets every waiting caller look again.
    pub(in crate::transport) fn stir(&self) {
        self.slots.freed.notify_waiters();
    }

    /// Takes every connection out; their streams go on.
    pub(in crate::transport) fn drain(&self) {
        for h2 in self.list.swap(Arc::default()).iter() {
            h2.streams.retire();
        }
        self.slots.freed.notify_waiters();
    }
}

/// A stream of a connection that is there, unless somebody waits for one already.
pub(in crate::transport) fn try_acquire(pool: &Arc<Pool>, now: u64) -> Option<Lease> {
    // Its priority is not known here: it is asked for by those who have to wait.
    if pool.h2.slots.is_awaited() { None } else { take(pool, now, CallPriority::Default) }
}

fn take(pool: &Arc<Pool>, now: u64, priority: CallPriority) -> Option<Lease> {
    loop {
        match choose(pool, now, priority)? {
            Choice::Reserved(lease) => return Some(lease),
            // Another caller took the last stream; another connection may have one.
            Choice::Lost => {}
        }
    }
}

enum Choice {
    Reserved(Lease),
    Lost,
}

/// The least loaded connection.
fn choose(pool: &Arc<Pool>, now: u64, priority: CallPriority) -> Option<Choice> {
    let list = pool.h2.list.load();
    let mut best: Option<(u32, &H2)> = None;
    for h2 in list.iter() {
        if let Some(active) = h2.load()
            && best.is_none_or(|(least, _)| active < least)
        {
            best = Some((active, h2));
        }
    }
    let (active, h2) = best?;
    let settings = &pool.dialer.settings;
    if (active >= settings.http2_streams_per_connection || h2.streams.is_nearly_full(active))
        && !pool.dialer.is_dialing()
        && list.len() < settings.max_http2_connections as usize
        && pool.dialer.may_have_room(priority)
        && pool.dialer.may_add()
    {
        // This stream goes on the crowded one; the next finds another connection.
        let _attempt = join(pool, priority);
    }
    let is_reserved = h2.streams.reserve(now);
    if h2.streams.is_spent() {
        // This was the last one: who comes next finds another connection.
        pool.h2.remove(&h2.streams);
        if !pool.h2.is_live() {
            pool.h2.spent.store(true, SeqCst);
        }
    }
    if !is_reserved {
        return Some(Choice::Lost);
    }
    let held = Held::Shared(Arc::<Streams>::clone(&h2.streams) as Arc<dyn Release>);
    let secured = pool.dialer.protection.is_tls();
    Some(Choice::Reserved(Lease { sender: h2.sender.clone(), held, secured }))
}

/// Makes the connection that tells what the endpoint speaks; one attempt for all callers.
pub(in crate::transport) async fn first(
    pool: &Arc<Pool>,
    priority: CallPriority,
) -> Result<(), ConnectError> {
    match begin(pool, priority)? {
        Some(attempt) => attempt.wait().await,
        None => Ok(()),
    }
}

/// The connection attempt under way, which may end well, whatever the last one met; or a new one, where
/// one may be made.
fn begin(pool: &Arc<Pool>, priority: CallPriority) -> Result<Option<Arc<Attempt>>, ConnectError> {
    let connecting = pool.h2.connecting();
    if connecting.is_empty() {
        pool.dialer.may_dial()?;
    }
    Ok(join_of(pool, priority, connecting))
}

/// A stream, once there is one: of a new connection, or of one whose stream has ended. Nothing when
/// the endpoint speaks HTTP/1.1 by now.
pub(in crate::transport) async fn acquire(
    pool: &Arc<Pool>,
    priority: CallPriority,
) -> Result<Option<Lease>, ConnectError> {
    let slots = &pool.h2.slots;
    if slots.is_awaited() {
        // A stream that has just ended is for one who was woken for it.
        tokio::task::yield_now().await;
    }
    let _waiting = slots.wait();
    let useless = pool.h2.useless.load(SeqCst);
    loop {
        let mut freed = std::pin::pin!(slots.freed.notified());
        freed.as_mut().enable();
        if pool.agreed.get(Protocol::Http2) != Some(Protocol::Http2) {
            return Ok(None);
        }
        if let Some(lease) = take(pool, pool.dialer.now(), priority) {
            return Ok(Some(lease));
        }
        if !pool.h2.is_live() {
            if pool.h2.useless.load(SeqCst) != useless {
                return Err(pool.closed_at_once());
            }
            let met = match begin(pool, priority) {
                Ok(Some(attempt)) => {
                    let mut made = std::pin::pin!(attempt.wait());
                    std::future::poll_fn(|cx| match made.as_mut().poll(cx) {
                        Poll::Ready(made) => Poll::Ready(made),
                        // One that let no stream begin may let one begin again, before that.
                        Poll::Pending => freed.as_mut().poll(cx).map(Ok),
                    })
                    .await
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = met {
                return take(pool, pool.dialer.now(), priority).map(Some).ok_or(error);
            }
            continue;
        }
        // All are full: another connection, or a stream that ends, whichever comes first.
        let list = pool.h2.list.load().len();
        if list >= pool.dialer.settings.max_http2_connections as usize {
            freed.await;
            continue;
        }
        if !pool.dialer.may_add() {
            // At the end of the back-off another connection may be made.
            drop(tokio::time::timeout_at(pool.dialer.backoff_ends(), freed).await);
            continue;
        }
        // Room may come of another endpoint of the cluster, too.
        let mut roomy = std::pin::pin!(pool.dialer.room_freed());
        roomy.as_mut().enable();
        let Some(attempt) = join(pool, priority) else {
            h1::either(freed, roomy).await;
            continue;
        };
        let mut made = std::pin::pin!(attempt.wait());
        std::future::poll_fn(|cx| {
            // A failure leads to another look: the full ones are still there.
            if made.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            freed.as_mut().poll(cx)
        })
        .await;
    }
}

/// Joins the newest connection attempt under way, or starts one, if there is room for it: there is where
/// no connection is.
fn join(pool: &Arc<Pool>, priority: CallPriority) -> Option<Arc<Attempt>> {
    join_of(pool, priority, pool.h2.connecting())
}

fn join_of(
    pool: &Arc<Pool>,
    priority: CallPriority,
    mut connecting: MutexGuard<'_, Vec<Arc<Attempt>>>,
) -> Option<Arc<Attempt>> {
    let room = match connecting.last() {
        Some(newest) => {
            // Of connections that are given a few requests each, there are to be enough for all who wait.
            let most = pool.dialer.settings.max_requests_per_connection;
            let room = (pool.h2.are_too_few(connecting.len(), most) && pool.dialer.may_add())
                .then(|| pool.dialer.room(priority, false))
                .flatten();
            let Some(room) = room else { return Some(Arc::clone(newest)) };
            room
        }
        None => pool.dialer.room(priority, !pool.h2.is_live())?,
    };
    let attempt = Arc::<Attempt>::default();
    connecting.push(Arc::clone(&attempt));
    drop(connecting);
    let ending = Ending { pool: Arc::clone(pool), attempt: Arc::clone(&attempt) };
    let made = connect(ending, Berth::new(room, pool), pool.dialer.dialing());
    pool.dialer.shared.spawn(made);
    Some(attempt)
}

/// Makes a connection, tells who waits for it, and drives it.
async fn connect(ending: Ending, berth: Berth, dialing: Dialing) {
    let pool = Arc::clone(&ending.pool);
    match pool.dialer.dial(Protocol::Http2, dialing).await {
        Ok((Spoken { http: Http::V2(sender, halves), distrusted }, life)) => {
            let told = || ending.finish(Ok(()));
            run(pool, berth, (sender, halves), distrusted, life, told).await;
        }
        // It is used as what it is.
        Ok((Spoken { http: Http::V1(sender, connection), distrusted }, life)) => {
            let told = || ending.finish(Ok(()));
            h1::adopt(pool, berth, (sender, connection), distrusted, life, told).await;
        }
        Err(error) => {
            drop(berth);
            ending.finish(Err(error));
        }
    }
}

/// Takes over a connection that was asked for as HTTP/1.1 and has come out as HTTP/2: it is among
/// the others when `told` is called. Drives it, unless there are enough already.
pub(in crate::transport) async fn adopt(
    pool: Arc<Pool>,
    berth: Berth,
    made: (Sender, Halves),
    distrusted: Option<BoxFuture<DisconnectReason>>,
    life: Life,
    told: impl FnOnce(),
) {
    pool.agreed.set(Protocol::Http2);
    pool.h1.stir();
    // Many may have been made at the same time, each for a caller of its own.
    if pool.h2.is_live()
        && pool.h2.list.load().len() >= pool.dialer.settings.max_http2_connections as usize
    {
        told();
        return life.ended(DisconnectReason::Draining);
    }
    run(pool, berth, made, distrusted, life, told).await;
}

/// Adds a new connection, tells so, and drives it.
async fn run(
    pool: Arc<Pool>,
    berth: Berth,
    (sender, halves): (Sender, Halves),
    distrusted: Option<BoxFuture<DisconnectReason>>,
    life: Life,
    told: impl FnOnce(),
) {
    pool.agreed.set(Protocol::Http2);
    pool.dialer.answered();
    let epoch = pool.dialer.shared.epoch;
    let streams = halves.max_streams().and_then(|streams| u32::try_from(streams).ok());
    let streams = streams.unwrap_or(u32::MAX);
    let (slots, allowance) = (Arc::clone(&pool.h2.slots), Allowance::of(&pool.dialer.settings));
    let h2 = H2::new(sender, streams, epoch, slots, allowance, life.at());
    let (retire_at, idle) = (pool.dialer.retire_at(), pool.dialer.settings.idle_timeout);
    let driver = Driver::new(halves, &h2.streams, (&pool, berth.era), retire_at, idle, distrusted);
    if !pool.is_live() && !pool.h2.spent.swap(false, SeqCst) {
        pool.returned();
    }
    pool.h2.add(&h2);
    // Replaced while it was made, it takes no call: who waits makes another.
    if pool.dialer.is_draining() || berth.era != pool.era() {
        pool.h2.remove(&h2.streams);
    }
    drop(h2);
    told();
    // From here on the connection must not keep its pool alive.
    drop(pool);
    let why = driver.await;
    drop(berth);
    life.ended(why);
}

/// The promise to tell the waiting callers, kept even by a task that panics or is aborted.
struct Ending {
    pool: Arc<Pool>,
    attempt: Arc<Attempt>,
}

impl Ending {
    fn finish(self, result: Result<(), ConnectError>) {
        if result.is_err() {
            // It was more than spent: the next one is a return.
            self.pool.h2.spent.store(false, SeqCst);
        }
        // Set once, here.
        drop(self.attempt.result.set(result));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Only now: who comes in between finds the connection.
        self.pool.h2.connecting().retain(|attempt| !Arc::ptr_eq(attempt, &self.attempt));
        if self.attempt.result.get().is_none() {
            let error = ConnectError::new("the connection attempt was given up");
            self.pool.h2.spent.store(false, SeqCst);
            self.pool.dialer.failed(&error);
            drop(self.attempt.result.set(Err(error)));
        }
        self.attempt.done.notify_waiters();
    }
}

impl Attempt {
    async fn wait(&self) -> Result<(), ConnectError> {
        loop {
            let done = self.done.notified();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            done.await;
        }
    }
}
