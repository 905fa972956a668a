//! A body that is seen on its way: what it gives, and its being dropped.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::core::Error;

/// Who sees it.
pub(super) trait Sees<B>: Unpin {
    /// This was given just now; nothing: its end.
    fn saw(&mut self, body: &B, given: Option<&Result<Frame<Bytes>, Error>>);

    /// It is dropped, whether or not it has come to its end.
    fn dropped(&mut self, body: &B);
}

/// The same body, seen by `S`.
pub(super) struct Seen<B, S: Sees<B>> {
    body: B,
    by: S,
}

// === impl Seen ===

impl<B, S: Sees<B>> Seen<B, S> {
    pub(super) fn new(body: B, by: S) -> Self {
        Self { body, by }
    }
}

impl<B, S> Body for Seen<B, S>
where
    B: Body<Data = Bytes, Error = Error> + Unpin,
    S: Sees<B>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { body, by } = &mut *self;
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        by.saw(body, frame.as_ref());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B, S: Sees<B>> Drop for Seen<B, S> {
    fn drop(&mut self) {
        self.by.dropped(&self.body);
    }
}
