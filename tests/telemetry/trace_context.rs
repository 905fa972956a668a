//! Which trace a request is a part of: passed on as it came, in headers that stay out of HTTP/2's
//! header table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tower_mesh::{
    Body, Mesh, Propagation, Retry, TraceContext,
    config::{Cluster, Config, Endpoint, Filter, HeaderEdit, Protocol, Service},
    discover::Static,
};

use crate::support::{
    Leaves, RawServer, SERVICE, frame, frames, get, h2,
    leaf::{answer, ok},
    patience, within,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

/// What an endpoint was told, attempt by attempt.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<HeaderMap>>>);

impl Told {
    fn mesh(
        &self,
        leaves: &Leaves,
        edit: impl FnOnce(tower_mesh::MeshBuilder) -> tower_mesh::MeshBuilder,
    ) -> Mesh {
        let (told, counter) = (self.clone(), leaves.clone());
        let builder = leaves.mesh(move |_, request: Request<Body>| {
            told.0.lock().unwrap().push(request.headers().clone());
            let first = counter.total() == 1;
            async move { Ok(if first { answer(503) } else { ok("hello") }) }
        });
        edit(builder).build().unwrap()
    }

    /// The header of each attempt.
    fn all(&self, name: &str) -> Vec<Option<String>> {
        let told = self.0.lock().unwrap();
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        told.iter().map(|headers| headers.get(name).map(text)).collect()
    }
}

fn context() -> TraceContext {
    let mut inbound = HeaderMap::new();
    inbound.insert("traceparent", HeaderValue::from_static(PARENT));
    inbound.insert("tracestate", HeaderValue::from_static("congo=t61rcWkgMzE"));
    inbound.insert("baggage", HeaderValue::from_static("user=7"));
    TraceContext::from_headers(&inbound).unwrap()
}

async fn told(
    request: Request<Body>,
    edit: impl FnOnce(tower_mesh::MeshBuilder) -> tower_mesh::MeshBuilder,
) -> Told {
    let (leaves, told) = (Leaves::new(2), Told::default());
    let mesh = told.mesh(&leaves, edit);
    mesh.ready().await.unwrap();
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    told
}

fn twice(value: &str) -> Vec<Option<String>> {
    vec![Some(value.to_owned()); 2]
}

#[tokio::test(start_paused = true)]
async fn without_a_context_nothing_is_sent() {
    let told = told(get("/"), |builder| builder).await;
    for name in ["traceparent", "tracestate", "baggage"] {
        assert_eq!(told.all(name), [None, None], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_context_in_the_extensions_goes_to_every_attempt_as_it_came() {
    let mut request = get("/");
    request.extensions_mut().insert(context());
    let told = told(request, |builder| builder).await;
    assert_eq!(told.all("traceparent"), twice(PARENT));
    assert_eq!(told.all("tracestate"), twice("congo=t61rcWkgMzE"));
    assert_eq!(told.all("baggage"), twice("user=7"));
    assert!(told.0.lock().unwrap()[0]["traceparent"].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn a_header_of_the_request_wins_and_is_not_touched() {
    let mut request = get("/");
    request.extensions_mut().insert(context());
    request.headers_mut().insert("traceparent", HeaderValue::from_static(OTHER));
    let one = told(request, |builder| builder).await;
    assert_eq!(one.all("traceparent"), twice(OTHER));
    assert_eq!(one.all("tracestate"), [None, None]);
    assert!(one.0.lock().unwrap()[0]["traceparent"].is_sensitive());

    // What is none is the application's own matter where nobody traces.
    let mut request = get("/");
    request.headers_mut().insert("traceparent", HeaderValue::from_static("nonsense"));
    let other = told(request, |builder| builder).await;
    assert_eq!(other.all("traceparent"), twice("nonsense"));
}

#[tokio::test(start_paused = true)]
async fn propagation_can_be_turned_off() {
    let mut request = get("/");
    request.extensions_mut().insert(context());
    let told = told(request, |builder| builder.propagate(Propagation::None)).await;
    assert_eq!(told.all("traceparent"), [None, None]);
}

/// What a header block does with one field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Indexed,
    /// It goes into the header table.
    Added,
    NotIndexed,
    NeverIndexed,
    TableSize,
}

/// RFC 7541 §5.1: an integer with a prefix of so many bits.
fn integer(block: &mut &[u8], bits: u32) -> usize {
    let most = (1_usize << bits) - 1;
    let (first, rest) = block.split_first().unwrap();
    *block = rest;
    let mut value = usize::from(*first) & most;
    if value < most {
        return value;
    }
    let mut shift = 0;
    loop {
        let (byte, rest) = block.split_first().unwrap();
        *block = rest;
        value += usize::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 {
            return value;
        }
    }
}

/// RFC 7541 §5.2, and past it.
fn skip_text(block: &mut &[u8]) {
    let length = integer(block, 7);
    *block = &block[length..];
}

/// RFC 7541 §6: how each field of a block is represented.
fn fields(mut block: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    while let Some(first) = block.first() {
        let (field, bits) = match first {
            0x80.. => (Field::Indexed, 7),
            0x40.. => (Field::Added, 6),
            0x20.. => (Field::TableSize, 5),
            0x10.. => (Field::NeverIndexed, 4),
            _ => (Field::NotIndexed, 4),
        };
        let name = integer(&mut block, bits);
        if !matches!(field, Field::Indexed | Field::TableSize) {
            if name == 0 {
                skip_text(&mut block);
            }
            skip_text(&mut block);
        }
        fields.push(field);
    }
    fields
}

/// Reads up to the next header block, and returns it with its stream.
async fn next_block(stream: &mut TcpStream) -> Option<(u32, Vec<u8>)> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == 1 {
            assert_eq!(head[4] & 0b10_1100, 4, "END_HEADERS alone: no padding, no priority");
            return Some((u32::from_be_bytes(head[5..].try_into().unwrap()), payload));
        }
    }
}

/// An HTTP/2 server that answers every stream with 200, or the first one with 503, and tells what
/// header blocks came.
async fn blocks(first_fails: bool) -> (RawServer, mpsc::UnboundedReceiver<Vec<Field>>) {
    let (sender, blocks) = mpsc::unbounded_channel();
    let server = RawServer::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            stream.write_all(&frames::greeting()).await.unwrap();
            let mut fails = first_fails;
            while let Some((id, block)) = next_block(&mut stream).await {
                sender.send(fields(&block)).unwrap();
                // `:status` 503 as a literal, or 200 of the static table.
                let head: &[u8] = if std::mem::take(&mut fails) { b"\x08\x03503" } else { &[0x88] };
                stream.write_all(&frame(1, 5, id, head)).await.unwrap();
            }
        }
    })
    .await;
    (server, blocks)
}

