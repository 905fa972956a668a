//! The one body type of requests and responses.

mod outgoing;
mod replay;
mod seen;
mod sent;
mod sync;
pub(crate) mod tail;
mod tee;
mod watch;

use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;

use self::{replay::ReplayHandle, sync::SyncBody};
use super::{BoxError, Error, ErrorKind, Instant, Origin, Phase, grpc};

pub(crate) use self::{
    outgoing::{Outgoing, Polled, polled_body},
    replay::{ReplayBody, Unrepeatable},
    sent::Sent,
    tee::tee,
    watch::{Awaited, BodyEnd, Ending, Held, Release, Report, Reporter, Ticket, Watch, Watcher},
};

/// A request or response body of the mesh.
///
/// `Send`, `Sync`, `Unpin` and `Default`, whatever it was made from. Empty, full and hyper's own
/// bodies are held without a box; any other costs one allocation.
///
/// ```
/// use tower_mesh::Body;
///
/// let body = Body::from("hello");
/// assert_eq!(http_body::Body::size_hint(&body).exact(), Some(5));
/// ```
#[derive(Default)]
pub struct Body {
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    /// A response body whose end is reported.
    Watched(Incoming, Watch),
    /// The same around what a user's layer or leaf returned.
    Wrapped(Box<(Body, Watch)>),
    Replay(ReplayHandle),
    /// A body whose first frame has been looked at.
    Peeked(Box<(Option<Frame<Bytes>>, Body)>),
    Boxed(SyncBody),
}

// === impl Body ===

impl Body {
    /// A body without data.
    #[must_use]
    pub fn empty() -> Self {
        Self { kind: Kind::Empty }
    }

