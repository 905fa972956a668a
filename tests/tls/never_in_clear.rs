//! Nothing goes in clear, or to whom nobody has verified, because a source is late or lost, because another
//! source says less, or because a copy or a redirect leads elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    future::{Future, poll_fn},
    path::Path,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio::sync::oneshot;
use tower_mesh::{
    Discover, ErrorKind, Event, Mesh, MeshBuilder, Publisher,
    config::{
        CertificateRef, Cluster, ClusterSecurity, Endpoint, EndpointTls, Filter, IdentityMatch,
        Mirror, Route, Security, SecurityMode, SecurityRule, Service, WeightedCluster,
    },
    discover::Static,
    security::{KeyPair, Trust},
};

use crate::support::{
    Ca, Recorder, Server, Tls, TlsServer, cluster, dead_address, fetch, get, patience, published,
    swap,
};

/// A source that hands its publisher out, and has said nothing before.
struct Late(oneshot::Sender<Publisher>);

impl Discover for Late {
    fn name(&self) -> String {
        "late".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        drop(self.0.send(publish));
        Box::pin(std::future::pending())
    }
}

async fn with_late(builder: MeshBuilder) -> (Mesh, Publisher) {
    let (give, take) = oneshot::channel();
    let mesh = builder.source(Late(give)).build().unwrap();
    (mesh, take.await.unwrap())
}

/// The settings of a cluster that is secured, and has no endpoints.
fn secured() -> Cluster {
    let mut cluster = Cluster::default();
    cluster.security = Some(ClusterSecurity::tls());
    cluster
}

/// A server that also takes what comes in clear, and keeps it.
async fn tempted(ca: &Ca) -> TlsServer {
    Tls::new(ca.issue(&["users"])).or_plain().start().await
}

/// The connections of such a server that were none of TLS.
fn in_clear(server: &TlsServer) -> usize {
    server.connections() - server.met().len()
}

