//! What a control plane says of a name: the chain LDS → RDS → CDS → EDS as it arrives, what of it is missing
//! or refused and why, and where a request would go. Nobody is called.
//!
//! ```text
//! cargo run --example xds_doctor --features xds,testing
//! cargo run --example xds_doctor --features xds -- bootstrap.json orders.prod:8080
//! cargo run --example xds_doctor --features xds -- bootstrap.json xds:///orders 'POST /cart' -H 'x-canary: yes'
//! ```
//!
//! Without arguments, and with the feature `testing`, it starts a control plane of its own that has three
//! clusters, and only one of them whole. It ends with 0 when all that a name needs is there and its calls have
//! where to go, with 1 when not, and with 2 when it is not asked rightly.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    iter,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use http::Request;
use tokio::time::Instant;
use tower_mesh::{
    BoxError, Choice, Client, ClusterExplanation, Description, ErrorKind, Mesh, Setting,
    SettingOrigin,
    control::xds::{Bootstrap, ResourceKind, ResourceState, ResourceStatus, Status, Xds},
};
#[cfg(feature = "testing")]
use tower_mesh::{
    control::xds::Server,
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
async fn main() -> ExitCode {
    let code = run(std::env::args().skip(1), &mut std::io::stdout()).await;
    ExitCode::from(code)
}

/// Does what the arguments ask and says what comes of it; what to end with.
pub(crate) async fn run(arguments: impl Iterator<Item = String>, out: &mut dyn Write) -> u8 {
    match ask(arguments, out).await {
        Ok(is_well) => u8::from(!is_well),
        Err(error) => {
            // Who cannot be told is told by the code.
            let _told = write!(out, "{error}\n\n{USAGE}");
            2
        }
    }
}

/// Whether all is well.
async fn ask(
    arguments: impl Iterator<Item = String>,
    out: &mut dyn Write,
) -> Result<bool, BoxError> {
    let asked = parse(arguments)?;
    match asked.words.as_slice() {
        #[cfg(feature = "testing")]
        [] => sample(out).await,
        [bootstrap, target] | [bootstrap, target, _] => {
            let mut patient = Patient::admit(Bootstrap::from_file(bootstrap)?, target)?;
            let is_well = patient.examine(out).await?;
            let line = asked.words.get(2).map(String::as_str);
            let has_where_to_go = patient.explain(line, &asked.headers, out)?;
            if asked.json {
                writeln!(out, "{}", patient.xds.status().await.to_json())?;
            }
            Ok(is_well && has_where_to_go)
        }
        _ => Err("a bootstrap file, a target and perhaps a request are needed".into()),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Asked, BoxError> {
    let mut asked = Asked::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-H" => {
                let header = arguments.next().ok_or("-H needs a header")?;
                let (name, value) = header.split_once(':').ok_or("a header has a `:`")?;
                asked.headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            "--json" => asked.json = true,
            option if option.starts_with('-') => return Err(format!("no option `{option}`").into()),
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
    async fn examine(&mut self, out: &mut dyn Write) -> Result<bool, BoxError> {
        let began = Instant::now();
        let mut last_change = began;
        let status = loop {
            let status = self.xds.status().await;
            for resource in status.resources.iter().filter(|it| it.is_needed) {
                let line = line(resource);
                let key = (resource.kind, resource.name.clone());
                if self.told.get(&key) != Some(&line) {
                    writeln!(out, "{:>6} ms  {line}", began.elapsed().as_millis())?;
                    self.told.insert(key, line);
                    last_change = Instant::now();
                }
            }
            if is_settled(&status) && last_change.elapsed() > QUIET || began.elapsed() > PATIENCE {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        conclude(&status, &self.mesh.describe(), out)
    }

    /// Tells where a request would go, `GET /` where none is given. Whether the mesh has where to: what is
    /// no request says nothing of that, nor does one that nobody has asked for and no route takes.
    fn explain(
        &self,
        given: Option<&str>,
        headers: &[(String, String)],
        out: &mut dyn Write,
    ) -> Result<bool, BoxError> {
        // A request that nobody has asked about need not go anywhere.
        let is_asked = given.is_some() || !headers.is_empty();
        let line = given.unwrap_or("GET /");
        let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.name));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        writeln!(out, "\nwhere `{line}` would go:")?;
        let request = match request.body(()) {
            Ok(request) => request,
            Err(error) => {
                writeln!(out, "nowhere: {error}")?;
                return Ok(true);
            }
        };
        match self.mesh.explain(&request) {
            Ok(explanation) => {
                writeln!(out, "{explanation}")?;
                let mut goes = true;
                for reason in explanation.clusters.iter().filter_map(nobody) {
                    writeln!(out, "nowhere: {reason}")?;
                    goes = false;
                }
                let is_lost = explanation.clusters.is_empty() && explanation.answer.is_none();
                goes &= !is_lost || explanation.fails.is_none() || !is_asked;
                Ok(goes)
            }
            Err(error) => {
                writeln!(out, "nowhere: {error}")?;
                Ok(match error.kind() {
                    ErrorKind::InvalidRequest => true,
                    ErrorKind::NoRoute => !is_asked,
                    _ => false,
                })
            }
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

/// Why nobody gets the calls that go to this cluster.
fn nobody(cluster: &ClusterExplanation) -> Option<&str> {
    if cluster.share > 0.0
        && let Some(why) = &cluster.fails
    {
        return Some(why);
    }
    let mut line = iter::once(cluster).chain(&cluster.failover);
    let is_taken = cluster.taken_by.is_some() || line.any(|it| asks_dns(&it.settings));
    match &cluster.pick.choice {
        Choice::Nothing { reason } if cluster.share > 0.0 && !is_taken => Some(reason.as_str()),
        _ => None,
    }
}

/// The clusters that calls go to and that have nobody, though nothing of them is refused.
fn deserted(mesh: &Description) -> BTreeSet<String> {
    let is_said = |name: &str| {
        let part = format!("cluster {}", name.to_ascii_lowercase());
        let endpoints = format!("endpoints of {part}");
        mesh.refused.iter().any(|it| it.part == part || it.part == endpoints)
    };
    let routes = mesh.services.iter().flat_map(|service| &service.routes);
    let clusters = routes.flat_map(|route| &route.clusters).filter(|it| it.weight > 0);
    let empty = clusters.filter(|it| it.endpoints.is_empty() && !is_filled_later(&it.settings));
    let empty = empty.filter(|it| !is_said(&it.name));
    empty.map(|it| format!("cluster {} has no endpoints", it.name)).collect()
}

/// Whether a cluster without endpoints of its own has others: those that DNS finds, or those of other clusters.
fn is_filled_later(settings: &[Setting]) -> bool {
    let leads_on = |it: &Setting| it.name == "failover" && it.origin != SettingOrigin::Default;
    asks_dns(settings) || settings.iter().any(leads_on)
}

/// Whether DNS is asked for its endpoints, which is not done here.
fn asks_dns(settings: &[Setting]) -> bool {
    settings.iter().any(|it| it.name.starts_with("discovery."))
}

/// What is to be said of the whole: of what the control plane says, and of what the mesh makes of it.
fn conclude(status: &Status, mesh: &Description, out: &mut dyn Write) -> Result<bool, BoxError> {
    writeln!(out, "\nnode `{}`", status.node)?;
    for server in &status.servers {
        let state = if server.is_connected { "connected" } else { "not connected" };
        let why = server.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let (accepted, refused) = (server.accepted, server.refused);
        writeln!(
            out,
            "server {} {state}{why} ({accepted} resources accepted, {refused} refused)",
            server.uri
        )?;
    }
    for note in &status.notes {
        writeln!(out, "note on the bootstrap: {note}")?;
    }
    let needed: Vec<_> = status.resources.iter().filter(|it| it.is_needed).collect();
    let bad = needed.iter().filter(|it| it.state != ResourceState::Acked || it.error.is_some());
    let (mut resources, mut named) = (Vec::new(), Vec::new());
    for it in bad {
        resources.push(format!("{} {} ({})", it.kind, it.name, it.state));
        named.push(format!("{} resource `{}`", it.kind, it.name));
    }
    let mut wrong = Vec::new();
    if !resources.is_empty() {
        wrong.push(resources.join(", "));
    }
    // What the mesh lacks for one of these is told by it.
    let refused = mesh.refused.iter().filter(|it| !named.iter().any(|name| it.text.contains(name)));
    wrong.extend(refused.map(ToString::to_string));
    wrong.extend(deserted(mesh));
    for it in &wrong {
        writeln!(out, "wrong: {it}")?;
    }
    if wrong.is_empty() {
        writeln!(out, "all {} resources are there", needed.len())?;
    }
    Ok(wrong.is_empty())
}

/// A control plane of our own.
#[cfg(feature = "testing")]
async fn sample(out: &mut dyn Write) -> Result<bool, BoxError> {
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
    writeln!(out, "== a control plane that is not whole")?;
    let mut patient = Patient::admit(bootstrap, "xds:///orders")?;
    assert!(!patient.examine(out).await?);
    let status = patient.xds.status().await;
    let state = |kind, name| status.resource(kind, name).map(|it| it.state);
    assert_eq!(state(ResourceKind::Cluster, "green"), Some(ResourceState::Nacked));
    assert_eq!(state(ResourceKind::Endpoints, "canary"), Some(ResourceState::DoesNotExist));
    patient.explain(Some("GET /cart"), &[], out)?;

    writeln!(out, "== the same once it has been mended")?;
    plane.set([
        Resource::cluster("green"),
        Resource::endpoints("green", ["10.0.1.1:80".parse()?]),
        Resource::endpoints("canary", ["10.0.2.1:80".parse()?]),
    ]);
    let is_well = patient.examine(out).await?;
    let has_where_to_go = patient.explain(Some("GET /cart"), &[], out)?;
    Ok(is_well && has_where_to_go)
}
