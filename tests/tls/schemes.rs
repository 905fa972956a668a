//! What `https` in a name means, and that plaintext is never a silent fallback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use tower_mesh::{
    ErrorKind, Event, LeafEndpoint, Mesh, Origin, Phase, SettingOrigin,
    config::{ClusterSecurity, Endpoint, IdentityMatch, Security, SecurityMode},
    discover::Static,
    security::{Identity, IdentityPublisher, KeyPair, Trust},
};

use crate::support::{
    Ca, Recorder, Server, Tls, VERSIONS, cluster, fetch, get, one_cluster, over, patience,
};

#[tokio::test]
async fn https_to_a_cluster_that_is_plaintext_by_default_is_refused() {
    let server = Server::named("plain").await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let errors = [
        fetch(&mesh.http(), get("https://users/")).await.unwrap_err(),
        fetch(&mesh.client("https://users").unwrap(), get("/")).await.unwrap_err(),
        fetch(&mesh.client("https://users").unwrap(), get("http://users/")).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.phase()), (ErrorKind::InvalidRequest, Phase::Tls));
        assert!(error.to_string().contains("plaintext by default"), "{error}");
    }
    assert_eq!(server.connections(), 0);
    assert!(fetch(&mesh.http(), get("http://users/")).await.is_ok());
}

#[tokio::test]
async fn https_to_a_cluster_that_is_plaintext_on_purpose_is_sent() {
    let server = Server::named("plain").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |s| s.plaintext())
        .build()
        .unwrap();
    for version in VERSIONS {
        assert!(fetch(&mesh.http(), over(version, get("https://users/"))).await.is_ok());
    }
}

#[tokio::test]
async fn http_to_a_cluster_of_tls_is_secured() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).start().await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    for name in ["http://users", "https://users", "users"] {
        assert!(patience(fetch(&mesh.client(name).unwrap(), get("/"))).await.is_ok());
    }
    assert!(server.in_clear().is_empty());
}

#[tokio::test]
async fn an_endpoint_may_be_secured_in_a_cluster_that_is_not() {
    let ca = Ca::new("ca");
    let (secure, plain) =
        (Tls::new(ca.issue(&["users"])).start().await, Server::named("plain").await);
    let mut config = cluster([plain.address()]);
    let mut endpoint = Endpoint::new(secure.address());
    endpoint.security = Some(Security::Tls(Box::default()));
    config.endpoints.push(endpoint);
    let mesh = one_cluster(config).trust(Trust::pem(ca.pem())).build().unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..40 {
        assert!(patience(fetch(&client, get("/"))).await.is_ok());
    }
    assert!(secure.requests() > 0 && plain.requests() > 0);
    assert!(secure.in_clear().is_empty());
}

#[tokio::test]
async fn a_bare_address_of_one_source_does_not_make_plaintext_of_anothers() {
    for bare_first in [true, false] {
        let ca = Ca::new("ca");
        let server = Tls::new(ca.issue(&["users"])).start().await;
        let mut secured = Endpoint::new(server.address());
        secured.security = Some(Security::Tls(Box::default()));
        let mut config = cluster([]);
        config.endpoints.push(secured);
        let list = Static::default().cluster("users", config);
        let builder = Mesh::builder().trust(Trust::pem(ca.pem()));
        let builder = if bare_first {
            builder.endpoints("users", [server.address()]).source(list)
        } else {
            builder.source(list).endpoints("users", [server.address()])
        };
        let mesh = builder.build().unwrap();
        mesh.ready().await.unwrap();
        let answer = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await;
        assert!(server.in_clear().is_empty(), "bare first: {bare_first}");
        assert!(answer.is_ok());
    }
}

