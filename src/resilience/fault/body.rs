//! A body that is passed on at a rate.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::pace::Pace;
use crate::core::{Epoch, Held, Instant};

/// What keeps a body slow, in a box of its own: most bodies are not.
#[expect(unnameable_types, reason = "part of a sealed trait")]
pub struct Slow {
    pace: Pace,
    epoch: Epoch,
    /// What is there, and may not go yet.
    left: Bytes,
    timer: Option<Pin<Box<Sleep>>>,
    /// Its place among the faults that are active.
    held: Held,
}

/// The response body of [`Fault`](super::Fault): that of the call, at a rate where one was injected,
/// or what a call was answered with instead.
///
/// `Unpin` when `B` is, and `Default`: empty.
#[pin_project::pin_project]
pub struct FaultBody<B> {
    /// What is sent before anything of `inner`.
    own: Option<Bytes>,
    #[pin]
    inner: Option<B>,
    slow: Option<Box<Slow>>,
}

// === impl Slow ===

impl Slow {
    /// A body at this rate, in bytes per second, from now on.
    pub(crate) fn new(rate: u64, held: Held) -> Box<Self> {
        let (epoch, pace) = (Epoch::now(), Pace::new(rate, 0));
        Box::new(Self { pace, epoch, left: Bytes::new(), timer: None, held })
    }

    /// The next of what is left.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            let now = self.epoch.nanos(Instant::now());
            match self.pace.take(now, self.left.len()) {
                0 => {
                    let wait = self.pace.wait(now, self.left.len());
                    // Tokio's timers are of whole milliseconds.
                    let wait = wait.max(Duration::from_millis(1));
                    self.timer = Some(Box::pin(tokio::time::sleep(wait)));
                }
                given => return Poll::Ready(self.left.split_to(given)),
            }
        }
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slow").field("pace", &self.pace).finish_non_exhaustive()
    }
}

// === impl FaultBody ===

impl<B> FaultBody<B> {
    pub(crate) fn new(inner: B, slow: Option<Box<Slow>>) -> Self {
        Self { own: None, inner: Some(inner), slow }
    }

    /// A body that is made here.
    pub(crate) fn own(bytes: Bytes) -> Self {
        Self { own: (!bytes.is_empty()).then_some(bytes), inner: None, slow: None }
    }
}

impl<B> Default for FaultBody<B> {
    fn default() -> Self {
        Self { own: None, inner: None, slow: None }
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for FaultBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        if let Some(bytes) = this.own.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(slow) = this.slow else { return inner.poll_frame(cx) };
        if slow.left.is_empty() {
            let frame = ready!(inner.as_mut().poll_frame(cx));
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => slow.left = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(trailers) => {
                        slow.held = Held::Nothing;
                        return Poll::Ready(Some(Ok(trailers)));
                    }
                },
                end => {
                    slow.held = Held::Nothing;
                    return Poll::Ready(end);
                }
            }
        }
        let part = ready!(slow.poll(cx));
        if slow.left.is_empty() && inner.is_end_stream() {
            slow.held = Held::Nothing;
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.own.is_none()
            && self.slow.as_ref().is_none_or(|slow| slow.left.is_empty())
            && self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let own = self.own.as_ref().map_or(0, Bytes::len);
        let left = own + self.slow.as_ref().map_or(0, |slow| slow.left.len());
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let mut hint = match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint.set_lower(hint.lower().saturating_add(left));
        hint
    }
}

impl<B> fmt::Debug for FaultBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultBody").field("slow", &self.slow.is_some()).finish_non_exhaustive()
    }
}
