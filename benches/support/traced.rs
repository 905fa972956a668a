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

/// Throws spans away.
#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        drop(spans);
        Ok(())
    }
}

/// A tracer that follows the caller, and throws spans away.
fn provider(root: Sampler) -> SdkTracerProvider {
    let sampler = Sampler::ParentBased(Box::new(root));
    SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(Nowhere).build()
}

/// A generated tonic client, whose mesh has a tracer and whose callers are not sampled.
pub(crate) fn tonic(under: Under) -> Box<dyn Run> {
    grpc::traced(under, |builder| builder.tracer_provider(&provider(Sampler::AlwaysOn)))
}

/// The same beside a meter provider.
pub(crate) fn tonic_metered(under: Under) -> Box<dyn Run> {
    grpc::traced(under, |builder| metered(builder.tracer_provider(&provider(Sampler::AlwaysOn))))
}

/// With a provider that takes durations; nothing is exported meanwhile.
fn metered(builder: MeshBuilder) -> MeshBuilder {
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default())
        .with_interval(Duration::from_secs(3600))
        .build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let builder = builder.meter_provider(&provider);
    // Its instruments keep it; dropping it would shut it down.
    Box::leak(Box::new(provider));
    builder
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
        let client = runtime.block_on(async move {
            let mut builder = Mesh::builder()
                .source(Static::new(config(work, TIMEOUT)))
                .connect_layer(peers)
                .seed(7);
            let sampler = match trace {
                Trace::Nothing | Trace::Carried | Trace::NoSubscriber | Trace::Metered => None,
                Trace::RootOff => Some(Sampler::AlwaysOff),
                Trace::ParentOff | Trace::RootOn | Trace::ParentOn | Trace::Both => {
                    Some(Sampler::AlwaysOn)
                }
            };
            if let Some(sampler) = sampler {
                builder = builder.tracer_provider(&provider(sampler));
            }
            if trace == Trace::NoSubscriber {
                builder = builder.tracing_spans();
            }
            if matches!(trace, Trace::Metered | Trace::Both) {
                builder = metered(builder);
            }
            let mesh = builder.build().unwrap();
            mesh.ready().await.unwrap();
            mesh.client("users.prod").unwrap()
        });
        let next = Arc::new(AtomicU64::new(1));
        let traced = Self { runtime, caller: TracedCaller { client, trace, next } };
        traced.run(1, WARM_UP);
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
