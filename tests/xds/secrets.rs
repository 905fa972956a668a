//! Secrets of a control plane (SDS over ADS): keys and roots come by the stream, calls wait for them, and
//! what is renewed takes the place of what was there without a failed call. Over real streams and TLS servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{
                AggregatedConfigSource, ApiConfigSource, ConfigSource, DataSource, TransportSocket,
                api_config_source::ApiType, config_source::ConfigSourceSpecifier, data_source,
                transport_socket,
            },
        },
        extensions::transport_sockets::tls::v3::{
            CertificateValidationContext, CommonTlsContext, SdsSecretConfig, Secret,
            SubjectAltNameMatcher, UpstreamTlsContext,
            common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
            secret,
            subject_alt_name_matcher::SanType,
        },
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::Any,
};
use prost::{Message, Name};
use tower_mesh::{
    Call, Mesh,
    config::IdentityFiles,
    control::xds::{Bootstrap, Dialect, Server, Xds},
    testing::xds::{AdsServer, CDS, Resource, SDS},
};

use crate::support::{Ca, Tls, fetch, get, once, patience};

const SERVER: &str = "spiffe://prod.example/ns/shop/sa/users";
const CLIENT: &str = "spiffe://prod.example/ns/shop/sa/orders";

fn ads() -> Option<ConfigSource> {
    let specifier = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource { config_source_specifier: Some(specifier), ..ConfigSource::default() })
}

/// The cluster of `Resource::chain("users", …)`, secured by the secrets `own` and `roots`.
fn secured() -> Resource {
    let secret = |name: &str| SdsSecretConfig { name: name.into(), sds_config: ads() };
    cluster_with(CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret("own")],
        validation_context_type: Some(ValidationContextType::ValidationContextSdsSecretConfig(
            secret("roots"),
        )),
        ..CommonTlsContext::default()
    })
}

fn cluster_with(common: CommonTlsContext) -> Resource {
    let context =
        UpstreamTlsContext { common_tls_context: Some(common), ..UpstreamTlsContext::default() };
    let any = Any { type_url: UpstreamTlsContext::type_url(), value: context.encode_to_vec() };
    let pb = Cluster {
        name: "users-cluster".into(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: ads(),
            ..cluster::EdsClusterConfig::default()
        }),
        transport_socket: Some(TransportSocket {
            name: "tls".into(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any)),
        }),
        ..Cluster::default()
    };
    Resource::encoded(CDS, "users-cluster", pb.encode_to_vec())
}

/// Roots, and the one name that is expected of whom they vouch for.
fn roots(pem: &str, name: &str) -> Resource {
    let matcher = SubjectAltNameMatcher {
        san_type: SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(name.into())),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    };
    let specifier = Some(data_source::Specifier::InlineString(pem.into()));
    let context = CertificateValidationContext {
        trusted_ca: Some(DataSource { specifier, ..DataSource::default() }),
        match_typed_subject_alt_names: vec![matcher],
        ..CertificateValidationContext::default()
    };
    let secret =
        Secret { name: "roots".into(), r#type: Some(secret::Type::ValidationContext(context)) };
    Resource::encoded(SDS, "roots", secret.encode_to_vec())
}

/// The same, by secrets of another server, as SPIRE's agent is one.
fn secured_by_agent() -> Resource {
    let agent = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(ApiConfigSource {
            api_type: ApiType::Grpc.into(),
            ..ApiConfigSource::default()
        })),
        ..ConfigSource::default()
    };
    let secret =
        |name: &str| SdsSecretConfig { name: name.into(), sds_config: Some(agent.clone()) };
    let matcher = SubjectAltNameMatcher {
        san_type: SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(SERVER.into())),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: vec![matcher],
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(secret("spiffe://prod.example")),
        ..CombinedCertificateValidationContext::default()
    };
    cluster_with(CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret(CLIENT)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..CommonTlsContext::default()
    })
}

fn own(ca: &Ca, name: &str) -> Resource {
    let issued = ca.issue(&[name]);
    Resource::certificate("own", &issued.chain_pem, &issued.key_pem)
}

fn mesh(plane: &AdsServer, delta: bool) -> Mesh {
    let server = Server::insecure(plane.uri());
    let server = if delta { server.delta(true) } else { server };
    let bootstrap = Bootstrap::builder().server(server).node_id("orders-1").build().unwrap();
    Mesh::builder().source(Xds::new(bootstrap)).build().unwrap()
}

