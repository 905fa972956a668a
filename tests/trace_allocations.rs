//! What telemetry costs in allocations: a trace nothing of its own for a call that nobody records, a meter
//! provider nothing at all.
#![cfg(all(feature = "otel-033", feature = "file"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
)]

#[path = "../benches/support/mod.rs"]
mod bench;
#[path = "../benches/support/counting.rs"]
#[allow(dead_code, reason = "shared: this test counts allocations alone")]
mod counting;

use std::time::Duration;

use bench::{
    calls::{read, runtime},
    peer::{Answer, Peers},
};
use counting::{Counting, counted};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use opentelemetry_sdk::{
    metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracerProvider},
};
use tower_mesh::{
    Body, Mesh, Retry, TraceContext,
    config::{Address, Protocol},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u32 = 1000;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the application says of the trace of a call.
#[derive(Clone, Copy)]
enum Given<'a> {
    Nothing,
    Extension(&'a TraceContext),
    Header(&'a str),
}

/// Allocations per call over HTTP/2 to a peer in memory, the request's own included.
fn per_call(sampler: Option<Sampler>, given: Given<'_>) -> f64 {
    measured(sampler, None, given, 1)
}

/// The same with a meter provider, and with so many attempts allowed.
fn measured(
    sampler: Option<Sampler>,
    meters: Option<&SdkMeterProvider>,
    given: Given<'_>,
    attempts: u32,
) -> f64 {
    let runtime = runtime();
    let address: Address = "10.0.0.1:80".parse().unwrap();
    let client = runtime.block_on(async {
        let mut builder = Mesh::builder()
            .endpoints("users.prod", [address])
            .service("users.prod", |s| {
                s.retry(Retry::standard().attempts(attempts)).protocol(Protocol::Http2)
            })
            .connect_layer(Peers::new(Answer::http()));
        if let Some(sampler) = sampler {
            let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
            builder = builder.tracer_provider(&provider);
        }
        if let Some(meters) = meters {
            builder = builder.meter_provider(meters);
        }
        let mesh = builder.build().unwrap();
        mesh.ready().await.unwrap();
        mesh.client("users.prod").unwrap()
    });
    let run = |calls: u32| {
        runtime.block_on(async {
            for _ in 0..calls {
                let mut request = Request::new(Body::from("hello"));
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = "http://users.prod/".parse().unwrap();
                *request.headers_mut() = HeaderMap::with_capacity(16);
                // In every run: the first extension costs more than the next.
                request.extensions_mut().insert(0_u8);
                match given {
                    Given::Nothing => {}
                    Given::Extension(context) => {
                        request.extensions_mut().insert(context.clone());
                    }
                    Given::Header(text) => {
                        let value = HeaderValue::from_str(text).unwrap();
                        request.headers_mut().insert(TRACEPARENT, value);
                    }
                }
                read(client.send(request).await.unwrap()).await;
            }
        });
    };
    run(500);
    let ((), counted) = counted(|| run(CALLS));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let allocations = counted.allocations as f64;
    allocations / f64::from(CALLS)
}

/// One test in this file: others would be counted with it.
#[test]
fn a_call_that_nobody_records_allocates_the_header_and_nothing_else() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let on = || Some(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    let off = || Some(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    // As the server side of an application hands it on.
    let inbound = |parent: &'static str| {
        let headers = [(TRACEPARENT, HeaderValue::from_static(parent))].into_iter().collect();
        TraceContext::from_headers(&headers).unwrap()
    };
    let (sampled, unsampled) = (inbound(PARENT), inbound(UNSAMPLED));
    let made: TraceContext = PARENT.parse().unwrap();
    let nothing = per_call(None, Given::Nothing);
    // One is the application's own: the extension's box, the header's text.
    let more = |sampler, given| {
        let own = if matches!(given, Given::Nothing) { 0.0 } else { 1.0 };
        per_call(sampler, given) - nothing - own
    };
    let carried = more(None, Given::Extension(&sampled));
    let written = more(None, Given::Extension(&made));
    let named = more(None, Given::Header(PARENT));
    let no_parent = more(off(), Given::Nothing);
    let parent = more(on(), Given::Extension(&unsampled));
    let named_parent = more(on(), Given::Header(UNSAMPLED));
    let root = more(on(), Given::Nothing);
    let child = more(on(), Given::Extension(&sampled));
    // Nobody collects while it is counted.
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone());
    let reader = reader.with_interval(Duration::from_secs(3600)).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let metered = measured(None, Some(&meters), Given::Nothing, 1) - nothing;
    // The head that is kept for a retry has the context in its headers alone.
    let armed = measured(None, None, Given::Nothing, 3);
    let kept = measured(None, None, Given::Extension(&sampled), 3) - armed - 1.0;
    let kept_child = measured(on(), None, Given::Extension(&unsampled), 3) - armed - 1.0;
    println!("without a trace: {nothing:.2} per call; with a meter provider: {metered:+.2}");
    meters.force_flush().unwrap();
    assert!(!exporter.get_finished_metrics().unwrap().is_empty(), "nothing was counted");
    println!("passed on: {carried:+.2} from the extensions, {named:+.2} from a header");
    println!(
        "unsampled by its caller: {parent:+.2}, {named_parent:+.2}; by the sampler: {no_parent:+.2}"
    );
    println!("the same with a retry armed ({armed:.2}): {kept:+.2}, {kept_child:+.2}");
    println!("sampled, with one attempt: {root:+.2} without a parent, {child:+.2} with one");

    let noise = 0.05;
    for (what, allocations, most) in [
        ("counted by a meter provider", metered, 0.0),
        ("passed on from the extensions", carried, 0.0),
        ("made here, whose text is the header's", written, 1.0),
        ("passed on from a header", named, 0.0),
        ("unsampled by its caller", parent, 0.0),
        ("unsampled by its caller, from a header", named_parent, 0.0),
        // Without the header, the list of those that are kept is empty.
        ("passed on, with a retry armed", kept, 1.0),
        ("unsampled by its caller, with a retry armed", kept_child, 1.0),
        ("unsampled by the sampler", no_parent, 1.0),
        ("sampled", root, 8.0),
        ("sampled with a parent", child, 9.0),
    ] {
        assert!(allocations <= most + noise, "{what}: {allocations:+.2}, not {most:+.2}");
    }
    assert!(root > 2.0, "it was not recorded");
}
