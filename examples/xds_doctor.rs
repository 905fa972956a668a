//! What a control plane says of a name: the chain LDS → RDS → CDS → EDS as it arrives, what of it is missing
//! or refused and why, and where a request would go. Nobody is called.
//!
//! ```text
//! cargo run --example xds_doctor --features xds,testing
//! cargo run --example xds_doctor --features xds,testing -- bootstrap.json orders.prod:8080
//! cargo run --example xds_doctor --features xds,testing -- bootstrap.json xds:///orders 'POST /cart' -H 'x-canary: yes'
//! ```
//!
//! Without arguments it starts a control plane of its own that has three clusters, and only one of them
//! whole. It ends with 0 when all that a name needs is there, else with 1.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use http::Request;
use tokio::time::Instant;
use tower_mesh::{
    BoxError, Client, Mesh,
    control::xds::{Bootstrap, ResourceKind, ResourceState, ResourceStatus, Server, Status, Xds},
    testing::xds::{AdsServer, CDS, Resource},
};

const USAGE: &str = "xds_doctor BOOTSTRAP TARGET ['METHOD PATH'] [-H 'NAME: VALUE']... [--json]

  BOOTSTRAP   a bootstrap file of gRPC
  TARGET      what would be called: orders.prod:8080, xds:///orders, xds://authority/orders
  --json      prints the status as CSDS has it, too
";

