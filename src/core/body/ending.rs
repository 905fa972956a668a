//! A response body whose end somebody else waits for: what is recorded of a gRPC call.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};

use super::Body;
use crate::core::{Error, ErrorKind, grpc};

/// How a response body ended for its caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StreamEnd {
    /// To its last frame; gRPC's status when its trailers carried one.
    Complete(Option<i32>),
    /// It broke off.
    Failed(ErrorKind),
    /// The caller let go of it early.
    Dropped,
}

/// Learns of it, once.
pub(crate) trait Ending: Send + Sync {
    fn ended(self: Box<Self>, end: StreamEnd);
}

pub(super) struct EndingBody {
    pub(super) body: Body,
    ending: Option<Box<dyn Ending>>,
}

// === impl EndingBody ===

impl EndingBody {
    pub(super) fn new(body: Body, ending: Box<dyn Ending>) -> Self {
        Self { body, ending: Some(ending) }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(StreamEnd::Complete(grpc::status_of(trailers)));
                }
            }
            Some(Err(error)) => self.end(StreamEnd::Failed(error.kind())),
            None => self.end(StreamEnd::Complete(None)),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self, end: StreamEnd) {
        if let Some(ending) = self.ending.take() {
            ending.ended(end);
        }
    }
}

impl Drop for EndingBody {
    fn drop(&mut self) {
        // A body that says it is over need not be read to its end.
        let over = self.body.is_end_stream();
        self.end(if over { StreamEnd::Complete(None) } else { StreamEnd::Dropped });
    }
}
