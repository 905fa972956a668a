//! The end of a response body: reported to the endpoint, its connection and its deadline.

use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::Sleep;

use super::Source;
use crate::core::{Error, ErrorKind, Instant, Origin, Phase, cut, earliest, grpc};

/// How a response body ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyEnd {
    /// To its last frame; gRPC's status when its trailers carried one.
    Complete(Option<i32>),
    /// The connection failed.
    Failed,
    /// No frame came within the idle timeout: the endpoint's doing.
    Stalled,
    /// The deadline passed.
    Expired,
    /// The caller let go of it early.
    Dropped,
}

/// What an in-flight attempt remembers until its body has ended.
#[expect(clippy::struct_excessive_bools, reason = "what is known of it, each by itself")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// Nanoseconds since the mesh's epoch at which the attempt was counted as in flight.
    pub(crate) started: u64,
    /// When its response head came.
    pub(crate) head: u64,
    /// The decay time of the latency estimate, in nanoseconds.
    pub(crate) decay: u64,
    /// The outcome was known at the head and has been recorded.
    pub(crate) recorded: bool,
    /// Nothing was known of its endpoint before the head.
    pub(crate) unproven: bool,
    /// It is the one call that finds out whether its endpoint is well again.
    pub(crate) probe: bool,
    /// It is counted among the calls in flight to the whole cluster, too.
    pub(crate) crowded: bool,
    /// The gRPC statuses that are failures of its endpoint, where its policy says so: one bit each.
    pub(crate) codes: Option<u32>,
}

/// Learns of the end of a body: the endpoint that it came from.
pub(crate) trait Watcher: Send + Sync {
    /// `now` is read where the outcome was not known before: for gRPC.
    fn ended(&self, ticket: Ticket, end: BodyEnd, now: Option<Instant>);

    /// What its trailers say, before their end is told.
    fn heard(&self, trailers: &HeaderMap);

    /// Its address, for errors.
    fn name(&self) -> Option<Arc<str>>;
}

/// Learns how the body of a call ended: what counts its route's calls.
pub(crate) trait Reporter: Send + Sync {
    fn service(&self) -> &Arc<str>;

    /// It failed after its head.
    fn failed(&self, error: &Error);

    /// It is open, and nobody else knows until when.
    fn opened(&self);

    /// It is open no more.
    fn closed(&self);

    /// Whether its mesh has cut its connections.
    fn is_cut(&self) -> bool;

    /// A gRPC call that began then has its status, or will never have one.
    fn ended(&self, started: Instant, end: BodyEnd, now: Instant);
}

/// Learns once how a gRPC call ended whose status was still to come: what records it.
pub(crate) trait Ending: Send + Sync {
    /// `error` is what it failed by, if it did.
    fn ended(self: Box<Self>, end: BodyEnd, error: Option<ErrorKind>);
}

/// Who is told of the end of a call's body.
pub(crate) struct Report {
    pub(crate) to: Arc<dyn Reporter>,
    pub(crate) awaited: Awaited,
}

/// Whether the outcome of a gRPC call is still to come, and who waits for it.
#[derive(Default)]
pub(crate) enum Awaited {
    /// It is known.
    #[default]
    Nothing,
    /// What counts it; when the call began.
    Counted(Instant),
    /// What records it, too. Boxed twice: most calls are not recorded.
    Recorded(Box<(Instant, Box<dyn Ending>)>),
}

/// Learns that a stream of a shared connection has ended.
#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Release: Any + Send + Sync {
    fn release(&self);

    /// The endpoint has refused the stream, which is released next.
    fn refused(&self) {}
}

/// What a response body keeps alive until its end: a stream of an HTTP/2 connection, or an
/// HTTP/1.1 connection of its own (whose drop returns it to its pool).
#[derive(Default)]
#[expect(unnameable_types, reason = "part of a sealed trait")]
pub enum Held {
    #[default]
    Nothing,
    Shared(Arc<dyn Release>),
    Owned(Box<dyn Any + Send + Sync>),
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Nothing) { "Nothing" } else { "Held" })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self::Shared(stream) = self {
            stream.release();
        }
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what is done of its end, and whose bounds these are"
)]
pub(crate) struct Watch {
    pub(crate) watcher: Option<(Arc<dyn Watcher>, Ticket)>,
    pub(crate) held: Held,
    /// Places under the limits of the route and its service, and of the cluster.
    pub(crate) limits: [Held; 2],
    /// Bounds the body and its trailers.
    pub(crate) deadline: Option<Instant>,
    /// Bounds the wait for each frame.
    pub(crate) idle: Option<Duration>,
    /// That is the attempt's own bound.
    pub(crate) idle_of_attempt: bool,
    /// The deadline is that of the whole stream.
    pub(crate) is_stream_bound: bool,
    /// Failures end the body with trailers instead of an error.
    pub(crate) grpc: bool,
    /// Whose failures these are; nobody's when an outer watch reports them.
    pub(crate) report: Option<Report>,
    /// Armed only while a frame is awaited under a bound. Boxed: most bodies never wait.
    pub(crate) timer: Option<Pin<Box<Sleep>>>,
    /// The timer runs for the frame that is awaited.
    pub(crate) awaiting: bool,
    /// The report's receiver has been told that it is open.
    pub(crate) counted: bool,
    pub(crate) over: bool,
    /// It has failed, and what is left of it is to go before what it holds is free for another.
    pub(crate) is_cut: bool,
}

