//! rotel, an OpenTelemetry collector: what the mesh records arrives over OTLP.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use http::StatusCode;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{metrics::SdkMeterProvider, trace::SdkTracerProvider};
use tempfile::TempDir;
use tower_mesh::{Mesh, TraceContext};

use crate::{
    program::{Program, folder, free_port, scale},
    support::{Server, get, patience, reply, status},
};

/// A running rotel that writes down what it gets.
struct Rotel {
    _program: Program,
    port: u16,
    dir: TempDir,
}

impl Rotel {
    /// One that writes down `traces`, or `metrics`.
    async fn start(what: &str) -> Self {
        let (dir, port, http) = (folder(), free_port(), free_port());
        let mut command = Command::new(rotel());
        command.args(["start", "--exporter", "blackhole"]);
        command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{port}")]);
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")]);
        command.args(["--debug-log", what, "--debug-log-verbosity", "detailed"]);
        let mut program = Program::start("rotel", command, dir.path());
        program.listens(port).await;
        Self { _program: program, port, dir }
    }

    /// What it has written down.
    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("rotel.log")).unwrap()
    }
}

/// The agent inside of the Python package.
fn rotel() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/venv/lib");
    let found = fs::read_dir(&lib).into_iter().flatten().find_map(|python| {
        let agent = python.ok()?.path().join("site-packages/rotel/rotel-agent");
        agent.is_file().then_some(agent)
    });
    found.unwrap_or_else(|| panic!("no rotel in {}: run `.ci/peers`", lib.display()))
}

/// The fields and attributes of each span that it has written down.
fn spans(log: &str) -> Vec<BTreeMap<String, String>> {
    log.split("Span #")
        .skip(1)
        .map(|span| {
            let field = |line: &str| {
                let (key, value) = line.trim().trim_start_matches("-> ").split_once(':')?;
                let value = value.trim();
                let value = value
                    .strip_suffix(')')
                    .map_or(value, |value| value.split_once('(').map_or(value, |(_, value)| value));
                Some((key.trim().to_owned(), value.to_owned()))
            };
            span.lines().filter_map(field).collect()
        })
        .collect()
}

