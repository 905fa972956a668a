//! What sources of keys, roots and settings may do to a mesh, and what they may not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{future::Future, path::Path, pin::Pin};

use tower_mesh::{
    Event, Mesh, Publisher,
    config::{
        Address, CertificateRef, Cluster, ClusterSecurity, Config, Endpoint, EndpointTls,
        IdentityFiles, IdentityMatch, Protocol, SanKind, SanMatch, Security, SecurityMode,
        StringMatch,
    },
    discover::Static,
    security::{Identity, IdentityPublisher, KeyPair, Roots, Trust, TrustPublisher, Verify},
};

use crate::support::{
    Ca, Issued, Recorder, Server, Tls, TlsServer, cluster, fetch, get, h2, patience, published,
    swap,
};

/// Publishes at once, before it returns its future.
struct Eager<T>(T);

/// Panics in place of publishing.
struct Panics;

/// Returns without a word.
struct Returns;

type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Identity for Eager<Issued> {
    fn name(&self) -> String {
        "eager".into()
    }

    fn run(self: Box<Self>, publish: IdentityPublisher) -> Run {
        publish.pem(self.0.chain_pem.as_bytes(), self.0.key_pem.as_bytes()).unwrap();
        Box::pin(std::future::ready(()))
    }
}

impl Verify for Eager<String> {
    fn name(&self) -> String {
        "eager".into()
    }

    fn run(self: Box<Self>, publish: TrustPublisher) -> Run {
        publish.roots(Roots::new().pem(self.0.as_bytes()).unwrap()).unwrap();
        Box::pin(std::future::ready(()))
    }
}

impl Identity for Returns {
    fn name(&self) -> String {
        "of the test".into()
    }

    fn run(self: Box<Self>, publish: IdentityPublisher) -> Run {
        drop(publish);
        Box::pin(std::future::ready(()))
    }
}

impl Verify for Returns {
    fn name(&self) -> String {
        "of the test".into()
    }

    fn run(self: Box<Self>, publish: TrustPublisher) -> Run {
        drop(publish);
        Box::pin(std::future::ready(()))
    }
}

impl Identity for Panics {
    fn name(&self) -> String {
        "of the test".into()
    }

    fn run(self: Box<Self>, publish: IdentityPublisher) -> Run {
        // What others hold does not keep anybody waiting.
        Box::leak(Box::new(publish));
        panic!("as a bug would")
    }
}

impl Verify for Panics {
    fn name(&self) -> String {
        "of the test".into()
    }

