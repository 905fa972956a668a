//! hyper's two halves of an HTTP/2 connection, polled in turn by one task.
//!
//! One opens streams for requests, the other reads and writes frames. If GOAWAY came in while
//! hyper is opening a stream in another thread, it would report a stream that the peer has accepted
//! as a refused one, and lose a request that was still in hand. Each half has a waker of its own,
//! so that it is polled only when it was woken, and what it does for the other takes no further
//! round through the scheduler.
//!
//! The last stream that the peer allows is held by hyper until the other half has opened it. If GOAWAY
//! were read in between, hyper would go with it in hand, and its caller would not learn whether it
//! was sent: nothing is read before it is open.
//!
//! The body of a request that has one at hand follows its head in one write: a stream is opened first
//! with nothing written, then its body is handed over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use hyper::client::conn::http2;

use super::{
    last_words::{Hold, LastWords},
    signals::{FRAMES, REQUESTS, STREAMS, Signals, TRUST},
    streams::Spawner,
};
use crate::core::{BoxFuture, DisconnectReason, Outgoing, polled_body};

type Requests = http2::Connection<LastWords, Outgoing, Spawner>;

/// Rounds before other tasks get their turn.
const ROUNDS: usize = 6;

/// Both halves of a connection, and what its streams wait for.
pub(in crate::transport) struct Halves {
    /// Opens streams; empty when no more are opened.
    requests: Option<Requests>,
    /// Reads and writes.
    frames: BoxFuture<()>,
    streams: Spawner,
    /// Ends when what vouched for the peer is trusted no more; nothing on plaintext.
    distrusted: Option<BoxFuture<DisconnectReason>>,
    signals: Arc<Signals>,
    wakers: Wakers,
    hold: Hold,
    /// Streams may have begun that are not open yet.
    begun: bool,
    /// There are bodies that wait for that.
    bodies: bool,
}

struct Wakers {
    requests: Waker,
    frames: Waker,
    streams: Waker,
    trust: Waker,
}

/// What came of a round.
pub(super) enum Step {
    /// No more streams are opened; those that are go on.
    Draining(Option<hyper::Error>),
    /// The connection is gone.
    Closed(Option<hyper::Error>),
    /// What vouched for the peer is trusted no more.
    Distrusted(DisconnectReason),
}

/// Wakes one part.
struct Part<const PART: u8>(Arc<Signals>);

// === impl Halves ===

impl Halves {
    pub(super) fn new(
        requests: Requests,
        frames: BoxFuture<()>,
        streams: Spawner,
        hold: Hold,
    ) -> Self {
        // Nobody has polled any of them yet.
        let signals = Arc::new(Signals::new(FRAMES | REQUESTS | STREAMS));
        let wakers = Wakers {
            requests: Arc::new(Part::<REQUESTS>(Arc::clone(&signals))).into(),
            frames: Arc::new(Part::<FRAMES>(Arc::clone(&signals))).into(),
            streams: Arc::new(Part::<STREAMS>(Arc::clone(&signals))).into(),
            trust: Arc::new(Part::<TRUST>(Arc::clone(&signals))).into(),
        };
        Self {
            requests: Some(requests),
            frames,
            streams,
            distrusted: None,
            signals,
            wakers,
            hold,
            begun: false,
            bodies: false,
        }
    }

    /// Watches for the end of the trust in the peer from now on.
    pub(super) fn watch(&mut self, distrusted: BoxFuture<DisconnectReason>) {
        self.distrusted = Some(distrusted);
        self.signals.raise(TRUST);
    }

    /// The streams that the peer allows; nothing when no more are opened.
    pub(super) fn max_streams(&self) -> Option<usize> {
        self.requests.as_ref().map(http2::Connection::current_max_send_streams)
    }

