//! The layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{LoadReportBody, LoadReportFuture, OutOfBand, ReportFormat, ServerLoad, stream};
use crate::{config::PROBE_PATH, core::grpc};

/// Measures the calls of a service and reports its load with each response.
///
/// Goes around any service of [`http::Request`]s: hyper's, axum's, tonic's (`Server::layer`).
/// gRPC gets the report in its trailers (`endpoint-load-metrics-bin`), other responses in a header
/// (`endpoint-load-metrics`). A response that carries a report already keeps it.
///
/// | default | value | source |
/// |---|---|---|
/// | format of the header | text | Envoy reads all three, and so can people |
/// | reports beside the traffic | none | they are asked for by path: [`out_of_band`](Self::out_of_band) |
/// | answers to probes | none | the same: [`probes`](Self::probes) |
///
/// # Cancel safety
///
/// A call counts as in flight until its response has been sent to the end, or its future or body
/// is dropped.
#[derive(Clone, Debug)]
pub struct LoadReportLayer {
    load: ServerLoad,
    format: ReportFormat,
    out_of_band: Option<OutOfBand>,
    probes: Option<Arc<str>>,
}

/// The service of [`LoadReportLayer`].
#[derive(Clone, Debug)]
pub struct LoadReport<S> {
    inner: S,
    layer: LoadReportLayer,
}

impl LoadReportLayer {
    /// Reports this load.
    #[must_use]
    pub fn new(load: ServerLoad) -> Self {
        Self { load, format: ReportFormat::default(), out_of_band: None, probes: None }
    }

    /// How the report is written into the header of a response that is not gRPC's. Default: text.
    #[must_use]
    pub fn format(mut self, format: ReportFormat) -> Self {
        self.format = format;
        self
    }

    /// Answers the calls of [`OutOfBand`], too: they do not reach the service, and are not
    /// counted. Default: they reach it as any other.
    #[must_use]
    pub fn out_of_band(mut self) -> Self {
        self.out_of_band = Some(OutOfBand::new(self.load.clone()));
        self
    }

    /// Serves load reports out of band by this service: with settings of its own, and perhaps another load.
    #[must_use]
    pub fn out_of_band_by(mut self, service: OutOfBand) -> Self {
        self.out_of_band = Some(service);
        self
    }

    /// Answers the probes of Prequal, too, where they go by default: `/.well-known/load-report`. The
    /// answer is empty (204) and carries the report. Probes do not reach the service, and are not
    /// counted. Default: they reach it as any other call.
    ///
    /// Whoever can reach the server may ask: put what authorizes callers outside of this layer.
    #[must_use]
    pub fn probes(self) -> Self {
        self.probes_at(PROBE_PATH)
    }

    /// Answers probes of the load at this path, which is compared without the query.
    #[must_use]
    pub fn probes_at(mut self, path: impl Into<String>) -> Self {
        self.probes = Some(path.into().into());
        self
    }
}

impl<S> Layer<S> for LoadReportLayer {
    type Service = LoadReport<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadReport { inner, layer: self.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for LoadReport<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    A: http_body::Body,
    B: http_body::Body<Data = Bytes>,
{
    type Response = Response<LoadReportBody<B>>;
    type Error = S::Error;
    type Future = LoadReportFuture<S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if let Some(service) = &self.layer.out_of_band
            && request.uri().path() == stream::PATH
        {
            return LoadReportFuture::streams(service.begin(request));
        }
        if self.layer.probes.as_deref().is_some_and(|path| request.uri().path() == path) {
            return LoadReportFuture::tells(self.layer.load.clone(), self.layer.format);
        }
        let is_grpc = grpc::is_grpc(request.headers());
        let counted = self.layer.load.begin();
        LoadReportFuture::counts(self.inner.call(request), counted, is_grpc, self.layer.format)
    }
}
