//! The metrics through OpenTelemetry's SDK to a collector, which may be down, slow or refusing.
#![allow(clippy::float_cmp, reason = "counts are whole")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../examples/support/collector.rs"]
mod collector;
use std::{collections::BTreeMap, time::Duration};

use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data, number_data_point::Value as Number},
};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tokio::io::AsyncReadExt;
use tower_mesh::{
    Mesh,
    observe::{MetricKind, MetricValue},
};

use crate::support::{
    GreeterClient, HelloRequest, RawServer, Server, dead_address, fetch, get, greeters::hello,
    patience,
};
use collector::Collector;

/// A provider that exports to this collector as often as that.
fn provider(endpoint: &str, interval: Duration) -> SdkMeterProvider {
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
    SdkMeterProvider::builder().with_reader(reader).build()
}

/// Attributes as text, sorted.
fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let each = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref()).unwrap();
        (attribute.key.clone(), text(value))
    });
    each.collect()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn number(value: Option<&Number>) -> f64 {
    match value.unwrap() {
        Number::AsDouble(number) => *number,
        Number::AsInt(number) => *number as f64,
    }
}

/// The samples of a metric as they arrived: one number each, of a histogram the count.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn samples(metric: &Metric) -> BTreeMap<BTreeMap<String, String>, f64> {
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => {
            let points = sum.data_points.iter();
            points.map(|it| (attributes(&it.attributes), number(it.value.as_ref()))).collect()
        }
        Data::Gauge(gauge) => {
            let points = gauge.data_points.iter();
            points.map(|it| (attributes(&it.attributes), number(it.value.as_ref()))).collect()
        }
        Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            points.map(|it| (attributes(&it.attributes), it.count as f64)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_what_the_cells_have() {
    let collector = Collector::start().await.unwrap();
    let server = Server::grpc(hello(|_| async { Ok("hello".into()) })).await;
    let (dead, _socket) = dead_address();
    let meters = provider(&collector.endpoint(), Duration::from_secs(3600));
    let mesh = Mesh::builder()
        .endpoints("users", [server.address(), dead])
        .meter_provider(&meters)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let mut greeter = GreeterClient::new(client.clone());
    for _ in 0..20 {
        fetch(&client, get("/")).await.unwrap();
        greeter.say_hello(HelloRequest::default()).await.unwrap();
    }
    mesh.http().send(get("http://nobody/")).await.unwrap_err();
    assert!(mesh.describe().to_string().contains("telemetry.meter_provider = given (code)"));

    let flushing = meters.clone();
    tokio::task::spawn_blocking(move || flushing.force_flush()).await.unwrap().unwrap();
    let arrived = collector.metrics();
    let metrics = mesh.metrics();
    assert!(metrics.families.len() > 15, "{}", metrics.families.len());
    let names: Vec<&str> = arrived.iter().map(|metric| &*metric.name).collect();
    assert_eq!(names.len(), metrics.families.len(), "{names:?}");
    for family in &metrics.families {
        let metric = arrived.iter().find(|metric| metric.name == family.name);
        let metric = metric.unwrap_or_else(|| panic!("{} did not arrive", family.name));
        assert_eq!((&*metric.unit, &*metric.description), (family.unit, family.help));
        let is_of_kind = match (family.kind, metric.data.as_ref().unwrap()) {
            (MetricKind::Counter, Data::Sum(sum)) => sum.is_monotonic,
            (MetricKind::UpDownCounter, Data::Sum(sum)) => !sum.is_monotonic,
            (MetricKind::Gauge, Data::Gauge(_)) => true,
            (MetricKind::Histogram, Data::Histogram(histogram)) => {
                let point = &histogram.data_points[0];
                assert_eq!(point.explicit_bounds.len(), 14, "{}", family.name);
                true
            }
            _ => false,
        };
        assert!(is_of_kind, "{} is no {:?}", family.name, family.kind);
        let arrived = samples(metric);
        assert_eq!(arrived.len(), family.samples.len(), "{}", family.name);
        for sample in &family.samples {
            let its = sample.attributes().map(|(name, value)| (name.to_owned(), value)).collect();
            let value = arrived.get(&its);
            let value = value.unwrap_or_else(|| panic!("{}: {its:?}", family.name));
            // What is told of a moment may have changed since: a back-off ends.
            let is_momentary =
                family.kind == MetricKind::Gauge || family.name == "mesh.client.endpoints";
            if !is_momentary {
                assert_eq!(*value, sample.value().as_f64(), "{}: {its:?}", family.name);
            }
        }
    }
    // Sums too, but for the rounding to microseconds.
    let durations = metrics.family("http.client.request.duration").unwrap();
    let MetricValue::Durations { sum, .. } = durations.samples[0].value() else { panic!() };
    let metric = arrived.iter().find(|metric| metric.name == durations.name).unwrap();
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!() };
    let its: BTreeMap<_, _> =
        durations.samples[0].attributes().map(|(name, value)| (name.to_owned(), value)).collect();
    let points = histogram.data_points.iter();
    let point = points.into_iter().find(|it| attributes(&it.attributes) == its).unwrap();
    assert!((point.sum.unwrap() - sum).abs() < 1e-4, "{:?} {sum}", point.sum);

    // A mesh that is gone is not read any more.
    drop((client, greeter, metrics));
    mesh.shutdown(Duration::from_secs(1)).await;
    drop(mesh);
    let flushing = meters.clone();
    tokio::task::spawn_blocking(move || flushing.force_flush()).await.unwrap().unwrap();
    let names: Vec<String> = collector.metrics().into_iter().map(|metric| metric.name).collect();
    assert!(names.iter().all(|name| name.ends_with(".duration")), "{names:?}");
}

