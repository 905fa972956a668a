//! See what the mesh does: its metrics as Prometheus scrapes them, and through OpenTelemetry to a
//! collector, which runs in this process.
//!
//! ```text
//! cargo run --example telemetry --features otel
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
use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tower_mesh::{Body, BoxError, Mesh, Retry};

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

    let addresses = || replicas.iter().chain([&dead]).map(Replica::address);
    let mesh = Mesh::builder()
        .endpoints("users.prod", addresses())
        .endpoints("greeter.prod", addresses())
        .service("users.prod", |s| {
            s.timeout(Duration::from_secs(2)).retry(Retry::standard().attempts(3))
        })
        .meter_provider(&meters)
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

    let value = |name| mesh.metrics().total(name, &[]);
    let calls = value("mesh.client.call.duration") + value("rpc.client.call.duration");
    assert!((calls - 100.0).abs() < f64::EPSILON, "{calls} calls");
    mesh.shutdown(Duration::from_secs(1)).await;
    tokio::task::spawn_blocking(move || meters.shutdown()).await??;
    Ok(())
}
