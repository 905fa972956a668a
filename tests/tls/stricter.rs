//! A policy that is made stricter never reuses an old connection, and loses no call: by a source or
//! the mesh file, of a cluster or of one endpoint, under load. What streams meanwhile ends whole, on the
//! connection that it began on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower_mesh::{
    Client, DisconnectReason, Event, Mesh,
    config::{
        Cluster, ClusterSecurity, Endpoint, EndpointTls, IdentityMatch, Security, SecurityMode,
    },
    security::{KeyPair, Trust},
};

use crate::support::{
    Ca, Held, LATE, Recorder, Stage, Tls, TlsServer, VERSIONS, fetch, get, once, over, patience,
    published, swap,
};
use http::{HeaderValue, Version};

/// Callers that go on until they are stopped. A call that is cut is a failed one: nothing repeats it.
struct Load {
    stop: Arc<AtomicBool>,
    /// Calls that begin from now on say that they are late.
    late: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Result<usize, String>>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicBool::new(false));
        let callers = (0..8).map(|number| {
            let (client, stop, late) = (client.clone(), Arc::clone(&stop), Arc::clone(&late));
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::SeqCst) {
                    let mut request = once(over(VERSIONS[number % 2], get("/")));
                    if late.load(Ordering::SeqCst) {
                        request.headers_mut().insert(LATE, HeaderValue::from_static("yes"));
                    }
                    let answer = fetch(&client, request).await.map_err(|error| error.chain())?;
                    assert!(answer.status().is_success());
                    calls += 1;
                }
                Ok(calls)
            })
        });
        Self { callers: callers.collect(), stop, late }
    }

    /// Lets them call for a while.
    async fn run(&self) {
        tokio::time::sleep(Duration::from_millis(150)).await;
    }

    /// The policy is stricter now: no call that begins from here on may use what was before.
    fn is_late(&self) {
        self.late.store(true, Ordering::SeqCst);
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

/// A load and streams, begun under the old policy.
struct Before<'a> {
    server: &'a TlsServer,
    load: Load,
    held: Held,
    events: Recorder,
    connections: usize,
}

