//! The task of an HTTP/2 connection: publishes the peer's limit, ends the idle and the old.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;

use super::{
    connection::H2,
    handshake::{Connection, Requests},
};
use crate::{
    core::{BoxFuture, Instant},
    transport::pool::Pool,
};

#[pin_project::pin_project]
pub(super) struct Driver {
    /// Empty when no more streams are opened.
    requests: Option<Requests>,
    frames: BoxFuture<()>,
    h2: Weak<H2>,
    pool: Weak<Pool>,
    #[pin]
    timer: Sleep,
    /// The timer will wake this task: to poll it before costs two readings of the clock.
    armed: bool,
    retire_at: Instant,
    idle_timeout: Duration,
    reason: &'static str,
}

impl Driver {
    pub(super) fn new(
        connection: Connection,
        h2: &Arc<H2>,
        pool: &Arc<Pool>,
        retire_at: Instant,
        idle_timeout: Duration,
    ) -> Self {
        let first = Instant::now().checked_add(idle_timeout).unwrap_or(retire_at);
        Self {
            requests: Some(connection.requests),
            frames: connection.frames,
            h2: Arc::downgrade(h2),
            pool: Arc::downgrade(pool),
            timer: tokio::time::sleep_until(first.min(retire_at)),
            armed: false,
            retire_at,
            idle_timeout,
            reason: "closed by peer",
        }
    }
}

impl Future for Driver {
    /// Why the connection ended.
    type Output = &'static str;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'static str> {
        let mut this = self.project();
        let closed = this.frames.as_mut().poll(cx).is_ready();
        if let Some(requests) = this.requests
            && let Poll::Ready(ended) = Pin::new(requests).poll(cx)
        {
            if let Err(error) = ended {
                *this.reason = if error.is_timeout() { "keepalive" } else { "error" };
            }
            // With it go hyper's references to the connection, which then ends with its streams.
            *this.requests = None;
            match (this.pool.upgrade(), this.h2.upgrade()) {
                (Some(pool), Some(h2)) => pool.h2.remove(&h2),
                (None, _) if *this.reason == "closed by peer" => *this.reason = "draining",
                _ => {}
            }
        }
        if closed {
            return Poll::Ready(this.reason);
        }
        let (Some(requests), Some(h2)) = (&*this.requests, this.h2.upgrade()) else {
            return Poll::Pending;
        };
        h2.publish_limit(requests.current_max_send_streams());
        while !h2.is_retired() && !(*this.armed && !this.timer.is_elapsed()) {
            *this.armed = true;
            if this.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            *this.armed = false;
            let now = Instant::now();
            let idle = h2.idle().map(|since| h2.epoch_nanos(now).saturating_sub(since));
            let idle_left =
                idle.map(|idle| this.idle_timeout.saturating_sub(Duration::from_nanos(idle)));
            let reason = if now >= *this.retire_at {
                Some("age")
            } else if idle_left.is_ok_and(|left| left.is_zero()) {
                Some("idle")
            } else {
                None
            };
            if let Some(reason) = reason {
                *this.reason = reason;
                // Its streams end on it; with the last of them the sender, and so this task.
                match this.pool.upgrade() {
                    Some(pool) => pool.h2.remove(&h2),
                    None => h2.retire(),
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let next = now.checked_add(idle_left.unwrap_or(*this.idle_timeout));
            this.timer.as_mut().reset(next.unwrap_or(*this.retire_at).min(*this.retire_at));
        }
        Poll::Pending
    }
}
