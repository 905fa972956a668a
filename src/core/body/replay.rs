//! Replay of request bodies: buffered lazily, capped, for any body.

#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use super::Outgoing;
use crate::core::{Error, ErrorKind, Phase};

/// Frames that are kept whatever the cap is, and what each of the others counts for it beside its bytes:
/// a stream of single bytes is not to fill the memory.
const FEW: usize = 16;
const FRAME: usize = size_of::<Bytes>();

/// The means to send a request body once more.
///
/// Bodies that can be had twice for nothing are cloned. Any other is read through a shared
/// buffer that keeps what the first attempt sent, up to the cap: over it the buffer is dropped,
/// the attempt that is ahead goes on, one that is behind it fails, and a later one is refused.
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

/// Locked by one body at a time, for the poll of a frame. After a retry only the newest attempt's
/// body reads; those of a hedged call read beside each other.
pub(crate) struct Shared {
    source: Outgoing,
    /// What was read, from the frame with the number `base` on.
    frames: Vec<Bytes>,
    base: usize,
    trailers: Option<HeaderMap>,
    buffered: usize,
    cap: usize,
    overflowed: bool,
    /// The source has given its last frame.
    drained: bool,
    /// The source has given an error instead of its last frame.
    failed: bool,
    /// The newest attempt, and the oldest that may read.
    attempt: u32,
    oldest: u32,
    /// Who waits for the source, while it is the only one.
    lone: Option<Waker>,
    /// The same of several.
    readers: Option<Arc<Readers>>,
}

/// The attempts that wait for the source. It knows one waker: this one, which wakes them all, so
/// that none depends on another that does not read any more, or has no room to send.
#[derive(Default)]
pub(crate) struct Readers(Mutex<Vec<(u32, Waker)>>);

/// The body of one attempt.
pub(super) struct ReplayHandle {
    shared: Arc<Mutex<Shared>>,
    attempt: u32,
    /// The number of the frame that it reads next.
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
            base: 0,
            trailers: None,
            buffered: 0,
            cap,
            overflowed,
            drained: false,
            failed: false,
            attempt: 0,
            oldest: 0,
            lone: None,
            readers: None,
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

    /// The body of the next attempt, from its first byte; those before can read no more.
    pub(crate) fn next(&self) -> Result<Outgoing, Unrepeatable> {
        self.another(true)
    }

    /// The body of a further attempt, from its first byte, beside those that read already.
    pub(crate) fn beside(&self) -> Result<Outgoing, Unrepeatable> {
        self.another(false)
    }

    fn another(&self, alone: bool) -> Result<Outgoing, Unrepeatable> {
        match self {
            Self::Free(bytes) => Ok(bytes.clone().into()),
            Self::Shared(shared) => {
                let mut inner = lock(shared);
                inner.check()?;
                inner.attempt += 1;
                let attempt = inner.attempt;
                if alone {
                    inner.oldest = attempt;
                } else {
                    inner.share();
                }
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

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
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
        if let Some(why) = shared.excludes(this) {
            this.ended = true;
            let error = Error::new(ErrorKind::RequestBody, Phase::Request).detail(why);
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(bytes) = shared.frames.get(this.next - shared.base) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if shared.drained {
            this.ended = true;
            return Poll::Ready(shared.trailers.clone().map(|map| Ok(Frame::trailers(map))));
        }
        let Poll::Ready(frame) = shared.read(this.attempt, cx) else { return Poll::Pending };
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
                if Arc::strong_count(&this.shared) == 1 {
                    shared.release(this.next);
                }
                let frame = shared.keep(frame, &mut this.next);
                this.ended = frame.is_trailers();
                Some(Ok(frame))
            }
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        self.ended
            || (self.next == shared.base + shared.frames.len()
                && shared.trailers.is_none()
                && (shared.drained || (!shared.failed && shared.source.is_end_stream())))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let shared = lock(&self.shared);
        let read = self.next.saturating_sub(shared.base);
        let replayed: u64 = shared.frames.iter().skip(read).map(|bytes| bytes.len() as u64).sum();
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

    /// Why an attempt can read no more.
    fn excludes(&self, handle: &ReplayHandle) -> Option<&'static str> {
        if handle.attempt < self.oldest {
            Some("a newer attempt of this call has taken the body over")
        } else if handle.next < self.base {
            Some("the body is larger than what is kept of it, and another attempt is ahead")
        } else if self.failed {
            Some("the body has failed while another attempt read it")
        } else {
            None
        }
    }

    /// There are several readers from now on.
    fn share(&mut self) {
        let lone = self.lone.take();
        let readers = self.readers.get_or_insert_default();
        if let Some(waker) = lone {
            // Whoever waits now is the newest before this one.
            lock(&readers.0).push((self.attempt - 1, waker));
        }
    }

    /// Asks the source for its next frame.
    fn read(
        &mut self,
        attempt: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(readers) = &self.readers else {
            let polled = Pin::new(&mut self.source).poll_frame(cx);
            if polled.is_pending() && !self.lone.as_ref().is_some_and(|it| it.will_wake(cx.waker()))
            {
                self.lone = Some(cx.waker().clone());
            }
            return polled;
        };
        readers.wait(attempt, cx.waker());
        let all = Waker::from(Arc::clone(readers));
        let polled = Pin::new(&mut self.source).poll_frame(&mut Context::from_waker(&all));
        if polled.is_ready() {
            // The others find it in the buffer.
            readers.wake_others(attempt);
        }
        polled
    }

    /// Nobody but the one reader, which has come so far, has any use for the body any more: the call is
    /// committed to this attempt.
    //= gRFC A6: on commit the buffered messages are discarded
    fn release(&mut self, next: usize) {
        if !self.overflowed && next == self.base + self.frames.len() {
            self.give_up();
        }
    }

    /// Keeps nothing, from now on.
    fn give_up(&mut self) {
        self.overflowed = true;
        self.base += self.frames.len();
        self.frames = Vec::new();
    }

    /// Keeps a copy of what goes out, unless that would exceed the cap.
    fn keep(&mut self, frame: Frame<Bytes>, next: &mut usize) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(bytes) => {
                self.buffered = self.buffered.saturating_add(bytes.len());
                if self.buffered > self.cap || self.frames.len() > FEW + self.cap / FRAME {
                    self.give_up();
                }
                // An empty frame says nothing, and may come without end.
                if !bytes.is_empty() {
                    *next += 1;
                    if self.overflowed {
                        // Who has not read it never will.
                        self.base += 1;
                    } else {
                        self.frames.push(bytes.clone());
                    }
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

// === impl Readers ===

impl Readers {
    fn wait(&self, attempt: u32, waker: &Waker) {
        let mut waiting = lock(&self.0);
        match waiting.iter_mut().find(|(known, _)| *known == attempt) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((attempt, waker.clone())),
        }
    }

    fn wake_others(&self, than: u32) {
        let mut waiting = lock(&self.0);
        let woken = std::mem::take(&mut *waiting);
        drop(waiting);
        for (attempt, waker) in woken {
            if attempt != than {
                waker.wake();
            }
        }
    }
}

impl Wake for Readers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = std::mem::take(&mut *lock(&self.0));
        for (_, waker) in woken {
            waker.wake();
        }
    }
}