/// A file that secures `users`.
fn securing(folder: &Path, ca: &Ca) -> String {
    swap(&folder.join("ca.crt"), ca.pem());
    "identities: {default: {roots: ca.crt}}\nclusters: {users: {security: {mode: tls}}}\n".into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_not_called_in_clear_while_the_file_that_secures_it_cannot_be_read() {
    let ca = Ca::new("ca");
    for broken in [None, Some("clusters: {users: [")] {
        let (server, folder) = (tempted(&ca).await, tempfile::tempdir().unwrap());
        let (path, text) = (folder.path().join("mesh.yaml"), securing(folder.path(), &ca));
        if let Some(broken) = broken {
            fs::write(&path, broken).unwrap();
        }
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .config_file(&path)
            .build()
            .unwrap();
        let client = mesh.client("users").unwrap();
        for _ in 0..2 {
            let error = patience(fetch(&client, get("/"))).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let text = error.to_string();
            assert!(text.contains("mesh.yaml") && text.contains("plaintext"), "{text}");
        }
        assert_eq!(server.connections(), 0);
        let told = mesh.explain(&get("http://users/")).unwrap();
        let fails = told.clusters[0].fails.clone().unwrap_or_default();
        assert!(fails.contains("mesh.yaml"), "{fails}");
        // It is mended.
        swap(&path, &text);
        patience(async { while fetch(&client, get("/")).await.is_err() {} }).await;
        assert_eq!(in_clear(&server), 0);
        // What it has said holds, whatever becomes of it.
        let mut events = Recorder::of(&mesh);
        swap(&path, "clusters: {users: [");
        events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
        patience(fetch(&client, get("/"))).await.unwrap();
        assert_eq!(in_clear(&server), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_before_the_source_has_spoken_that_secures_its_cluster_waits_for_it() {
    let ca = Ca::new("ca");
    let server = tempted(&ca).await;
    let builder =
        Mesh::builder().endpoints("users", [server.address()]).trust(Trust::pem(ca.pem()));
    let (mesh, late) = with_late(builder).await;
    let client = mesh.client("users").unwrap();
    let is_known = || mesh.explain(&get("http://users/")).is_ok();
    patience(async {
        while !is_known() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut call = Box::pin(fetch(&client, get("/")));
    assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
    late.cluster("users", secured()).unwrap();
    late.synced();
    patience(call).await.unwrap();
    assert_eq!(in_clear(&server), 0);
    assert_eq!(server.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_speak_in_time_is_named_and_nothing_is_sent() {
    let (dead, _held) = dead_address();
    let (mesh, late) = with_late(Mesh::builder().endpoints("users", [dead])).await;
    let began = tokio::time::Instant::now();
    let error = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    let text = error.to_string();
    assert!(text.contains("source late") && text.contains("plaintext()"), "{text}");
    // Once it has, its silence on the cluster is its word.
    late.synced();
    let error = fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
}

#[tokio::test]
async fn plaintext_that_somebody_means_waits_for_no_other_source() {
    let server = Server::named("hello").await;
    let said = Static::default().cluster("users", {
        let mut users = cluster([server.address()]);
        users.security = Some(ClusterSecurity::off());
        users
    });
    let plain = Static::default().cluster("users", {
        let mut endpoint = Endpoint::new(server.address());
        endpoint.security = Some(Security::Plain);
        let mut users = Cluster::default();
        users.endpoints = vec![endpoint];
        users
    });
    let bare = Static::default().cluster("users", cluster([server.address()]));
    let builders = [
        Mesh::builder().source(said),
        Mesh::builder().source(plain),
        Mesh::builder().source(bare).service("users", |s| s.plaintext()),
    ];
    for builder in builders {
        let (mesh, _late) = with_late(builder).await;
        let client = mesh.client("users").unwrap();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "hello");
    }
    // Nor for a source that speaks of the cluster itself.
    let (mesh, late) = with_late(Mesh::builder()).await;
    late.endpoints("users", [server.address()]).unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "hello");
}

fn exact(name: &str) -> IdentityMatch {
    IdentityMatch::Exact(name.into())
}

/// Rules for endpoints of its own.
fn lax_rules(said: &ClusterSecurity) -> Vec<SecurityRule> {
    let mut others = said.clone();
    (others.identities, others.matches) = (vec![exact("elsewhere")], Vec::new());
    let mut plain = ClusterSecurity::default();
    plain.mode = Some(SecurityMode::Off);
    let rule = |(name, it)| SecurityRule::new(name, BTreeMap::new(), it);
    [("plain", plain), ("others", others)].map(rule).into()
}

#[tokio::test]
async fn what_one_source_secures_no_endpoint_of_another_loosens() {
    let ca = Ca::new("ca");
    let by = |edit: fn(&mut EndpointTls)| {
        let mut tls = EndpointTls::default();
        edit(&mut tls);
        Security::Tls(Box::new(tls))
    };
    let loosened = [
        ("plain", Security::Plain),
        ("mode", by(|tls| tls.mode = Some(SecurityMode::Tls))),
        ("identities", by(|tls| tls.identities = vec![exact("elsewhere")])),
        ("identities", by(|tls| tls.identities = vec![exact("users"), exact("elsewhere")])),
        ("sni", by(|tls| tls.sni = Some("elsewhere".into()))),
        ("rule", by(|tls| tls.rule = Some("plain".into()))),
        ("rule", by(|tls| tls.rule = Some("others".into()))),
    ];
    for (field, security) in loosened {
        for secured_first in [true, false] {
            let own = Tls::new(ca.issue(&["users"])).clients_of(&ca).start().await;
            let impostor = Tls::new(ca.issue(&["users", "elsewhere"])).or_plain().start().await;
            let mut said = ClusterSecurity::mutual();
            (said.identities, said.sni) = (vec![exact("users")], Some("users".into()));
            said.matches = lax_rules(&said);
            let mut users = cluster([own.address()]);
            users.security = Some(said.clone());
            let mut endpoint = Endpoint::new(impostor.address());
            endpoint.security = Some(security.clone());
            let caller = ca.issue(&["caller"]);
            let builder = Mesh::builder()
                .identity(KeyPair::pem(caller.chain_pem, caller.key_pem))
                .trust(Trust::pem(ca.pem()));
            let (give, one) = oneshot::channel();
            let builder = builder.source(Late(give));
            let (mesh, two) = with_late(builder).await;
            let one = one.await.unwrap();
            if secured_first {
                one.cluster("users", users.clone()).unwrap();
            }
            let tell = |endpoint: &Endpoint| match field {
                // It names rules that it has, too.
                "rule" => {
                    let mut users = Cluster::default();
                    let mut named = ClusterSecurity::default();
                    (named.mode, named.matches) = (Some(SecurityMode::Off), lax_rules(&said));
                    (users.endpoints, users.security) = (vec![endpoint.clone()], Some(named));
                    two.cluster("users", users).unwrap();
                }
                _ => two.endpoints("users", [endpoint.clone()]).unwrap(),
            };
            tell(&endpoint);
            if !secured_first {
                one.cluster("users", users.clone()).unwrap();
            }
            one.synced();
            two.synced();
            let refused = mesh.ready().await.unwrap_err().to_string();
            assert!(refused.contains(&impostor.address().to_string()), "{field}: {refused}");
            assert!(refused.contains("another source"), "{field}: {refused}");
            let client = mesh.client("users").unwrap();
            for _ in 0..4 {
                patience(fetch(&client, get("/"))).await.unwrap();
            }
            assert_eq!(impostor.connections(), 0, "{field}");
            // As the other says, it is one more.
            endpoint.security = None;
            tell(&endpoint);
            mesh.ready().await.unwrap();
            // Nobody secures the cluster any more: its own word counts.
            if field == "plain" {
                endpoint.security = Some(security.clone());
                two.endpoints("users", [endpoint]).unwrap();
                one.remove_cluster("users");
                mesh.ready().await.unwrap();
                patience(fetch(&client, get("/"))).await.unwrap();
                assert_eq!(in_clear(&impostor), 1);
            }
        }
    }
}

#[tokio::test]
async fn who_secures_a_cluster_without_a_name_means_the_cluster_s() {
    let ca = Ca::new("ca");
    let own = Tls::new(ca.issue(&["users"])).start().await;
    let impostor = Tls::new(ca.issue(&["elsewhere"])).start().await;
    let mut users = cluster([own.address()]);
    users.security = Some(ClusterSecurity::tls());
    for field in ["identities", "authority"] {
        let mut endpoint = Endpoint::new(impostor.address());
        if field == "authority" {
            endpoint.authority = Some("elsewhere:8443".into());
        } else {
            let mut tls = EndpointTls::default();
            tls.identities = vec![exact("elsewhere")];
            endpoint.security = Some(Security::Tls(Box::new(tls)));
        }
        let mut other = Cluster::default();
        other.endpoints = vec![endpoint];
        for other_first in [true, false] {
            let one = Static::default().cluster("users", users.clone());
            let two = Static::default().cluster("users", other.clone());
            let (one, two) = if other_first { (two, one) } else { (one, two) };
            let builder = Mesh::builder().source(one).source(two);
            let mesh = builder.trust(Trust::pem(ca.pem())).build().unwrap();
            let refused = mesh.ready().await.unwrap_err().to_string();
            let is_told = refused.contains(field) && refused.contains("another source");
            assert!(is_told, "{field}: {refused}");
            let client = mesh.client("users").unwrap();
            for _ in 0..8 {
                patience(fetch(&client, get("/"))).await.unwrap();
            }
            assert_eq!(impostor.requests(), 0, "{field}");
        }
    }
    // Its own endpoints a source may call as it likes.
    let mut named = Endpoint::new(impostor.address());
    named.authority = Some("elsewhere".into());
    users.endpoints = vec![named];
    let builder = Mesh::builder().source(Static::default().cluster("users", users));
    let mesh = builder.trust(Trust::pem(ca.pem())).build().unwrap();
    mesh.ready().await.unwrap();
    patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap();
    assert_eq!(impostor.requests(), 1);
}

#[tokio::test]
async fn an_address_of_two_sources_proves_what_the_one_that_secures_it_says() {
    let ca = Ca::new("ca");
    let impostor = Tls::new(ca.issue(&["elsewhere"])).start().await;
    let mut said = ClusterSecurity::tls();
    said.identities = vec![exact("users")];
    let mut users = cluster([impostor.address()]);
    users.security = Some(said);
    let mut own = EndpointTls::default();
    own.identities = vec![exact("elsewhere")];
    let mut endpoint = Endpoint::new(impostor.address());
    endpoint.security = Some(Security::Tls(Box::new(own)));
    let mut other = Cluster::default();
    other.endpoints = vec![endpoint];
    let (users, other) =
        (Static::default().cluster("users", users), Static::default().cluster("users", other));
    let mesh =
        Mesh::builder().source(users).source(other).trust(Trust::pem(ca.pem())).build().unwrap();
    mesh.ready().await.unwrap_err();
    patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap_err();
    assert_eq!(impostor.requests(), 0);
}

/// A service whose calls go to `users`, and as copies to `shadow`.
fn mirrored() -> Service {
    let mut mirror = Mirror::default();
    mirror.cluster = Some("shadow".into());
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("users")];
    route.filters = vec![Filter::Mirror(mirror)];
    let mut service = Service::default();
    service.routes = vec![route];
    service
}

#[tokio::test]
async fn a_call_that_is_secured_is_not_copied_in_clear() {
    let ca = Ca::new("ca");
    let users = Tls::new(ca.issue(&["users"])).start().await;
    let shadow = Server::named("shadow").await;
    let builder = Mesh::builder().trust(Trust::pem(ca.pem()));
    let (mesh, publish) = published(builder, |publish| {
        let mut cluster = secured();
        cluster.endpoints = vec![users.address().into()];
        publish.cluster("users", cluster).unwrap();
        publish.endpoints("shadow", [shadow.address()]).unwrap();
        publish.service("users", mirrored()).unwrap();
    })
    .await;
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let is_copy = |event: &Event| matches!(event, Event::CallEnded { service, .. } if &**service == "mirror of shadow");
    patience(fetch(&client, get("/"))).await.unwrap();
    // It is counted as a call that failed.
    patience(events.until(is_copy)).await;
    assert_eq!((users.requests(), shadow.connections()), (1, 0));
    // Somebody has said that it may be.
    let mut plain = cluster([shadow.address()]);
    plain.security = Some(ClusterSecurity::off());
    publish.cluster("shadow", plain).unwrap();
    patience(fetch(&client, get("/"))).await.unwrap();
    patience(async {
        while events.count(is_copy) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!((users.requests(), shadow.requests()), (2, 1));
}

fn named(provider: &str) -> Option<CertificateRef> {
    let mut reference = CertificateRef::default();
    reference.provider = provider.into();
    Some(reference)
}

#[tokio::test]
async fn a_source_does_not_turn_verification_off_by_naming_a_trust_of_the_code() {
    let stranger = Tls::new(Ca::new("foreign").issue(&["elsewhere"])).start().await;
    let mesh = |edit: fn(&mut ClusterSecurity), builder: MeshBuilder| {
        let mut users = cluster([stranger.address()]);
        let security = users.security.insert(ClusterSecurity::tls());
        edit(security);
        builder.source(Static::default().cluster("users", users)).build().unwrap()
    };
    let lab = || Mesh::builder().named_trust("lab", Trust::dangerous().any_certificate());
    let usual = || Mesh::builder().trust(Trust::dangerous().any_certificate());
    let refused: [(fn(&mut ClusterSecurity), MeshBuilder); 4] = [
        (|it| it.roots = named("lab"), lab()),
        (|it| it.bundles = named("lab"), lab()),
        (|it| it.roots = named("default"), usual()),
        // Not beside others either, whom it would make as good as nobody.
        (|it| (it.roots, it.bundles) = (named("ca"), named("lab")), {
            lab().named_trust("ca", Trust::pem(Ca::new("ca").pem()))
        }),
    ];
    for (edit, builder) in refused {
        let mesh = mesh(edit, builder);
        let error = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap_err();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        assert!(text.contains("believes everybody"), "{text}");
        assert_eq!(stranger.requests(), 0);
    }
    let by_code = |s: tower_mesh::ServiceSettings| {
        let mut security = ClusterSecurity::tls();
        security.roots = named("lab");
        s.security(security)
    };
    let meant: [MeshBuilder; 2] = [lab().service("users", by_code), usual()];
    for builder in meant {
        let mesh = mesh(|_| (), builder);
        patience(fetch(&mesh.client("users").unwrap(), get("/"))).await.unwrap();
    }
    assert_eq!(stranger.requests(), 2);
}
