//! One HTTP/2 connection: shared by its streams, driven by its task.

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Sleep;

use super::{connect::Io, pool::Pool};
use crate::{
    config::TransportSettings,
    core::{Body, BoxError, Epoch, Instant, Release},
};

type Connection = http2::Connection<Box<dyn Io>, Body, TokioExecutor>;

/// A connection that streams share.
pub(crate) struct H2 {
    pub(super) sender: http2::SendRequest<Body>,
    /// Streams in flight; one counts until its response body has ended.
    active: AtomicU32,
    /// The peer's limit, published by the driver: hyper's sender does not know it.
    max_streams: AtomicU32,
    /// When the last stream ended, in nanoseconds.
    idle_since: AtomicU64,
    retired: AtomicBool,
    epoch: Epoch,
}

impl H2 {
    /// Whether it takes one more stream, and how many it has.
    pub(super) fn load(&self) -> Option<u32> {
        if self.retired.load(Relaxed) || self.sender.is_closed() {
            return None;
        }
        Some(self.active.load(Relaxed))
    }

    /// Streams that it should have at most.
    pub(super) fn limit(&self, configured: u32) -> u32 {
        self.max_streams.load(Relaxed).min(configured).max(1)
    }

    pub(super) fn begin(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }
}

impl Release for H2 {
    fn release(&self) {
        if self.active.fetch_sub(1, Relaxed) == 1 {
            self.idle_since.store(self.epoch.nanos(Instant::now()), Relaxed);
        }
    }
}

/// Performs the handshake on a new stream.
pub(super) async fn handshake(
    io: Box<dyn Io>,
    settings: &TransportSettings,
    epoch: Epoch,
) -> Result<(Arc<H2>, Connection), BoxError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.http2_ping_interval)
        .keep_alive_timeout(settings.http2_ping_timeout)
        .initial_stream_window_size(settings.http2_stream_window_bytes)
        .initial_connection_window_size(settings.http2_connection_window_bytes);
    let (sender, connection) = builder.handshake(io).await?;
    let h2 = H2 {
        sender,
        active: AtomicU32::new(0),
        max_streams: AtomicU32::new(u32::MAX),
        idle_since: AtomicU64::new(epoch.nanos(Instant::now())),
        retired: AtomicBool::new(false),
        epoch,
    };
    Ok((Arc::new(h2), connection))
}

/// The task of a connection.
#[pin_project::pin_project]
pub(super) struct Driver {
    connection: Connection,
    h2: Weak<H2>,
    pool: Weak<Pool>,
    #[pin]
    timer: Sleep,
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
            connection,
            h2: Arc::downgrade(h2),
            pool: Arc::downgrade(pool),
            timer: tokio::time::sleep_until(first.min(retire_at)),
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
        let ended = Pin::new(&mut *this.connection).poll(cx);
        if ended.is_ready() {
            if let Poll::Ready(Err(error)) = ended {
                *this.reason = if error.is_timeout() { "keepalive" } else { "error" };
            }
            match this.pool.upgrade() {
                Some(pool) => pool.h2_ended(this.h2),
                None if *this.reason == "closed by peer" => *this.reason = "draining",
                None => {}
            }
            return Poll::Ready(this.reason);
        }
        let Some(h2) = this.h2.upgrade() else { return Poll::Pending };
        let streams = this.connection.current_max_send_streams();
        h2.max_streams.store(u32::try_from(streams).unwrap_or(u32::MAX), Relaxed);
        while !h2.retired.load(Relaxed) && this.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle = Duration::from_nanos(
                h2.epoch.nanos(now).saturating_sub(h2.idle_since.load(Relaxed)),
            );
            let busy = h2.active.load(Relaxed) > 0;
            let reason = if now >= *this.retire_at {
                Some("age")
            } else if !busy && idle >= *this.idle_timeout {
                Some("idle")
            } else {
                None
            };
            if let Some(reason) = reason {
                *this.reason = reason;
                h2.retire();
                // Its streams end on it; with the last of them the sender, and so this task.
                if let Some(pool) = this.pool.upgrade() {
                    pool.h2_retired(&h2);
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let idle_left =
                if busy { *this.idle_timeout } else { this.idle_timeout.saturating_sub(idle) };
            let next = now.checked_add(idle_left).unwrap_or(*this.retire_at);
            this.timer.as_mut().reset(next.min(*this.retire_at));
        }
        Poll::Pending
    }
}
