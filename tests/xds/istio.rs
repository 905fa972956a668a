//! Istio in both of its dialects, over the socket of its agent: what istiod sends to a sidecar and to a
//! client of gRPC drives HTTP calls, secured as it says. Over real streams and TLS servers.
#![allow(deprecated, reason = "what istiod sends")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, OutlierDetection, cluster},
            core::v3::{
                Address, AggregatedConfigSource, ConfigSource, Metadata, SocketAddress,
                TransportSocket, address, config_source::ConfigSourceSpecifier, socket_address,
                transport_socket,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
            },
            listener::v3::{ApiListener, Filter, FilterChain, Listener, filter},
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route,
                route_action, route_match,
            },
        },
        extensions::{
            filters::{
                http::router::v3::Router,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
                },
            },
            transport_sockets::{
                raw_buffer::v3::RawBuffer,
                tls::v3::{
                    CertificateValidationContext, CommonTlsContext, SdsSecretConfig,
                    UpstreamTlsContext,
                    common_tls_context::{
                        CertificateProviderInstance, CombinedCertificateValidationContext,
                        ValidationContextType,
                    },
                },
            },
        },
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{Any, Duration as PbDuration, Struct, UInt32Value, Value, value},
};
use envoy_types::util::pack_any;
use prost::Message;
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Dialect, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::support::{Ca, Server, Tls, fetch, get, patience};

const HOST: &str = "users.prod.svc.cluster.local";
const CLUSTER: &str = "outbound|8080||users.prod.svc.cluster.local";
const SERVER: &str = "spiffe://cluster.local/ns/prod/sa/users";
const CLIENT: &str = "spiffe://cluster.local/ns/prod/sa/orders";
const SNI: &str = "outbound_.8080_._.users.prod.svc.cluster.local";

fn ads() -> Option<ConfigSource> {
    let specifier = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource { config_source_specifier: Some(specifier), ..ConfigSource::default() })
}

fn manager(routes: &str) -> Any {
    let router = http_filter::ConfigType::TypedConfig(pack_any(Router::default()));
    pack_any(HttpConnectionManager {
        stat_prefix: "outbound".into(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: routes.into(),
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(router),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    })
}

fn encoded<M: Message>(kind: &str, name: &str, message: &M) -> Resource {
    Resource::encoded(kind, name, message.encode_to_vec())
}

/// What a sidecar listens on for a port, and what a client of gRPC is given for a name.
fn listener(dialect: Dialect) -> Resource {
    if dialect == Dialect::Sidecar {
        return bound("0.0.0.0", "8080");
    }
    let name = format!("{HOST}:8080");
    encoded(
        LDS,
        &name,
        &Listener {
            name: name.clone(),
            api_listener: Some(ApiListener { api_listener: Some(manager(CLUSTER)) }),
            ..Listener::default()
        },
    )
}

/// A sidecar's listener at an address and the port 8080.
fn bound(address: &str, routes: &str) -> Resource {
    let socket = SocketAddress {
        address: address.into(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(8080)),
        ..SocketAddress::default()
    };
    let filters = vec![Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(manager(routes))),
    }];
    let name = format!("{address}_8080");
    encoded(
        LDS,
        &name,
        &Listener {
            name: name.clone(),
            address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
            filter_chains: vec![FilterChain { filters, ..FilterChain::default() }],
            ..Listener::default()
        },
    )
}

fn host(name: &str, domains: &[&str], cluster: &str) -> VirtualHost {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
        timeout: Some(PbDuration { seconds: 7, nanos: 0 }),
        ..RouteAction::default()
    };
    let matched = RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
        ..RouteMatch::default()
    };
    let route = Route {
        name: "default".into(),
        r#match: Some(matched),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    };
    VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        routes: vec![route],
        ..VirtualHost::default()
    }
}

fn routes(dialect: Dialect) -> Resource {
    let name = if dialect == Dialect::Sidecar { "8080" } else { CLUSTER };
    let port = format!("{HOST}:8080");
    let users = [HOST, &port, "users", "users:8080", "users.prod", "users.prod:8080"];
    let mut virtual_hosts = vec![host(&port, &users, CLUSTER)];
    if dialect == Dialect::Sidecar {
        // Of a sidecar's port there are all services, and a last resort.
        virtual_hosts.insert(0, host("other", &["other.prod"], "outbound|8080||other.prod"));
        virtual_hosts.push(host("allow_any", &["*"], "PassthroughCluster"));
    }
    let configuration =
        RouteConfiguration { name: name.into(), virtual_hosts, ..RouteConfiguration::default() };
    encoded(RDS, name, &configuration)
}

