//! A call that is counted, or the beginning of a stream of reports.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use pin_project::pin_project;

use super::{LoadReportBody, OutOfBandFuture, ReportFormat, ServerLoad, measure::Counted};
use crate::{
    balance::{
        Outcome,
        report::{ANY, BINARY},
    },
    core::grpc,
};

/// The response of [`LoadReport`](super::LoadReport).
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct LoadReportFuture<F, A> {
    #[pin]
    kind: Kind<F, A>,
}

#[pin_project(project = KindProj)]
enum Kind<F, A> {
    Counts {
        #[pin]
        inner: F,
        counted: Option<Counted>,
        is_grpc: bool,
        format: ReportFormat,
    },
    Streams(#[pin] OutOfBandFuture<A>),
    Tells(ServerLoad, ReportFormat),
}

impl<F, A> LoadReportFuture<F, A> {
    pub(super) fn counts(inner: F, counted: Counted, is_grpc: bool, format: ReportFormat) -> Self {
        Self { kind: Kind::Counts { inner, counted: Some(counted), is_grpc, format } }
    }

    pub(super) fn streams(future: OutOfBandFuture<A>) -> Self {
        Self { kind: Kind::Streams(future) }
    }

    /// The answer to a probe.
    pub(super) fn tells(load: ServerLoad, format: ReportFormat) -> Self {
        Self { kind: Kind::Tells(load, format) }
    }
}

impl<F, A, B, E> Future for LoadReportFuture<F, A>
where
    F: Future<Output = Result<Response<B>, E>>,
    A: http_body::Body,
    B: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<LoadReportBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Streams(future) => {
                let response = ready!(future.poll_stream(cx));
                Poll::Ready(Ok(response.map(LoadReportBody::stream)))
            }
            KindProj::Tells(load, format) => {
                let mut response = Response::new(LoadReportBody::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                load.report(0).write(response.headers_mut(), *format);
                Poll::Ready(Ok(response))
            }
            KindProj::Counts { inner, counted, is_grpc, format } => {
                let result = ready!(inner.poll(cx));
                let Some(counted) = counted.take() else { return Poll::Pending };
                Poll::Ready(answered(result, counted, *is_grpc, *format))
            }
        }
    }
}

/// The head is there: it tells the outcome of all but gRPC's calls, whose trailers do.
fn answered<B, E>(
    result: Result<Response<B>, E>,
    mut counted: Counted,
    is_grpc: bool,
    format: ReportFormat,
) -> Result<Response<LoadReportBody<B>>, E> {
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            counted.end(true);
            return Err(error);
        }
    };
    let status = response.status();
    let code = if is_grpc { grpc::status_of(response.headers()) } else { None };
    let failed = status.is_server_error() || code.is_some_and(is_failure);
    counted.answered(failed);
    if is_grpc && code.is_none() && status.is_success() {
        return Ok(response.map(|body| LoadReportBody::trailed(body, counted)));
    }
    counted.end(failed);
    let format = if is_grpc { ReportFormat::Binary } else { format };
    attach(response.headers_mut(), &counted, format);
    Ok(response.map(|body| LoadReportBody::counted(body, counted)))
}

/// Writes the report, unless there is one.
pub(super) fn attach(headers: &mut HeaderMap, counted: &Counted, format: ReportFormat) {
    if !headers.contains_key(ANY) && !headers.contains_key(BINARY) {
        counted.load().report(1).write(headers, format);
    }
}

pub(super) fn is_failure(code: i32) -> bool {
    !matches!(Outcome::of_grpc(code), Outcome::Success | Outcome::Ignored)
}

impl<F, A> fmt::Debug for LoadReportFuture<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = matches!(self.kind, Kind::Streams(_));
        f.debug_struct("LoadReportFuture").field("streams", &streams).finish_non_exhaustive()
    }
}