async fn call(mesh: &Mesh) -> Result<String, tower_mesh::Error> {
    let mut request = once(get("http://users/"));
    request.extensions_mut().insert(Call::new().no_retry());
    let response = patience(fetch(&mesh.http(), request)).await?;
    Ok(String::from_utf8_lossy(response.body().as_ref()).into_owned())
}

#[tokio::test]
async fn calls_are_secured_by_keys_and_roots_of_the_stream_and_wait_for_them() {
    for delta in [false, true] {
        let ca = Ca::new("prod");
        let server = Tls::new(ca.issue(&[SERVER])).clients_of(&ca).named("users").start().await;
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("users", [server.socket()]));
        plane.set([secured()]);
        plane.quiet_about_missing(true);
        let mesh = mesh(&plane, delta);
        let first = tokio::spawn({
            let mesh = mesh.clone();
            async move { call(&mesh).await }
        });
        plane.until(|plane| plane.subscriptions(SDS).iter().any(|it| it.len() == 2)).await;
        plane.set([own(&ca, CLIENT)]);
        plane.until(|plane| !plane.acks(SDS).is_empty()).await;
        assert!(!first.is_finished());
        plane.set([roots(ca.pem(), SERVER)]);
        let first = first.await.unwrap();
        assert_eq!(
            first.as_deref().unwrap_or("failed"),
            "users",
            "delta: {delta}, {first:?} {:?}",
            plane.requests()
        );
        assert_eq!(server.met()[0].certificates, 1);
        assert!(plane.nacks(SDS).is_empty());
    }
}

