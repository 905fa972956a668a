//! See what the mesh does: its metrics as Prometheus scrapes them, and metrics and spans through
//! OpenTelemetry to a collector, which runs in this process.
//!
//! ```text
//! cargo run --example telemetry --features otel-033
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

#[path = "support/collector.rs"]
mod collector;
#[path = "support/greeter.rs"]
mod greeter;
#[path = "support/replica.rs"]
mod replica;

use std::time::Duration;

use http::Request;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value, metrics::v1::metric::Data, trace::v1::Span,
};
use opentelemetry_sdk::{
    metrics::SdkMeterProvider,
    trace::{Sampler, SdkTracerProvider},
};
use tower_mesh::{Body, BoxError, Mesh, Retry, TraceContext};

use self::{
    collector::Collector,
    greeter::{GreeterClient, HelloRequest},
    replica::Replica,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let collector = Collector::start().await?;
    let replicas = [Replica::start("a").await?, Replica::start("b").await?];
    let dead = Replica::start("dead").await?;
    dead.kill();

    // The SDK, its reader and its exporter are the application's; the mesh is given the provider.
    let exporter =
        MetricExporter::builder().with_tonic().with_endpoint(collector.endpoint()).build()?;
    let meters = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
    let exporter =
        SpanExporter::builder().with_tonic().with_endpoint(collector.endpoint()).build()?;
    // Whose caller is traced is traced; nobody else is.
    let spans = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
        .with_batch_exporter(exporter)
        .build();

    let addresses = || replicas.iter().chain([&dead]).map(Replica::address);
    let mesh = Mesh::builder()
        .endpoints("users.prod", addresses())
        .endpoints("greeter.prod", addresses())
        .service("users.prod", |s| {
            s.timeout(Duration::from_secs(10)).retry(Retry::standard().attempts(3))
        })
        .meter_provider(&meters)
        .tracer_provider(&spans)
        .build()?;
    mesh.ready().await?;

    println!("50 HTTP and 50 gRPC calls; one of three replicas is dead");
    let mut greeter = GreeterClient::new(mesh.client("greeter.prod")?);
    for _ in 0..50 {
        let request = Request::get("http://users.prod/").body(Body::empty())?;
        mesh.http().send(request).await?.into_body().bytes().await?;
        greeter.say_hello(HelloRequest { name: "you".into() }).await?;
    }

    println!("\nas Prometheus scrapes it, an excerpt:");
    for line in mesh.prometheus().lines() {
        let is_shown = ["mesh_client_endpoints{", "mesh_client_connections_open{"]
            .iter()
            .any(|name| line.starts_with(name))
            || line.contains("_duration_seconds_count");
        if is_shown {
            println!("  {line}");
        }
    }

    // A reader exports once a minute; this one is asked to now.
    let flushing = meters.clone();
    tokio::task::spawn_blocking(move || flushing.force_flush()).await??;
    println!("\nas it arrived at the collector:");
    for metric in collector.metrics() {
        let count = match &metric.data {
            Some(Data::Sum(sum)) => sum.data_points.len(),
            Some(Data::Gauge(gauge)) => gauge.data_points.len(),
            Some(Data::Histogram(histogram)) => {
                let calls = histogram.data_points.iter().map(|point| point.count);
                println!("  {}: {} samples", metric.name, calls.sum::<u64>());
                continue;
            }
            _ => 0,
        };
        println!("  {}: {count} series", metric.name);
    }

    // What this process answers is traced: it hands the context of its caller on.
    let inbound = TraceContext::new([7; 16], [7; 8], true).expect("ids that are not zero");
    replicas[0].fail(true);
    for _ in 0..4 {
        let mut request = Request::get("http://users.prod/").body(Body::empty())?;
        request.extensions_mut().insert(inbound.clone());
        mesh.http().send(request).await?.into_body().bytes().await?;
    }
    replicas[0].fail(false);
    let mut request = tonic::Request::new(HelloRequest { name: "you".into() });
    request.extensions_mut().insert(inbound.clone());
    greeter.say_hello(request).await?;
    tokio::task::spawn_blocking(move || spans.shutdown()).await??;
    println!("\nfive calls of one trace, as they arrived:");
    let spans = collector.spans();
    let calls: Vec<&Span> =
        spans.iter().filter(|span| span.parent_span_id == inbound.span_id()).collect();
    for call in &calls {
        show(&spans, call, 1);
    }
    assert_eq!(calls.len(), 5, "those of the others are not sampled");

    let value = |name| mesh.metrics().total(name, &[]);
    let calls = value("mesh.client.call.duration") + value("rpc.client.call.duration");
    assert!((calls - 105.0).abs() < f64::EPSILON, "{calls} calls");
    mesh.shutdown(Duration::from_secs(1)).await;
    tokio::task::spawn_blocking(move || meters.shutdown()).await??;
    Ok(())
}

/// Prints a span and, below it, its children.
fn show(spans: &[Span], span: &Span, depth: usize) {
    let attribute = |key: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
        Some(match found.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            _ => return None,
        })
    };
    let mut line = span.name.clone();
    for key in [
        "mesh.service",
        "mesh.attempt",
        "mesh.endpoint",
        "http.response.status_code",
        "rpc.response.status_code",
        "error.type",
        "mesh.retry.reason",
    ] {
        if let Some(value) = attribute(key) {
            line = format!("{line}, {} {value}", key.rsplit('.').next().unwrap_or(key));
        }
    }
    println!("{:indent$}{line}", "", indent = 2 * depth);
    for child in spans.iter().filter(|child| child.parent_span_id == span.span_id) {
        show(spans, child, depth + 1);
    }
}