fn count(fields: &[Field], which: Field) -> usize {
    fields.iter().filter(|field| **field == which).count()
}

#[tokio::test]
async fn headers_that_differ_per_call_leave_http2s_header_table_alone() {
    let (server, mut blocks) = blocks(false).await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |s| s.protocol(Protocol::Http2))
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    for call in 1..=5_u8 {
        let mut request = within(Duration::from_secs(u64::from(call)), h2("http://users/"));
        let context = TraceContext::new([call; 16], [call; 8], true).unwrap();
        request.extensions_mut().insert(context);
        request.headers_mut().insert("x-stable", HeaderValue::from_static("the same"));
        patience(client.send(request)).await.unwrap();
        let fields = blocks.recv().await.unwrap();
        // `traceparent` and the time that is left.
        assert_eq!(count(&fields, Field::NeverIndexed), 2, "call {call}: {fields:?}");
        let added = count(&fields, Field::Added);
        assert_eq!(added > 0, call == 1, "call {call}: {fields:?}");
    }
}

#[tokio::test]
async fn a_traceparent_of_the_applications_own_stays_out_of_the_table_too() {
    let (server, mut blocks) = blocks(false).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    for call in 1..=3_u8 {
        let mut request = h2("http://users/");
        for name in ["traceparent", "tracestate", "baggage"] {
            request.headers_mut().insert(name, format!("{call}").parse().unwrap());
        }
        patience(client.send(request)).await.unwrap();
        let fields = blocks.recv().await.unwrap();
        assert_eq!(count(&fields, Field::NeverIndexed), 3, "call {call}: {fields:?}");
        assert_eq!(count(&fields, Field::Added) > 0, call == 1, "call {call}: {fields:?}");
    }
}

