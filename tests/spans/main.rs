//! A call is a span, each attempt a child of it, by OpenTelemetry's conventions.
#![cfg(feature = "otel-033")]
#![allow(clippy::wildcard_imports, reason = "the parts share what stands here")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod failures;
mod grpc;
mod parents;

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    trace::{
        FutureExt as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceId, TraceState,
    },
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tonic::Code;
use tower_mesh::{
    Body, Mesh, MeshBuilder, Propagation, Retry, TraceContext,
    config::{self, Protocol},
    transport::{ConnectTarget, Connector},
};

use support::{
    GreeterClient, HelloReply, HelloRequest, Leaves, SERVICE, Server, dead_address, get,
    greeters::{counting, hello},
    leaf::{answer, ok},
    patience, reply, status, within,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A provider, and the spans that it was given.
struct Traced {
    provider: SdkTracerProvider,
    spans: InMemorySpanExporter,
}

impl Traced {
    fn new() -> Self {
        Self::sampled_by(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
    }

    fn sampled_by(sampler: Sampler) -> Self {
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_simple_exporter(spans.clone())
            .build();
        Self { provider, spans }
    }

    /// The spans that have ended, in the order of their start, each call before its attempts.
    fn ended(&self) -> Vec<SpanData> {
        self.provider.force_flush().unwrap();
        let mut spans = self.spans.get_finished_spans().unwrap();
        self.spans.reset();
        // A call ends after its attempts and starts before them, within the clock's grain.
        spans.reverse();
        spans.sort_by_key(|span| span.start_time);
        spans
    }
}

fn text(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == key);
    let found: Vec<String> = found.map(|attribute| attribute.value.to_string()).collect();
    found.join("|")
}

/// The attributes of a span as text, but those of addresses that change.
fn attributes(span: &SpanData) -> Vec<String> {
    let mut list: Vec<String> = span
        .attributes
        .iter()
        .filter(|it| {
            !it.key.as_str().starts_with("network.peer") && it.key.as_str() != "mesh.endpoint"
        })
        .map(|KeyValue { key, value, .. }| format!("{key}={value}"))
        .collect();
    list.sort();
    list
}

/// Of spans and of metrics, which have one scope.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";

fn events(span: &SpanData) -> Vec<String> {
    let event = |event: &opentelemetry::trace::Event| {
        let list: Vec<String> =
            event.attributes.iter().map(|it| format!("{}={}", it.key, it.value)).collect();
        format!("{} {}", event.name, list.join(" "))
    };
    span.events.iter().map(event).collect()
}

fn is_child(child: &SpanData, parent: &SpanData) -> bool {
    child.parent_span_id == parent.span_context.span_id()
        && child.span_context.trace_id() == parent.span_context.trace_id()
}

/// A source that never says anything.
struct Never;

impl tower_mesh::Discover for Never {
    fn name(&self) -> String {
        "never".into()
    }

    fn run(self: Box<Self>, _: tower_mesh::Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

fn fast() -> Retry {
    Retry::standard().backoff(Duration::from_millis(1), Duration::from_millis(1))
}

/// Two leaves of which the first call meets a 503, under this provider.
fn flaky(traced: &Traced, edit: impl FnOnce(MeshBuilder) -> MeshBuilder) -> Mesh {
    let leaves = Leaves::new(2);
    let counter = leaves.clone();
    let builder = leaves.mesh(move |_, _| {
        let first = counter.total() == 1;
        async move { Ok(if first { answer(503) } else { ok("hello") }) }
    });
    edit(builder.tracer_provider(&traced.provider)).build().unwrap()
}