impl Watch {
    /// Keeps a connection, and watches nothing.
    pub(super) fn holding(held: Held) -> Self {
        Self {
            watcher: None,
            held,
            limits: [Held::Nothing, Held::Nothing],
            deadline: None,
            idle: None,
            idle_of_attempt: false,
            is_stream_bound: false,
            grpc: false,
            report: None,
            timer: None,
            awaiting: false,
            counted: false,
            over: false,
            is_cut: false,
        }
    }

    /// Counts it as open: the end of no connection tells of its end.
    pub(super) fn count(&mut self) {
        if let Some(Report { to, .. }) = &self.report {
            to.opened();
            self.counted = true;
        }
    }

    /// Reports how a gRPC call has ended, of a body that nobody else watches.
    pub(super) fn reporting(to: Arc<dyn Reporter>) -> Self {
        let mut watch = Self::holding(Held::Nothing);
        watch.grpc = true;
        watch.report = Some(Report { to, awaited: Awaited::Nothing });
        watch
    }

    pub(super) fn poll_frame<B: Source>(
        &mut self,
        inner: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        // A body that is always ready is bounded, too.
        let late = self.deadline.is_some_and(|at| Instant::now() >= at);
        if !late && let Poll::Ready(frame) = Pin::new(&mut *inner).poll_frame(cx) {
            self.awaiting = false;
            return Poll::Ready(match frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        if let Some((watcher, _)) = &self.watcher {
                            watcher.heard(trailers);
                        }
                        self.finish(BodyEnd::Complete(grpc::status_of(trailers)));
                    } else if inner.is_end_stream() {
                        self.finish(BodyEnd::Complete(None));
                    }
                    Some(Ok(frame))
                }
                Some(Err(error)) => self.fail(BodyEnd::Failed, B::failure(error)),
                None => {
                    self.finish(BodyEnd::Complete(None));
                    None
                }
            });
        }
        let expired = if late { Expired::Deadline } else { ready!(self.poll_expired(cx)) };
        let end = match expired {
            Expired::Deadline => BodyEnd::Expired,
            Expired::Idle => BodyEnd::Stalled,
        };
        let error = Error::new(ErrorKind::Timeout, Phase::Body);
        let error = match (expired, self.idle) {
            (Expired::Idle, Some(idle)) => {
                let name = if self.idle_of_attempt {
                    "retry.attempt_idle_timeout"
                } else {
                    "idle_timeout"
                };
                error.detail(format!("no frame came within {idle:?} (`{name}`)"))
            }
            _ if self.is_stream_bound => error.detail(
                "the deadline of the call passed while its body was read (`max_stream_duration`)",
            ),
            _ => error.detail("the deadline of the call passed while its body was read"),
        };
        Poll::Ready(self.fail(end, error))
    }

    /// Nothing more will come.
    pub(super) fn complete(&mut self) {
        self.finish(BodyEnd::Complete(None));
    }

    pub(super) fn is_end_stream<B: Source>(&self, body: &B) -> bool {
        self.over || (body.is_end_stream() && !self.grpc)
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        if !self.awaiting {
            let idle = self.idle.and_then(|idle| Instant::now().checked_add(idle));
            let Some(at) = earliest(self.deadline, idle) else { return Poll::Pending };
            self.awaiting = true;
            match &mut self.timer {
                Some(timer) if timer.deadline() == at => {}
                Some(timer) => timer.as_mut().reset(at),
                empty => *empty = Some(Box::pin(tokio::time::sleep_until(at))),
            }
        }
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        let by_deadline = self.deadline.is_some_and(|deadline| deadline <= timer.deadline());
        Poll::Ready(if by_deadline { Expired::Deadline } else { Expired::Idle })
    }

    fn fail(&mut self, end: BodyEnd, error: Error) -> Option<Result<Frame<Bytes>, Error>> {
        let origin = if end == BodyEnd::Expired { Origin::Local } else { Origin::Endpoint };
        let mut error = error.with_origin(origin);
        if let Some(name) = self.watcher.as_ref().and_then(|(watcher, _)| watcher.name()) {
            error = error.endpoint_named(&name);
        }
        if let Some(Report { to, .. }) = &self.report {
            if end == BodyEnd::Failed && to.is_cut() {
                error = cut(Phase::Body).caused_by(error);
            }
            error = error.service(to.service());
            to.failed(&error);
        }
        self.is_cut = true;
        self.end(end, Some(error.kind()));
        Some(if self.grpc { Ok(Frame::trailers(grpc::trailers(&error))) } else { Err(error) })
    }

    fn finish(&mut self, end: BodyEnd) {
        self.end(end, None);
    }

    fn end(&mut self, end: BodyEnd, error: Option<ErrorKind>) {
        self.over = true;
        self.timer = None;
        let mut now = None;
        if let Some((watcher, ticket)) = self.watcher.take() {
            now = (!ticket.recorded).then(Instant::now);
            watcher.ended(ticket, end, now);
        }
        if let Some(Report { to, awaited }) = &mut self.report {
            let (started, ending) = match std::mem::take(awaited) {
                Awaited::Nothing => (None, None),
                Awaited::Counted(started) => (Some(started), None),
                Awaited::Recorded(recorded) => (Some(recorded.0), Some(recorded.1)),
            };
            if let Some(started) = started {
                to.ended(started, end, now.unwrap_or_else(Instant::now));
            }
            if let Some(ending) = ending {
                ending.ended(end, error);
            }
            if self.counted {
                to.closed();
            }
        }
        if !self.is_cut {
            self.held = Held::Nothing;
        }
        self.limits = [Held::Nothing, Held::Nothing];
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.over {
            self.finish(BodyEnd::Dropped);
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Expired {
    Deadline,
    Idle,
}