/// Longer than a resource is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// When nothing has changed for so long, it is looked at as a whole.
const QUIET: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Asked {
    words: Vec<String>,
    headers: Vec<(String, String)>,
    json: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let asked = parse()?;
    match asked.words.as_slice() {
        [] => sample().await,
        [bootstrap, target] | [bootstrap, target, _] => {
            let line = asked.words.get(2).map_or("GET /", String::as_str);
            let mut patient = Patient::admit(Bootstrap::from_file(bootstrap)?, target)?;
            let is_well = patient.examine().await;
            patient.explain(line, &asked.headers);
            if asked.json {
                println!("{}", patient.xds.status().await.to_json());
            }
            Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => {
            print!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn parse() -> Result<Asked, BoxError> {
    let mut asked = Asked::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-H" => {
                let header = arguments.next().ok_or("-H needs a header")?;
                let (name, value) = header.split_once(':').ok_or("a header has a `:`")?;
                asked.headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            "--json" => asked.json = true,
            _ => asked.words.push(argument),
        }
    }
    Ok(asked)
}

/// A name that is looked into.
struct Patient {
    xds: Xds,
    mesh: Mesh,
    /// As long as somebody holds one, the name is looked up.
    _client: Client,
    /// What the mesh calls it.
    name: String,
    /// What was told of each resource last.
    told: BTreeMap<(ResourceKind, Arc<str>), String>,
}

impl Patient {
    fn admit(bootstrap: Bootstrap, target: &str) -> Result<Self, BoxError> {
        // `xds://authority/orders:8080` is called `orders:8080` here.
        let name = target.rsplit('/').next().unwrap_or(target).to_owned();
        let xds = Xds::new(bootstrap).service(&name, target);
        let mesh = Mesh::builder().source(xds.clone()).dry_run().build()?;
        let client = mesh.client(&name)?;
        Ok(Self { xds, mesh, _client: client, name, told: BTreeMap::new() })
    }

    /// Tells what comes as it comes, until nothing new does. Whether all is well.
    async fn examine(&mut self) -> bool {
        let began = Instant::now();
        let mut last_change = began;
        let status = loop {
            let status = self.xds.status().await;
            for resource in status.resources.iter().filter(|it| it.is_needed) {
                let line = line(resource);
                let key = (resource.kind, resource.name.clone());
                if self.told.get(&key) != Some(&line) {
                    println!("{:>6} ms  {line}", began.elapsed().as_millis());
                    self.told.insert(key, line);
                    last_change = Instant::now();
                }
            }
            if is_settled(&status) && last_change.elapsed() > QUIET || began.elapsed() > PATIENCE {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        conclude(&status)
    }

    fn explain(&self, line: &str, headers: &[(String, String)]) {
        let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.name));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        println!("\nwhere `{line}` would go:");
        match request.body(()).map_err(BoxError::from).and_then(|it| Ok(self.mesh.explain(&it)?)) {
            Ok(explanation) => println!("{explanation}"),
            Err(error) => println!("nowhere: {error}"),
        }
    }
}

/// What is known of a resource, in one line.
fn line(it: &ResourceStatus) -> String {
    let mut line = format!("{} {:<20} {}", it.kind, it.name, it.state);
    if let Some(version) = &it.version {
        line.push_str(&format!(" version {version}"));
    }
    let next: Vec<String> =
        it.leads_to.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    if !next.is_empty() {
        line.push_str(&format!(" → {}", next.join(", ")));
    }
    if let Some(error) = &it.error {
        line.push_str(&format!("\n           {}", error.details));
    }
    for note in &it.notes {
        line.push_str(&format!("\n           not done: {note}"));
    }
    line
}

/// Whether nothing is awaited any more but what cannot come.
fn is_settled(status: &Status) -> bool {
    let mut needed = status.resources.iter().filter(|it| it.is_needed).peekable();
    needed.peek().is_some()
        && needed.all(|it| it.state != ResourceState::Requested || it.error.is_some())
}

/// What is to be said of the whole.
fn conclude(status: &Status) -> bool {
    println!("\nnode `{}`", status.node);
    for server in &status.servers {
        let state = if server.is_connected { "connected" } else { "not connected" };
        let why = server.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let (accepted, refused) = (server.accepted, server.refused);
        println!(
            "server {} {state}{why} ({accepted} resources accepted, {refused} refused)",
            server.uri
        );
    }
    for note in &status.notes {
        println!("of the bootstrap is ignored: {note}");
    }
    let needed: Vec<_> = status.resources.iter().filter(|it| it.is_needed).collect();
    let bad = needed.iter().filter(|it| it.state != ResourceState::Acked || it.error.is_some());
    let bad: Vec<String> =
        bad.map(|it| format!("{} {} ({})", it.kind, it.name, it.state)).collect();
    if bad.is_empty() {
        println!("all {} resources are there", needed.len());
    } else {
        println!("wrong: {}", bad.join(", "));
    }
    bad.is_empty()
}

/// A control plane of our own.
async fn sample() -> Result<ExitCode, BoxError> {
    let plane = AdsServer::start().await?;
    plane.set([
        Resource::listener("orders", "orders-routes"),
        Resource::split("orders-routes", "orders", [("blue", 8), ("green", 1), ("canary", 1)]),
        Resource::cluster("blue"),
        Resource::endpoints("blue", ["10.0.0.1:80".parse()?, "10.0.0.2:80".parse()?]),
        // One that goes to wherever the packet was going, which nobody but a proxy can.
        Resource::encoded(CDS, "green", b"\x0a\x05green\x10\x04"),
        // And one whose endpoints the plane does not have.
        Resource::cluster("canary"),
    ]);
    let bootstrap = Bootstrap::builder()
        .node_id("orders-7f9c")
        .server(Server::insecure(plane.uri()).delta(true))
        .build()?;
    println!("== a control plane that is not whole");
    let mut patient = Patient::admit(bootstrap, "xds:///orders")?;
    assert!(!patient.examine().await);
    let status = patient.xds.status().await;
    let state = |kind, name| status.resource(kind, name).map(|it| it.state);
    assert_eq!(state(ResourceKind::Cluster, "green"), Some(ResourceState::Nacked));
    assert_eq!(state(ResourceKind::Endpoints, "canary"), Some(ResourceState::DoesNotExist));
    patient.explain("GET /cart", &[]);

    println!("== the same once it has been mended");
    plane.set([
        Resource::cluster("green"),
        Resource::endpoints("green", ["10.0.1.1:80".parse()?]),
        Resource::endpoints("canary", ["10.0.2.1:80".parse()?]),
    ]);
    assert!(patient.examine().await);
    patient.explain("GET /cart", &[]);
    Ok(ExitCode::SUCCESS)
}
