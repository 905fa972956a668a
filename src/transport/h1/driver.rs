//! The task of an HTTP/1.1 connection: drives it, takes it back, closes it when idle or old.

use std::{
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http1;

use super::lease::{Link, Parked, Sender};
use crate::{
    core::{BoxFuture, DisconnectReason, Instant, Outgoing},
    transport::{connect::Io, pool::Pool},
};

pub(in crate::transport) type Connection = http1::Connection<Box<dyn Io>, Outgoing>;

/// Drives the connection to its end; returns why it ended.
pub(super) async fn drive(
    connection: Connection,
    link: Arc<Link>,
    pool: Weak<Pool>,
    retire_at: Instant,
    idle_timeout: Duration,
    mut distrusted: Option<BoxFuture<DisconnectReason>>,
) -> DisconnectReason {
    let _leaving = Leaving { link: &link, pool: &pool };
    // Where the endpoint agrees to another protocol, the bytes are the caller's from then on.
    let mut connection = std::pin::pin!(connection.with_upgrades());
    let first = Instant::now().checked_add(idle_timeout).unwrap_or(retire_at);
    let mut timer = std::pin::pin!(tokio::time::sleep_until(first.min(retire_at)));
    let mut reason = DisconnectReason::ClosedByPeer;
    let mut returning: Option<Parked> = None;
    loop {
        let mut parked = std::pin::pin!(link.wake.notified());
        let step = std::future::poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(Step::Ended(end.is_ok()));
            }
            if let Some(parked) = &mut returning
                && let Poll::Ready(ready) = parked.sender.poll_ready(cx)
            {
                return Poll::Ready(Step::Ready(ready.is_ok()));
            }
            if parked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Step::Parked);
            }
            if let Some(signal) = &mut distrusted
                && let Poll::Ready(why) = signal.as_mut().poll(cx)
            {
                return Poll::Ready(Step::Distrusted(why));
            }
            if !link.is_retired() && timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Step::Timer);
            }
            Poll::Pending
        })
        .await;
        match step {
            Step::Ended(clean) => {
                if !clean {
                    reason = DisconnectReason::Error;
                }
                break;
            }
            Step::Ready(usable) => {
                // It is parked until it is idle.
                if let (Some(Parked { sender, past, .. }), Some(pool), true) =
                    (returning.take(), pool.upgrade(), usable)
                {
                    pool.h1.give_back(&pool, sender, &link, past);
                }
            }
            Step::Parked => returning = link.take_parked(),
            Step::Distrusted(why) => {
                distrusted = None;
                reason = why;
                // Whoever uses it now gives it back to nobody.
                link.retire();
                if let Some(pool) = pool.upgrade()
                    && let Reaped::Idle(sender) = pool.h1.reap(&link, Duration::ZERO)
                {
                    drop(sender);
                }
            }
            Step::Timer => {
                let now = Instant::now();
                let old = now >= retire_at;
                if old {
                    reason = DisconnectReason::Age;
                    // Whoever uses it now gives it back to nobody.
                    link.retire();
                }
                let Some(pool) = pool.upgrade() else {
                    link.retire();
                    continue;
                };
                match pool.h1.reap(&link, if old { Duration::ZERO } else { idle_timeout }) {
                    // Dropping the sender ends the connection.
                    Reaped::Idle(sender) => {
                        if !old {
                            reason = DisconnectReason::Idle;
                        }
                        drop(sender);
                        link.retire();
                    }
                    Reaped::Until(at) => timer.as_mut().reset(at.min(retire_at)),
                    Reaped::Busy => {
                        let next = now.checked_add(idle_timeout).unwrap_or(retire_at);
                        timer.as_mut().reset(next.min(retire_at));
                    }
                }
            }
        }
    }
    if reason == DisconnectReason::ClosedByPeer && link.is_spent() {
        reason = DisconnectReason::MaxRequests;
    }
    if reason == DisconnectReason::ClosedByPeer
        && pool.upgrade().is_none_or(|pool| pool.era() != link.era())
    {
        reason = DisconnectReason::Draining;
    }
    reason
}

/// Tells the pool, and whoever waits for an answer, of the connection's end, even if its task is
/// aborted.
struct Leaving<'a> {
    link: &'a Arc<Link>,
    pool: &'a Weak<Pool>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.link.end();
        if let Some(pool) = self.pool.upgrade() {
            pool.h1.ended(self.link);
        }
    }
}

enum Step {
    Ended(bool),
    Ready(bool),
    Parked,
    Distrusted(DisconnectReason),
    Timer,
}

/// What the pool knows of a connection whose timer has fired.
pub(super) enum Reaped {
    /// It was idle for long enough, and is out of the pool.
    Idle(Sender),
    /// It is idle, until then.
    Until(Instant),
    /// A request is on it.
    Busy,
}