impl<'a> Before<'a> {
    async fn start(
        mesh: &Mesh,
        (server, stage): (&'a TlsServer, &Stage),
        versions: &[Version],
    ) -> Self {
        let client = mesh.client("users").unwrap();
        let load = Load::start(&client);
        let held = Held::begin(&client, versions, stage).await;
        load.run().await;
        let (events, connections) = (Recorder::of(mesh), server.connections());
        Self { server, load, held, events, connections }
    }

    /// The policy is stricter now: every call from here on comes over another connection, what streams
    /// ends whole on its own, and that with it.
    async fn stricter(mut self) {
        self.load.is_late();
        self.load.run().await;
        self.held.end().await;
        let is_drained = |event: &Event| {
            matches!(event, Event::Disconnected { reason: DisconnectReason::Draining, .. })
        };
        self.events.until(is_drained).await;
        self.load.run().await;
        self.load.end().await;
        let late = self.server.late();
        let old = late.iter().filter(|number| **number < self.connections).count();
        assert_eq!(old, 0, "of {} calls so many came over old connections", late.len());
        assert!(!late.is_empty() && self.server.connections() > self.connections);
        assert!(self.server.in_clear().is_empty());
    }
}

fn secured(server: &TlsServer, security: ClusterSecurity) -> Cluster {
    let mut cluster = crate::support::cluster([server.address()]);
    cluster.security = Some(security);
    cluster
}

fn exact(name: &str) -> IdentityMatch {
    IdentityMatch::Exact(name.into())
}

/// What a change does to a mesh under load, whose server speaks HTTP/1.1 alone, or HTTP/2.
async fn changed(before: ClusterSecurity, after: ClusterSecurity) -> TlsServer {
    changed_over(Version::HTTP_11, before.clone(), after.clone()).await;
    changed_over(Version::HTTP_2, before, after).await
}

async fn changed_over(
    version: Version,
    before: ClusterSecurity,
    after: ClusterSecurity,
) -> TlsServer {
    let (ca, stage) = (Ca::new("ca"), Stage::default());
    let tls = Tls::new(ca.issue(&["users", "spiffe://prod.example/users"]));
    let tls = if version == Version::HTTP_2 { tls } else { tls.alpn(&["http/1.1"]) };
    let server = stage.serve(tls).await;
    let own = ca.issue(&["spiffe://prod.example/caller"]);
    let builder = Mesh::builder()
        .trust(Trust::pem(ca.pem()))
        .identity(KeyPair::pem(own.chain_pem.clone(), own.key_pem.clone()));
    let (mesh, publish) =
        published(builder, |publish| publish.cluster("users", secured(&server, before)).unwrap())
            .await;
    let before = Before::start(&mesh, (&server, &stage), &[version]).await;
    publish.cluster("users", secured(&server, after)).unwrap();
    before.stricter().await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn another_expected_identity() {
    changed(
        ClusterSecurity::tls(),
        ClusterSecurity::tls().identity(exact("spiffe://prod.example/users")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sni() {
    let mut after = ClusterSecurity::tls().identity(exact("users"));
    after.sni = Some("other".into());
    let server = changed(ClusterSecurity::tls(), after).await;
    assert_eq!(server.met().last().unwrap().sni.as_deref(), Some("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_alpn() {
    let mut after = ClusterSecurity::tls();
    after.alpn = vec!["http/1.1".into()];
    let server = changed(ClusterSecurity::tls(), after).await;
    assert_eq!(server.met().last().unwrap().alpn.as_deref(), Some("http/1.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version() {
    let mut after = ClusterSecurity::tls();
    after.min_version = Some(tower_mesh::config::TlsVersion::V1_3);
    changed(ClusterSecurity::tls(), after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_identity_that_is_shown() {
    changed(ClusterSecurity::tls(), ClusterSecurity::mutual()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_that_is_to_prove_more() {
    let (ca, stage) = (Ca::new("ca"), Stage::default());
    let names = ["users", "spiffe://prod.example/users"];
    let server = stage.serve(Tls::new(ca.issue(&names))).await;
    let builder = Mesh::builder().trust(Trust::pem(ca.pem()));
    let (mesh, publish) = published(builder, |publish| {
        publish.cluster("users", secured(&server, ClusterSecurity::tls())).unwrap();
    })
    .await;
    let before = Before::start(&mesh, (&server, &stage), &[Version::HTTP_2]).await;
    let mut endpoint = Endpoint::new(server.address());
    let mut tls = EndpointTls::default();
    tls.identities = vec![exact("spiffe://prod.example/users")];
    endpoint.security = Some(Security::Tls(Box::new(tls)));
    publish.endpoints("users", [endpoint]).unwrap();
    before.stricter().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_that_is_to_be_shown_who_calls() {
    let (ca, stage) = (Ca::new("ca"), Stage::default());
    let server = stage.serve(Tls::new(ca.issue(&["users"]))).await;
    let own = ca.issue(&["caller"]);
    let builder = Mesh::builder()
        .trust(Trust::pem(ca.pem()))
        .identity(KeyPair::pem(own.chain_pem.clone(), own.key_pem.clone()));
    let (mesh, publish) = published(builder, |publish| {
        publish.cluster("users", secured(&server, ClusterSecurity::tls())).unwrap();
    })
    .await;
    let before = Before::start(&mesh, (&server, &stage), &[Version::HTTP_2]).await;
    let mut endpoint = Endpoint::new(server.address());
    let mut tls = EndpointTls::default();
    tls.mode = Some(SecurityMode::Mutual);
    endpoint.security = Some(Security::Tls(Box::new(tls)));
    publish.endpoints("users", [endpoint]).unwrap();
    before.stricter().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_plaintext_to_mutual_tls_by_the_mesh_file() {
    let (ca, stage) = (Ca::new("ca"), Stage::default());
    // One server at one address: whoever comes without a handshake is served in clear.
    let server = stage.serve(Tls::new(ca.issue(&["users"])).clients_of(&ca).or_plain()).await;
    let dir = tempfile::tempdir().unwrap();
    swap(&dir.path().join("ca.crt"), ca.pem());
    ca.issue(&["caller"]).write(dir.path());
    let path = dir.path().join("mesh.yaml");
    swap(
        &path,
        &format!("clusters: {{users: {{endpoints: [{{address: \"{}\"}}]}}}}\n", server.address()),
    );
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let before = Before::start(&mesh, (&server, &stage), &VERSIONS).await;
    let mut events = Recorder::of(&mesh);
    swap(
        &path,
        &format!(
            "identities: {{default: {{certificate: tls.crt, key: tls.key, roots: ca.crt}}}}\n\
             clusters: {{users: {{security: {{mode: mutual}}, endpoints: [{{address: \"{}\"}}]}}}}\n",
            server.address()
        ),
    );
    events
        .until(|event| {
            matches!(event, Event::ConfigApplied { part, .. } if &**part == "cluster users")
        })
        .await;
    before.stricter().await;
    let met = server.met();
    assert!(met.iter().all(|met| met.certificates == 1));
    let late = server.late();
    let secured = |number: &usize| met.iter().any(|met| met.number == *number);
    assert!(late.iter().all(secured), "nothing in clear any more");
    let first = server.served()[0];
    assert!(!secured(&first), "it was served in clear before");
}