fn exact(name: &str) -> StringMatcher {
    let match_pattern = Some(MatchPattern::Exact(name.into()));
    StringMatcher { match_pattern, ..StringMatcher::default() }
}

fn socket(name: &str, any: Any) -> TransportSocket {
    let config_type = Some(transport_socket::ConfigType::TypedConfig(any));
    TransportSocket { name: name.into(), config_type }
}

/// Mutual TLS with this server, as each dialect spells it.
fn tls(dialect: Dialect, server: &str) -> TransportSocket {
    let default_validation_context = Some(CertificateValidationContext {
        match_subject_alt_names: vec![exact(server)],
        ..CertificateValidationContext::default()
    });
    let instance = || CertificateProviderInstance {
        instance_name: "default".into(),
        certificate_name: "default".into(),
    };
    let secret = |name: &str| SdsSecretConfig { name: name.into(), sds_config: ads() };
    let mut common = CommonTlsContext::default();
    let mut combined = CombinedCertificateValidationContext {
        default_validation_context,
        ..CombinedCertificateValidationContext::default()
    };
    if dialect == Dialect::Sidecar {
        common.alpn_protocols = vec!["istio-peer-exchange".into(), "istio".into()];
        common.tls_certificate_sds_secret_configs = vec![secret("default")];
        combined.validation_context_sds_secret_config = Some(secret("ROOTCA"));
    } else {
        common.tls_certificate_certificate_provider_instance = Some(instance());
        combined.validation_context_certificate_provider_instance = Some(instance());
    }
    common.validation_context_type =
        Some(ValidationContextType::CombinedValidationContext(combined));
    let context = UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: SNI.into(),
        ..UpstreamTlsContext::default()
    };
    socket("envoy.transport_sockets.tls", pack_any(context))
}

fn text(value: &str) -> Value {
    Value { kind: Some(value::Kind::StringValue(value.into())) }
}

fn fields(name: &str, value: &str) -> Struct {
    Struct { fields: [(name.to_owned(), text(value))].into_iter().collect() }
}

fn cluster(dialect: Dialect, server: &str) -> Resource {
    let mut pb = Cluster {
        name: CLUSTER.into(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: ads(),
            service_name: CLUSTER.into(),
        }),
        connect_timeout: Some(PbDuration { seconds: 10, nanos: 0 }),
        ..Cluster::default()
    };
    if dialect == Dialect::Sidecar {
        // Who has a sidecar is spoken to by mutual TLS, others are not.
        let matched = |name: &str, criteria, socket| cluster::TransportSocketMatch {
            name: name.into(),
            r#match: criteria,
            transport_socket: Some(socket),
        };
        let raw = socket("envoy.transport_sockets.raw_buffer", pack_any(RawBuffer::default()));
        pb.transport_socket_matches = vec![
            matched("tlsMode-istio", Some(fields("tlsMode", "istio")), tls(dialect, server)),
            matched("tlsMode-disabled", Some(Struct::default()), raw),
        ];
        pb.outlier_detection = Some(OutlierDetection {
            consecutive_5xx: Some(UInt32Value { value: 3 }),
            interval: Some(PbDuration { seconds: 5, nanos: 0 }),
            ..OutlierDetection::default()
        });
    } else {
        pb.transport_socket = Some(tls(dialect, server));
    }
    encoded(CDS, CLUSTER, &pb)
}

fn endpoints(all: &[(SocketAddr, bool)]) -> Resource {
    let endpoint = |(at, is_secured): &(SocketAddr, bool)| {
        let socket = SocketAddress {
            address: at.ip().to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(at.port().into())),
            ..SocketAddress::default()
        };
        let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
        let matched = ("envoy.transport_socket_match".to_owned(), fields("tlsMode", "istio"));
        let metadata =
            Metadata { filter_metadata: [matched].into_iter().collect(), ..Metadata::default() };
        LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
                address,
                ..Endpoint::default()
            })),
            metadata: is_secured.then_some(metadata),
            ..LbEndpoint::default()
        }
    };
    encoded(
        EDS,
        CLUSTER,
        &ClusterLoadAssignment {
            cluster_name: CLUSTER.into(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: all.iter().map(endpoint).collect(),
                load_balancing_weight: Some(UInt32Value { value: 1 }),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        },
    )
}

