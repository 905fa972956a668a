//! Replay of request bodies: buffered lazily, capped, for any body.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use super::Outgoing;
use crate::core::{Error, ErrorKind, Phase};

/// The means to send a request body once more.
///
/// Bodies that can be had twice for nothing are cloned. Any other is read through a shared
/// buffer that keeps what the first attempt sent, up to the cap: over it the buffer is dropped,
/// that attempt goes on, and a later one is refused.
pub(crate) enum ReplayBody {
    Free(Bytes),
    Shared(Arc<Mutex<Shared>>),
}

/// Why a body cannot be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unrepeatable {
    /// It is larger than the cap.
    TooLarge,
    /// It has failed itself: what was read of it is not the whole.
    Failed,
}

/// Locked by one body at a time: the newest attempt's. An abandoned attempt's body meets the
/// lock only to learn that it is out of date, so nobody waits.
pub(crate) struct Shared {
    source: Outgoing,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    buffered: usize,
    cap: usize,
    overflowed: bool,
    /// The source has given its last frame.
    drained: bool,
    /// The source has given an error instead of its last frame.
    failed: bool,
    /// The attempt that may read.
    attempt: u32,
}

/// The body of one attempt.
pub(super) struct ReplayHandle {
    shared: Arc<Mutex<Shared>>,
    attempt: u32,
    next: usize,
    ended: bool,
}

// === impl ReplayBody ===

impl ReplayBody {
    /// Splits `body` into the first attempt's body and the means to send it again.
    ///
    /// `cap` bounds the buffered bytes.
    pub(crate) fn arm(body: Outgoing, cap: usize) -> (Outgoing, Self) {
        if let Some(copy) = body.cheap() {
            return (body, Self::Free(copy));
        }
        let overflowed = body.size_hint().lower() > cap as u64;
        let shared = Arc::new(Mutex::new(Shared {
            source: body,
            frames: Vec::new(),
            trailers: None,
            buffered: 0,
            cap,
            overflowed,
            drained: false,
            failed: false,
            attempt: 0,
        }));
        (handle(&shared, 0), Self::Shared(shared))
    }

    /// Whether there may be a next attempt; asking changes nothing.
    pub(crate) fn check(&self) -> Result<(), Unrepeatable> {
        match self {
            Self::Free(_) => Ok(()),
            Self::Shared(shared) => lock(shared).check(),
        }
    }

    /// The body of the next attempt, from its first byte; the one before can read no more.
    pub(crate) fn next(&self) -> Result<Outgoing, Unrepeatable> {
        match self {
            Self::Free(bytes) => Ok(bytes.clone().into()),
            Self::Shared(shared) => {
                let mut inner = lock(shared);
                inner.check()?;
                inner.attempt += 1;
                let attempt = inner.attempt;
                drop(inner);
                Ok(handle(shared, attempt))
            }
        }
    }
}

fn handle(shared: &Arc<Mutex<Shared>>, attempt: u32) -> Outgoing {
    let shared = Arc::clone(shared);
    Outgoing::replay(ReplayHandle { shared, attempt, next: 0, ended: false })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl ReplayHandle ===

impl ReplayHandle {
    pub(super) fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut shared = lock(&this.shared);
        if shared.attempt != this.attempt {
            this.ended = true;
            return Poll::Ready(Some(Err(Error::new(ErrorKind::RequestBody, Phase::Request)
                .detail("a newer attempt of this call has taken the body over"))));
        }
        if let Some(bytes) = shared.frames.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if shared.drained {
            this.ended = true;
            return Poll::Ready(shared.trailers.clone().map(|map| Ok(Frame::trailers(map))));
        }
        let frame = ready!(Pin::new(&mut shared.source).poll_frame(cx));
        Poll::Ready(match frame {
            None => {
                shared.drained = true;
                this.ended = true;
                None
            }
            Some(Err(error)) => {
                shared.failed = true;
                this.ended = true;
                Some(Err(error))
            }
            Some(Ok(frame)) => {
                let frame = shared.keep(frame, &mut this.next);
                this.ended = frame.is_trailers();
                Some(Ok(frame))
            }
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        self.ended
            || (self.next == shared.frames.len()
                && shared.trailers.is_none()
                && (shared.drained || shared.source.is_end_stream()))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let shared = lock(&self.shared);
        let replayed: u64 =
            shared.frames.iter().skip(self.next).map(|bytes| bytes.len() as u64).sum();
        let rest = shared.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(replayed));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(replayed));
        }
        hint
    }
}