    fn run(self: Box<Self>, publish: TrustPublisher) -> Run {
        Box::leak(Box::new(publish));
        Box::pin(async { panic!("as a bug would") })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_source_that_publishes_at_once_does_not_hang_the_build() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
    let (own, roots) = (ca.issue(&["caller"]), ca.pem().to_owned());
    let endpoint = server.address();
    let (runtime, (give, take)) =
        (tokio::runtime::Handle::current(), tokio::sync::oneshot::channel());
    // A thread that hangs does not hang the test.
    std::thread::spawn(move || {
        let mesh = Mesh::builder()
            .runtime(runtime)
            .endpoints("users", [endpoint])
            .identity(Eager(own))
            .trust(Eager(roots))
            .service("users", |s| s.mutual_tls())
            .build();
        drop(give.send(mesh));
    });
    let mesh = patience(take).await.unwrap().unwrap();
    patience(mesh.ready()).await.unwrap();
    assert!(patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.is_ok());
}

#[tokio::test]
async fn an_own_source_that_panics_is_reported_and_not_waited_for() {
    let server = Tls::new(Ca::new("ca").issue(&["users"])).start().await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .identity(Panics)
        .trust(Panics)
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    let refused = patience(mesh.ready()).await.unwrap_err().to_string();
    for part in ["identity of the test", "trust of the test"] {
        assert!(refused.contains(&format!("{part}: the source panicked")), "{refused}");
    }
    assert!(patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.is_err());
    assert_eq!(server.requests(), 0);
}

fn exact(name: &str) -> IdentityMatch {
    IdentityMatch::Exact(name.to_owned())
}

/// The files of an identity in this folder.
fn files_of(folder: &Path) -> IdentityFiles {
    let path = |name: &str| Some(folder.join(name).to_str().unwrap().to_owned());
    let mut files = IdentityFiles::default();
    files.certificate = path("tls.crt");
    files.key = path("tls.key");
    files.roots = path("ca.crt");
    files
}

/// A mesh of `users`, whose keys and roots a source tells of.
#[tokio::test]
async fn a_source_of_keys_that_returns_without_a_word_is_reported() {
    let server = Tls::new(Ca::new("ca").issue(&["users"])).start().await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .identity(Returns)
        .trust(Returns)
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    let refused = patience(mesh.ready()).await.unwrap_err().to_string();
    for part in ["identity of the test", "trust of the test"] {
        let reason = format!("{part}: the source ended before it said anything");
        assert!(refused.contains(&reason), "{refused}");
    }
    assert!(patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.is_err());
    assert_eq!(server.requests(), 0);
}

async fn told(server: &TlsServer, files: IdentityFiles) -> (Mesh, Publisher) {
    let mut users = cluster([server.address()]);
    users.security = Some(ClusterSecurity::mutual());
    published(Mesh::builder(), |publish| {
        publish.identity("default", files).unwrap();
        publish.cluster("users", users).unwrap();
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_reconnects_nobody_who_does_not_see_it() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let plain = Server::named("plain").await;
    let secured = Tls::new(new.issue(&["users"])).clients_of(&new).alpn(&[]).start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (ca, dir) in [(&old, &dir), (&new, &other)] {
        swap(&dir.path().join("ca.crt"), ca.pem());
        ca.issue(&["caller"]).write(dir.path());
    }
    let (mesh, publish) = published(Mesh::builder(), |publish| {
        publish.identity("default", files_of(dir.path())).unwrap();
        publish.cluster("users", cluster([plain.address()])).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    patience(fetch(&client, h2("/"))).await.unwrap();
    let mut events = Recorder::of(&mesh);
    publish.identity("default", files_of(other.path())).unwrap();
    let is_applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "identity default");
    patience(events.until(is_applied)).await;
    for _ in 0..5 {
        patience(fetch(&client, h2("/"))).await.unwrap();
    }
    assert_eq!(plain.connections(), 1);
    // Whatever is secured from now on is so with the new one.
    let (mut tls, mut endpoint) = (EndpointTls::default(), Endpoint::new(secured.address()));
    tls.mode = Some(SecurityMode::Mutual);
    endpoint.security = Some(Security::Tls(Box::new(tls)));
    let mut users = cluster([plain.address()]);
    users.endpoints = vec![endpoint];
    publish.cluster("users", users).unwrap();
    patience(fetch(&client, get("/"))).await.unwrap();
    assert_eq!(secured.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_path_of_an_identity_takes_no_call_down() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).alpn(&[]).start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&dir, &other] {
        swap(&dir.path().join("ca.crt"), ca.pem());
        ca.issue(&["caller"]).write(dir.path());
    }
    let (mesh, publish) = told(&server, files_of(dir.path())).await;
    let client = mesh.client("users").unwrap();
    assert!(patience(fetch(&client, get("/"))).await.is_ok());
    // One that is missing, and one that does not belong to the key.
    let mut missing = files_of(other.path());
    missing.certificate = Some(other.path().join("typo.crt").to_str().unwrap().to_owned());
    let mut foreign = files_of(other.path());
    foreign.certificate = files_of(dir.path()).certificate;
    for wrong in [missing, foreign] {
        let mut events = Recorder::of(&mesh);
        publish.identity("default", wrong).unwrap();
        patience(events.until(|event| matches!(event, Event::ConfigRefused { .. }))).await;
        let refused = mesh.ready().await.unwrap_err().to_string();
        assert!(refused.contains("identity key pair"), "{refused}");
        // Each needs a handshake.
        let calls = (0..16).map(|_| fetch(&client, get("/")));
        for answer in futures_util::future::join_all(calls).await {
            answer.unwrap();
        }
    }
    let mut events = Recorder::of(&mesh);
    publish.identity("default", files_of(other.path())).unwrap();
    let is_applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "identity default");
    patience(events.until(is_applied)).await;
    mesh.ready().await.expect("what was refused is not asked for any more");
    assert!(patience(fetch(&client, get("/"))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_of_a_removed_identity_vouch_no_more() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
    let dir = tempfile::tempdir().unwrap();
    swap(&dir.path().join("ca.crt"), ca.pem());
    ca.issue(&["caller"]).write(dir.path());
    let (mesh, publish) = told(&server, files_of(dir.path())).await;
    let client = mesh.client("users").unwrap();
    assert!(patience(fetch(&client, get("/"))).await.is_ok());
    let before = server.requests();
    publish.remove_identity("default");
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    assert!(error.to_string().contains("there is no identity `default`"), "{error}");
    assert_eq!(server.requests(), before);
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("security of cluster users"), "{refused}");
    publish.identity("default", files_of(dir.path())).unwrap();
    mesh.ready().await.unwrap();
    assert!(patience(fetch(&client, get("/"))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_source_adds_no_roots_to_the_identity_of_the_first() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).start().await;
    let dir = tempfile::tempdir().unwrap();
    swap(&dir.path().join("ca.crt"), ca.pem());
    ca.issue(&["caller"]).write(dir.path());
    let mut first = files_of(dir.path());
    first.roots = None;
    let mut second = IdentityFiles::default();
    second.roots = files_of(dir.path()).roots;
    let mut users = cluster([server.address()]);
    users.security = Some(ClusterSecurity::tls());
    let (mut one, mut two) = (Config::default(), Config::default());
    one.identities.insert("default".into(), first);
    two.identities.insert("default".into(), second);
    two.clusters.insert("users".into(), users);
    let mesh = Mesh::builder().source(Static::new(one)).source(Static::new(two)).build().unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("there is no trust `default`"), "{refused}");
    assert!(patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.is_err());
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_endpoint_of_a_source_proves_no_less_than_the_code_asks_for() {
    let ca = Ca::new("ca");
    let impostor = Tls::new(ca.issue(&["elsewhere", "pay.prod"])).start().await;
    let said = |edit: fn(&mut EndpointTls)| {
        let (mut tls, mut endpoint) = (EndpointTls::default(), Endpoint::new(impostor.address()));
        edit(&mut tls);
        endpoint.security = Some(Security::Tls(Box::new(tls)));
        let mut pay = Cluster::default();
        pay.endpoints = vec![endpoint];
        let mut code = ClusterSecurity::tls();
        code.identities = vec![exact("pay.prod"), exact("pay.test")];
        code.sni = Some("pay.prod".into());
        Mesh::builder()
            .source(Static::default().cluster("pay", pay))
            .trust(Trust::pem(ca.pem()))
            .service("pay", move |s| s.security(code))
            .build()
            .unwrap()
    };
    let other: fn(&mut EndpointTls) = |tls| tls.identities = vec![exact("elsewhere")];
    let more: fn(&mut EndpointTls) =
        |tls| tls.identities = vec![exact("pay.prod"), exact("elsewhere")];
    let sni: fn(&mut EndpointTls) = |tls| tls.sni = Some("elsewhere".into());
    for (edit, field) in [(other, "identities"), (more, "identities"), (sni, "sni")] {
        let mesh = said(edit);
        let refused = mesh.ready().await.unwrap_err().to_string();
        let path = format!("clusters.pay.endpoints[0].security.tls.{field}");
        assert!(refused.contains(&path) && refused.contains("the code wins"), "{refused}");
        assert!(patience(fetch(&mesh.http(), get("http://pay/"))).await.is_err());
        assert_eq!(impostor.connections(), 0, "{field}");
    }
    // Fewer of those that the code gives.
    let mesh = said(|tls| tls.identities = vec![exact("pay.prod")]);
    mesh.ready().await.unwrap();
    assert!(patience(fetch(&mesh.client("pay").unwrap(), get("/"))).await.is_ok());
}

#[tokio::test]
async fn code_that_names_nobody_has_the_name_of_the_cluster_proven() {
    let ca = Ca::new("ca");
    let impostor = Tls::new(ca.issue(&["elsewhere"])).start().await;
    let said = |edit: fn(&mut Endpoint), security: Option<ClusterSecurity>| {
        let mut pay = cluster([]);
        let mut endpoint = Endpoint::new(impostor.address());
        edit(&mut endpoint);
        (pay.endpoints, pay.security) = (vec![endpoint], security);
        let source = Static::default().cluster("pay", pay);
        let builder = Mesh::builder().source(source).trust(Trust::pem(ca.pem()));
        builder.service("pay", |s| s.tls()).build().unwrap()
    };
    let identities: fn(&mut Endpoint) = |endpoint| {
        let mut tls = EndpointTls::default();
        tls.identities = vec![exact("elsewhere")];
        endpoint.security = Some(Security::Tls(Box::new(tls)));
    };
    let authority: fn(&mut Endpoint) = |endpoint| endpoint.authority = Some("elsewhere".into());
    for (edit, field) in [(identities, "security.tls.identities"), (authority, "authority")] {
        for security in [None, Some(ClusterSecurity::off())] {
            let mesh = said(edit, security);
            let refused = mesh.ready().await.unwrap_err().to_string();
            let path = format!("endpoints[0].{field}");
            assert!(refused.contains(&path) && refused.contains("the code wins"), "{refused}");
            assert!(patience(fetch(&mesh.http(), get("http://pay/"))).await.is_err());
            assert_eq!(impostor.connections(), 0, "{field}");
        }
    }
    // The source that secures the cluster says whom, where the code does not.
    let mesh = said(identities, Some(ClusterSecurity::tls()));
    mesh.ready().await.unwrap();
    patience(fetch(&mesh.client("pay").unwrap(), get("/"))).await.unwrap();
}

/// The mesh of a cluster whose endpoints say what they want to be shown.
async fn of_modes(
    mode: &str,
    endpoints: &[(&TlsServer, &str)],
    ca: &Ca,
) -> (tempfile::TempDir, Mesh) {
    let dir = tempfile::tempdir().unwrap();
    swap(&dir.path().join("ca.crt"), ca.pem());
    ca.issue(&["caller"]).write(dir.path());
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(server, security)| {
            format!("{{address: \"{}\", security: {security}}}", server.address())
        })
        .collect();
    let text = format!(
        "identities: {{default: {{certificate: tls.crt, key: tls.key, roots: ca.crt}}}}\n\
         clusters: {{users: {{security: {{mode: {mode}}}, endpoints: [{}]}}}}\n",
        endpoints.join(", ")
    );
    let path = dir.path().join("mesh.yaml");
    swap(&path, &text);
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    (dir, mesh)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_of_a_cluster_may_want_mutual_tls_and_its_siblings_not() {
    let ca = Ca::new("ca");
    let strict = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
    let plain = Tls::new(ca.issue(&["users"])).start().await;
    for (mode, usual) in
        [("tls", "{tls: {}}"), ("off", "{tls: {}}"), ("mutual", "{tls: {mode: tls}}")]
    {
        let own = [(&strict, "{tls: {mode: mutual}}"), (&plain, usual)];
        let (_dir, mesh) = of_modes(mode, &own, &ca).await;
        let client = mesh.client("users").unwrap();
        let before = (strict.requests(), plain.requests());
        patience(async {
            while strict.requests() == before.0 || plain.requests() == before.1 {
                fetch(&client, get("/")).await.unwrap();
            }
        })
        .await;
        let described = mesh.describe().to_string();
        assert!(described.contains("security.certificate = "), "{described}");
    }
    assert!(strict.met().iter().all(|met| met.certificates == 1));
    assert!(plain.met().iter().all(|met| met.certificates == 0));
}

#[tokio::test]
async fn an_endpoint_of_a_source_is_shown_no_less_than_the_code_asks_for() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).start().await;
    let with = |mode: SecurityMode| {
        let (mut tls, mut endpoint) = (EndpointTls::default(), Endpoint::new(server.address()));
        tls.mode = Some(mode);
        endpoint.security = Some(Security::Tls(Box::new(tls)));
        let mut users = Cluster::default();
        users.endpoints = vec![endpoint];
        let own = ca.issue(&["caller"]);
        Mesh::builder()
            .source(Static::default().cluster("users", users))
            .identity(KeyPair::pem(own.chain_pem, own.key_pem))
            .trust(Trust::pem(ca.pem()))
            .service("users", |s| s.mutual_tls())
            .build()
            .unwrap()
    };
    for (mode, reason) in [
        (SecurityMode::Tls, "asks for mutual TLS: the code wins"),
        (SecurityMode::Off, "must be `tls` or `mutual`; plaintext is `security: plain`"),
    ] {
        let mesh = with(mode);
        let refused = mesh.ready().await.unwrap_err().to_string();
        let path = "clusters.users.endpoints[0].security.tls.mode = ";
        assert!(refused.contains(path) && refused.contains(reason), "{refused}");
        assert!(patience(fetch(&mesh.http(), get("http://users/"))).await.is_err());
        assert_eq!(server.connections(), 0);
    }
    with(SecurityMode::Mutual).ready().await.unwrap();
}

#[tokio::test]
async fn a_source_adds_no_roots_to_those_that_the_code_chose() {
    let (ca, foreign) = (Ca::new("ca"), Ca::new("foreign"));
    let impostor = Tls::new(foreign.issue(&["users"])).start().await;
    let by_name = |name: &str| {
        let mut reference = CertificateRef::default();
        reference.provider = name.to_owned();
        Some(reference)
    };
    let (mut code, mut plane) = (ClusterSecurity::tls(), ClusterSecurity::tls());
    code.roots = by_name("own");
    plane.bundles = by_name("foreign");
    let mut users = cluster([impostor.address()]);
    users.security = Some(plane);
    let mesh = Mesh::builder()
        .source(Static::default().cluster("users", users))
        .named_trust("own", Trust::pem(ca.pem()))
        .named_trust("foreign", Trust::pem(foreign.pem()))
        .service("users", move |s| s.security(code))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    assert!(patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.is_err());
    assert_eq!(impostor.requests(), 0);
    let described = mesh.describe().to_string();
    assert!(!described.contains("foreign"), "{described}");
}

#[tokio::test]
async fn an_identity_that_anybody_has_is_refused() {
    for kind in [None, Some(SanKind::Uri), Some(SanKind::Dns)] {
        for (matcher, said) in [
            (StringMatch::Present, "matcher = present"),
            (StringMatch::Regex(".+".to_owned()), "matcher.regex = .+"),
        ] {
            let mut any = SanMatch::new(matcher);
            any.kind = kind;
            let mut users = cluster([]);
            users.security = Some(ClusterSecurity::tls().identity(IdentityMatch::San(any)));
            // Without roots nothing is compiled, and it is refused all the same.
            let source = Static::default().cluster("users", users);
            let mesh = Mesh::builder().source(source).build().unwrap();
            let refused = mesh.ready().await.unwrap_err().to_string();
            let path = format!("clusters.users.security.identities[0].san.{said}");
            assert!(refused.contains(&path), "{refused}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_speak_what_it_is_to_speak_is_refused_when_it_is_published() {
    let address: Address = "127.0.0.1:1".parse().unwrap();
    let mut offers = Endpoint::new(address.clone());
    let mut tls = EndpointTls::default();
    tls.alpn = vec!["http/1.1".into()];
    offers.security = Some(Security::Tls(Box::new(tls)));
    let mut speaks = Endpoint::new(address);
    speaks.protocol = Some(Protocol::Http1);
    let mut only_h2 = ClusterSecurity::tls();
    only_h2.alpn = vec!["h2".into()];
    let ca = Ca::new("ca");
    for (endpoint, security) in [(offers, ClusterSecurity::tls()), (speaks, only_h2)] {
        let mut users = cluster([]);
        users.protocol = Some(Protocol::Http2);
        users.security = Some(security);
        let builder = Mesh::builder().trust(Trust::pem(ca.pem()));
        let (_mesh, publish) = published(builder, |publish| {
            publish.cluster("users", users).unwrap();
        })
        .await;
        let refused = publish.endpoints("users", [endpoint]).unwrap_err().to_string();
        let path = "clusters.users.endpoints[0].security.tls.alpn";
        assert!(refused.contains(path) && refused.contains("`protocol`"), "{refused}");
    }
}
