//! An OTLP collector in this process, as far as an exporter can tell: it keeps what it is sent.
#![allow(dead_code, reason = "shared: each program uses a part")]

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    metrics::v1::Metric,
    trace::v1::Span,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// The collector; its drop ends it.
pub(crate) struct Collector {
    address: SocketAddr,
    kept: Kept,
    serving: JoinHandle<()>,
}

/// What has arrived, and whether it is refused.
#[derive(Clone, Default)]
struct Kept {
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    spans: Arc<Mutex<Vec<Span>>>,
    refuses: bool,
}

impl Collector {
    /// One that takes everything.
    pub(crate) async fn start() -> io::Result<Self> {
        Self::serve(Kept::default()).await
    }

    /// One that refuses everything, and keeps it all the same, for who wants to count.
    pub(crate) async fn refusing() -> io::Result<Self> {
        Self::serve(Kept { refuses: true, ..Kept::default() }).await
    }

    async fn serve(kept: Kept) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let metrics = MetricsServiceServer::new(kept.clone());
        let incoming = TcpIncoming::from(listener);
        let traces = TraceServiceServer::new(kept.clone());
        let server = Server::builder().add_service(metrics).add_service(traces);
        let server = server.serve_with_incoming(incoming);
        let serving = tokio::spawn(async { drop(server.await) });
        Ok(Self { address, kept, serving })
    }

    /// Where exporters send to.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often metrics were sent.
    pub(crate) fn exports(&self) -> usize {
        self.kept.metrics().len()
    }

    /// The metrics that were sent last.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let sent = self.kept.metrics();
        let resources = sent.last().map(|sent| sent.resource_metrics.clone()).unwrap_or_default();
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_metrics);
        scopes.flat_map(|scope| scope.metrics).collect()
    }
}

impl Collector {
    /// The spans that were sent, in the order of their start.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = self.kept.spans.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A call starts with its first attempt, within the clock's grain, and ends after it.
        spans.reverse();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Kept {
    fn metrics(&self) -> std::sync::MutexGuard<'_, Vec<ExportMetricsServiceRequest>> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl MetricsService for Kept {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics().push(request.into_inner());
        if self.refuses {
            return Err(Status::permission_denied("not for you"));
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        if self.refuses {
            return Err(Status::permission_denied("not for you"));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