#[tokio::test]
async fn what_the_code_secures_no_source_makes_plain() {
    let server = Server::named("plain").await;
    let mut config = cluster([]);
    let mut endpoint = Endpoint::new(server.address());
    endpoint.security = Some(Security::Plain);
    config.endpoints.push(endpoint);
    config.security = Some(ClusterSecurity::off());
    let ca = Ca::new("ca");
    let mesh = one_cluster(config)
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("the code wins"), "{refused}");
    let client = mesh.http();
    assert!(patience(fetch(&client, get("http://users/"))).await.is_err());
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn mutual_without_an_identity_is_refused_by_name_and_sends_nothing() {
    let ca = Ca::new("ca");
    let server = Tls::new(ca.issue(&["users"])).start().await;
    let other = Server::named("plain").await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .endpoints("others", [other.address()])
        .trust(Trust::pem(ca.pem()))
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("security of cluster users"), "{refused}");
    assert!(refused.contains("there is no identity `default`"), "{refused}");
    let error = patience(fetch(&mesh.http(), get("http://users/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Phase::Tls), "{error}");
    assert_eq!(error.origin(), Origin::Local);
    assert!(!error.is_retryable() && error.attempts().len() == 1, "{error}");
    assert!(error.to_string().contains("there is no identity `default`"), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("check what mesh.describe() says is refused, or the event ConfigRefused")
    );
    assert_eq!(server.connections(), 0);
    assert!(mesh.describe().to_string().contains("refused: security of cluster users"));
    assert!(fetch(&mesh.http(), get("http://others/")).await.is_ok(), "the others work");
}

#[tokio::test]
async fn tls_without_trust_is_refused_by_name_and_sends_nothing() {
    let server = Server::named("plain").await;
    let mut config = cluster([server.address()]);
    config.security = Some(ClusterSecurity::tls());
    let mesh = one_cluster(config).build().unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("there is no trust `default`"), "{refused}");
    let error = patience(fetch(&mesh.http(), get("http://users/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.origin()), (ErrorKind::Config, Origin::Local), "{error}");
    assert!(error.to_string().contains("there is no trust `default`"), "{error}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn missing_roots_are_a_fault_of_the_configuration_and_tried_once_on_one_endpoint() {
    let servers = [Server::named("a").await, Server::named("b").await, Server::named("c").await];
    for version in VERSIONS {
        let mut config = cluster(servers.each_ref().map(|server| server.address()));
        config.security = Some(ClusterSecurity::tls());
        let mesh = one_cluster(config).build().unwrap();
        let mut events = mesh.events();
        for _ in 0..3 {
            // The second meets the back-off of the first.
            let request = over(version, get("http://users/"));
            let error = patience(fetch(&mesh.http(), request)).await.unwrap_err();
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Phase::Tls), "{error}");
            assert_eq!((error.origin(), error.is_retryable()), (Origin::Local, false));
            assert_eq!(error.attempts().len(), 1, "{error}");
        }
        while let Some(event) = events.try_recv() {
            assert!(!matches!(event, Event::Retry { .. }), "{event:?}");
        }
    }
    assert_eq!(servers.each_ref().map(|server| server.connections()), [0, 0, 0]);
}

#[tokio::test]
async fn an_endpoint_that_needs_no_roots_is_called_where_the_others_cannot_be_secured() {
    let server = Server::named("plain").await;
    let mut plain = Endpoint::new(server.address());
    plain.security = Some(Security::Plain);
    let mut config = cluster(["127.0.0.1:1".parse().unwrap()]);
    config.endpoints.push(plain);
    config.security = Some(ClusterSecurity::tls());
    let mesh = one_cluster(config).build().unwrap();
    for _ in 0..20 {
        assert!(patience(fetch(&mesh.http(), get("http://users/"))).await.is_ok());
    }
    assert_eq!(server.requests(), 20);
}

#[tokio::test]
async fn roots_that_nobody_gives_are_named() {
    let mut config = cluster([]);
    let mut security = ClusterSecurity::tls();
    let mut reference = tower_mesh::config::CertificateRef::default();
    reference.provider = "partner".into();
    security.roots = Some(reference);
    config.security = Some(security);
    let mesh = one_cluster(config).build().unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("there is no trust `partner`"), "{refused}");
    assert!(refused.contains("named_trust"), "{refused}");
}

#[tokio::test]
async fn security_without_a_mode_is_refused() {
    let mut config = cluster([]);
    let mut security = ClusterSecurity::default();
    security.identities = vec![IdentityMatch::Exact("users".into())];
    config.security = Some(security);
    let mesh = one_cluster(config).build().unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("clusters.users.security.mode = none"), "{refused}");
}

#[tokio::test]
async fn an_identity_that_no_certificate_can_have_is_refused_with_its_path() {
    let ca = Ca::new("ca");
    let mut config = cluster([]);
    let broken = IdentityMatch::Exact("spiffe://Prod/a".into());
    config.security = Some(ClusterSecurity::tls().identity(broken));
    let mesh = one_cluster(config).trust(Trust::pem(ca.pem())).build().unwrap();
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("clusters.users.security.identities[0]"), "{refused}");
}

#[tokio::test]
async fn an_own_leaf_that_does_not_secure_gets_no_call_that_must_be_secured() {
    let ca = Ca::new("ca");
    let leaf = || {
        tower::service_fn(|_| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(tower_mesh::Body::from("leaf")))
        })
    };
    let config = || {
        let mut config = cluster(["10.0.0.1:443".parse().unwrap()]);
        config.security = Some(ClusterSecurity::tls());
        one_cluster(config).trust(Trust::pem(ca.pem()))
    };
    let mesh = config().leaf(move |_: &LeafEndpoint| leaf()).build().unwrap();
    let error = fetch(&mesh.http(), get("http://users/")).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Phase::Tls));
    assert!(error.to_string().contains("own leaf"), "{error}");

    let mesh = config()
        .tls_leaf(move |endpoint: &LeafEndpoint| {
            assert_eq!(endpoint.mode(), SecurityMode::Tls);
            assert_eq!(endpoint.server_name(), "users");
            assert_eq!(endpoint.identities(), [IdentityMatch::Exact("users".into())]);
            leaf()
        })
        .build()
        .unwrap();
    assert!(fetch(&mesh.http(), get("https://users/")).await.is_ok());

    // A leaf of its own that has not said so gets no `https` either.
    let plain = Static::default().cluster("users", cluster(["10.0.0.1:443".parse().unwrap()]));
    let mesh = Mesh::builder().source(plain).leaf(move |_: &LeafEndpoint| leaf()).build().unwrap();
    assert!(fetch(&mesh.http(), get("https://users/")).await.is_err());
    assert!(fetch(&mesh.http(), get("http://users/")).await.is_ok());
}