#[tokio::test]
async fn a_request_id_stays_out_of_the_table_too() {
    let (server, mut blocks) = blocks(false).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    for call in 1..=3_u8 {
        let mut request = h2("http://users/");
        request.headers_mut().insert("x-request-id", format!("{call}").parse().unwrap());
        patience(client.send(request)).await.unwrap();
        let fields = blocks.recv().await.unwrap();
        assert_eq!(count(&fields, Field::NeverIndexed), 1, "call {call}: {fields:?}");
        assert_eq!(count(&fields, Field::Added) > 0, call == 1, "call {call}: {fields:?}");
    }
}

/// How a header of this value is represented in the third of three calls that are alike.
async fn third(value: Option<&str>) -> Vec<Field> {
    let (server, mut blocks) = blocks(false).await;
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![Endpoint::new(server.address())];
    let mut edit = HeaderEdit::default();
    edit.set = value.map(|value| ("x-made".to_owned(), value.to_owned())).into_iter().collect();
    let mut service = Service::default();
    service.cluster = Some("users".into());
    service.filters = vec![Filter::RequestHeaders(edit)];
    let mut config = Config::default();
    config.clusters.insert("users".into(), cluster);
    config.services.insert("users".into(), service);
    let mesh = Mesh::builder().source(Static::new(config)).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let mut fields = Vec::new();
    for _ in 0..3 {
        let mut request = h2("http://users/a");
        request.headers_mut().insert("x-name", HeaderValue::from_static("kim"));
        patience(client.send(request)).await.unwrap();
        fields = blocks.recv().await.unwrap();
    }
    fields
}

#[tokio::test]
async fn values_that_each_call_fills_in_stay_out_of_the_table_and_others_go_in() {
    let plain = third(None).await;
    assert_eq!(count(&plain, Field::NeverIndexed), 0, "{plain:?}");
    for value in ["%START_TIME%", "at %START_TIME(%s.%3f)%", "%REQ(:path)%"] {
        let fields = third(Some(value)).await;
        assert_eq!(count(&fields, Field::NeverIndexed), 1, "{value}: {fields:?}");
    }
    for value in ["%UPSTREAM_CLUSTER% %REQ(:method)%", "%REQ(x-name)%", "%START_TIME(%Y)%", "plain"]
    {
        let fields = third(Some(value)).await;
        assert_eq!(count(&fields, Field::NeverIndexed), 0, "{value}: {fields:?}");
        let indexed = count(&fields, Field::Indexed);
        assert_eq!(indexed, count(&plain, Field::Indexed) + 1, "{value}: {fields:?}");
    }
}

#[tokio::test]
async fn neither_do_the_headers_of_a_retry_or_a_grpc_deadline() {
    let (server, mut blocks) = blocks(true).await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |s| {
            let now = Duration::from_millis(1);
            s.retry(Retry::standard().backoff_base(now).backoff_max(now))
        })
        .build()
        .unwrap();
    let client = mesh.client("users").unwrap();
    let mut request = within(Duration::from_secs(9), h2("http://users/"));
    request.extensions_mut().insert(context());
    patience(client.send(request)).await.unwrap();
    let (first, second) = (blocks.recv().await.unwrap(), blocks.recv().await.unwrap());
    // Context, state, baggage and time; then the number of earlier attempts besides.
    assert_eq!(count(&first, Field::NeverIndexed), 4, "{first:?}");
    assert_eq!(count(&second, Field::NeverIndexed), 5, "{second:?}");
    assert_eq!(count(&second, Field::Added), 0, "{second:?}");

    let mut calls = Vec::new();
    for seconds in 1..=2 {
        let mut request = within(Duration::from_secs(seconds), h2("http://users/a.B/C"));
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        patience(client.send(request)).await.unwrap();
        calls.push(blocks.recv().await.unwrap());
    }
    assert_eq!(count(&calls[1], Field::NeverIndexed), 1, "{calls:?}");
    assert_eq!(count(&calls[1], Field::Added), 0, "{calls:?}");
}