/// The headline: roots alone are not enough.
#[tokio::test]
async fn whom_a_secret_expects_is_enforced() {
    let ca = Ca::new("prod");
    let server = Tls::new(ca.issue(&["spiffe://prod.example/ns/shop/sa/other"]));
    let server = server.clients_of(&ca).start().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set([secured(), own(&ca, CLIENT), roots(ca.pem(), SERVER)]);
    let mesh = mesh(&plane, false);
    let error = call(&mesh).await.unwrap_err();
    assert!(error.chain().contains("sa/other"), "{}", error.chain());
    assert_eq!(server.requests(), 0);
    // The plane expects the other one: calls go there, without another cluster.
    plane.set([roots(ca.pem(), "spiffe://prod.example/ns/shop/sa/other")]);
    patience(async {
        while call(&mesh).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn keys_and_roots_are_renewed_under_load_without_a_failed_call() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let server = Tls::new(old.issue(&[SERVER])).clients_of(&old).named("old").start().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set([secured(), own(&old, CLIENT), roots(old.pem(), SERVER)]);
    let mesh = mesh(&plane, false);
    assert_eq!(call(&mesh).await.unwrap(), "old");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = tokio::spawn({
        let (mesh, stop) = (mesh.clone(), std::sync::Arc::clone(&stop));
        async move {
            let mut calls = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                call(&mesh).await.map_err(|error| error.chain())?;
                calls += 1;
            }
            Ok::<usize, String>(calls)
        }
    });
    // Both vouch for servers; one of the new authority takes over, whose clients are of it, too.
    plane.set([roots(&format!("{}{}", old.pem(), new.pem()), SERVER)]);
    let acked = plane.acks(SDS).len();
    plane.set([own(&new, CLIENT)]);
    plane.until(|plane| plane.acks(SDS).len() > acked).await;
    let second = Tls::new(new.issue(&[SERVER])).clients_of(&new).named("new").start().await;
    let chain = Resource::chain("users", [second.socket()]);
    plane.set(chain.into_iter().filter(|it| it.type_url() != CDS));
    patience(async {
        while call(&mesh).await.unwrap() != "new" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(load.await.unwrap().unwrap() > 0);
    assert_eq!(second.met().last().unwrap().certificates, 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_told_and_the_last_good_one_stays() {
    let ca = Ca::new("prod");
    let server = Tls::new(ca.issue(&[SERVER])).clients_of(&ca).named("users").start().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set([secured(), own(&ca, CLIENT), roots(ca.pem(), SERVER)]);
    let mesh = mesh(&plane, false);
    assert_eq!(call(&mesh).await.unwrap(), "users");
    plane.set([Resource::encoded(
        SDS,
        "roots",
        Secret { name: "roots".into(), r#type: None }.encode_to_vec(),
    )]);
    plane.until(|plane| !plane.nacks(SDS).is_empty()).await;
    let nack = plane.nacks(SDS)[0].error.clone().unwrap_or_default();
    assert!(nack.contains("roots") && nack.contains("must be `tls_certificate`"), "{nack}");
    assert_eq!(call(&mesh).await.unwrap(), "users");
    let described = mesh.describe().to_string();
    assert!(described.contains("SDS resource roots"), "{described}");
    assert!(!described.contains("PRIVATE KEY"), "{described}");
}

#[tokio::test]
async fn a_secret_that_nobody_has_fails_calls_and_says_which() {
    let ca = Ca::new("prod");
    let server = Tls::new(ca.issue(&[SERVER])).clients_of(&ca).start().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set([secured(), own(&ca, CLIENT)]);
    plane.fail(SDS, "roots", 5, "there is no such secret");
    let mesh = mesh(&plane, false);
    let error = call(&mesh).await.unwrap_err().chain();
    assert!(error.contains("SDS resource `roots`"), "{error}");
    assert_eq!(server.requests(), 0);
}

/// In any dialect, and whatever the secrets are called.
#[tokio::test]
async fn secrets_of_another_server_are_the_files_that_the_bootstrap_says() {
    let ca = Ca::new("prod");
    let server = Tls::new(ca.issue(&[SERVER])).clients_of(&ca).named("users").start().await;
    let folder = tempfile::tempdir().unwrap();
    let issued = ca.issue(&[CLIENT]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path.to_string_lossy().into_owned())
    };
    let mut files = IdentityFiles::default();
    files.certificate = file("tls.crt", &issued.chain_pem);
    files.key = file("tls.key", &issued.key_pem);
    files.roots = file("ca.crt", ca.pem());
    for dialect in [Dialect::Proxyless, Dialect::Sidecar, Dialect::Envoy] {
        let plane = AdsServer::start().await.unwrap();
        let mut all = Resource::chain("users", [server.socket()]);
        if dialect == Dialect::Sidecar {
            all.push(Resource::listener("0.0.0.0_80", "users-routes"));
        }
        plane.set(all);
        plane.set([secured_by_agent()]);
        let bootstrap = || {
            let plane = Server::insecure(plane.uri());
            Bootstrap::builder().server(plane).node_id("orders-1").dialect(dialect)
        };
        let said = bootstrap()
            .certificate_provider("agent", files.clone())
            .secret(CLIENT, "agent")
            .secret("spiffe://prod.example", "agent")
            .build()
            .unwrap();
        let mesh = Mesh::builder().source(Xds::new(said)).build().unwrap();
        assert_eq!(call(&mesh).await.unwrap(), "users", "{dialect:?}");
        assert!(plane.requests_of(SDS).is_empty());
        // Who says nothing of them is told what to say.
        let silent = bootstrap().build().unwrap();
        let mesh = Mesh::builder().source(Xds::new(silent)).build().unwrap();
        let error = call(&mesh).await.unwrap_err().chain();
        assert!(error.contains("BootstrapBuilder::secret"), "{error}");
    }
}

#[tokio::test]
async fn secrets_are_not_written_to_the_cache_and_calls_say_that_they_lack() {
    let ca = Ca::new("prod");
    let server = Tls::new(ca.issue(&[SERVER])).clients_of(&ca).named("users").start().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set([secured(), own(&ca, CLIENT), roots(ca.pem(), SERVER)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xds.cache");
    let mesh = || {
        let bootstrap = Bootstrap::builder()
            .server(Server::insecure(plane.uri()))
            .node_id("orders-1")
            .build()
            .unwrap();
        Mesh::builder().source(Xds::new(bootstrap).cache(&path)).build().unwrap()
    };
    let first = mesh();
    assert_eq!(call(&first).await.unwrap(), "users");
    patience(first.shutdown(std::time::Duration::from_secs(5))).await;
    drop(first);
    let written = || std::fs::read(&path).ok().filter(|it| !it.is_empty());
    patience(async {
        while written().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let text = String::from_utf8_lossy(&written().unwrap()).into_owned();
    assert!(text.contains("users-cluster") && !text.contains("PRIVATE KEY"));
    plane.stop();
    let second = mesh();
    let error = call(&second).await.unwrap_err().chain();
    assert!(error.contains("SDS resource"), "{error}");
    assert_eq!(server.requests(), 1);
}