/// A pod of a mesh: the agent with its socket, its files, and who vouches for all.
struct Pod {
    folder: tempfile::TempDir,
    agent: AdsServer,
    ca: Ca,
}

impl Pod {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = AdsServer::start_unix(folder.path().join("XDS")).await.unwrap();
        let ca = Ca::new("istio");
        let own = ca.issue(&[CLIENT]);
        let at = |name: &str| folder.path().join(name);
        fs::write(at("cert-chain.pem"), &own.chain_pem).unwrap();
        fs::write(at("key.pem"), &own.key_pem).unwrap();
        fs::write(at("root-cert.pem"), ca.pem()).unwrap();
        Self { folder, agent, ca }
    }

    fn bootstrap(&self, dialect: Dialect) -> Bootstrap {
        Bootstrap::istio()
            .dialect(dialect)
            .agent_socket(self.folder.path().join("XDS"))
            .certificates_dir(self.folder.path())
            .ip("10.0.0.1".parse().unwrap())
            .pod("orders-1")
            .namespace("prod")
            .build()
            .unwrap()
    }

    fn mesh(&self, dialect: Dialect) -> Mesh {
        let mut source = Xds::new(self.bootstrap(dialect));
        if dialect == Dialect::Proxyless {
            // To clients of gRPC istiod knows names in full.
            source = source.service("users.prod:8080", &format!("{HOST}:8080"));
        }
        Mesh::builder().source(source).build().unwrap()
    }

    fn says(&self, dialect: Dialect, server: &str, all: &[(SocketAddr, bool)]) {
        let resources =
            [listener(dialect), routes(dialect), cluster(dialect, server), endpoints(all)];
        self.agent.set(resources);
    }
}

async fn body(mesh: &Mesh) -> Result<String, tower_mesh::Error> {
    let response = patience(fetch(&mesh.http(), get("http://users.prod:8080/"))).await?;
    Ok(String::from_utf8_lossy(response.body().as_ref()).into_owned())
}

#[tokio::test]
async fn both_dialects_lead_to_the_service_by_mutual_tls() {
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let pod = Pod::new().await;
        let server =
            Tls::new(pod.ca.issue(&[SERVER])).clients_of(&pod.ca).named("secured").start().await;
        pod.says(dialect, SERVER, &[(server.socket(), true)]);
        let mesh = pod.mesh(dialect);
        assert_eq!(body(&mesh).await.unwrap(), "secured", "{dialect:?}");
        patience(mesh.ready()).await.unwrap();
        let met = &server.met()[0];
        assert_eq!((met.sni.as_deref(), met.certificates), (Some(SNI), 1));
        for kind in [LDS, RDS, CDS, EDS] {
            assert!(pod.agent.nacks(kind).is_empty(), "{kind}");
        }
        // The agent knows one of this node, by its words.
        let requests = pod.agent.requests();
        let nodes: Vec<_> = requests.iter().filter_map(|it| it.node.as_ref()).collect();
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0], "sidecar~10.0.0.1~orders-1.prod~prod.svc.cluster.local");
        // What a sidecar alone is sent is in force.
        let described = mesh.describe().to_string();
        assert!(described.contains("timeout = 7s"), "{described}");
        let has_outliers = described.contains("outlier_detection.consecutive_5xx = 3");
        assert_eq!(has_outliers, dialect == Dialect::Sidecar, "{described}");
    }
}