#[cfg(feature = "orca")]
#[tokio::test(flavor = "multi_thread")]
async fn weights_arrive_in_buckets_of_their_own() {
    use tower_mesh::config::{Balancer, ClientWeighted};

    let collector = Collector::start().await.unwrap();
    let server = Server::named("hello").await;
    let meters = provider(&collector.endpoint(), Duration::from_secs(3600));
    let weighted = Balancer::ClientWeighted(ClientWeighted::default());
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |service| service.balancer(weighted))
        .meter_provider(&meters)
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    patience(async {
        while mesh.metrics().total("mesh.client.weights", &[]) < 1.0 {
            fetch(&client, get("/")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let flushing = meters.clone();
    tokio::task::spawn_blocking(move || flushing.force_flush()).await.unwrap().unwrap();
    let arrived = collector.metrics();
    let of = |name: &str| arrived.iter().find(|metric| metric.name == name).unwrap();
    let labels = BTreeMap::from([("mesh.cluster".to_owned(), "users".to_owned())]);
    for name in ["mesh.client.weights", "mesh.client.weights.fallbacks"] {
        let samples = samples(of(name));
        assert!(samples.len() == 1 && samples[&labels] >= 1.0, "{name}: {samples:?}");
    }
    // The one endpoint has reported nothing: it weighs 0, and the first bucket is of these alone.
    let Some(Data::Histogram(histogram)) = &of("mesh.client.weights").data else { panic!() };
    let point = &histogram.data_points[0];
    assert_eq!((point.explicit_bounds[0], point.explicit_bounds.len()), (0.0, 15));
    assert_eq!((point.bucket_counts[0], point.sum), (point.count, Some(0.0)));
}

/// Makes calls while metrics are exported every few milliseconds; none fails, and none waits.
async fn calls_go_on(endpoint: &str) {
    let server = Server::named("hello").await;
    let meters = provider(endpoint, Duration::from_millis(5));
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .meter_provider(&meters)
        .build()
        .unwrap();
    let client = mesh.http();
    patience(async {
        for _ in 0..300 {
            fetch(&client, get("http://users/")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..300 {
            fetch(&client, get("http://users/")).await.unwrap();
        }
    })
    .await;
    assert_eq!(server.requests(), 600);
    assert_eq!(mesh.metrics().total("mesh.client.call.duration", &[]), 600.0);
    // Its drop would wait for the collector, which is the application's to decide.
    Box::leak(Box::new(meters));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_no_call() {
    let (dead, _socket) = dead_address();
    calls_go_on(&format!("http://{dead}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_stalls_costs_no_call() {
    let silent = RawServer::start(|mut stream, _| async move {
        // It reads, and never says a word.
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    calls_go_on(&format!("http://{}", silent.address())).await;
    assert!(silent.connections() > 0, "the exporter never came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_costs_no_call() {
    let refusing = Collector::refusing().await.unwrap();
    calls_go_on(&refusing.endpoint()).await;
    patience(async {
        while refusing.exports() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
