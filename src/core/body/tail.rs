//! A response body that tells how its gRPC call has ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Body, BodyEnd};
use crate::core::{Error, grpc};

/// The same body; `then` is told its end once. One box, and one for the body.
pub(crate) fn told(body: Body, then: impl FnOnce(BodyEnd) + Send + 'static) -> Body {
    Body::new(Told { body, then: Some(Box::new(then)) })
}

struct Told {
    body: Body,
    then: Option<Box<dyn FnOnce(BodyEnd) + Send>>,
}

// === impl Told ===

impl Told {
    fn tell(&mut self, end: BodyEnd) {
        if let Some(then) = self.then.take() {
            then(end);
        }
    }
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.tell(BodyEnd::Complete(None)),
            Some(Err(_)) => self.tell(BodyEnd::Failed),
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.tell(BodyEnd::Complete(grpc::status_of(trailers)));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell(BodyEnd::Dropped);
    }
}
