//! The bodies on their way in and out.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::Sleep;

use crate::core::{Body, BoxError, Error, Instant, Phase};

/// The body of a request, taken out of reqwest's box where it can be.
pub(super) enum Content {
    /// In memory: sent again for nothing.
    Whole(Bytes),
    Stream(reqwest::Body),
}

// === impl Content ===

impl Content {
    pub(super) fn of(mut body: reqwest::Body) -> Self {
        if body.as_bytes().is_none() {
            return Self::Stream(body);
        }
        // What is in memory is one frame and ready at once: so it is had without a copy.
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => Self::Whole(frame.into_data().unwrap_or_default()),
            _ => Self::Whole(Bytes::new()),
        }
    }
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        match content {
            Content::Whole(bytes) => bytes.into(),
            Content::Stream(body) => Self::new(body),
        }
    }
}

impl From<Content> for reqwest::Body {
    fn from(content: Content) -> Self {
        match content {
            Content::Whole(bytes) => bytes.into(),
            Content::Stream(body) => body,
        }
    }
}

/// A response body whose parts must each come in time.
#[pin_project]
pub(super) struct Prompt {
    #[pin]
    body: reqwest::Body,
    timeout: Duration,
    /// Armed only while a part is awaited.
    #[pin]
    sleep: Option<Sleep>,
    ended: bool,
}

// === impl Prompt ===

impl Prompt {
    pub(super) fn new(body: reqwest::Body, timeout: Duration) -> Self {
        Self { body, timeout, sleep: None, ended: false }
    }
}

impl HttpBody for Prompt {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            this.sleep.set(None);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(poll_quiet(this.sleep, *this.timeout, cx));
        *this.ended = true;
        Poll::Ready(Some(Err(quiet(*this.timeout, Phase::Body).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends when nothing has come for so long; the timer is armed by the first look.
pub(super) fn poll_quiet(
    mut sleep: Pin<&mut Option<Sleep>>,
    timeout: Duration,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if sleep.is_none() {
        let Some(at) = Instant::now().checked_add(timeout) else { return Poll::Pending };
        sleep.set(Some(tokio::time::sleep_until(at)));
    }
    match sleep.as_pin_mut() {
        Some(sleep) => sleep.poll(cx),
        None => Poll::Pending,
    }
}

/// What a call ends with for which nothing has come for too long.
pub(super) fn quiet(timeout: Duration, phase: Phase) -> Error {
    Error::new(crate::core::ErrorKind::Timeout, phase)
        .detail(format!("nothing came for {timeout:.1?}, the read timeout"))
}
