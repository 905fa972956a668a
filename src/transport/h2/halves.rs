//! hyper's two halves of an HTTP/2 connection, polled in turn by one task.
//!
//! One opens streams for requests, the other reads and writes frames. If GOAWAY came in while
//! hyper is opening a stream in another thread, it would report a stream that the peer has accepted
//! as a refused one, and lose a request that was still in hand. Each half has a waker of its own,
//! so that it is polled only when it was woken, and what it does for the other takes no further
//! round through the scheduler.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use atomic_waker::AtomicWaker;
use hyper::client::conn::http2;

use super::handshake::Spawner;
use crate::{
    core::{BoxFuture, Outgoing},
    transport::connect::Io,
};

type Requests = http2::Connection<Box<dyn Io>, Outgoing, Spawner>;

/// Rounds before other tasks get their turn.
const ROUNDS: usize = 4;

/// Both halves of a connection.
pub(in crate::transport) struct Halves {
    /// Opens streams; empty when no more are opened.
    requests: Option<Requests>,
    /// Reads and writes.
    frames: BoxFuture<()>,
    signals: Arc<Signals>,
    requests_waker: Waker,
    frames_waker: Waker,
}

/// What came of a round.
pub(super) enum Step {
    /// No more streams are opened; those that are go on.
    Draining(Option<hyper::Error>),
    /// The connection is gone.
    Closed(Option<hyper::Error>),
}

/// Which half has been woken.
#[derive(Default)]
struct Signals {
    task: AtomicWaker,
    requests: AtomicBool,
    frames: AtomicBool,
    /// The task is at it: a signal needs no wake-up.
    polling: AtomicBool,
}

struct RequestsWaker(Arc<Signals>);

struct FramesWaker(Arc<Signals>);

// === impl Halves ===

impl Halves {
    pub(super) fn new(requests: Requests, frames: BoxFuture<()>) -> Self {
        let signals = Arc::new(Signals::default());
        // Nobody has polled either yet.
        signals.requests.store(true, SeqCst);
        signals.frames.store(true, SeqCst);
        let requests_waker = Arc::new(RequestsWaker(Arc::clone(&signals))).into();
        let frames_waker = Arc::new(FramesWaker(Arc::clone(&signals))).into();
        Self { requests: Some(requests), frames, signals, requests_waker, frames_waker }
    }

    /// The streams that the peer allows; nothing when no more are opened.
    pub(super) fn max_streams(&self) -> Option<usize> {
        self.requests.as_ref().map(http2::Connection::current_max_send_streams)
    }

    /// Polls whichever half has been woken; after a step, it is to be polled again.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "as every poll has it")]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.signals.task.register(cx.waker());
        for _ in 0..ROUNDS {
            self.signals.polling.store(true, SeqCst);
            let frames = self.signals.frames.swap(false, SeqCst);
            if frames {
                let mut cx = Context::from_waker(&self.frames_waker);
                if self.frames.as_mut().poll(&mut cx).is_ready() {
                    return Poll::Ready(Step::Closed(self.why()));
                }
            }
            let requests = self.signals.requests.swap(false, SeqCst);
            if requests && let Some(half) = &mut self.requests {
                let mut cx = Context::from_waker(&self.requests_waker);
                if let Poll::Ready(ended) = Pin::new(half).poll(&mut cx) {
                    // With it go hyper's references to the connection, which then ends with its
                    // streams; the other half is to notice.
                    self.requests = None;
                    self.signals.frames.store(true, SeqCst);
                    self.signals.polling.store(false, SeqCst);
                    return Poll::Ready(Step::Draining(ended.err()));
                }
            }
            // A signal that comes from here on wakes the task; one that came before is seen.
            self.signals.polling.store(false, SeqCst);
            if !self.signals.frames.load(SeqCst) && !self.signals.requests.load(SeqCst) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Halves {
    /// Why the connection is gone, which only the half that opens streams tells.
    fn why(&mut self) -> Option<hyper::Error> {
        // It tells the truth only when h2's connection has been dropped.
        self.frames = Box::pin(std::future::pending());
        let mut cx = Context::from_waker(&self.requests_waker);
        match Pin::new(self.requests.as_mut()?).poll(&mut cx) {
            Poll::Ready(ended) => {
                self.requests = None;
                ended.err()
            }
            Poll::Pending => None,
        }
    }
}

// === impl Signals ===

impl Signals {
    fn raised(&self, half: &AtomicBool) {
        half.store(true, SeqCst);
        if !self.polling.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl Wake for RequestsWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.raised(&self.0.requests);
    }
}

impl Wake for FramesWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.raised(&self.0.frames);
    }
}
