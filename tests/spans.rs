//! A call is a span, each attempt a child of it, by OpenTelemetry's conventions.
#![cfg(feature = "otel-033")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

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

#[tokio::test(start_paused = true)]
async fn a_call_and_its_attempts_by_the_conventions() {
    let traced = Traced::new();
    let mesh = flaky(&traced, |builder| {
        builder.service(SERVICE, |s| {
            s.retry(fast().backoff(Duration::from_millis(10), Duration::from_millis(10)))
        })
    });
    mesh.ready().await.unwrap();
    let request = get("http://me:secret@users.prod:8080/1?token=secret");
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    let spans = traced.ended();
    let [call, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(call.parent_span_id, SpanId::INVALID);
    assert!(is_child(first, call) && is_child(second, call));
    for span in &spans {
        assert_eq!(span.name, "GET");
        assert_eq!(span.instrumentation_scope.name(), "tower-mesh");
        assert_eq!(span.instrumentation_scope.schema_url(), Some(SCHEMA));
    }
    // An HTTP client span is an attempt; the call around them is none.
    assert_eq!(call.span_kind, SpanKind::Internal);
    assert_eq!(first.span_kind, SpanKind::Client);
    let url = "url.full=http://REDACTED:REDACTED@users.prod:8080/1?token=REDACTED";
    assert_eq!(
        attributes(call),
        [
            "http.request.method=GET",
            "http.response.status_code=200",
            "mesh.attempts=2",
            "mesh.cluster=users.prod",
            "mesh.outcome=response",
            "mesh.service=users.prod",
            "server.address=users.prod",
            "server.port=8080",
            url,
        ]
    );
    let [event] = &events(call)[..] else { panic!("{:?}", events(call)) };
    assert!(
        event.starts_with(
            "mesh.retry mesh.retry.reason=status mesh.retry.status=503 mesh.retry.backoff=0.0"
        ),
        "{event}"
    );
    assert_eq!(
        attributes(first),
        [
            "error.type=503",
            "http.request.method=GET",
            "http.response.status_code=503",
            "mesh.attempt=1",
            "mesh.outcome=response",
            "network.protocol.version=1.1",
            "server.address=users.prod",
            "server.port=8080",
            url,
        ]
    );
    assert_eq!(first.status, Status::error(""));
    assert_eq!(call.status, Status::Unset);
    let list = attributes(second);
    assert!(list.contains(&"http.request.resend_count=1".to_owned()), "{list:?}");
    assert!(list.contains(&"mesh.attempt=2".to_owned()), "{list:?}");
    assert!(list.contains(&"mesh.retry.reason=status".to_owned()), "{list:?}");
    assert!(list.contains(&"mesh.retry.status=503".to_owned()), "{list:?}");
    assert!(!text(second, "mesh.retry.backoff").is_empty());
    // The other of the two endpoints was taken.
    assert!(text(first, "mesh.endpoint").ends_with(":80"));
    assert_ne!(text(first, "mesh.endpoint"), text(second, "mesh.endpoint"));
    assert!(text(first, "network.peer.address").starts_with("10.0.0."));
    assert_eq!(text(first, "network.peer.port"), "80");
}

#[tokio::test]
async fn the_graph_of_three_hops_in_order() {
    let traced = Traced::new();
    let mesh: Arc<OnceLock<Mesh>> = Arc::default();
    // Each service calls the next, with the context that it was called in.
    let hop = |next: Option<&'static str>| {
        let mesh = Arc::clone(&mesh);
        move |inbound: Request<hyper::body::Incoming>| {
            let mesh = Arc::clone(&mesh);
            async move {
                let context = TraceContext::from_headers(inbound.headers()).unwrap();
                let Some(next) = next else { return reply(context.to_string()) };
                let mut request = get(&format!("http://{next}/"));
                request.extensions_mut().insert(context);
                let answer = mesh.get().unwrap().http().send(request).await.unwrap();
                reply(answer.into_body().bytes().await.unwrap())
            }
        }
    };
    let (a, b, c) = (
        Server::start(hop(Some("b.prod"))).await,
        Server::start(hop(Some("c.prod"))).await,
        Server::start(hop(None)).await,
    );
    let (dead, _socket) = dead_address();
    let built = Mesh::builder()
        .endpoints("a.prod", [a.address()])
        .endpoints("b.prod", [dead, b.address()])
        .endpoints("c.prod", [c.address()])
        .tracer_provider(&traced.provider)
        // The dead endpoint is met first.
        .seed(1)
        .build()
        .unwrap();
    mesh.set(built.clone()).ok().unwrap();
    let mut missed = false;
    for _ in 0..8 {
        let told = patience(built.http().send(get("http://a.prod/"))).await.unwrap();
        let told: TraceContext = told.into_body().text().await.unwrap().parse().unwrap();
        let spans = traced.ended();
        let of = |service: &str| {
            spans.iter().find(|span| text(span, "mesh.service") == service).unwrap()
        };
        let attempts_of = |call: &SpanData| {
            let mut list: Vec<&SpanData> =
                spans.iter().filter(|span| is_child(span, call)).collect();
            list.sort_by_key(|span| text(span, "mesh.attempt"));
            list.into_iter().cloned().collect::<Vec<_>>()
        };
        let (a, b, c) = (of("a.prod"), of("b.prod"), of("c.prod"));
        assert_eq!(a.parent_span_id, SpanId::INVALID);
        let (of_a, of_b, of_c) = (attempts_of(a), attempts_of(b), attempts_of(c));
        assert_eq!((of_a.len(), of_c.len()), (1, 1));
        assert!(is_child(b, &of_a[0]) && b.parent_span_is_remote);
        assert!(is_child(c, of_b.last().unwrap()) && c.parent_span_is_remote);
        assert_eq!(told.span_id(), of_c[0].span_context.span_id().to_bytes());
        assert_eq!(spans.len(), 5 + of_b.len());
        if let [unsent, sent] = &of_b[..] {
            missed = true;
            assert_eq!(text(unsent, "error.type"), "connect");
            assert_eq!(text(unsent, "http.response.status_code"), "");
            assert_eq!(text(sent, "mesh.retry.reason"), "never_sent");
            assert_eq!(
                (text(unsent, "mesh.attempt"), text(sent, "mesh.attempt")),
                ("1".into(), "2".into())
            );
        }
        if missed {
            break;
        }
    }
    assert!(missed, "the dead endpoint was never met");
}

