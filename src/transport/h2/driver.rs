//! The task of an HTTP/2 connection: publishes the peer's limit, ends the idle and the old.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;

use super::{
    connection::Streams,
    halves::{Halves, Step},
};
use crate::{
    core::{BoxFuture, DisconnectReason, Instant},
    transport::pool::Pool,
};

#[pin_project::pin_project(project = DriverProj, PinnedDrop)]
pub(super) struct Driver {
    halves: Halves,
    streams: Weak<Streams>,
    pool: Weak<Pool>,
    #[pin]
    timer: Sleep,
    /// The timer will wake this task: to poll it before costs two readings of the clock.
    armed: bool,
    retire_at: Instant,
    idle_timeout: Duration,
    polls: u8,
    reason: DisconnectReason,
    /// That of its pool when it was made.
    era: u32,
}

impl Driver {
    pub(super) fn new(
        mut halves: Halves,
        streams: &Arc<Streams>,
        (pool, era): (&Arc<Pool>, u32),
        retire_at: Instant,
        idle_timeout: Duration,
        distrusted: Option<BoxFuture<DisconnectReason>>,
    ) -> Self {
        if let Some(distrusted) = distrusted {
            halves.watch(distrusted);
        }
        let first = Instant::now().checked_add(idle_timeout).unwrap_or(retire_at);
        Self {
            halves,
            streams: Arc::downgrade(streams),
            pool: Arc::downgrade(pool),
            timer: tokio::time::sleep_until(first.min(retire_at)),
            armed: false,
            retire_at,
            idle_timeout,
            polls: 0,
            reason: DisconnectReason::ClosedByPeer,
            era,
        }
    }
}

impl Future for Driver {
    /// Why the connection ended.
    type Output = DisconnectReason;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<DisconnectReason> {
        let mut this = self.project();
        let streams = this.streams.upgrade();
        let is_full = || streams.as_ref().is_some_and(|streams| streams.is_full());
        while let Poll::Ready(step) = this.halves.poll(cx, is_full) {
            let error = match &step {
                Step::Closed(error) | Step::Draining(error) => error,
                Step::Distrusted(reason) => {
                    if let Some(streams) = &streams {
                        return this.retire(streams, *reason, cx);
                    }
                    continue;
                }
            };
            if let Some(error) = error {
                *this.reason = if error.is_timeout() {
                    DisconnectReason::Keepalive
                } else {
                    DisconnectReason::Error
                };
            }
            let reason = this.ended();
            if matches!(step, Step::Closed(_)) {
                return Poll::Ready(reason);
            }
        }
        let Some(streams) = streams else { return Poll::Pending };
        if streams.is_spent() && *this.reason == DisconnectReason::ClosedByPeer {
            *this.reason = DisconnectReason::MaxRequests;
        }
        // Its SETTINGS seldom change, and asking takes h2's lock.
        *this.polls = this.polls.wrapping_add(1);
        if (this.polls.is_multiple_of(8) || streams.is_limit_due())
            && let Some(most) = this.halves.max_streams()
        {
            streams.publish_limit(most);
        }
        while !streams.is_retired() && (!*this.armed || this.timer.is_elapsed()) {
            // Without budget the poll leaves no waker behind.
            *this.armed = tokio::task::coop::has_budget_remaining();
            if this.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            *this.armed = false;
            let now = Instant::now();
            let idle_left = streams.idle(now).map(|idle| this.idle_timeout.saturating_sub(idle));
            let reason = if now >= *this.retire_at {
                Some(DisconnectReason::Age)
            } else if idle_left.is_some_and(|left| left.is_zero()) {
                Some(DisconnectReason::Idle)
            } else {
                None
            };
            if let Some(reason) = reason {
                return this.retire(&streams, reason, cx);
            }
            let next = now.checked_add(idle_left.unwrap_or(*this.idle_timeout));
            this.timer.as_mut().reset(next.unwrap_or(*this.retire_at).min(*this.retire_at));
        }
        Poll::Pending
    }
}

impl DriverProj<'_> {
    /// Takes no more streams. Those that it has end on it; with the last of them the sender, and so
    /// this task.
    fn retire(
        &mut self,
        streams: &Arc<Streams>,
        reason: DisconnectReason,
        cx: &Context<'_>,
    ) -> Poll<DisconnectReason> {
        *self.reason = reason;
        match self.pool.upgrade() {
            Some(pool) => pool.h2.remove(streams),
            None => {
                streams.retire();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// No more streams are opened, or the connection is gone: it leaves its pool.
    fn ended(&mut self) -> DisconnectReason {
        let (pool, streams) = (self.pool.upgrade(), self.streams.upgrade());
        match (&pool, &streams) {
            (Some(pool), Some(streams)) => pool.h2.ended(streams),
            (None, _) if *self.reason == DisconnectReason::ClosedByPeer => {
                *self.reason = DisconnectReason::Draining;
            }
            (Some(pool), None)
                if *self.reason == DisconnectReason::ClosedByPeer && pool.era() != *self.era =>
            {
                *self.reason = DisconnectReason::Draining;
            }
            _ => {}
        }
        if let Some(streams) = &streams {
            streams.close();
        }
        *self.reason
    }
}

#[pin_project::pinned_drop]
impl PinnedDrop for Driver {
    fn drop(self: Pin<&mut Self>) {
        // A task that was aborted, or in which a user's stream panicked, leaves the pool as well.
        self.project().ended();
    }
}
