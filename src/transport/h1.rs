//! One HTTP/1.1 connection: owned by one request at a time, given back through its driver.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http1;
use tokio::sync::Notify;

use super::{connect::Io, pool::Pool};
use crate::core::{Body, BoxError, Instant};

type Sender = http1::SendRequest<Body>;
type Connection = http1::Connection<Box<dyn Io>, Body>;

/// An idle or leased connection.
pub(super) struct H1 {
    pub(super) sender: Sender,
    pub(super) link: Arc<Link>,
    pub(super) idle_since: Instant,
}

/// Where a lease leaves a connection that is not ready yet, for its driver to take back.
///
/// The mutex is held for a move of two words, by one lease and one driver; it is no part of
/// HTTP/2 calls.
#[derive(Default)]
pub(crate) struct Link {
    parked: Mutex<Option<Sender>>,
    wake: Notify,
}

/// Gives the connection back when the response body has ended or the request was dropped.
pub(crate) struct Lease {
    pub(super) sender: Option<Sender>,
    pub(super) link: Arc<Link>,
    pub(super) pool: Weak<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            if let Some(pool) = self.pool.upgrade() {
                pool.h1_returned(sender, &self.link);
            }
            return;
        }
        *self.link.parked.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.link.wake.notify_one();
    }
}

/// Performs the handshake on a new stream.
pub(super) async fn handshake(io: Box<dyn Io>) -> Result<(Sender, Connection), BoxError> {
    Ok(http1::Builder::new().handshake(io).await?)
}

/// The task of a connection: drives it, takes it back, closes it when idle or old.
pub(super) async fn drive(
    connection: Connection,
    link: Arc<Link>,
    pool: Weak<Pool>,
    retire_at: Instant,
    idle_timeout: Duration,
) -> &'static str {
    let mut connection = std::pin::pin!(connection);
    let mut timer = std::pin::pin!(tokio::time::sleep_until(
        Instant::now().checked_add(idle_timeout).unwrap_or(retire_at).min(retire_at)
    ));
    let mut reason = "closed by peer";
    let mut returning: Option<Sender> = None;
    let mut old = false;
    loop {
        let mut parked = std::pin::pin!(link.wake.notified());
        let step = std::future::poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(Step::Ended(end.is_ok()));
            }
            if let Some(sender) = &mut returning
                && let Poll::Ready(ready) = sender.poll_ready(cx)
            {
                return Poll::Ready(Step::Ready(ready.is_ok()));
            }
            if parked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Step::Parked);
            }
            if !old && timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Step::Timer);
            }
            Poll::Pending
        })
        .await;
        match step {
            Step::Ended(clean) => {
                if !clean {
                    reason = "error";
                }
                break;
            }
            Step::Ready(usable) => {
                if let (Some(sender), Some(pool), true) = (returning.take(), pool.upgrade(), usable)
                    && !old
                {
                    pool.h1_returned(sender, &link);
                }
            }
            Step::Parked => {
                returning = link.parked.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            Step::Timer => {
                let now = Instant::now();
                let Some(pool) = pool.upgrade() else { continue };
                old = now >= retire_at;
                match pool.h1_reap(&link, if old { Duration::ZERO } else { idle_timeout }) {
                    // Dropping the sender ends the connection.
                    Reaped::Idle(sender) => {
                        reason = if old { "age" } else { "idle" };
                        drop(sender);
                        old = true;
                    }
                    Reaped::Until(at) => timer.as_mut().reset(at.min(retire_at)),
                    Reaped::Busy if old => {}
                    Reaped::Busy => {
                        let next = now.checked_add(idle_timeout).unwrap_or(retire_at);
                        timer.as_mut().reset(next.min(retire_at));
                    }
                }
            }
        }
    }
    if let Some(pool) = pool.upgrade() {
        pool.h1_ended(&link);
    } else if reason == "closed by peer" {
        reason = "draining";
    }
    reason
}

enum Step {
    Ended(bool),
    Ready(bool),
    Parked,
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
