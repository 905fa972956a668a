//! A response body that tells how its gRPC call has ended.

use bytes::Bytes;
use http_body::Frame;

use super::{
    Body, BodyEnd,
    seen::{Seen, Sees},
};
use crate::core::{Error, grpc};

/// The same body; `then` is told its end once. One box, and one for the body.
pub(crate) fn told(body: Body, then: impl FnOnce(BodyEnd) + Send + 'static) -> Body {
    Body::new(Seen::new(body, Told { then: Some(Box::new(then)) }))
}

struct Told {
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

impl Sees<Body> for Told {
    fn saw(&mut self, _: &Body, given: Option<&Result<Frame<Bytes>, Error>>) {
        match given {
            None => self.tell(BodyEnd::Complete(None)),
            Some(Err(_)) => self.tell(BodyEnd::Failed),
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.tell(BodyEnd::Complete(grpc::status_of(trailers)));
                }
            }
        }
    }

    fn dropped(&mut self, _: &Body) {
        self.tell(BodyEnd::Dropped);
    }
}
