//! Certificate, key and CA are rotated under load without a failed call, and nothing is tried again that
//! was sent; what streams meanwhile ends whole. Connections live on where they are still vouched for, and are
//! drained where they are not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tower_mesh::{
    Call, Client, DisconnectReason, Event, Mesh, MeshBuilder,
    config::Balancer,
    observe::MetricSample,
    security::{KeyPair, Trust},
};

use crate::support::{
    Ca, GreeterClient, Held, HelloRequest, Recorder, Stage, Tls, TlsServer, fetch, get, once,
    patience, swap,
};
use http::Version;

const POLL: Duration = Duration::from_millis(100);
/// The first of January, as seconds since 1970.
const UNTIL_2060: f64 = 2_840_140_800.0;

/// Callers that go on until they are stopped. A call that is cut is a failed one: nothing repeats it.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Result<usize, String>>>,
}

impl Load {
    fn start(client: &Client, is_grpc: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..8).map(|_| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::SeqCst) {
                    if is_grpc {
                        let mut client = GreeterClient::new(client.clone());
                        let mut request = tonic::Request::new(HelloRequest::default());
                        request.extensions_mut().insert(Call::new().no_retry());
                        let answer = client.say_hello(request).await;
                        answer.map_err(|status| format!("{status:?}"))?;
                    } else {
                        let answer = fetch(&client, once(get("/"))).await;
                        answer.map_err(|error| error.chain())?;
                    }
                    calls += 1;
                }
                Ok(calls)
            })
        });
        Self { callers: callers.collect(), stop }
    }

    /// Ends them; no call has failed.
    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for caller in self.callers {
            let calls = patience(caller).await.unwrap().unwrap();
            assert!(calls > 0);
        }
    }
}

/// What is called in which way.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Http1,
    Http2,
    Grpc,
}

const KINDS: [Kind; 3] = [Kind::Http1, Kind::Http2, Kind::Grpc];

impl Kind {
    fn version(self) -> Version {
        match self {
            Self::Http1 => Version::HTTP_11,
            Self::Http2 | Self::Grpc => Version::HTTP_2,
        }
    }
}

fn tls(kind: Kind, ca: &Ca, clients: &Ca) -> Tls {
    let tls = Tls::new(ca.issue(&["users"])).clients_of(clients);
    match kind {
        Kind::Http1 => tls.alpn(&["http/1.1"]),
        Kind::Http2 | Kind::Grpc => tls,
    }
}

/// A mesh whose keys and roots are in this folder.
fn mesh_of(folder: &Path, servers: &[&TlsServer]) -> MeshBuilder {
    let (chain, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    Mesh::builder()
        .endpoints("users", servers.iter().map(|server| server.address()))
        .identity(KeyPair::pem_files(chain, key).poll_interval(POLL))
        .trust(Trust::pem_file(folder.join("ca.crt")).poll_interval(POLL))
        // Each gets calls, however much stands on it.
        .service("users", |s| s.mutual_tls().balancer(Balancer::RoundRobin))
}

fn folder(roots: &[&Ca], own: &crate::support::Issued) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_roots(dir.path(), roots);
    own.write(dir.path());
    dir
}

fn write_roots(folder: &Path, roots: &[&Ca]) {
    let pem: Vec<&str> = roots.iter().map(|ca| ca.pem()).collect();
    swap(&folder.join("ca.crt"), &pem.join("\n"));
}

/// Waits until a part is in force that begins so.
async fn applied(events: &mut Recorder, begins: &str) {
    let begun = |event: &Event| match event {
        Event::ConfigApplied { part, .. } => part.starts_with(begins),
        _ => false,
    };
    events.until(begun).await;
}

