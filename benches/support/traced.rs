//! Meshes that are asked to trace, over the peers of `subjects`.
#![allow(clippy::unwrap_used, reason = "bench support")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Method;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use tokio::runtime::Runtime;
use tower_mesh::{Body, Client, Mesh, MeshBuilder, TraceContext, discover::Static};

use crate::support::{
    calls::{self, Caller, WARM_UP, drive, read, request},
    grpc::{self, Run, Under},
    peer::{Answer, Peers},
    proofs::prove,
    subjects::{TIMEOUT, Work, config},
};

/// What is said of the trace of each call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trace {
    /// Nothing, and nobody traces.
    Nothing,
    /// A context that differs per call, and nobody traces: it is passed on.
    Carried,
    /// A tracer, and a caller whose trace is not sampled.
    ParentOff,
    /// A tracer whose sampler wants nothing, and no parent.
    RootOff,
    /// A tracer that records everything; the spans go nowhere.
    RootOn,
    /// The same with a parent that differs per call.
    ParentOn,
    /// The feature `tracing`, and no subscriber.
    NoSubscriber,
    /// Nobody traces, and a meter provider takes the durations; nothing is exported meanwhile.
    Metered,
    /// All that is usual: the tracer of `ParentOff`, and the meter provider.
    Both,
}

/// A mesh that does the work of G2 and traces.
pub(crate) struct Traced {
    runtime: Runtime,
    caller: TracedCaller,
}

#[derive(Clone)]
struct TracedCaller {
    client: Client,
    trace: Trace,
    next: Arc<AtomicU64>,
}

/// Throws spans away, and counts them.
#[derive(Debug)]
struct Nowhere(Arc<AtomicU64>);

impl SpanExporter for Nowhere {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(spans.len() as u64, Relaxed);
        Ok(())
    }
}

/// A tracer that follows the caller, and throws spans away; these are counted.
fn provider(root: Sampler, spans: &Arc<AtomicU64>) -> SdkTracerProvider {
    let sampler = Sampler::ParentBased(Box::new(root));
    let exporter = Nowhere(Arc::clone(spans));
    SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(exporter).build()
}

fn tracing(builder: MeshBuilder) -> MeshBuilder {
    builder.tracer_provider(&provider(Sampler::AlwaysOn, &Arc::default()))
}

/// A generated tonic client, whose mesh has a tracer and whose callers are not sampled.
pub(crate) fn tonic(under: Under) -> Box<dyn Run> {
    grpc::traced(under, tracing)
}

/// The same beside a meter provider.
pub(crate) fn tonic_metered(under: Under) -> Box<dyn Run> {
    grpc::traced(under, |builder| metered(tracing(builder)).0)
}

/// With a provider that takes durations; nothing is exported meanwhile but what is asked for.
fn metered(builder: MeshBuilder) -> (MeshBuilder, Exported) {
    let exporter = InMemoryMetricExporter::default();
    let reader =
        PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_secs(3600)).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let builder = builder.meter_provider(&provider);
    // Its instruments keep it; dropping it would shut it down.
    let provider: &'static SdkMeterProvider = Box::leak(Box::new(provider));
    (builder, Exported { provider, exporter })
}

/// What a meter provider has taken.
struct Exported {
    provider: &'static SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Exported {
    fn has_durations(&self) -> bool {
        self.provider.force_flush().unwrap();
        let all = self.exporter.get_finished_metrics().unwrap();
        let mut metrics = all
            .iter()
            .flat_map(|resource| resource.scope_metrics())
            .flat_map(|scope| scope.metrics());
        metrics.any(|metric| metric.name() == "http.client.request.duration")
    }
}

/// What decides of traces that begin here; without it there is no tracer.
fn sampler_of(trace: Trace) -> Option<Sampler> {
    match trace {
        Trace::Nothing | Trace::Carried | Trace::NoSubscriber | Trace::Metered => None,
        Trace::RootOff => Some(Sampler::AlwaysOff),
        Trace::ParentOff | Trace::RootOn | Trace::ParentOn | Trace::Both => Some(Sampler::AlwaysOn),
    }
}

impl Traced {
    /// Not armed: G2a.
    pub(crate) fn new(trace: Trace) -> Self {
        Self::at(Work::Full, trace)
    }

    /// With a retry armed: G2b.
    pub(crate) fn armed(trace: Trace) -> Self {
        Self::at(Work::Armed, trace)
    }

    fn at(work: Work, trace: Trace) -> Self {
        let runtime = calls::runtime();
        let peers = Peers::new(Answer::http());
        let spans = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&spans);
        prove(work);
        let (client, exported) = runtime.block_on(async move {
            let mut exported = None;
            let mut builder = Mesh::builder()
                .source(Static::new(config(work, TIMEOUT)))
                .connect_layer(peers)
                .seed(7);
            if let Some(sampler) = sampler_of(trace) {
                builder = builder.tracer_provider(&provider(sampler, &counted));
            }
            if trace == Trace::NoSubscriber {
                builder = builder.tracing_spans();
            }
            if matches!(trace, Trace::Metered | Trace::Both) {
                let (metered, taken) = metered(builder);
                (builder, exported) = (metered, Some(taken));
            }
            let mesh = builder.build().unwrap();
            mesh.ready().await.unwrap();
            let described = mesh.describe().to_string();
            for (part, is_given) in [
                ("tracer_provider = given", sampler_of(trace).is_some()),
                ("meter_provider = given", exported.is_some()),
            ] {
                assert_eq!(described.contains(part), is_given, "{trace:?}: {described}");
            }
            (mesh.client("users.prod").unwrap(), exported)
        });
        let next = Arc::new(AtomicU64::new(1));
        let traced = Self { runtime, caller: TracedCaller { client, trace, next } };
        traced.run(1, WARM_UP);
        // A call and its attempt, where it is recorded.
        let recorded = matches!(trace, Trace::RootOn | Trace::ParentOn);
        let expected = if recorded { 2 * u64::from(WARM_UP) } else { 0 };
        assert_eq!(spans.load(Relaxed), expected, "{trace:?}");
        assert!(exported.is_none_or(|taken| taken.has_durations()), "{trace:?}");
        traced
    }

    pub(crate) fn run(&self, concurrency: u32, calls: u32) {
        drive(&self.runtime, concurrency, calls, &self.caller);
    }
}

impl Caller for TracedCaller {
    async fn call(&self) {
        let mut request = request::<Body>(Method::POST);
        let sampled = matches!(self.trace, Trace::Carried | Trace::ParentOn);
        if sampled || matches!(self.trace, Trace::ParentOff | Trace::Both) {
            let id = self.next.fetch_add(1, Relaxed);
            let context =
                TraceContext::new(u128::from(id).to_be_bytes(), id.to_be_bytes(), sampled);
            request.extensions_mut().insert(context.unwrap());
        }
        read(self.client.send(request).await.unwrap()).await;
    }
}