#[tokio::test]
async fn what_istiod_leaves_out_to_grpc_is_told_wherever_notes_are() {
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let pod = Pod::new().await;
        let bootstrap = pod.bootstrap(dialect);
        let noted = bootstrap.notes().join("; ");
        let xds = Xds::new(bootstrap);
        let mesh = Mesh::builder().source(xds.clone()).build().unwrap();
        patience(mesh.ready()).await.unwrap();
        let status = patience(xds.status()).await.notes.join("; ");
        let lost = "outlier detection, connect timeouts, the policy RANDOM, typed policies, DNS endpoints of a \
                    ServiceEntry, and the TLS modes SIMPLE and MUTUAL";
        for told in [noted, status, mesh.describe().to_string()] {
            assert_eq!(told.contains(lost), dialect == Dialect::Proxyless, "{dialect:?}: {told}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused_in_both_dialects() {
    for dialect in [Dialect::Sidecar, Dialect::Proxyless] {
        let pod = Pod::new().await;
        let other = "spiffe://cluster.local/ns/prod/sa/other";
        let server = Tls::new(pod.ca.issue(&[other])).clients_of(&pod.ca).start().await;
        pod.says(dialect, SERVER, &[(server.socket(), true)]);
        let mesh = pod.mesh(dialect);
        let error = body(&mesh).await.unwrap_err();
        assert!(
            error.to_string().contains("cert") || format!("{error:?}").contains("cert"),
            "{error}"
        );
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_sidecar_s_cluster_secures_each_endpoint_as_its_own_words_say() {
    let pod = Pod::new().await;
    let secured =
        Tls::new(pod.ca.issue(&[SERVER])).clients_of(&pod.ca).named("secured").start().await;
    let plain = Server::named("plain").await;
    pod.says(Dialect::Sidecar, SERVER, &[(secured.socket(), true), (plain.socket(), false)]);
    let mesh = pod.mesh(Dialect::Sidecar);
    let mut counts = BTreeMap::<String, usize>::new();
    patience(async {
        while counts.len() < 2 {
            *counts.entry(body(&mesh).await.unwrap()).or_default() += 1;
        }
    })
    .await;
    // It moves into the mesh: from then on it is not spoken to in plaintext.
    pod.agent.set([endpoints(&[(secured.socket(), true)])]);
    patience(async {
        let mut in_a_row = 0;
        while in_a_row < 20 {
            in_a_row = if body(&mesh).await.unwrap() == "secured" { in_a_row + 1 } else { 0 };
        }
    })
    .await;
}

#[tokio::test]
async fn the_agent_has_one_stream_of_all_meshes_and_may_restart() {
    let pod = Pod::new().await;
    let server =
        Tls::new(pod.ca.issue(&[SERVER])).clients_of(&pod.ca).named("secured").start().await;
    pod.says(Dialect::Sidecar, SERVER, &[(server.socket(), true)]);
    let meshes = [pod.mesh(Dialect::Sidecar), pod.mesh(Dialect::Sidecar)];
    for mesh in &meshes {
        assert_eq!(body(mesh).await.unwrap(), "secured");
    }
    assert_eq!((pod.agent.streams(), pod.agent.connections()), (1, 1));
    // The agent restarts: the calls go on, and it is asked again.
    pod.agent.stop();
    for mesh in &meshes {
        assert_eq!(body(mesh).await.unwrap(), "secured");
    }
    pod.agent.resume().await.unwrap();
    patience(pod.agent.until(|agent| agent.streams() == 1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(pod.agent.connections(), 1);
    drop(meshes);
    patience(pod.agent.until(|agent| agent.connections() == 0)).await;
}

/// istiod binds the listener of a port whose protocol has no name to the address of its service.
#[tokio::test]
async fn a_port_whose_protocol_has_no_name_is_found_at_the_address_of_its_host() {
    let pod = Pod::new().await;
    let server = Server::named("sniffed").await;
    let at = [(server.socket(), false)];
    let name = "localhost:8080";
    let own = RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![host(name, &["*"], CLUSTER)],
        ..RouteConfiguration::default()
    };
    // At the wildcard are others, and a last resort that leads nowhere.
    pod.says(Dialect::Sidecar, SERVER, &at);
    pod.agent.set([encoded(RDS, name, &own), bound("127.0.0.1", name), bound("::1", name)]);
    let mesh = pod.mesh(Dialect::Sidecar);
    let response = patience(fetch(&mesh.http(), get("http://localhost:8080/"))).await.unwrap();
    assert_eq!(response.body(), "sniffed");
    // Who is at the wildcard is asked for there alone.
    assert_eq!(body(&mesh).await.unwrap(), "sniffed");
    // On a port where nothing is, neither at the wildcard nor at the address; the plane says so.
    for name in ["0.0.0.0_8081", "127.0.0.1_8081", "::1_8081"] {
        pod.agent.fail(LDS, name, 5, "there is none");
    }
    let error = patience(fetch(&mesh.http(), get("http://localhost:8081/"))).await.unwrap_err();
    let told = error.chain();
    assert!(told.contains("0.0.0.0_8081") && told.contains("_8081` of its address"), "{told}");
    assert!(told.contains("is the port's protocol named"), "{told}");
}
