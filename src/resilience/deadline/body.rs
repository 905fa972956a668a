//! A response body under a deadline that covers the trailers.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::exceeded;
use crate::core::{BoxError, Instant, Phase, grpc};

/// A response body that ends by a deadline, if its call has one that reaches so far.
///
/// `Unpin` when `B` is; empty by default. Its timer is armed, in one allocation, when a frame has to
/// be waited for under a deadline.
#[pin_project::pin_project]
pub struct TimedBody<B> {
    /// Given up with the deadline, whoever keeps the body.
    #[pin]
    inner: Option<B>,
    expiry: Option<Expiry>,
    over: bool,
}

/// The deadline of one body.
#[derive(Debug)]
#[expect(unnameable_types, reason = "an implementation detail of a sealed trait")]
pub struct Expiry {
    started: Instant,
    at: Instant,
    grpc: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl TimedBody ===

impl<B> TimedBody<B> {
    pub(crate) fn new(inner: B, expiry: Option<Expiry>) -> Self {
        Self { inner: Some(inner), expiry, over: false }
    }
}

impl<B> http_body::Body for TimedBody<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        // A body that is always ready is bounded, too.
        if let Some(expiry) = this.expiry
            && Instant::now() >= expiry.at
        {
            *this.over = true;
            this.inner.set(None);
            return Poll::Ready(Some(expiry.end()));
        }
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = inner.poll_frame(cx) {
            *this.over = frame.is_none();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match this.expiry {
            Some(expiry) => expiry.poll(cx).map(|end| {
                *this.over = true;
                this.inner.set(None);
                Some(end)
            }),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl<B> Default for TimedBody<B> {
    fn default() -> Self {
        Self { inner: None, expiry: None, over: false }
    }
}

impl<B> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.expiry.as_ref().map(|expiry| expiry.at);
        f.debug_struct("TimedBody").field("deadline", &at).finish_non_exhaustive()
    }
}

// === impl Expiry ===

impl Expiry {
    pub(crate) fn new(started: Instant, at: Instant, grpc: bool) -> Self {
        Self { started, at, grpc, timer: None }
    }

    /// What the body ends with, once the deadline has passed: an error, or gRPC's trailers.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<Bytes>, BoxError>> {
        let at = self.at;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().poll(cx).map(|()| self.end())
    }

    fn end(&self) -> Result<Frame<Bytes>, BoxError> {
        let error = exceeded(Phase::Body, self.started, self.at);
        if self.grpc { Ok(Frame::trailers(grpc::trailers(&error))) } else { Err(error.into()) }
    }
}
