//! A collector that is down, slow or refuses costs no call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    mem::ManuallyDrop,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{self as sdk, BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData},
};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::watch, task::JoinHandle};
use tower_mesh::{Mesh, config::Address};

use crate::support::{RawServer, Server, dead_address, get, patience};

/// So many calls: far more spans than the exporter's queue holds.
const CALLS: usize = 300;
/// So many spans wait to be exported at the most, and go together.
const QUEUE: usize = 64;
const BATCH: usize = 16;

/// How often something was exported, and how often that failed.
#[derive(Clone, Debug, Default)]
struct Exports {
    tried: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

/// An exporter whose exports are counted.
#[derive(Debug)]
struct Counted(SpanExporter, Exports);

impl sdk::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.1.tried.fetch_add(1, Ordering::SeqCst);
        let result = self.0.export(batch).await;
        self.1.failed.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
        result
    }
}

/// A provider that exports to this collector, and has a minute for it.
fn provider(collector: &Address, exports: &Exports) -> SdkTracerProvider {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{collector}"))
        .with_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(Duration::from_millis(1))
        .build();
    let exporter = Counted(exporter, exports.clone());
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    SdkTracerProvider::builder().with_span_processor(batches).build()
}

/// Makes calls through a traced mesh; none fails, and none waits for the collector. Tells what became of
/// the exports, of which one has begun at least.
async fn calls_go_on(collector: &Address) -> Exports {
    // Its drop would wait for the collector, which is the application's to decide.
    let exports = Exports::default();
    let provider = ManuallyDrop::new(provider(collector, &exports));
    calls_with(&provider, &exports).await;
    exports
}

/// The same with this provider.
async fn calls_with(provider: &SdkTracerProvider, exports: &Exports) -> Mesh {
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .tracer_provider(provider)
        .build()
        .unwrap();
    let client = mesh.http();
    patience(async {
        for _ in 0..CALLS {
            let response = client.send(get("http://users/")).await.unwrap();
            assert_eq!(response.into_body().text().await.unwrap(), "hello");
        }
    })
    .await;
    assert_eq!(server.requests(), CALLS);
    until(&exports.tried).await;
    mesh
}

/// Waits for the first one.
async fn until(counted: &AtomicUsize) {
    let counted = async {
        while counted.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patience(counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_is_down() {
    let (dead, _socket) = dead_address();
    let exports = calls_go_on(&dead).await;
    until(&exports.failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_stalls() {
    let silent = RawServer::start(|mut stream, _| async move {
        // It reads, and never says a word.
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let exports = calls_go_on(&silent.address()).await;
    assert!(silent.connections() > 0, "the exporter never came");
    // All calls are over, and what was exported first waits still: none of them can have waited for it.
    assert_eq!(exports.tried.load(Ordering::SeqCst), 1);
    assert_eq!(exports.failed.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_hangs_up() {
    let rude = RawServer::start(|stream, _| async move { drop(stream) }).await;
    let exports = calls_go_on(&rude.address()).await;
    until(&exports.failed).await;
    assert!(rude.connections() > 0, "the exporter never came");
}

/// A collector that refuses, and counts how often.
#[derive(Clone, Default)]
struct Refusing(Arc<AtomicUsize>);

#[tonic::async_trait]
impl TraceService for Refusing {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(tonic::Status::permission_denied("not for you"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_refuses() {
    let refusing = Refusing::default();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(refusing.clone());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let serving = tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    let exports = calls_go_on(&address.into()).await;
    until(&refusing.0).await;
    until(&exports.failed).await;
    serving.abort();
}

/// A collector that takes what it gets, and answers when it is let to.
#[derive(Clone)]
struct Slow {
    answers: Arc<watch::Sender<bool>>,
    spans: Arc<AtomicUsize>,
}

impl Slow {
    async fn start() -> (Self, Address, JoinHandle<()>) {
        let slow = Self { answers: Arc::default(), spans: Arc::default() };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(slow.clone()))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
        let serving = tokio::spawn(async move { server.await.unwrap() });
        (slow, address.into(), serving)
    }
}

#[tonic::async_trait]
impl TraceService for Slow {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let resources = request.get_ref().resource_spans.iter();
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        let spans = scopes.map(|scope| scope.spans.len()).sum();
        self.spans.fetch_add(spans, Ordering::SeqCst);
        let mut answers = self.answers.subscribe();
        answers.wait_for(|answers| *answers).await.unwrap();
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_answers_after_all_calls_are_over_gets_what_its_queue_holds_and_no_more() {
    let (slow, address, serving) = Slow::start().await;
    let exports = Exports::default();
    let tracing = provider(&address, &exports);
    calls_with(&tracing, &exports).await;
    // All calls are over, and what was exported first waits still.
    assert_eq!(exports.tried.load(Ordering::SeqCst), 1);
    until(&slow.spans).await;
    slow.answers.send_replace(true);
    let flushed = tokio::task::spawn_blocking(move || tracing.shutdown());
    patience(flushed).await.unwrap().unwrap();
    assert_eq!(exports.failed.load(Ordering::SeqCst), 0);
    // A queue, a batch that is sent, and one that is filled; each call has two spans.
    let arrived = slow.spans.load(Ordering::SeqCst);
    assert!((1..=QUEUE + 2 * BATCH).contains(&arrived), "{arrived} of {}", 2 * CALLS);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn that_never_answers_delays_no_shutdown_beyond_its_bound() {
    let (slow, address, serving) = Slow::start().await;
    let exports = Exports::default();
    let tracing = provider(&address, &exports);
    // That of the mesh waits for calls, and for no export.
    let mesh = calls_with(&tracing, &exports).await;
    patience(mesh.shutdown(Duration::from_secs(3600))).await;
    until(&slow.spans).await;
    // An export may take a minute; the application waits for as long as it says.
    let bound = Duration::from_millis(200);
    let ended = tokio::task::spawn_blocking(move || tracing.shutdown_with_timeout(bound));
    assert!(patience(ended).await.unwrap().is_err(), "nothing was answered");
    assert_eq!(exports.tried.load(Ordering::SeqCst), 1);
    serving.abort();
}