    /// Wraps any body; `Body`, `Empty`, `Full` and `Incoming` are unwrapped instead of boxed.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = body;
        if let Some(known) = (&mut body as &mut dyn Any).downcast_mut::<Self>() {
            return std::mem::take(known);
        }
        let mut body = Some(body);
        let any: &mut dyn Any = &mut body;
        if let Some(full) = any.downcast_mut::<Option<Full<Bytes>>>() {
            return full.take().map_or_else(Self::empty, Self::full);
        }
        if any.is::<Option<Empty<Bytes>>>() {
            return Self::empty();
        }
        if let Some(incoming) = any.downcast_mut::<Option<Incoming>>() {
            return incoming.take().map_or_else(Self::empty, Self::incoming);
        }
        body.map_or_else(Self::empty, |body| Self { kind: Kind::Boxed(SyncBody::new(body)) })
    }

    fn full(full: Full<Bytes>) -> Self {
        // A `Full` is ready at once and has at most one frame.
        let mut full = full;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match http_body::Body::poll_frame(Pin::new(&mut full), &mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                frame.into_data().map_or_else(|_| Self::empty(), Self::from)
            }
            _ => Self::empty(),
        }
    }

    pub(crate) fn incoming(incoming: Incoming) -> Self {
        Self { kind: Kind::Incoming(incoming) }
    }

    pub(crate) fn watched(incoming: Incoming, mut watch: Watch) -> Self {
        if http_body::Body::is_end_stream(&incoming) {
            watch.complete();
            return Self::empty();
        }
        Self { kind: Kind::Watched(incoming, watch) }
    }

    /// The rest is given up at once, whoever keeps the body: a stream that nobody reads would stay open.
    #[cold]
    fn cut(&mut self) {
        self.kind = Kind::Empty;
    }

    /// Puts the first frame of a body back before the rest.
    pub(crate) fn peeked(frame: Frame<Bytes>, rest: Self) -> Self {
        Self { kind: Kind::Peeked(Box::new((Some(frame), rest))) }
    }

    /// Watches a body that a user's layer or leaf returned; one box, unless all of it is here.
    pub(crate) fn wrap(&mut self, mut watch: Watch) {
        if matches!(self.kind, Kind::Empty | Kind::Full(_)) {
            watch.complete();
            return;
        }
        watch.count();
        self.kind = Kind::Wrapped(Box::new((std::mem::take(self), watch)));
    }

    /// A body that keeps its connection until its end, and reports to nobody else.
    pub(crate) fn holding(incoming: Incoming, held: Held) -> Self {
        Self { kind: Kind::Watched(incoming, Watch::holding(held)) }
    }

    /// Puts something around the body itself, within what watches it: so deadlines and reports hold for
    /// what is put around it, too.
    pub(crate) fn within(&mut self, around: impl FnOnce(Self) -> Self) {
        self.kind = match std::mem::take(&mut self.kind) {
            Kind::Watched(incoming, watch) => {
                Kind::Wrapped(Box::new((around(Self::incoming(incoming)), watch)))
            }
            Kind::Wrapped(mut wrapped) => {
                wrapped.0 = around(std::mem::take(&mut wrapped.0));
                Kind::Wrapped(wrapped)
            }
            Kind::Peeked(mut peeked) => {
                peeked.1.within(around);
                Kind::Peeked(peeked)
            }
            kind => around(Self { kind }).kind,
        };
    }

    /// Keeps a place under the service's limit until this response body has ended.
    pub(crate) fn hold(&mut self, limit: Held) {
        match &mut self.kind {
            // It has ended already, and nobody comes by to give the place back.
            Kind::Watched(_, watch) if watch.over => {}
            Kind::Wrapped(wrapped) if wrapped.1.over => {}
            Kind::Watched(_, watch) => watch.limits[0] = limit,
            Kind::Wrapped(wrapped) => wrapped.1.limits[0] = limit,
            Kind::Peeked(peeked) => peeked.1.hold(limit),
            Kind::Empty | Kind::Full(_) => {}
            Kind::Incoming(_) | Kind::Replay(_) | Kind::Boxed(_) => {
                let mut watch = Watch::holding(Held::Nothing);
                watch.limits[0] = limit;
                *self = Self { kind: Kind::Wrapped(Box::new((std::mem::take(self), watch))) };
            }
        }
    }

    /// Reports the end of a gRPC call that began then, or says how it has ended already. What a
    /// user's layer made of the body is watched for that; one box.
    pub(crate) fn report(
        &mut self,
        started: Instant,
        to: impl FnOnce() -> Arc<dyn Reporter>,
    ) -> Option<BodyEnd> {
        let unwatched = match &mut self.kind {
            Kind::Peeked(peeked) => &mut peeked.1,
            _ => &mut *self,
        };
        if let Kind::Incoming(_) | Kind::Replay(_) | Kind::Boxed(_) = unwatched.kind {
            let body = std::mem::take(unwatched);
            unwatched.kind = Kind::Wrapped(Box::new((body, Watch::reporting(to()))));
        }
        match self.outcome() {
            Ok(awaited) => {
                *awaited = Awaited::Counted(started);
                None
            }
            Err(end) => Some(end),
        }
    }

    /// Tells it how the gRPC call ends whose end is [reported](Self::report); at once, if that is
    /// known.
    pub(crate) fn record(&mut self, ending: Box<dyn Ending>) {
        match self.outcome() {
            Ok(awaited) => match std::mem::take(awaited) {
                Awaited::Counted(started) => {
                    *awaited = Awaited::Recorded(Box::new((started, ending)));
                }
                Awaited::Nothing | Awaited::Recorded(_) => {
                    ending.ended(BodyEnd::Complete(None), None);
                }
            },
            Err(end) => ending.ended(end, None),
        }
    }

    /// Who waits for the outcome of a gRPC call, or what it is.
    fn outcome(&mut self) -> Result<&mut Awaited, BodyEnd> {
        let watch = match &mut self.kind {
            Kind::Watched(_, watch) => watch,
            Kind::Wrapped(wrapped) => &mut wrapped.1,
            Kind::Peeked(peeked) => {
                return match peeked.0.as_ref().and_then(Frame::trailers_ref) {
                    Some(trailers) => Err(BodyEnd::Complete(grpc::status_of(trailers))),
                    None => peeked.1.outcome(),
                };
            }
            _ => return Err(BodyEnd::Complete(None)),
        };
        match &mut watch.report {
            Some(report) if !watch.over => Ok(&mut report.awaited),
            _ => Err(BodyEnd::Complete(None)),
        }
    }

    /// Collects the whole body.
    ///
    /// # Errors
    ///
    /// The first failure of the body: a lost connection, or a deadline that passed.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        Ok(self.collect().await?.to_bytes())
    }

    /// Collects the whole body as text, invalid UTF-8 replaced.
    ///
    /// # Errors
    ///
    /// The first failure of the body: a lost connection, or a deadline that passed.
    pub async fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Incoming(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| Some(frame?.map_err(lost)))
            }
            Kind::Watched(body, watch) => {
                let frame = watch.poll_frame(body, cx);
                if watch.is_cut {
                    self.cut();
                }
                frame
            }
            Kind::Wrapped(wrapped) => {
                let frame = wrapped.1.poll_frame(&mut wrapped.0, cx);
                if wrapped.1.is_cut {
                    self.cut();
                }
                frame
            }
            Kind::Replay(body) => Pin::new(body).poll_frame(cx),
            Kind::Peeked(peeked) => match peeked.0.take() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => Pin::new(&mut peeked.1).poll_frame(cx),
            },
            Kind::Boxed(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| Some(frame?.map_err(failed)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Incoming(body) => body.is_end_stream(),
            Kind::Watched(body, watch) => watch.is_end_stream(body),
            Kind::Wrapped(wrapped) => wrapped.1.is_end_stream(&wrapped.0),
            Kind::Replay(body) => body.is_end_stream(),
            Kind::Peeked(peeked) => peeked.0.is_none() && peeked.1.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(body) => body.size_hint(),
            Kind::Watched(body, _) => body.size_hint(),
            Kind::Wrapped(wrapped) => wrapped.0.size_hint(),
            Kind::Replay(body) => body.size_hint(),
            Kind::Peeked(peeked) if peeked.0.is_some() => SizeHint::default(),
            Kind::Peeked(peeked) => peeked.1.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

/// A source that a watch can read: how its own failure becomes ours.
trait Source: http_body::Body<Data = Bytes> + Unpin {
    fn failure(error: Self::Error) -> Error;
}

impl Source for Incoming {
    fn failure(error: hyper::Error) -> Error {
        lost(error)
    }
}

impl Source for Body {
    fn failure(error: Error) -> Error {
        error
    }
}

/// A connection that was lost while its response was read.
fn lost(error: hyper::Error) -> Error {
    Error::new(ErrorKind::Transport, Phase::Body).with_origin(Origin::Endpoint).caused_by(error)
}

/// A body of the application that failed; our own errors pass through.
fn failed(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::new(ErrorKind::RequestBody, Phase::Body)
            .with_origin(Origin::Layer)
            .caused_by(error),
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { kind: if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) } }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "Empty",
            Kind::Full(_) => "Full",
            Kind::Incoming(_) => "Incoming",
            Kind::Watched(..) | Kind::Wrapped(_) => "Watched",
            Kind::Replay(_) => "Replay",
            Kind::Peeked(_) => "Peeked",
            Kind::Boxed(_) => "Boxed",
        };
        f.debug_tuple("Body").field(&kind).finish()
    }
}

const _: fn() = || {
    fn is<T: Send + Sync + Unpin + Default + 'static>() {}
    is::<Body>();
};
