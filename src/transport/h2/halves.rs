//! hyper's two halves of an HTTP/2 connection, polled in turn by one task.
//!
//! One opens streams for requests, the other reads and writes frames. If GOAWAY came in while
//! hyper is opening a stream in another thread, it would report a stream that the peer has accepted
//! as a refused one, and lose a request that was still in hand. Each half has a waker of its own,
//! so that it is polled only when it was woken, and what it does for the other takes no further
//! round through the scheduler.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use hyper::client::conn::http2;

use super::{
    signals::{FRAMES, REQUESTS, STREAMS, Signals},
    streams::Spawner,
};
use crate::{
    core::{BoxFuture, Outgoing, polled_foreign},
    transport::connect::Io,
};

type Requests = http2::Connection<Box<dyn Io>, Outgoing, Spawner>;

/// Rounds before other tasks get their turn.
const ROUNDS: usize = 6;

/// Both halves of a connection, and what its streams wait for.
pub(in crate::transport) struct Halves {
    /// Opens streams; empty when no more are opened.
    requests: Option<Requests>,
    /// Reads and writes.
    frames: BoxFuture<()>,
    streams: Spawner,
    signals: Arc<Signals>,
    wakers: Wakers,
}

struct Wakers {
    requests: Waker,
    frames: Waker,
    streams: Waker,
}

/// What came of a round.
pub(super) enum Step {
    /// No more streams are opened; those that are go on.
    Draining(Option<hyper::Error>),
    /// The connection is gone.
    Closed(Option<hyper::Error>),
}

/// Wakes one part.
struct Part<const PART: u8>(Arc<Signals>);

// === impl Halves ===

impl Halves {
    pub(super) fn new(requests: Requests, frames: BoxFuture<()>, streams: Spawner) -> Self {
        // Nobody has polled either yet.
        let signals = Arc::new(Signals::new(FRAMES | REQUESTS));
        let wakers = Wakers {
            requests: Arc::new(Part::<REQUESTS>(Arc::clone(&signals))).into(),
            frames: Arc::new(Part::<FRAMES>(Arc::clone(&signals))).into(),
            streams: Arc::new(Part::<STREAMS>(Arc::clone(&signals))).into(),
        };
        Self { requests: Some(requests), frames, streams, signals, wakers }
    }

    /// The streams that the peer allows; nothing when no more are opened.
    pub(super) fn max_streams(&self) -> Option<usize> {
        self.requests.as_ref().map(http2::Connection::current_max_send_streams)
    }

    /// Polls whatever has been woken; after a step, it is to be polled again.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "as every poll has it")]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.signals.register(cx.waker());
        for _ in 0..ROUNDS {
            let woken = self.signals.take();
            if woken & FRAMES != 0 {
                let mut cx = Context::from_waker(&self.wakers.frames);
                if self.frames.as_mut().poll(&mut cx).is_ready() {
                    let why = self.why();
                    self.signals.leave(STREAMS);
                    return Poll::Ready(Step::Closed(why));
                }
            }
            if woken & REQUESTS != 0
                && let Some(half) = &mut self.requests
            {
                let mut cx = Context::from_waker(&self.wakers.requests);
                // Whatever this thread has polled before.
                polled_foreign();
                if let Poll::Ready(ended) = Pin::new(half).poll(&mut cx) {
                    // With it go hyper's references to the connection, which then ends with its
                    // streams; the other half is to notice.
                    self.requests = None;
                    self.signals.leave(FRAMES | STREAMS);
                    return Poll::Ready(Step::Draining(ended.err()));
                }
            }
            // A request has become a stream that nobody has polled yet.
            if woken & (REQUESTS | STREAMS) != 0 {
                self.streams.poll_streams(&mut Context::from_waker(&self.wakers.streams));
            }
            if self.signals.rest() {
                return Poll::Pending;
            }
        }
        self.signals.leave(0);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Why the connection is gone, which only the half that opens streams tells.
    fn why(&mut self) -> Option<hyper::Error> {
        // It tells the truth only when h2's connection has been dropped.
        self.frames = Box::pin(std::future::pending());
        let mut cx = Context::from_waker(&self.wakers.requests);
        match Pin::new(self.requests.as_mut()?).poll(&mut cx) {
            Poll::Ready(ended) => {
                self.requests = None;
                ended.err()
            }
            Poll::Pending => None,
        }
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        // First h2's connection, which tells its streams of its end.
        self.requests = None;
        self.frames = Box::pin(std::future::pending());
        self.streams.release();
    }
}

impl<const PART: u8> Wake for Part<PART> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.raise(PART);
    }
}
