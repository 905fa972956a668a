//! A client of xDS that is told what to call: gRPC's own ones, Envoy, and the mesh.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::Instant,
};
use tower_mesh::{
    Client, Mesh,
    control::xds::{Bootstrap, Xds},
};

use super::plane::go;
use crate::{
    envoy::Envoy,
    program::python,
    support::{GreeterClient, HelloRequest},
};

/// Who it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Who {
    /// gRPC C-core, by grpcio.
    CCore,
    /// The same with what gRFC A88 adds, which it has switched off.
    CCoreA88,
    /// grpc-js-xds.
    GrpcJs,
    /// grpc-go; only where `.ci/peers full` has built it.
    GrpcGo,
    /// Envoy: what is called is its port.
    Envoy,
    /// The mesh.
    Ours,
    /// The mesh in a process of its own, optimised; only where `.ci/peers full` has built it.
    OursBuilt,
    /// tonic-xds, built alike; only where `.ci/peers full` has built it.
    TonicXds,
}

impl Who {
    /// Its node.
    pub(crate) fn node(self) -> &'static str {
        match self {
            Self::CCore => "c-core",
            Self::CCoreA88 => "c-core-a88",
            Self::GrpcJs => "grpc-js",
            Self::GrpcGo => "grpc-go",
            Self::Envoy => "envoy",
            Self::Ours => "ours",
            Self::OursBuilt => "ours-built",
            Self::TonicXds => "tonic-xds",
        }
    }
}

/// gRPC's clients that this run has.
pub(crate) fn grpcs() -> Vec<Who> {
    let mut all = vec![Who::CCore, Who::GrpcJs];
    if std::env::var_os("PEERS_GO").is_some() {
        all.push(Who::GrpcGo);
    }
    all.push(Who::Ours);
    all
}

/// The same, and Envoy.
pub(crate) fn everybody() -> Vec<Who> {
    let mut all = grpcs();
    all.push(Who::Envoy);
    all
}

/// What a call came to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    /// Who answered.
    pub(crate) who: Option<String>,
    /// Otherwise, the status.
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    /// How long it took.
    pub(crate) ms: f64,
}

/// Calls that are to be made, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) target: &'static str,
    pub(crate) count: usize,
    /// `{n}` is the number of the call.
    pub(crate) header: Option<(&'static str, &'static str)>,
    pub(crate) timeout: Duration,
}

impl Calls {
    /// So many, of five seconds each at most.
    pub(crate) fn of(count: usize) -> Self {
        Self { target: "greeter", count, header: None, timeout: Duration::from_secs(5) }
    }

    pub(crate) fn to(self, target: &'static str) -> Self {
        Self { target, ..self }
    }

    pub(crate) fn header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub(crate) fn within(self, seconds: u64) -> Self {
        Self { timeout: Duration::from_secs(seconds), ..self }
    }
}

enum How {
    Program { child: Child, input: ChildStdin, output: Lines<BufReader<ChildStdout>> },
    Envoy { _envoy: Envoy, to: Clients },
    Ours(Clients),
}

/// A mesh, and the clients that were made of it, as an application keeps them.
struct Clients {
    mesh: Mesh,
    made: BTreeMap<&'static str, Client>,
}

impl Clients {
    fn of(mesh: Mesh) -> Self {
        Self { mesh, made: BTreeMap::new() }
    }

    fn client(&mut self, target: &'static str) -> Client {
        let made = self.made.entry(target).or_insert_with(|| self.mesh.client(target).unwrap());
        made.clone()
    }
}

/// A running client.
pub(crate) struct Peer {
    pub(crate) who: Who,
    how: How,
}

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A client in Rust that `.ci/peers full` builds.
fn built(name: &str) -> Command {
    let program = place(".peers/rust/release").join(name);
    assert!(program.is_file(), "{} is missing: run `.ci/peers full`", program.display());
    Command::new(program)
}

/// How these are started.
fn command(who: Who) -> Command {
    match who {
        Who::CCore | Who::CCoreA88 => {
            let mut command = Command::new(python());
            command.arg(place("tests/peers/xds/caller.py"));
            if who == Who::CCoreA88 {
                command.env("GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING", "true");
            }
            command
        }
        Who::GrpcJs => {
            let modules = place(".peers/js/node_modules");
            let there = modules.join("@grpc/grpc-js-xds");
            assert!(there.is_dir(), "{} is missing: run `.ci/peers`", there.display());
            let mut command = Command::new("node");
            command.arg(place("tests/peers/xds/caller.js")).env("NODE_PATH", modules);
            command
        }
        Who::OursBuilt => built("ours"),
        Who::TonicXds => built("tonic-xds"),
        _ => Command::new(go("caller")),
    }
}