/// The spans from the root to a leaf, each a word or two: of a call its service, of an attempt its
/// number, what it met, and why it was made.
fn path_to<'a>(
    spans: &'a [BTreeMap<String, String>],
    mut span: &'a BTreeMap<String, String>,
) -> Vec<String> {
    let mut path = Vec::new();
    loop {
        let word = |key: &str| span.get(key).map_or("", String::as_str);
        path.push(match span.get("mesh.service") {
            Some(service) => service.clone(),
            None => format!(
                "{} {} {}",
                word("mesh.attempt"),
                word("http.response.status_code"),
                word("mesh.retry.reason")
            )
            .trim()
            .to_owned(),
        });
        let parent = spans.iter().find(|parent| parent["ID"] == span["Parent ID"]);
        let Some(parent) = parent else { break };
        assert_eq!(parent["Trace ID"], span["Trace ID"]);
        span = parent;
    }
    path.reverse();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn the_graph_of_three_hops_arrives_in_order() {
    let rotel = Rotel::start("traces").await;
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://127.0.0.1:{}", rotel.port))
        .build()
        .unwrap();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let mesh: Arc<OnceLock<Mesh>> = Arc::default();
    // Each service calls the next, in the context that it was called in; `b.prod` is busy at first.
    let hop = |next: Option<&'static str>| {
        let mesh = Arc::clone(&mesh);
        let busy = AtomicBool::new(next == Some("c.prod"));
        move |inbound: http::Request<hyper::body::Incoming>| {
            let mesh = Arc::clone(&mesh);
            let is_busy = busy.swap(false, SeqCst);
            async move {
                if is_busy {
                    return status(StatusCode::SERVICE_UNAVAILABLE);
                }
                let Some(next) = next else { return reply("the end") };
                let mut request = get(&format!("http://{next}/"));
                let context = TraceContext::from_headers(inbound.headers()).unwrap();
                request.extensions_mut().insert(context);
                let answer = mesh.get().unwrap().http().send(request).await.unwrap();
                reply(answer.into_body().bytes().await.unwrap())
            }
        }
    };
    let a = Server::start(hop(Some("b.prod"))).await;
    let b = Server::start(hop(Some("c.prod"))).await;
    let c = Server::start(hop(None)).await;
    let built = Mesh::builder()
        .endpoints("a.prod", [a.address()])
        .endpoints("b.prod", [b.address()])
        .endpoints("c.prod", [c.address()])
        .tracer_provider(&provider)
        .build()
        .unwrap();
    mesh.set(built.clone()).ok().unwrap();
    let answer = patience(built.http().send(get("http://a.prod/"))).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "the end");
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
    let spans = patience(async {
        loop {
            let spans = spans(&rotel.log());
            // The last one is whole when the outcome of the root is there.
            if spans.len() == 7 && spans.iter().all(|span| span.contains_key("mesh.outcome")) {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let ends = |attempt: &str, service: &str| {
        spans
            .iter()
            .map(|span| (path_to(&spans, span), span))
            .find(|(path, span)| {
                span.get("mesh.attempt").is_some_and(|number| number == attempt)
                    && path[path.len() - 2] == service
            })
            .unwrap_or_else(|| panic!("no attempt {attempt} of {service}: {spans:#?}"))
    };
    let (path, last) = ends("1", "c.prod");
    assert_eq!(
        path,
        ["a.prod", "1 200", "b.prod", "2 200 status", "c.prod", "1 200"],
        "{spans:#?}"
    );
    assert_eq!(last["Kind"], "SPAN_KIND_CLIENT");
    assert_eq!(last["network.peer.port"], c.socket().port().to_string());
    let (path, first) = ends("1", "b.prod");
    assert_eq!(path, ["a.prod", "1 200", "b.prod", "1 503"], "{spans:#?}");
    assert_eq!((&*first["error.type"], &*first["Status code"]), ("503", "STATUS_CODE_ERROR"));
    println!("rotel got {} spans: {}", spans.len(), ends("1", "c.prod").0.join(" > "));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_arrive() {
    let rotel = Rotel::start("metrics").await;
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://127.0.0.1:{}", rotel.port))
        .build()
        .unwrap();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
    let server = Server::named("hello").await;
    let mesh = Mesh::builder()
        .endpoints("a.prod", [server.address()])
        .meter_provider(&provider)
        .build()
        .unwrap();
    let calls = 7 * scale();
    for _ in 0..calls {
        let answer = patience(mesh.http().send(get("http://a.prod/"))).await.unwrap();
        assert_eq!(answer.into_body().text().await.unwrap(), "hello");
    }
    tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();
    patience(async {
        while !rotel.log().contains("mesh.client.events.missed") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let log = rotel.log();
    let metric = |name: &str| {
        let of = format!("-> Name: {name}\n");
        let found = log.split("Metric #").find(|metric| metric.contains(&of));
        found.unwrap_or_else(|| panic!("{name} did not arrive: {log}"))
    };
    let attempts = metric("http.client.request.duration");
    for said in [
        "-> Unit: s\n",
        "-> DataType: Histogram\n",
        "-> http.request.method: Str(GET)\n",
        "-> http.response.status_code: Int(200)\n",
        "-> mesh.cluster: Str(a.prod)\n",
        "-> server.address: Str(a.prod)\n",
        &format!("\nCount: {calls}\n"),
        "ExplicitBounds #13: 10\n",
    ] {
        assert!(attempts.contains(said), "{said}: {attempts}");
    }
    assert!(metric("mesh.client.call.duration").contains(&format!("\nCount: {calls}\n")));
    assert!(metric("mesh.client.endpoint.attempts").contains(&format!("\nValue: {calls}\n")));
    // How many there are is the pool's to say: a call may come before the last connection is back.
    assert!(!metric("mesh.client.connections.open").contains("\nValue: 0\n"));
    // One metric for each that the mesh tells.
    let told = mesh.metrics().families.len();
    assert_eq!(log.matches("-> Name: ").count(), told, "{log}");
    println!("rotel got {told} metrics");
}
