//! What each endpoint of a mesh proves and is asked for by itself: the trust domain that its certificate is of,
//! SNI, ALPN.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use tower_mesh::{
    ErrorKind, Event, Mesh, MeshBuilder, Phase,
    config::{Cluster, ClusterSecurity, Endpoint, EndpointTls, IdentityMatch, Security},
    discover::Static,
    security::Trust,
};

use crate::support::{Ca, Recorder, Tls, TlsServer, VERSIONS, fetch, get, over, patience, swap};

/// The authorities of two trust domains, and a folder with the bundle of each.
struct Domains {
    a: Ca,
    b: Ca,
    folder: tempfile::TempDir,
}

impl Domains {
    fn new() -> Self {
        let (a, b) = (Ca::new("of a"), Ca::new("of b"));
        let folder = tempfile::tempdir().unwrap();
        swap(&folder.path().join("a.crt"), a.pem());
        swap(&folder.path().join("b.crt"), b.pem());
        Self { a, b, folder }
    }

    fn bundles(&self) -> Trust {
        let at = |name| self.folder.path().join(name);
        Trust::bundles([("a.example", at("a.crt")), ("b.example", at("b.crt"))]).unwrap()
    }

    /// A mesh that asks of each of these services that it proves so much.
    fn mesh(&self, services: &[(&str, &TlsServer, IdentityMatch)]) -> Mesh {
        let mut source = Static::default();
        for (name, server, identity) in services {
            let mut cluster = crate::support::cluster([server.address()]);
            cluster.security = Some(ClusterSecurity::tls().identity(identity.clone()));
            source = source.cluster(name, cluster);
        }
        Mesh::builder().source(source).trust(self.bundles()).build().unwrap()
    }
}

fn domain(name: &str) -> IdentityMatch {
    IdentityMatch::TrustDomain(name.into())
}

#[tokio::test]
async fn each_trust_domain_is_vouched_for_by_its_own_bundle() {
    let domains = Domains::new();
    let of_a = Tls::new(domains.a.issue(&["spiffe://a.example/users"])).start().await;
    let of_b = Tls::new(domains.b.issue(&["spiffe://b.example/orders"])).start().await;
    let mesh = domains.mesh(&[
        ("users", &of_a, domain("a.example")),
        ("orders", &of_b, IdentityMatch::Exact("spiffe://b.example/orders".into())),
    ]);
    mesh.ready().await.unwrap();
    for (service, server) in [("users", &of_a), ("orders", &of_b)] {
        for version in VERSIONS {
            let client = mesh.client(service).unwrap();
            let answer = patience(fetch(&client, over(version, get("/")))).await.unwrap();
            assert!(answer.status().is_success());
        }
        assert_eq!(server.requests(), VERSIONS.len());
        assert!(server.in_clear().is_empty());
    }
}

#[tokio::test]
async fn a_server_of_one_domain_that_anothers_authority_has_signed_is_refused_and_named() {
    let domains = Domains::new();
    let name = "spiffe://b.example/orders";
    let impostor = Tls::new(domains.a.issue(&[name])).start().await;
    for asked in [
        domain("b.example"),
        IdentityMatch::Exact(name.into()),
        IdentityMatch::Prefix("spiffe://b.example/".into()),
    ] {
        let mesh = domains.mesh(&[("orders", &impostor, asked.clone())]);
        mesh.ready().await.unwrap();
        let mut events = Recorder::of(&mesh);
        let client = mesh.client("orders").unwrap();
        let error = patience(fetch(&client, get("/"))).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Identity, Phase::Tls), "{error}");
        let at = impostor.socket().to_string();
        assert_eq!(error.endpoint(), Some(&*at), "{error}");
        let chain = error.chain();
        assert!(chain.contains("b.example"), "{asked:?}: {chain}");
        let named = events.count(|event| {
            matches!(event, Event::ConnectFailed { endpoint, cause, .. }
                if **endpoint == *at && cause.contains("b.example"))
        });
        assert!(named > 0, "{asked:?}");
    }
    assert_eq!(impostor.requests(), 0);
    assert!(impostor.in_clear().is_empty());
}