// === impl Shared ===

impl Shared {
    fn check(&self) -> Result<(), Unrepeatable> {
        if self.failed {
            Err(Unrepeatable::Failed)
        } else if self.overflowed {
            Err(Unrepeatable::TooLarge)
        } else {
            Ok(())
        }
    }

    /// Keeps a copy of what goes out, unless that would exceed the cap.
    fn keep(&mut self, frame: Frame<Bytes>, next: &mut usize) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(bytes) => {
                self.buffered = self.buffered.saturating_add(bytes.len());
                if self.buffered > self.cap {
                    self.overflowed = true;
                    self.frames = Vec::new();
                    *next = 0;
                }
                // An empty frame says nothing, and may come without end.
                if !self.overflowed && !bytes.is_empty() {
                    self.frames.push(bytes.clone());
                    *next += 1;
                }
                Frame::data(bytes)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    self.drained = true;
                    self.trailers = Some(trailers.clone());
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn stream(parts: &'static [&'static str]) -> Outgoing {
        let frames = parts.iter().map(|part| {
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(part.as_bytes())))
        });
        Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn read(body: Outgoing) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_second_attempt_sends_the_same_bytes() {
        let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd", "ef"]), 64);
        let _sent = first.frame().await;
        drop(first);
        assert_eq!(read(replay.next().unwrap()).await, "abcdef");
        assert_eq!(read(replay.next().unwrap()).await, "abcdef");
    }

    #[tokio::test]
    async fn over_the_cap_the_first_attempt_goes_on_and_a_retry_is_refused() {
        let (first, replay) = ReplayBody::arm(stream(&["abc", "def"]), 5);
        assert_eq!(read(first).await, "abcdef");
        assert!(replay.next().is_err());
    }

    #[tokio::test]
    async fn exactly_the_cap_is_replayed() {
        let (first, replay) = ReplayBody::arm(stream(&["abc", "def"]), 6);
        assert_eq!(read(first).await, "abcdef");
        assert_eq!(read(replay.next().unwrap()).await, "abcdef");
    }

    #[tokio::test]
    async fn an_abandoned_attempt_cannot_steal_bytes_from_the_newer_one() {
        let (mut first, replay) = ReplayBody::arm(stream(&["ab", "cd"]), 64);
        let _sent = first.frame().await;
        let second = replay.next().unwrap();
        assert!(first.frame().await.unwrap().is_err());
        assert_eq!(read(second).await, "abcd");
    }

    #[tokio::test]
    async fn a_body_that_failed_is_not_sent_again_as_a_shorter_whole_one() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"first half"))), Err("the disk is gone")];
        let body = Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)));
        let (mut first, replay) = ReplayBody::arm(body, 64);
        assert!(first.frame().await.unwrap().is_ok());
        assert!(replay.check().is_ok());
        assert!(first.frame().await.unwrap().is_err());
        assert_eq!(replay.check(), Err(Unrepeatable::Failed));
        assert!(replay.next().is_err());
    }

    #[tokio::test]
    async fn trailers_are_sent_once_by_each_attempt() {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "1".parse().unwrap())]);
        let frames = [Frame::data(Bytes::from_static(b"ab")), Frame::trailers(trailers)];
        let frames = frames.map(Ok::<_, std::convert::Infallible>);
        let body = Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)));
        let (first, replay) = ReplayBody::arm(body, 64);
        let mut attempt = first;
        for _ in 0..3 {
            assert!(attempt.frame().await.unwrap().unwrap().is_data());
            assert!(attempt.frame().await.unwrap().unwrap().is_trailers());
            assert!(attempt.frame().await.is_none());
            attempt = replay.next().unwrap();
        }
    }

    #[tokio::test]
    async fn a_full_body_is_replayed_without_a_buffer() {
        let (first, replay) = ReplayBody::arm(Bytes::from_static(b"hello").into(), 1);
        assert_eq!(read(first).await, "hello");
        assert_eq!(read(replay.next().unwrap()).await, "hello");
    }
}