impl Peer {
    /// Starts one that asks the servers of this bootstrap; where it says `NODE`, its own name stands.
    pub(crate) async fn start(who: Who, bootstrap: &str, port: Option<u16>) -> Self {
        let bootstrap = bootstrap.replace("NODE", who.node());
        let how = match who {
            Who::Ours => {
                let bootstrap = Bootstrap::from_json(&bootstrap).unwrap();
                How::Ours(Clients::of(Mesh::builder().source(Xds::new(bootstrap)).build().unwrap()))
            }
            Who::Envoy => {
                let port = port.expect("Envoy is called at a port");
                let envoy = Envoy::run(&envoy_bootstrap(&bootstrap), &[port]).await;
                How::Envoy { _envoy: envoy, to: Clients::of(through(port)) }
            }
            _ => program(who, &bootstrap).await,
        };
        Self { who, how }
    }

    /// The mesh, if it is the one of this process.
    pub(crate) fn mesh(&self) -> Option<&Mesh> {
        match &self.how {
            How::Ours(clients) => Some(&clients.mesh),
            How::Program { .. } | How::Envoy { .. } => None,
        }
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        let How::Program { child, .. } = &self.how else {
            panic!("{:?} has no process of its own", self.who)
        };
        child.id().unwrap_or_else(|| panic!("{:?} has ended", self.who))
    }

    /// Whether its process is still there.
    pub(crate) fn lives(&mut self) -> bool {
        match &mut self.how {
            How::Program { child, .. } => child.try_wait().unwrap().is_none(),
            How::Envoy { .. } | How::Ours(_) => true,
        }
    }

    /// Calls Envoy by connections of their own from now on.
    pub(crate) fn reconnect(&mut self, port: Option<u16>) {
        if let (How::Envoy { to, .. }, Some(port)) = (&mut self.how, port) {
            *to = Clients::of(through(port));
        }
    }

    /// Makes these calls. Each tells the servers who calls, as `x-caller`.
    pub(crate) async fn call(&mut self, calls: &Calls) -> Vec<Outcome> {
        let mut headers = vec![("x-caller", self.who.node().to_owned())];
        headers.extend(calls.header.map(|(name, value)| (name, value.to_owned())));
        match &mut self.how {
            How::Program { input, output, .. } => {
                let headers: serde_json::Map<_, _> = headers
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.into()))
                    .collect();
                let asked = json!({
                    "target": calls.target,
                    "count": calls.count,
                    "headers": headers,
                    "timeout": calls.timeout.as_secs_f64(),
                });
                let line = format!("{asked}\n");
                if input.write_all(line.as_bytes()).await.is_err() {
                    return Vec::new();
                }
                // One that has died says nothing.
                let line = output.next_line().await.unwrap();
                line.map_or_else(Vec::new, |line| serde_json::from_str(&line).unwrap())
            }
            How::Envoy { to, .. } | How::Ours(to) => {
                ours(to.client(calls.target), calls, &headers).await
            }
        }
    }
}

/// A mesh whose calls go through the Envoy at this port.
fn through(port: u16) -> Mesh {
    let address: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    Mesh::builder().endpoints("greeter", [address]).build().unwrap()
}

async fn ours(client: Client, calls: &Calls, headers: &[(&'static str, String)]) -> Vec<Outcome> {
    let mut client = GreeterClient::new(client);
    let mut outcomes = Vec::new();
    for number in 0..calls.count {
        let mut request = tonic::Request::new(HelloRequest::default());
        request.set_timeout(calls.timeout);
        for (name, value) in headers {
            let value = value.replace("{n}", &number.to_string());
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let began = Instant::now();
        let mut outcome = match client.say_hello(request).await {
            Ok(reply) => Outcome { who: Some(reply.into_inner().message), ..Outcome::default() },
            Err(status) => Outcome {
                code: Some(status.code().into()),
                text: status.message().to_owned(),
                ..Outcome::default()
            },
        };
        outcome.ms = began.elapsed().as_secs_f64() * 1000.0;
        outcomes.push(outcome);
    }
    outcomes
}

async fn program(who: Who, bootstrap: &str) -> How {
    let mut command = command(who);
    command.env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap).env("GRPC_VERBOSITY", "NONE");
    if bootstrap.contains("certificate_providers") {
        command.env("TLS", "1");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{who:?}: {error}"));
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = BufReader::new(output).lines();
    let ready = tokio::time::timeout(Duration::from_secs(30), output.next_line()).await;
    assert_eq!(ready.expect("it starts").unwrap().as_deref(), Some("ready"), "{who:?}");
    How::Program { child, input, output }
}

/// Envoy's own bootstrap, for the same server, which it reports its load to: what a cluster says of that
/// (`lrs_server`) is for gRPC alone.
fn envoy_bootstrap(bootstrap: &str) -> String {
    let bootstrap: serde_json::Value = serde_json::from_str(bootstrap).unwrap();
    let server = bootstrap["xds_servers"][0]["server_uri"].as_str().unwrap();
    let port = server.rsplit(':').next().unwrap();
    format!(
        "node: {{id: envoy, cluster: peers}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: plane}}}}]
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
cluster_manager:
  load_stats_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: plane}}}}]
static_resources:
  clusters:
  - name: plane
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: plane
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"
    )
}