/// Waits until the certificate that ends with this year is in force: the pair that was read first
/// may be reported as late as the mesh is used.
async fn in_force(mesh: &Mesh, until: f64) {
    let family = |name| mesh.metrics().family(name).unwrap().clone();
    let not_after = || family("mesh.client.certificate.not_after").samples[0].value().as_f64();
    patience(async {
        while (not_after() - until).abs() > 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until the server has taken a connection of this number or a later one.
async fn met_again(server: &TlsServer, number: usize) {
    let met = || server.met().iter().any(|met| met.number >= number);
    patience(async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What clients have shown in connections from this number on.
fn shown(server: &TlsServer, from: usize) -> Vec<CertificateDer<'static>> {
    let met = server.met().into_iter().filter(|met| met.number >= from);
    met.map(|met| met.shown.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_certificate_and_key_are_rotated_under_load() {
    for kind in KINDS {
        let ca = Ca::new("ca");
        let stage = Stage::default();
        let servers =
            [stage.serve(tls(kind, &ca, &ca)).await, stage.serve(tls(kind, &ca, &ca)).await];
        let [one, two] = &servers;
        let old = ca.issue_between(&["caller"], 2020, 2050);
        let new = ca.issue_between(&["caller"], 2020, 2060);
        let dir = folder(&[&ca], &old);
        let mesh = mesh_of(dir.path(), &[one, two]).build().unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client("users").unwrap();
        let load = Load::start(&client, matches!(kind, Kind::Grpc));
        met_again(one, 0).await;
        met_again(two, 0).await;
        let held = Held::begin(&client, &[kind.version()], &stage).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut events = Recorder::of(&mesh);
        let before = one.connections() + two.connections();
        // The same name: it is the same identity, renewed.
        new.write(dir.path());
        in_force(&mesh, UNTIL_2060).await;
        applied(&mut events, "identity ").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if matches!(kind, Kind::Http2 | Kind::Grpc) {
            let after = one.connections() + two.connections();
            assert_eq!(before, after, "{kind:?}: what was vouched for lives on");
        }
        assert_eq!(events.disconnects(), Vec::<&str>::new(), "{kind:?}");
        // Whoever connects from here on shows the new one, and nobody the old one.
        for server in &servers {
            let renewed = server.connections();
            assert!(shown(server, 0).contains(&old.chain[0]), "{kind:?}");
            server.drain();
            met_again(server, renewed).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let shown = shown(server, renewed);
            let old = shown.iter().filter(|shown| **shown != new.chain[0]).count();
            assert_eq!(old, 0, "{kind:?}: of {}", shown.len());
        }
        held.end().await;
        load.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_own_name_makes_new_connections_without_a_failed_call() {
    for kind in KINDS {
        let ca = Ca::new("ca");
        let stage = Stage::default();
        let server = stage.serve(tls(kind, &ca, &ca)).await;
        let dir = folder(&[&ca], &ca.issue(&["spiffe://prod.example/a"]));
        let mesh = mesh_of(dir.path(), &[&server]).build().unwrap();
        let mut events = Recorder::of(&mesh);
        let client = mesh.client("users").unwrap();
        let load = Load::start(&client, matches!(kind, Kind::Grpc));
        let held = Held::begin(&client, &[kind.version()], &stage).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = server.connections();
        let own = ca.issue(&["spiffe://prod.example/b"]);
        own.write(dir.path());
        patience(async {
            while !shown(&server, before).contains(&own.chain[0]) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        // Those who stand go on as who they were, and end the connection with their end.
        held.end().await;
        events
            .until(|event| {
                matches!(
                    event,
                    Event::Disconnected { reason: DisconnectReason::IdentityChanged, .. }
                )
            })
            .await;
        load.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_rotated_under_load_in_four_steps() {
    for kind in KINDS {
        let (old, new) = (Ca::new("old"), Ca::new("new"));
        // The servers trust callers of both at first.
        let both = |server_ca: &Ca| tls(kind, server_ca, &old).and_clients_of(&new);
        let stage = Stage::default();
        let (one, two) = (stage.serve(both(&old)).await, stage.serve(both(&old)).await);
        let dir = folder(&[&old], &old.issue(&["caller"]));
        let mesh = mesh_of(dir.path(), &[&one, &two]).build().unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client("users").unwrap();
        let load = Load::start(&client, matches!(kind, Kind::Grpc));
        met_again(&one, 0).await;
        met_again(&two, 0).await;
        let held = Held::begin(&client, &[kind.version()], &stage).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // 1. Both roots are trusted.
        let mut events = Recorder::of(&mesh);
        write_roots(dir.path(), &[&old, &new]);
        applied(&mut events, "trust ").await;
        // 2. The servers take certificates of the new one, for new connections.
        one.rotate(&both(&new));
        two.rotate(&both(&new));
        // 3. So does the mesh.
        let mut events = Recorder::of(&mesh);
        let own = new.issue_between(&["caller"], 2020, 2060);
        own.write(dir.path());
        in_force(&mesh, UNTIL_2060).await;
        applied(&mut events, "identity ").await;
        assert!(!events.disconnects().contains(&"root removed"));
        // Now the servers can do without callers of the old one.
        let renewed = [&one, &two].map(|server| {
            server.rotate(&tls(kind, &new, &new));
            (server, server.connections())
        });
        // 4. The old root goes, and with it the connections that it has vouched for.
        let mut events = Recorder::of(&mesh);
        write_roots(dir.path(), &[&new]);
        applied(&mut events, "trust ").await;
        for (server, renewed) in &renewed {
            met_again(server, *renewed).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let from = [one.requests(), two.requests()];
        tokio::time::sleep(Duration::from_millis(200)).await;
        // What stands on them may end, and nothing else comes over them meanwhile.
        held.end().await;
        events
            .until(|event| {
                matches!(event, Event::Disconnected { reason: DisconnectReason::RootRemoved, .. })
            })
            .await;
        load.end().await;
        for (server, from) in [&one, &two].into_iter().zip(from) {
            // The old root has vouched for those that were made before the server rotated.
            let met = server.met();
            let is_old =
                |number: &usize| met.iter().any(|met| met.number == *number && met.rotation == 0);
            let late = &server.served()[from..];
            let old = late.iter().filter(|number| is_old(number)).count();
            assert!(!late.is_empty() && old == 0, "{kind:?}: {old} of {}", late.len());
            assert!(server.in_clear().is_empty());
        }
        for (server, renewed) in renewed {
            let shown = shown(server, renewed);
            assert!(!shown.is_empty() && shown.iter().all(|shown| *shown == own.chain[0]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_rotate_their_certificate_lose_no_call() {
    for kind in KINDS {
        let ca = Ca::new("ca");
        let stage = Stage::default();
        let server = stage.serve(tls(kind, &ca, &ca)).await;
        let dir = folder(&[&ca], &ca.issue(&["caller"]));
        let mesh = mesh_of(dir.path(), &[&server]).build().unwrap();
        let client = mesh.client("users").unwrap();
        let load = Load::start(&client, matches!(kind, Kind::Grpc));
        met_again(&server, 0).await;
        let held = Held::begin(&client, &[kind.version()], &stage).await;
        for rotation in 1..=5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            server.rotate(&tls(kind, &ca, &ca));
            // Who is connected goes on with what the old one has vouched for, unless it is ended.
            let connected = server.connections();
            server.drain();
            met_again(&server, connected).await;
            let met = server.met().into_iter().filter(|met| met.number >= connected);
            let seen = met.map(|met| met.rotation).collect::<Vec<_>>();
            assert!(seen.iter().all(|seen| *seen == rotation), "{kind:?}: {seen:?}");
        }
        held.end().await;
        load.end().await;
        assert!(server.connections() > 5, "{kind:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let ca = Ca::new("ca");
    let server = tls(Kind::Http1, &ca, &ca).start().await;
    let dir = folder(&[&ca], &ca.issue(&["caller"]));
    let mesh = mesh_of(dir.path(), &[&server]).build().unwrap();
    let client = mesh.client("users").unwrap();
    assert!(fetch(&client, get("/")).await.is_ok());
    // More than one at once need more connections.
    let calls = crate::support::storm(4, 4, |_| fetch(&client, get("/"))).await;
    assert!(calls.iter().all(Result::is_ok));
    let met = server.met();
    assert!(!met[0].resumed && met.iter().any(|met| met.resumed), "{met:?}");
}

#[tokio::test]
async fn metrics_tell_when_the_own_certificate_expires() {
    let expiry = |mesh: &Mesh| {
        let metrics = mesh.metrics();
        let family = metrics.family("mesh.client.certificate.not_after").unwrap();
        let own = |sample: &&MetricSample| {
            let name = sample.attribute("mesh.identity");
            name.is_some_and(|name| name.starts_with("key pair "))
        };
        let all = family.samples.iter().filter(own).map(|sample| sample.value().as_f64());
        assert_eq!(family.samples.len(), 2, "and the roots");
        all.collect::<Vec<_>>()
    };
    let ca = Ca::new("ca");
    let server = tls(Kind::Http1, &ca, &ca).start().await;
    let dir = folder(&[&ca], &ca.issue_between(&["caller"], 2020, 2050));
    let mesh = mesh_of(dir.path(), &[&server]).build().unwrap();
    mesh.ready().await.unwrap();
    // The first of January, as seconds since 1970.
    assert_eq!(expiry(&mesh), [2_524_608_000.0]);
    let mut events = Recorder::of(&mesh);
    ca.issue_between(&["caller"], 2020, 2060).write(dir.path());
    applied(&mut events, "identity ").await;
    assert_eq!(expiry(&mesh), [UNTIL_2060]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_often_the_files_are_read_is_said_in_the_mesh_file() {
    let ca = Ca::new("ca");
    let server = tls(Kind::Http1, &ca, &ca).start().await;
    let dir = folder(&[&ca], &ca.issue(&["caller"]));
    let path = dir.path().join("mesh.yaml");
    let yaml = format!(
        "identities: {{default: {{certificate: tls.crt, key: tls.key, roots: ca.crt, \
         poll_interval: 100ms}}}}\n\
         clusters: {{users: {{security: {{mode: mutual}}, endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    );
    swap(&path, &yaml);
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let changed = std::time::SystemTime::now();
    ca.issue(&["caller"]).write(dir.path());
    write_roots(dir.path(), &[&ca, &Ca::new("another")]);
    applied(&mut events, "identity ").await;
    applied(&mut events, "trust ").await;
    // By default they would be read after 5 s.
    assert!(changed.elapsed().unwrap() < Duration::from_secs(3));
}