#[tokio::test]
async fn an_impostor_of_another_domain_beside_the_right_endpoint_costs_no_call() {
    let domains = Domains::new();
    let name = "spiffe://b.example/orders";
    let right = Tls::new(domains.b.issue(&[name])).start().await;
    let impostor = Tls::new(domains.a.issue(&[name])).start().await;
    let mut cluster = crate::support::cluster([right.address(), impostor.address()]);
    cluster.security = Some(ClusterSecurity::tls().identity(domain("b.example")));
    let source = Static::default().cluster("orders", cluster);
    let mesh = Mesh::builder().source(source).trust(domains.bundles()).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("orders").unwrap();
    for _ in 0..50 {
        patience(fetch(&client, get("/"))).await.unwrap();
    }
    assert_eq!((right.requests(), impostor.requests()), (50, 0));
}

/// An endpoint that says so much of its own TLS.
fn endpoint(server: &TlsServer, say: impl FnOnce(&mut EndpointTls)) -> Endpoint {
    let mut tls = EndpointTls::default();
    say(&mut tls);
    let mut endpoint = Endpoint::new(server.address());
    endpoint.security = Some(Security::Tls(Box::new(tls)));
    endpoint
}

/// Calls the service until all of these servers have been met.
async fn meet_all(mesh: &Mesh, servers: &[&TlsServer]) {
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    patience(async {
        let mut turn = 0;
        while servers.iter().any(|server| server.requests() < VERSIONS.len()) {
            let version = VERSIONS[turn % VERSIONS.len()];
            fetch(&client, over(version, get("/"))).await.unwrap();
            turn += 1;
        }
    })
    .await;
}

/// A mesh of one service of these endpoints, which prove `users`.
fn of_endpoints(ca: &Ca, endpoints: Vec<Endpoint>) -> MeshBuilder {
    let mut security = ClusterSecurity::tls().identity(IdentityMatch::Exact("users".into()));
    security.sni = Some("usual.test".into());
    let mut cluster = Cluster::default();
    cluster.endpoints = endpoints;
    cluster.security = Some(security);
    let source = Static::default().cluster("users", cluster);
    Mesh::builder().source(source).trust(Trust::pem(ca.pem()))
}

#[tokio::test]
async fn each_endpoint_of_a_cluster_is_asked_for_by_its_own_sni() {
    let ca = Ca::new("ca");
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Tls::new(ca.issue(&["users"])).start().await);
    }
    let said = ["one.test", "two.test"];
    let mut endpoints = vec![Endpoint::new(servers[2].address())];
    for (server, sni) in servers.iter().zip(said) {
        endpoints.push(endpoint(server, |tls| tls.sni = Some(sni.into())));
    }
    let mesh = of_endpoints(&ca, endpoints).build().unwrap();
    meet_all(&mesh, &servers.iter().collect::<Vec<_>>()).await;
    for (server, expected) in servers.iter().zip([said[0], said[1], "usual.test"]) {
        let met: BTreeSet<_> = server.met().into_iter().map(|met| met.sni).collect();
        assert_eq!(met, BTreeSet::from([Some(expected.to_owned())]));
    }
}

#[tokio::test]
async fn each_endpoint_of_a_cluster_is_offered_its_own_alpn() {
    let ca = Ca::new("ca");
    let (old, new, usual) = (
        Tls::new(ca.issue(&["users"])).start().await,
        Tls::new(ca.issue(&["users"])).start().await,
        Tls::new(ca.issue(&["users"])).start().await,
    );
    let alpn = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        move |tls: &mut EndpointTls| tls.alpn = names
    };
    let endpoints = vec![
        endpoint(&old, alpn(&["http/1.1"])),
        endpoint(&new, alpn(&["h2"])),
        Endpoint::new(usual.address()),
    ];
    let mesh = of_endpoints(&ca, endpoints).build().unwrap();
    meet_all(&mesh, &[&old, &new, &usual]).await;
    for (server, expected) in [(&old, "http/1.1"), (&new, "h2"), (&usual, "h2")] {
        let met: BTreeSet<_> = server.met().into_iter().map(|met| met.alpn).collect();
        assert_eq!(met, BTreeSet::from([Some(expected.to_owned())]));
        assert!(server.in_clear().is_empty());
    }
}