    /// Polls whatever has been woken; after a step, it is to be polled again. `is_full` tells whether
    /// there are as many streams as the peer allows.
    pub(super) fn poll(&mut self, cx: &Context<'_>, is_full: impl Fn() -> bool) -> Poll<Step> {
        self.signals.register(cx.waker());
        for _ in 0..ROUNDS {
            let mut woken = self.signals.take();
            let mut is_held = false;
            if woken & FRAMES != 0 {
                let mut cx = Context::from_waker(&self.wakers.frames);
                let has_bodies = std::mem::take(&mut self.bodies);
                is_held = std::mem::take(&mut self.begun) && is_full();
                if is_held {
                    self.hold.reads(true);
                } else if has_bodies {
                    self.hold.writes(true);
                }
                let polled = self.frames.as_mut().poll(&mut cx);
                if is_held {
                    self.hold.reads(false);
                    // What has been opened is out of hyper's hands before anything is read.
                    woken |= REQUESTS;
                    self.signals.raise(FRAMES);
                } else if has_bodies {
                    self.hold.writes(false);
                    self.signals.raise(FRAMES);
                }
                if polled.is_ready() {
                    let why = self.why();
                    self.signals.leave(STREAMS);
                    return Poll::Ready(Step::Closed(why));
                }
            }
            // Before those that begin now: of their bodies nothing can be sent before the other half has
            // opened them.
            if woken & STREAMS != 0 {
                self.streams.poll_streams(&mut Context::from_waker(&self.wakers.streams));
            }
            if woken & REQUESTS != 0
                && let Some(half) = &mut self.requests
            {
                // Once is enough: what cannot be opened for longer must not keep the peer unheard.
                self.begun = !is_held;
                let mut cx = Context::from_waker(&self.wakers.requests);
                // Whatever this thread has polled before.
                polled_body();
                if let Poll::Ready(ended) = Pin::new(half).poll(&mut cx) {
                    // With it go hyper's references to the connection, which then ends with its
                    // streams; the other half is to notice.
                    self.requests = None;
                    self.signals.leave(FRAMES | STREAMS);
                    return Poll::Ready(Step::Draining(ended.err()));
                }
                self.bodies |= self.streams.has_bodies();
            }
            if woken & TRUST != 0
                && let Some(distrusted) = &mut self.distrusted
            {
                let mut cx = Context::from_waker(&self.wakers.trust);
                if let Poll::Ready(reason) = distrusted.as_mut().poll(&mut cx) {
                    self.distrusted = None;
                    self.signals.leave(0);
                    return Poll::Ready(Step::Distrusted(reason));
                }
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

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
    };

    use http::Request;
    use hyper::rt::{Read, ReadBufCursor, Write};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncWriteExt, DuplexStream},
        runtime::Handle,
        sync::oneshot,
    };

    use super::*;
    use crate::{
        core::{Epoch, Random},
        transport::shared::Shared,
    };