#[tokio::test]
async fn a_grpc_call_ends_with_the_status_in_its_trailers() {
    let traced = Traced::new();
    let server = Server::grpc(hello(|request| async move {
        match request.into_inner().name.as_str() {
            "nobody" => Err(tonic::Status::not_found("nobody")),
            name => Ok(format!("hello {name}")),
        }
    }))
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let ask = |name: &str| HelloRequest { name: name.into() };
    patience(greeter.say_hello(ask("you"))).await.unwrap();
    let spans = traced.ended();
    let [call, attempt] = &spans[..] else { panic!("{spans:#?}") };
    assert!(is_child(attempt, call));
    for span in &spans {
        assert_eq!(span.name, "helloworld.Greeter/SayHello");
        assert_eq!(span.span_kind, SpanKind::Client);
        assert_eq!(text(span, "rpc.system.name"), "grpc");
        assert_eq!(text(span, "rpc.method"), "helloworld.Greeter/SayHello");
        assert_eq!(text(span, "rpc.response.status_code"), "OK");
        assert_eq!(text(span, "server.address"), "greeter.prod");
        assert_eq!(text(span, "error.type"), "");
        assert_eq!(text(span, "network.peer.address"), "127.0.0.1");
        assert_eq!(span.status, Status::Unset);
    }
    let failed = patience(greeter.say_hello(ask("nobody"))).await.unwrap_err();
    assert_eq!(failed.code(), Code::NotFound);
    for span in &traced.ended() {
        assert_eq!(text(span, "rpc.response.status_code"), "NOT_FOUND");
        assert_eq!(text(span, "error.type"), "NOT_FOUND");
        assert_eq!(span.status, Status::error(""));
    }
    // A span that waits for the trailers takes nothing from what is counted.
    for status in ["OK", "NOT_FOUND"] {
        let of = [("rpc.response.status_code", status)];
        let calls = mesh.metrics().total("rpc.client.call.duration", &of);
        assert!((calls - 1.0).abs() < f64::EPSILON, "{calls} calls with {status}");
    }
}

#[tokio::test]
async fn a_grpc_stream_that_is_let_go_of_is_cancelled() {
    let traced = Traced::new();
    let server = Server::grpc(counting(|| {
        Box::pin(futures_util::stream::repeat_with(|| Ok(HelloReply { message: "more".into() })))
    }))
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let mut replies = patience(greeter.count(HelloRequest::default())).await.unwrap().into_inner();
    patience(replies.message()).await.unwrap().unwrap();
    assert_eq!(traced.ended().len(), 0, "a stream is no answer yet");
    drop(replies);
    let spans = traced.ended();
    assert_eq!(spans.len(), 2);
    for span in &spans {
        assert_eq!(text(span, "rpc.response.status_code"), "CANCELLED");
        assert_eq!(text(span, "mesh.outcome"), "cancelled");
    }
}

