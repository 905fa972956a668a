//! Reports beside the traffic: `xds.service.orca.v3.OpenRcaService/StreamCoreMetrics`.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Frame;
use pin_project::pin_project;
use prost::Message as _;
use tokio::time::Sleep;
use tower_service::Service;

use super::ServerLoad;
use crate::{
    Body,
    balance::report::ReportRequest,
    core::{Instant, framed},
};

/// The one method of the service.
pub(crate) const PATH: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";
/// More than a request for reports has.
const LONGEST: usize = 16 * 1024;

/// Streams the load of a server to whoever asks: the gRPC service
/// `xds.service.orca.v3.OpenRcaService`.
///
/// The first report comes at once, and one per interval after it: the interval that was asked for,
/// but no less than the least one. A stream lasts until its caller leaves.
///
/// It may be mounted as any service of its path; [`LoadReportLayer::out_of_band`] does it without.
/// Other paths are answered with `UNIMPLEMENTED`.
///
/// | default | value | source |
/// |---|---|---|
/// | least interval | 30 s | gRFC A51 |
///
/// [`LoadReportLayer::out_of_band`]: super::LoadReportLayer::out_of_band
#[derive(Clone, Debug)]
pub struct OutOfBand {
    load: ServerLoad,
    min_interval: Duration,
}

/// The response of [`OutOfBand`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct OutOfBandFuture<A> {
    #[pin]
    request: Option<A>,
    /// What has come of it.
    read: BytesMut,
    service: OutOfBand,
    /// gRPC's `UNIMPLEMENTED`, or what it comes to.
    refused: Option<Status>,
}

type Status = (&'static str, &'static str);

/// The reports of a stream; or the end of one that is none.
pub(super) struct Reports {
    load: ServerLoad,
    interval: Duration,
    next: Option<Pin<Box<Sleep>>>,
    refused: Option<Status>,
    over: bool,
}

// === impl OutOfBand ===

impl OutOfBand {
    /// Streams this load.
    #[must_use]
    pub fn new(load: ServerLoad) -> Self {
        Self { load, min_interval: Duration::from_secs(30) }
    }

    /// The least interval between two reports of a stream, and what a caller gets that asks for
    /// none. Default: 30 s. Range: from 10 ms; what is less counts as 10 ms.
    #[must_use]
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval.max(Duration::from_millis(10));
        self
    }

    pub(super) fn begin<A>(&self, request: Request<A>) -> OutOfBandFuture<A> {
        let refused = (request.uri().path() != PATH)
            .then_some(("12", "this service has one method: StreamCoreMetrics"));
        OutOfBandFuture {
            request: Some(request.into_body()),
            read: BytesMut::new(),
            service: self.clone(),
            refused,
        }
    }
}

impl<A> Service<Request<A>> for OutOfBand
where
    A: http_body::Body,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = OutOfBandFuture<A>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        self.begin(request)
    }
}

// === impl OutOfBandFuture ===

impl<A: http_body::Body> OutOfBandFuture<A> {
    /// Reads the request, and begins.
    pub(super) fn poll_stream(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Response<Reports>> {
        let mut this = self.project();
        while this.refused.is_none()
            && let Some(mut request) = this.request.as_mut().as_pin_mut()
        {
            match ready!(request.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        if this.read.len() + data.remaining() > LONGEST {
                            *this.refused = Some(("8", "the request is too long"));
                        } else {
                            this.read.put(data);
                        }
                    }
                }
                Some(Err(_)) => *this.refused = Some(("1", "the request broke off")),
                None => this.request.set(None),
            }
        }
        this.request.set(None);
        let (mut interval, refused) = (this.service.min_interval, this.refused.take());
        let refused = refused.or_else(|| match asked(&this.read.split().freeze()) {
            Ok(asked) => {
                interval = interval.max(asked);
                None
            }
            Err(status) => Some(status),
        });
        let load = this.service.load.clone();
        let reports = Reports { load, interval, next: None, refused, over: false };
        let mut response = Response::new(reports);
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, grpc);
        Poll::Ready(response)
    }
}

impl<A: http_body::Body> Future for OutOfBandFuture<A> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_stream(cx).map(|response| Ok(response.map(Body::new)))
    }
}

/// The interval that a gRPC message asks for.
fn asked(read: &Bytes) -> Result<Duration, Status> {
    const BAD: Status = ("3", "this is no OrcaLoadReportRequest");
    let message = framed::lone(read).ok_or(BAD)?;
    let request = ReportRequest::decode(message).map_err(|_| BAD)?;
    Ok(request.report_interval.map_or(Duration::ZERO, |interval| interval.duration()))
}

// === impl Reports ===

impl Reports {
    /// The next report, when it is due.
    pub(super) fn poll_report(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some((code, message)) = self.refused {
            self.over = true;
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(code));
            trailers.insert("grpc-message", HeaderValue::from_static(message));
            return Poll::Ready(Some(Frame::trailers(trailers)));
        }
        let now = Instant::now();
        match &mut self.next {
            None => self.next = Some(Box::pin(tokio::time::sleep_until(later(now, self.interval)))),
            Some(timer) => {
                ready!(timer.as_mut().poll(cx));
                timer.as_mut().reset(later(now, self.interval));
            }
        }
        Poll::Ready(Some(Frame::data(framed::framed(&self.load.report(0)))))
    }
}

fn later(now: Instant, interval: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(86_400);
    now + interval.min(DAY)
}

impl http_body::Body for Reports {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_report(cx).map(|frame| frame.map(Ok))
    }
}

impl<A> fmt::Debug for OutOfBandFuture<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutOfBandFuture").field("service", &self.service).finish_non_exhaustive()
    }
}
