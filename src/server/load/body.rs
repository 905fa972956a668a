//! A response body whose call is in flight until its end, and whose trailers carry the report.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project::pin_project;

use super::{
    ReportFormat,
    future::{attach, is_failure},
    measure::Counted,
    stream::Reports,
};
use crate::core::grpc;

/// The response body of [`LoadReport`](super::LoadReport). `Unpin` when `B` is.
#[pin_project]
pub struct LoadReportBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = KindProj)]
enum Kind<B> {
    Counted {
        #[pin]
        body: B,
        counted: Option<Counted>,
        /// Its outcome, and the report, are a matter of its trailers.
        trailed: bool,
    },
    Stream(Reports),
    Empty,
}

impl<B> LoadReportBody<B> {
    /// Its outcome is known.
    pub(super) fn counted(body: B, counted: Counted) -> Self {
        Self { kind: Kind::Counted { body, counted: Some(counted), trailed: false } }
    }

    /// Its outcome comes in its trailers.
    pub(super) fn trailed(body: B, counted: Counted) -> Self {
        Self { kind: Kind::Counted { body, counted: Some(counted), trailed: true } }
    }

    pub(super) fn empty() -> Self {
        Self { kind: Kind::Empty }
    }

    pub(super) fn stream(reports: Reports) -> Self {
        Self { kind: Kind::Stream(reports) }
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for LoadReportBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (mut body, counted, trailed) = match self.project().kind.project() {
            KindProj::Stream(reports) => return reports.poll_report(cx).map(|frame| frame.map(Ok)),
            KindProj::Empty => return Poll::Ready(None),
            KindProj::Counted { body, counted, trailed } => (body, counted, *trailed),
        };
        let mut frame = ready!(body.as_mut().poll_frame(cx));
        let is_last = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        if !is_last {
            return Poll::Ready(frame);
        }
        // A gRPC call has no outcome without a status.
        let mut failed = true;
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            if trailed && let Some(counted) = counted {
                attach(trailers, counted, ReportFormat::Binary);
            }
            failed = grpc::status_of(trailers).is_none_or(is_failure);
        }
        if let Some(mut counted) = counted.take()
            && trailed
        {
            counted.end(failed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Counted { body, .. } => body.is_end_stream(),
            Kind::Stream(_) => false,
            Kind::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Counted { body, .. } => body.size_hint(),
            Kind::Stream(_) => SizeHint::default(),
            Kind::Empty => SizeHint::with_exact(0),
        }
    }
}

impl<B> fmt::Debug for LoadReportBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = matches!(self.kind, Kind::Stream(_));
        f.debug_struct("LoadReportBody").field("stream", &stream).finish_non_exhaustive()
    }
}