#[tokio::test]
async fn a_grpc_stream_that_breaks_is_named_by_what_broke_it() {
    let traced = Traced::new();
    let server = Server::grpc(counting(|| {
        let one = futures_util::stream::iter([Ok(HelloReply::default())]);
        Box::pin(futures_util::StreamExt::chain(one, futures_util::stream::pending()))
    }))
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let mut replies = patience(greeter.count(HelloRequest::default())).await.unwrap().into_inner();
    patience(replies.message()).await.unwrap().unwrap();
    server.kill().await;
    let status = patience(replies.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let spans = traced.ended();
    assert_eq!(spans.len(), 2);
    for span in &spans {
        // As metrics have it.
        assert_eq!(text(span, "rpc.response.status_code"), "UNAVAILABLE");
        assert_eq!(text(span, "error.type"), "transport");
        assert_eq!(text(span, "mesh.outcome"), "error");
    }
}

#[tokio::test]
async fn a_grpc_retry_after_trailers_is_a_second_attempt() {
    let traced = Traced::new();
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let server = Server::grpc(hello(move |_| {
        let first = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move {
            if first { Err(tonic::Status::unavailable("not yet")) } else { Ok("hello".into()) }
        }
    }))
    .await;
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [server.address()])
        .service("greeter.prod", |s| {
            let mut retry = fast();
            retry.idempotent = Some(true);
            s.retry(retry)
        })
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    patience(greeter.say_hello(HelloRequest::default())).await.unwrap();
    let spans = traced.ended();
    let [call, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(text(first, "rpc.response.status_code"), "UNAVAILABLE");
    assert_eq!(text(second, "rpc.response.status_code"), "OK");
    assert_eq!(text(second, "mesh.retry.reason"), "grpc");
    assert_eq!(text(second, "mesh.retry.status"), "UNAVAILABLE");
    assert_eq!(text(call, "rpc.response.status_code"), "OK");
}

#[tokio::test(start_paused = true)]
async fn why_a_retry_was_made_or_refused_is_told_in_the_words_of_metrics() {
    let traced = Traced::new();
    for (words, kept) in [("retry.reason=status", 64), ("retry.refusal=body_too_large", 8)] {
        let leaves = Leaves::new(2);
        let counter = leaves.clone();
        let builder = leaves.mesh(move |_, request| {
            let first = counter.total() == 1;
            async move {
                request.into_body().bytes().await.unwrap();
                Ok(if first { answer(503) } else { ok("hello") })
            }
        });
        let mesh = builder
            .tracer_provider(&traced.provider)
            .service(SERVICE, |s| s.retry(fast().max_body_bytes(kept)))
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        let parts = ["one ", "two ", "three"];
        let frames = parts.map(|part| Ok::<_, std::io::Error>(Frame::data(Bytes::from(part))));
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let request = Request::put("http://users.prod/").body(body).unwrap();
        mesh.client(SERVICE).unwrap().send(request).await.unwrap();
        let spans = traced.ended();
        let told = events(&spans[0]).join(" ");
        assert!(format!("{told} ").contains(&format!("mesh.{words} ")), "{told}");
        let (key, word) = words.split_once('=').unwrap();
        let label = format!("mesh_{}=\"{word}\"", key.replace('.', "_"));
        let metrics = mesh.prometheus();
        assert!(metrics.contains(&label), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_no_error() {
    let traced = Traced::new();
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| std::future::pending())
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let call = mesh.client(SERVICE).unwrap().send(get("/"));
    let late = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(late.is_err());
    let spans = traced.ended();
    assert_eq!(spans.len(), 2);
    for span in &spans {
        assert_eq!(text(span, "mesh.outcome"), "cancelled");
        assert_eq!(text(span, "error.type"), "");
        assert_eq!(span.status, Status::Unset);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_named_by_their_kind() {
    let traced = Traced::new();
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| std::future::pending())
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    client.send(within(Duration::from_secs(1), get("/"))).await.unwrap_err();
    for span in &traced.ended() {
        assert_eq!(text(span, "error.type"), "timeout");
        assert_eq!(text(span, "mesh.outcome"), "error");
        assert_eq!(span.status, Status::error(""));
    }
    // A retry that is wanted and refused is told.
    let mesh = flaky(&traced, |builder| {
        let none = config::Budget::new(0.0).min_per_second(0);
        builder.service(SERVICE, |s| s.retry(Retry::standard().budget(none)))
    });
    mesh.ready().await.unwrap();
    let response = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let spans = traced.ended();
    assert_eq!(events(&spans[0]), ["mesh.retry_refused mesh.retry.refusal=budget"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_route_is_a_span_all_the_same() {
    let traced = Traced::new();
    let mesh = Mesh::builder().source(Never).tracer_provider(&traced.provider).build().unwrap();
    let error = mesh.client("later.prod").unwrap().send(get("/")).await.unwrap_err();
    assert_eq!(error.kind(), tower_mesh::ErrorKind::Timeout);
    let spans = traced.ended();
    let [call] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(text(call, "mesh.service"), "later.prod");
    assert_eq!(text(call, "error.type"), "timeout");
    let lasted = call.end_time.duration_since(call.start_time).unwrap();
    assert!(lasted >= Duration::from_secs(5), "{lasted:?}");
}

/// What the endpoint was told of the trace, and the spans, of one call.
async fn one(
    traced: &Traced,
    request: Request<Body>,
    edit: impl FnOnce(MeshBuilder) -> MeshBuilder,
) -> (Option<TraceContext>, http::HeaderMap, Vec<SpanData>) {
    let leaves = Leaves::new(1);
    let told = Arc::new(std::sync::Mutex::new(http::HeaderMap::new()));
    let seen = Arc::clone(&told);
    let builder = leaves.mesh(move |_, request: Request<Body>| {
        *seen.lock().unwrap() = request.headers().clone();
        async { Ok(ok("hello")) }
    });
    let mesh = edit(builder.tracer_provider(&traced.provider)).build().unwrap();
    mesh.ready().await.unwrap();
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    let headers = told.lock().unwrap().clone();
    (TraceContext::from_headers(&headers), headers, traced.ended())
}

fn with_header(value: &'static str) -> Request<Body> {
    let mut request = get("/");
    request.headers_mut().insert("traceparent", HeaderValue::from_static(value));
    request.headers_mut().insert("tracestate", HeaderValue::from_static("congo=1"));
    request
}

#[tokio::test(start_paused = true)]
async fn endpoints_become_children_of_their_attempt() {
    let traced = Traced::new();
    let (told, headers, spans) = one(&traced, with_header(PARENT), |builder| builder).await;
    let [call, attempt] = &spans[..] else { panic!("{spans:#?}") };
    let told = told.unwrap();
    assert_eq!(
        told.trace_id(),
        *b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"
    );
    assert_eq!(told.span_id(), attempt.span_context.span_id().to_bytes());
    assert!(told.is_sampled());
    assert_eq!(headers["tracestate"], "congo=1");
    assert_eq!(call.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(call.parent_span_is_remote);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_sampled_is_not_recorded_and_passed_on() {
    let traced = Traced::sampled_by(Sampler::AlwaysOn);
    let (_, headers, spans) = one(&traced, with_header(UNSAMPLED), |builder| builder).await;
    assert_eq!(headers["traceparent"], UNSAMPLED);
    assert_eq!(headers["tracestate"], "congo=1");
    assert_eq!(spans.len(), 0);
    // What begins here unsampled is told, so that endpoints begin nothing either.
    let traced = Traced::sampled_by(Sampler::AlwaysOff);
    let (told, _, spans) = one(&traced, get("/"), |builder| builder).await;
    assert_eq!(spans.len(), 0);
    assert!(!told.unwrap().is_sampled());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_parent_begins_a_new_trace() {
    let traced = Traced::new();
    let (told, headers, spans) =
        one(&traced, with_header("00-nonsense-01"), |builder| builder).await;
    assert_eq!(told.unwrap().trace_id(), spans[0].span_context.trace_id().to_bytes());
    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
    assert!(!headers.contains_key("tracestate"), "a state without its parent");
}

#[tokio::test(start_paused = true)]
async fn opentelemetrys_context_is_a_parent_with_its_baggage() {
    let remote = SpanContext::new(
        TraceId::from(1_u128),
        SpanId::from(2_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_key_value([("rojo", "7")]).unwrap(),
    );
    let context = Context::new()
        .with_remote_span_context(remote)
        .with_baggage([KeyValue::new("user", "a b,c"), KeyValue::new("plan", "free")]);
    let traced = Traced::new();
    let mut request = get("/");
    request.extensions_mut().insert(context.clone());
    let of_extension = one(&traced, request, |builder| builder).await;
    let of_current = one(&traced, get("/"), |builder| builder).with_context(context).await;
    for (told, headers, spans) in [of_extension, of_current] {
        assert_eq!(spans[0].parent_span_id, SpanId::from(2_u64));
        assert_eq!(told.unwrap().trace_id()[15], 1);
        assert_eq!(headers["tracestate"], "rojo=7");
        let mut baggage: Vec<&str> = headers["baggage"].to_str().unwrap().split(',').collect();
        baggage.sort_unstable();
        assert_eq!(baggage, ["plan=free", "user=a%20b%2Cc"]);
    }
}

#[tokio::test(start_paused = true)]
async fn routes_say_how_much_is_traced_and_under_which_name() {
    let tracing = |edit: fn(&mut config::Tracing)| {
        let mut tracing = config::Tracing::default();
        edit(&mut tracing);
        move |builder: MeshBuilder| builder.service(SERVICE, |s| s.tracing(tracing))
    };
    let traced = Traced::new();
    let none = tracing(|it| it.random_percent = Some(0.0));
    let (told, _, spans) = one(&traced, get("/"), none).await;
    assert_eq!(spans.len(), 0);
    assert!(!told.unwrap().is_sampled());
    // A caller's trace is of the others.
    let none = tracing(|it| it.random_percent = Some(0.0));
    assert_eq!(one(&traced, with_header(PARENT), none).await.2.len(), 2);
    let none = tracing(|it| it.client_percent = Some(0.0));
    let (told, headers, spans) = one(&traced, with_header(PARENT), none).await;
    let told = told.unwrap();
    assert_eq!(spans.len(), 0);
    assert!(!told.is_sampled() && told.span_id() != *b"\xb7\xad\x6b\x71\x69\x20\x33\x31");
    assert_eq!(&headers["traceparent"].to_str().unwrap()[..35], &PARENT[..35]);
    let named = tracing(|it| {
        it.operation = Some("checkout".into());
        it.tags.insert("team".into(), "users".into());
        it.header_tags.insert("tenant".into(), "x-tenant".into());
    });
    let mut request = get("/");
    request.headers_mut().insert("x-tenant", HeaderValue::from_static("acme"));
    let (_, _, spans) = one(&traced, request, named).await;
    assert_eq!((&*spans[0].name, &*spans[1].name), ("checkout", "GET"));
    assert_eq!(
        (text(&spans[0], "team"), text(&spans[0], "tenant")),
        ("users".into(), "acme".into())
    );
}

#[tokio::test(start_paused = true)]
async fn without_propagation_spans_are_recorded_and_nothing_is_told() {
    let traced = Traced::new();
    let off = |builder: MeshBuilder| builder.propagate(Propagation::None);
    let (told, _, spans) = one(&traced, get("/"), off).await;
    assert_eq!((told, spans.len()), (None, 2));
}

#[tokio::test(start_paused = true)]
async fn behind_attempt_layers_an_attempt_has_its_endpoint_too() {
    let traced = Traced::new();
    let mesh = flaky(&traced, |builder| {
        builder
            .attempt_layer(tower::util::MapRequestLayer::new(|request: Request<Body>| {
                assert!(request.headers().contains_key("traceparent"));
                request
            }))
            .service(SERVICE, |s| s.retry(fast()))
    });
    mesh.ready().await.unwrap();
    mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let spans = traced.ended();
    assert_eq!(spans.len(), 3);
    for attempt in &spans[1..] {
        assert!(text(attempt, "mesh.endpoint").starts_with("10.0.0."), "{attempt:#?}");
    }
}

#[tokio::test]
async fn a_real_server_over_both_protocols() {
    let traced = Traced::new();
    let server = Server::start(|_| async { status(StatusCode::NOT_FOUND) }).await;
    for (protocol, version) in [(Protocol::Http1, "1.1"), (Protocol::Http2, "2")] {
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .service("users", |s| s.protocol(protocol))
            .tracer_provider(&traced.provider)
            .build()
            .unwrap();
        patience(mesh.http().send(get("http://users/"))).await.unwrap();
        let spans = traced.ended();
        assert_eq!(text(&spans[1], "network.protocol.version"), version);
        assert_eq!(text(&spans[1], "error.type"), "404");
        assert_eq!(text(&spans[1], "server.port"), "80");
        assert_eq!(text(&spans[1], "network.peer.port"), server.socket().port().to_string());
    }
}
