//! A response body that keeps its call's place until it has ended.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Frame, SizeHint};

use crate::core::Held;

/// A response body that counts as a call in flight until its end, its failure or its drop.
///
/// `Unpin` and `Default` when `B` is.
#[pin_project::pin_project]
#[derive(Default)]
pub struct HeldBody<B> {
    #[pin]
    inner: B,
    permit: Held,
}

// === impl HeldBody ===

impl<B> HeldBody<B> {
    pub(crate) fn new(inner: B, permit: Held) -> Self {
        Self { inner, permit }
    }
}

impl<B: http_body::Body> http_body::Body for HeldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || this.inner.is_end_stream() {
            *this.permit = Held::Nothing;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody")
            .field("held", &!matches!(self.permit, Held::Nothing))
            .finish_non_exhaustive()
    }
}