#[tokio::test]
async fn a_description_tells_how_connections_are_secured() {
    let ca = Ca::new("ca");
    let own = ca.issue(&["spiffe://prod.example/caller"]);
    let mut config = cluster([]);
    config.security = Some(ClusterSecurity::tls());
    let mesh = one_cluster(config)
        .trust(Trust::pem(ca.pem()))
        .identity(KeyPair::pem(own.chain_pem.clone(), own.key_pem.clone()))
        .service("users", |s| s.mutual_tls())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let text = mesh.describe().to_string();
    for line in [
        "security.mode = mutual (code)",
        "security.identities = users (default)",
        "1 roots for any name (code)",
        "security.crypto = aws-lc: X25519MLKEM768",
        "spiffe://prod.example/caller, until Fri, 01 Jan 2100 00:00:00 GMT (code)",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    let dangerous = one_cluster(cluster([]))
        .trust(Trust::dangerous().any_certificate())
        .service("users", |s| s.tls())
        .build()
        .unwrap();
    dangerous.ready().await.unwrap();
    let text = dangerous.describe().to_string();
    assert!(text.contains("everybody is believed (dangerous)"), "{text}");
}

#[cfg(feature = "file")]
#[tokio::test]
async fn keys_and_roots_of_the_mesh_file_are_not_described_as_defaults() {
    let (ca, folder) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let (chain, key) = ca.issue(&["web"]).write(folder.path());
    let roots = folder.path().join("ca.crt");
    std::fs::write(&roots, ca.pem()).unwrap();
    let path = folder.path().join("mesh.yaml");
    let text = format!(
        "clusters: {{users: {{endpoints: [{{address: \"127.0.0.1:1\"}}], security: {{mode: mutual}}}}}}\n\
         identities:\n  default: {{certificate: {}, key: {}, roots: {}}}\n",
        chain.display(),
        key.display(),
        roots.display()
    );
    std::fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let settings = mesh.describe().services[0].routes[0].clusters[0].settings.clone();
    for name in ["security.roots", "security.certificate"] {
        let setting = settings.iter().find(|setting| setting.name == name).unwrap();
        assert_eq!(setting.origin, SettingOrigin::ControlPlane, "{setting}");
        assert!(setting.source.as_ref().is_some_and(|it| it.contains("mesh.yaml")), "{setting}");
    }
    let none = settings.iter().find(|setting| setting.name == "security.bundles").unwrap();
    assert_eq!(none.origin, SettingOrigin::Default);
}

#[tokio::test]
async fn a_mesh_is_ready_when_its_keys_have_been_read() {
    /// An identity that nobody can read.
    struct Unreadable;

    impl Identity for Unreadable {
        fn name(&self) -> String {
            "unreadable".into()
        }

        fn run(
            self: Box<Self>,
            publish: IdentityPublisher,
        ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                publish.refused("it is locked away");
            })
        }
    }

    let mesh = Mesh::builder()
        .endpoints("users", ["10.0.0.1:443".parse::<tower_mesh::config::Address>().unwrap()])
        .identity(Unreadable)
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    let refused = mesh.ready().await.unwrap_err().to_string();
    assert!(refused.contains("identity unreadable: it is locked away"), "{refused}");
    assert!(events.refused().iter().any(|text| text.contains("it is locked away")));
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn an_unknown_name_that_is_called_by_https_is_resolved_and_secured() {
    use tower_mesh::UnknownNames;

    let plain = Server::named("plain").await;
    let port = plain.socket().port();
    let mesh = Mesh::builder().unknown_names(UnknownNames::Dns).build().unwrap();
    // In clear, as it always was.
    let uri = format!("http://localhost:{port}/");
    assert!(patience(fetch(&mesh.http(), get(&uri))).await.is_ok());
    let connections = plain.connections();
    // The same name by `https` is another: no answer of it is believed, and no request sent.
    let error = patience(fetch(&mesh.http(), get(&format!("https://localhost:{port}/")))).await;
    let error = error.unwrap_err();
    assert_eq!(error.phase(), Phase::Tls, "{error}");
    let client = mesh.client(&format!("https://localhost:{port}")).unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap_err().phase(), Phase::Tls);
    assert!(plain.connections() > connections && plain.requests() == 1);
    let text = mesh.describe().to_string();
    assert!(text.contains("security.system_roots = true"), "{text}");

    // A server of a CA that the system does not know.
    let server = Tls::new(Ca::new("ca").issue(&["localhost"])).start().await;
    let uri = format!("https://localhost:{}/", server.socket().port());
    let error = patience(fetch(&mesh.http(), get(&uri))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Tls, "{error}");
    assert!(server.in_clear().is_empty() && server.requests() == 0);
}