    #[tokio::test]
    async fn a_wake_asks_about_trust_only_when_trust_has_something_to_say() {
        let (near, _far) = tokio::io::duplex(65_536);
        let random = Arc::new(Random::seeded(1));
        let shared = Arc::new(Shared::new(Handle::current(), random, Epoch::now()));
        let spawner = Spawner::new(shared);
        let hold = Hold::default();
        let io = LastWords::new(Box::new(TokioIo::new(near)), hold.clone());
        let (_sender, requests) = http2::Builder::new(spawner.clone()).handshake(io).await.unwrap();
        let mut halves = Halves::new(requests, spawner.frames().unwrap(), spawner, hold);
        let (tell, mut told) = oneshot::channel();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        halves.watch(Box::pin(std::future::poll_fn(move |cx| {
            count.fetch_add(1, SeqCst);
            Pin::new(&mut told).poll(cx).map(|reason| reason.unwrap())
        })));
        for _ in 0..10 {
            halves.signals.raise(FRAMES | REQUESTS | STREAMS);
            std::future::poll_fn(|cx| {
                assert!(halves.poll(cx, || false).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(asked.load(SeqCst), 1);
        tell.send(DisconnectReason::Revoked).unwrap();
        let step = std::future::poll_fn(|cx| halves.poll(cx, || false)).await;
        assert!(matches!(step, Step::Distrusted(DisconnectReason::Revoked)));
        assert_eq!(asked.load(SeqCst), 2);
    }

    /// A stream on which the peer says something that wakes nobody, as on a busy machine.
    struct Quiet(TokioIo<DuplexStream>, Arc<Mutex<Vec<u8>>>);

    impl Read for Quiet {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            mut buf: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            let said = std::mem::take(&mut *self.1.lock().unwrap());
            if said.is_empty() {
                return Pin::new(&mut self.0).poll_read(cx, buf);
            }
            buf.put_slice(&said);
            Poll::Ready(Ok(()))
        }
    }

    impl Write for Quiet {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// A stream that counts its writes.
    struct Counting(TokioIo<DuplexStream>, Arc<AtomicUsize>);

    impl Read for Counting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl Write for Counting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, SeqCst);
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn heads_and_bodies_of_requests_are_written_at_once() {
        let (near, mut far) = tokio::io::duplex(65_536);
        let random = Arc::new(Random::seeded(1));
        let shared = Arc::new(Shared::new(Handle::current(), random, Epoch::now()));
        let (spawner, hold) = (Spawner::new(shared), Hold::default());
        let writes = Arc::<AtomicUsize>::default();
        let io = Counting(TokioIo::new(near), Arc::clone(&writes));
        let io = LastWords::new(Box::new(io), hold.clone());
        let (mut sender, requests) =
            http2::Builder::new(spawner.clone()).handshake(io).await.unwrap();
        let mut halves = Halves::new(requests, spawner.frames().unwrap(), spawner, hold);
        far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut drive = async || {
            std::future::poll_fn(|cx| {
                assert!(halves.poll(cx, || false).is_pending());
                Poll::Ready(())
            })
            .await;
            writes.swap(0, SeqCst)
        };
        drive().await;
        let mut sent = Vec::new();
        for bodies in [vec!["", "a", "bc"], vec![""], vec!["d"]] {
            for body in bodies {
                let body = bytes::Bytes::from_static(body.as_bytes()).into();
                let request = Request::post("http://users/").body(body).unwrap();
                let mut answer = Box::pin(sender.try_send_request(request));
                assert!(futures_util::poll!(answer.as_mut()).is_pending());
                sent.push(answer);
            }
            assert_eq!(drive().await, 1);
            assert_eq!(drive().await, 0, "nothing is left");
        }
    }

    /// GOAWAY that comes between a request and its stream.
    #[tokio::test]
    async fn the_last_stream_that_a_peer_allows_is_answered_whatever_comes_while_it_begins() {
        let (near, mut far) = tokio::io::duplex(65_536);
        let random = Arc::new(Random::seeded(1));
        let shared = Arc::new(Shared::new(Handle::current(), random, Epoch::now()));
        let (spawner, said, hold) = (Spawner::new(shared), Arc::default(), Hold::default());
        let io = Quiet(TokioIo::new(near), Arc::clone(&said));
        let io = LastWords::new(Box::new(io), hold.clone());
        let (mut sender, requests) =
            http2::Builder::new(spawner.clone()).handshake(io).await.unwrap();
        let mut halves = Halves::new(requests, spawner.frames().unwrap(), spawner, hold);
        // SETTINGS: one stream at a time.
        far.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1]).await.unwrap();
        std::future::poll_fn(|cx| {
            assert!(halves.poll(cx, || true).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(halves.max_streams(), Some(1));
        // GOAWAY: it goes, and takes what has begun, and more.
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        said.lock().unwrap().extend(goaway);
        let request = Request::post("http://users/").body(Outgoing::default()).unwrap();
        let mut sent = std::pin::pin!(sender.try_send_request(request));
        let mut drive = |cx: &mut Context<'_>| {
            while let Poll::Ready(Step::Draining(_) | Step::Distrusted(_)) =
                halves.poll(cx, || true)
            {}
        };
        std::future::poll_fn(|cx| {
            drive(cx);
            assert!(sent.as_mut().poll(cx).is_pending(), "lost");
            Poll::Ready(())
        })
        .await;
        assert!(said.lock().unwrap().is_empty(), "GOAWAY is read");
        // `:status 200`, and no body.
        far.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]).await.unwrap();
        let answer = std::future::poll_fn(|cx| {
            drive(cx);
            sent.as_mut().poll(cx)
        });
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), answer).await;
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
}
