//! A request body on its way through the mesh and hyper.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Body, Kind as BodyKind, failed, replay::ReplayHandle, sync::SyncBody};
use crate::core::{BoxError, Error};

/// What a [`Body`] becomes when it is sent: without the room for the watch of a response, since
/// hyper moves each request a dozen times.
#[derive(Default)]
pub(crate) struct Outgoing {
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Replay(ReplayHandle),
    Boxed(SyncBody),
    /// Any other body, such as a response that is passed on.
    Any(Box<Body>),
}

thread_local! {
    /// Whose body this thread has polled last.
    static POLLED: Cell<Polled> = const { Cell::new(Polled::Nothing) };
}

/// Whose body a thread has polled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Polled {
    Nothing,
    /// One whose bytes are there.
    Ready,
    /// One that the application makes while it is sent.
    Foreign,
}

/// Whose body this thread has polled last since it was asked.
///
/// hyper polls a body once before it hands its rest to an executor, and does not say whose it is.
pub(crate) fn polled_body() -> Polled {
    POLLED.replace(Polled::Nothing)
}

const _: () = assert!(size_of::<Outgoing>() <= 40, "it is moved a dozen times per call");

// === impl Outgoing ===

impl Outgoing {
    /// Wraps any body; those that [`Body`] holds without a box are held without one here, too,
    /// but for a response's.
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Body::new(body).into()
    }

    pub(super) fn replay(handle: ReplayHandle) -> Self {
        Self { kind: Kind::Replay(handle) }
    }

    /// The whole content, if it can be had twice for nothing.
    pub(super) fn cheap(&self) -> Option<Bytes> {
        match &self.kind {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(bytes) => Some(bytes.clone()),
            Kind::Replay(_) | Kind::Boxed(_) | Kind::Any(_) => None,
        }
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self { kind: if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) } }
    }
}

impl From<Body> for Outgoing {
    fn from(body: Body) -> Self {
        let kind = match body.kind {
            BodyKind::Empty => Kind::Empty,
            BodyKind::Full(bytes) => Kind::Full(bytes),
            BodyKind::Replay(handle) => Kind::Replay(handle),
            BodyKind::Boxed(body) => Kind::Boxed(body),
            other => Kind::Any(Box::new(Body { kind: other })),
        };
        Self { kind }
    }
}

impl From<Outgoing> for Body {
    fn from(body: Outgoing) -> Self {
        let kind = match body.kind {
            Kind::Empty => BodyKind::Empty,
            Kind::Full(bytes) => BodyKind::Full(bytes),
            Kind::Replay(handle) => BodyKind::Replay(handle),
            Kind::Boxed(body) => BodyKind::Boxed(body),
            Kind::Any(body) => return *body,
        };
        Self { kind }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        POLLED.set(match self.kind {
            Kind::Empty | Kind::Full(_) => Polled::Ready,
            _ => Polled::Foreign,
        });
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Replay(body) => Pin::new(body).poll_frame(cx),
            Kind::Boxed(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| Some(frame?.map_err(failed)))
            }
            Kind::Any(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Replay(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
            Kind::Any(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Replay(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
            Kind::Any(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}
