//! What resources of xDS say arrives at calls: routes, clusters by names, how connections are secured. Over
//! real streams and servers.
#![cfg(all(feature = "xds", feature = "dns", feature = "tls-aws-lc-rs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(deprecated, reason = "control planes say it all the same")]

mod support;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Duration,
};

use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{
                        ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, TransportSocketMatch,
                    },
                },
                core::v3::{
                    Address, AggregatedConfigSource, ConfigSource, DataSource, HeaderValue,
                    HeaderValueOption, Metadata, RuntimeFractionalPercent, SocketAddress,
                    TransportSocket, address, config_source::ConfigSourceSpecifier,
                    data_source::Specifier, socket_address::PortSpecifier,
                    transport_socket::ConfigType,
                },
                endpoint::v3::{
                    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                    lb_endpoint::HostIdentifier,
                },
                listener::v3::{ApiListener, Listener},
                route::v3::{
                    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                    WeightedCluster,
                    route::Action,
                    route_action::{ClusterSpecifier, HostRewriteSpecifier},
                    route_match::PathSpecifier,
                    weighted_cluster::ClusterWeight,
                },
            },
            extensions::{
                filters::{
                    http::{
                        fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType},
                        router::v3::Router,
                    },
                    network::http_connection_manager::v3::{
                        HttpConnectionManager, HttpFilter, Rds,
                        http_connection_manager::{RouteSpecifier, UpgradeConfig},
                        http_filter,
                    },
                },
                transport_sockets::tls::v3::{
                    CertificateValidationContext, CommonTlsContext, TlsCertificate,
                    UpstreamTlsContext, common_tls_context::ValidationContextType,
                },
            },
            r#type::{
                matcher::v3::{
                    MetadataMatcher, StringMatcher, ValueMatcher,
                    metadata_matcher::{PathSegment, path_segment::Segment},
                    string_matcher, value_matcher,
                },
                v3::FractionalPercent,
            },
        },
        google::protobuf::{Any, BoolValue, Struct, UInt32Value, Value, value::Kind},
    },
    util::pack_any,
};
use http::{HeaderValue as Http, Request, StatusCode, header::UPGRADE};
use prost::Message;
use tower_mesh::{
    Body, Error, Event, Mesh,
    config::{CallMetadata, Value as Said},
    control::xds::{Bootstrap, BootstrapBuilder, Dialect, Server as Plane, Xds},
    security::Trust,
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use support::{
    Ca, Issued, Recorder, Server, Tls, TlsServer, fetch, get, patience, reply, storm, zone::Zone,
};

fn bootstrap(plane: &AdsServer, node: &str) -> BootstrapBuilder {
    Bootstrap::builder().node_id(node).server(Plane::insecure(plane.uri()))
}

/// As an Envoy beside the application asks.
fn sidecar(plane: &AdsServer, node: &str) -> Mesh {
    let bootstrap = bootstrap(plane, node).dialect(Dialect::Sidecar).build().unwrap();
    Mesh::builder().source(Xds::new(bootstrap)).build().unwrap()
}

fn proxyless(plane: &AdsServer, node: &str) -> Mesh {
    Mesh::builder().source(Xds::new(bootstrap(plane, node).build().unwrap())).build().unwrap()
}

async fn send(mesh: &Mesh, request: Request<Body>) -> Result<(StatusCode, String), Error> {
    let answer = patience(fetch(&mesh.client("users").unwrap(), request)).await?;
    let text = String::from_utf8_lossy(answer.body().as_ref()).into_owned();
    Ok((answer.status(), text))
}

async fn body(mesh: &Mesh, path: &str) -> Result<String, Error> {
    send(mesh, get(path)).await.map(|(_, text)| text)
}

fn said<M: Message>(url: &str, name: &str, message: &M) -> Resource {
    Resource::encoded(url, name, message.encode_to_vec())
}

fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

fn eds(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            ..EdsClusterConfig::default()
        }),
        ..Cluster::default()
    }
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    Endpoint {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        ..Endpoint::default()
    }
}

fn at(endpoint: Endpoint) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    }
}

fn assignment(cluster: &str, endpoints: Vec<LbEndpoint>) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: endpoints,
            load_balancing_weight: Some(UInt32Value { value: 1 }),
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

fn of(address: SocketAddr) -> LbEndpoint {
    at(endpoint(&address.ip().to_string(), address.port()))
}

/// A listener whose fault filter does nothing by itself, and that knows one upgrade.
fn listener(name: &str) -> Resource {
    let filter = |name: &str, any: Any| HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any)),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: "routes".to_owned(),
        })),
        http_filters: vec![
            filter("fault", pack_any(HttpFault::default())),
            filter("router", pack_any(Router::default())),
        ],
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        ..HttpConnectionManager::default()
    };
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..Listener::default()
    };
    said(LDS, name, &listener)
}

fn rule(path: &str) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(path.to_owned())),
        ..RouteMatch::default()
    }
}

fn route(rule: RouteMatch, action: RouteAction) -> Route {
    Route { r#match: Some(rule), action: Some(Action::Route(action)), ..Route::default() }
}

fn to(cluster: &str) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..RouteAction::default()
    }
}

fn routes(routes: Vec<Route>) -> Resource {
    let host = VirtualHost {
        name: "users".to_owned(),
        domains: vec!["users".to_owned()],
        routes,
        ..VirtualHost::default()
    };
    let routes = RouteConfiguration {
        name: "routes".to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    said(RDS, "routes", &routes)
}

/// Says its name, and what it was called by.
async fn echo(name: &'static str) -> Server {
    Server::start(move |request| async move {
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let host = match request.uri().authority() {
            Some(authority) => authority.to_string(),
            None => header("host"),
        };
        reply(format!("{name} {host} {}", header("x-asked")))
    })
    .await
}

/// A plane of a sidecar with two clusters, `blue` and `green`.
async fn two(routes_of: Vec<Route>) -> (AdsServer, Server, Server) {
    let (blue, green) = (echo("blue").await, echo("green").await);
    let plane = AdsServer::start().await.unwrap();
    let mut named = endpoint("127.0.0.1", green.socket().port());
    named.hostname = "green.example".to_owned();
    plane.set([
        listener("0.0.0.0_80"),
        routes(routes_of),
        said(CDS, "blue", &eds("blue")),
        said(CDS, "green", &eds("green")),
        said(EDS, "blue", &assignment("blue", vec![of(blue.socket())])),
        said(EDS, "green", &assignment("green", vec![at(named)])),
    ]);
    (plane, blue, green)
}

#[tokio::test]
async fn what_is_said_and_not_done_is_told_until_it_is_over() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    let noted = Cluster { alt_stat_name: "other".to_owned(), ..eds("users-cluster") };
    plane.set([said(CDS, "users-cluster", &noted)]);
    let mesh = proxyless(&plane, "noted");
    let mut recorder = Recorder::of(&mesh);
    assert_eq!(body(&mesh, "/").await.unwrap(), "a");
    patience(mesh.ready()).await.expect("a note is no failure");
    let is_note = |event: &Event| {
        matches!(event, Event::ConfigNoted { part, note, .. }
            if &**part == "CDS resource users-cluster" && note.contains("alt_stat_name"))
    };
    patience(recorder.until(is_note)).await;
    let described = mesh.describe();
    let told = format!("{described}");
    assert!(told.contains("note: CDS resource users-cluster: alt_stat_name: "), "{told}");
    assert!(described.refused.is_empty(), "{:?}", described.refused);
    plane.set([said(CDS, "users-cluster", &eds("users-cluster"))]);
    patience(async {
        while !mesh.describe().notes.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_of_a_bootstrap_is_ignored_is_told() {
    let plane = AdsServer::start().await.unwrap();
    let uri = plane.uri();
    let json = format!(
        r#"{{
            "xds_servers": [{{"server_uri": "{uri}", "channel_creds": [{{"type": "insecure"}}]}}],
            "node": {{"id": "ignored"}},
            "certificate_providers": {{"default": {{"plugin_name": "mesh_ca", "config": {{}}}}}}
        }}"#
    );
    let bootstrap = Bootstrap::from_json(&json).unwrap();
    let notes = bootstrap.notes().join("; ");
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    patience(mesh.ready()).await.unwrap();
    let told = mesh.describe().to_string();
    assert!(!notes.is_empty() && told.contains(&notes), "{notes}: {told}");
}

#[tokio::test]
async fn plaintext_that_istiod_may_not_have_meant_is_refused_unless_the_code_says_so() {
    let server = Server::named("a").await;
    let ca = Ca::new("ca");
    let secured = Tls::new(ca.issue(&["users.example"])).named("b").start().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    plane.set(Resource::chain("orders", [secured.socket()]));
    let xds = |node: &str| {
        let bootstrap = bootstrap(&plane, node).node_metadata("GENERATOR", "grpc");
        Xds::new(bootstrap.build().unwrap())
    };
    // Refused; and what the code secures is secured.
    let mesh = Mesh::builder()
        .source(xds("silent"))
        .trust(Trust::pem(ca.pem()))
        .service("orders-cluster", |it| it.tls().server_identity("users.example"))
        .build()
        .unwrap();
    let error = body(&mesh, "/").await.unwrap_err();
    let whole = format!("{error} {}", mesh.describe());
    assert!(whole.contains("Xds::plaintext"), "{whole}");
    assert_eq!(server.connections(), 0);
    let orders = mesh.client("orders").unwrap();
    assert_eq!(patience(fetch(&orders, get("/"))).await.unwrap().body(), "b");
    // Meant, and told.
    let mesh = Mesh::builder().source(xds("meant").plaintext(true)).build().unwrap();
    let mut recorder = Recorder::of(&mesh);
    assert_eq!(body(&mesh, "/").await.unwrap(), "a");
    let told = mesh.describe().to_string();
    assert!(
        told.contains("note: security of cluster users-cluster: its connections are plaintext"),
        "{told}"
    );
    let notes = recorder.count(|event| matches!(event, Event::ConfigNoted { .. }));
    assert_eq!(notes, 1, "once per cluster");
}

#[tokio::test]
async fn a_header_names_the_cluster() {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::ClusterHeader("x-cluster".to_owned())),
        cluster_not_found_response_code: 1,
        ..RouteAction::default()
    };
    let all = vec![
        route(rule("/named"), action),
        route(rule("/b"), to("blue")),
        route(rule("/"), to("green")),
    ];
    let (plane, _blue, _green) = two(all).await;
    let mesh = sidecar(&plane, "header");
    for (cluster, wanted) in [("blue", "blue "), ("green", "green ")] {
        let mut request = get("/named");
        request.headers_mut().insert("x-cluster", Http::from_static(cluster));
        let (_, text) = send(&mesh, request).await.unwrap();
        assert!(text.starts_with(wanted), "{text}");
    }
    let error = send(&mesh, get("/named")).await.unwrap_err();
    assert_eq!(error.http_status(), StatusCode::NOT_FOUND, "{error}");
}

#[tokio::test]
async fn the_filters_of_one_cluster_of_several_are_its_own() {
    let target = |name: &str| ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value: 1 }),
        ..ClusterWeight::default()
    };
    let abort = HttpFault {
        abort: Some(FaultAbort {
            percentage: Some(FractionalPercent { numerator: 100, denominator: 0 }),
            error_type: Some(ErrorType::HttpStatus(418)),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    };
    let mut blue = target("blue");
    blue.typed_per_filter_config = HashMap::from([("fault".to_owned(), pack_any(abort))]);
    let list =
        WeightedCluster { clusters: vec![blue, target("green")], ..WeightedCluster::default() };
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(list)),
        ..RouteAction::default()
    };
    let (plane, blue, _green) = two(vec![route(rule("/"), action)]).await;
    let mesh = sidecar(&plane, "weighted");
    let client = mesh.client("users").unwrap();
    let answers = storm(4, 60, |_| fetch(&client, get("/"))).await;
    let seen: BTreeSet<u16> =
        answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    assert_eq!(seen, [200, 418].into());
    assert_eq!(blue.requests(), 0, "what goes to it is answered before");
}

#[tokio::test]
async fn hosts_of_endpoints_keys_notes_and_values_that_a_call_fills_in() {
    let auto = RouteAction {
        host_rewrite_specifier: Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue {
            value: true,
        })),
        ..to("green")
    };
    let canary = RouteMatch {
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent::default()),
            runtime_key: "users.canary".to_owned(),
        }),
        ..rule("/canary")
    };
    let gold = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact("gold".to_owned())),
        ..StringMatcher::default()
    };
    let tier = RouteMatch {
        dynamic_metadata: vec![MetadataMatcher {
            filter: "app".to_owned(),
            path: vec![PathSegment { segment: Some(Segment::Key("tier".to_owned())) }],
            value: Some(ValueMatcher {
                match_pattern: Some(value_matcher::MatchPattern::StringMatch(gold)),
            }),
            invert: false,
        }],
        ..rule("/tier")
    };
    let mut filled = route(rule("/"), to("blue"));
    filled.request_headers_to_add = vec![HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-asked".to_owned(),
            value: "%REQ(x-name)% of 100%%".to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }];
    let all = vec![
        route(rule("/host"), auto),
        route(canary, to("green")),
        route(tier, to("green")),
        filled,
    ];
    let (plane, _blue, _green) = two(all).await;
    let mesh = sidecar(&plane, "actions");
    assert_eq!(body(&mesh, "/host").await.unwrap().trim(), "green green.example");
    assert!(body(&mesh, "/canary").await.unwrap().starts_with("blue"));
    mesh.set_runtime_key("users.canary", 100.0).unwrap();
    assert!(body(&mesh, "/canary").await.unwrap().starts_with("green"));
    assert!(body(&mesh, "/tier").await.unwrap().starts_with("blue"));
    let mut request = get("/tier");
    let metadata = CallMetadata::new().with("app", "tier", Said::Text("gold".to_owned()));
    request.extensions_mut().insert(metadata);
    assert!(send(&mesh, request).await.unwrap().1.starts_with("green"));
    let mut request = get("/");
    request.headers_mut().insert("x-name", Http::from_static("ann"));
    let (_, text) = send(&mesh, request).await.unwrap();
    assert!(text.ends_with("ann of 100%"), "{text}");
}

#[tokio::test]
async fn only_the_upgrades_pass_that_the_plane_lists() {
    let (plane, blue, _green) = two(vec![route(rule("/"), to("blue"))]).await;
    let mesh = sidecar(&plane, "upgrades");
    let upgrade = |protocol: &'static str| {
        let mut request = get("/");
        request.headers_mut().insert(UPGRADE, Http::from_static(protocol));
        request.headers_mut().insert("connection", Http::from_static("upgrade"));
        request
    };
    let error = send(&mesh, upgrade("other")).await.unwrap_err();
    assert_eq!(error.http_status(), StatusCode::FORBIDDEN, "{error}");
    assert_eq!(blue.requests(), 0);
    assert_eq!(send(&mesh, upgrade("websocket")).await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn all_names_of_a_cluster_are_asked_for() {
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    zone.set("b.users.test.", "A", 60, &["127.0.0.1"]).await;
    let servers = [echo("a").await, echo("b").await, echo("c").await];
    let [a, b, c] = servers.each_ref().map(|server| server.socket().port());
    let resolver = zone.address;
    let cluster = Cluster {
        name: "users-cluster".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into())),
        load_assignment: Some(assignment(
            "users-cluster",
            vec![
                at(endpoint("a.users.test.", a)),
                at(endpoint("b.users.test.", b)),
                at(endpoint("127.0.0.1", c)),
            ],
        )),
        dns_resolvers: vec![Address {
            address: endpoint(&resolver.ip().to_string(), resolver.port())
                .address
                .and_then(|it| it.address),
        }],
        ..Cluster::default()
    };
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", []));
    plane.set([said(CDS, "users-cluster", &cluster)]);
    let mesh = proxyless(&plane, "names");
    patience(async {
        let mut seen = BTreeSet::new();
        while seen.len() < 3 {
            let text = body(&mesh, "/").await.unwrap();
            seen.insert(text.chars().next().unwrap());
        }
    })
    .await;
    assert!(plane.nacks(CDS).is_empty());
}

fn inline(pem: &str) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(Specifier::InlineString(pem.to_owned())),
        ..DataSource::default()
    })
}

/// TLS that trusts this authority, which the resource itself holds, and expects this name.
fn tls(ca: &Ca, name: &str, own: Option<&Issued>, alpn: &[&str]) -> TransportSocket {
    let mut common = CommonTlsContext {
        alpn_protocols: alpn.iter().map(|name| (*name).to_owned()).collect(),
        validation_context_type: Some(ValidationContextType::ValidationContext(
            CertificateValidationContext {
                trusted_ca: inline(ca.pem()),
                match_subject_alt_names: vec![StringMatcher {
                    match_pattern: Some(string_matcher::MatchPattern::Exact(name.to_owned())),
                    ..StringMatcher::default()
                }],
                ..CertificateValidationContext::default()
            },
        )),
        ..CommonTlsContext::default()
    };
    if let Some(own) = own {
        let key = Specifier::InlineBytes(own.key_pem.clone().into_bytes());
        common.tls_certificates = vec![TlsCertificate {
            certificate_chain: inline(&own.chain_pem),
            private_key: Some(DataSource { specifier: Some(key), ..DataSource::default() }),
            ..TlsCertificate::default()
        }];
    }
    let context = UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: name.to_owned(),
        ..UpstreamTlsContext::default()
    };
    TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack_any(context))),
    }
}

/// A plane that knows one cluster, and a mesh that asks it.
async fn secured(node: &str, cluster: Cluster, endpoints: Vec<LbEndpoint>) -> (AdsServer, Mesh) {
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", []));
    plane.set([
        said(CDS, "users-cluster", &cluster),
        said(EDS, "users-cluster", &assignment("users-cluster", endpoints)),
    ]);
    let mesh = proxyless(&plane, node);
    (plane, mesh)
}

#[tokio::test]
async fn keys_and_roots_that_stand_in_the_resource() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let own = ca.issue(&["client.example"]);
    let server = Tls::new(ca.issue(&["users.example"])).clients_of(&ca).start().await;
    let socket = tls(&ca, "users.example", Some(&own), &[]);
    let cluster = Cluster { transport_socket: Some(socket), ..eds("users-cluster") };
    let (plane, mesh) = secured("inline", cluster, vec![of(server.socket())]).await;
    assert_eq!(body(&mesh, "/").await.unwrap(), "hello");
    assert_eq!(server.met()[0].certificates, 1);
    // No key is told of.
    let told = format!("{} {mesh:?}", mesh.describe());
    assert!(!told.contains("PRIVATE"), "{told}");
    // Of another authority nobody is accepted.
    let socket = tls(&other, "users.example", Some(&own), &[]);
    let cluster = Cluster { transport_socket: Some(socket), ..eds("users-cluster") };
    plane.set([said(CDS, "users-cluster", &cluster)]);
    patience(async {
        while body(&mesh, "/").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn sockets_of_one_cluster_that_trust_different_roots() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let a = Tls::new(one.issue(&["a.example"])).named("a").start().await;
    let b = Tls::new(two.issue(&["b.example"])).named("b").start().await;
    // It has the name that is expected, of the wrong authority.
    let wrong = Tls::new(one.issue(&["b.example"])).named("wrong").start().await;
    let plain = Server::named("plain").await;
    let labels = |name: &str| {
        let value = Value { kind: Some(Kind::StringValue(name.to_owned())) };
        Struct { fields: [("ca".to_owned(), value)].into() }
    };
    let choice = |name: &str, socket: Option<TransportSocket>| TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(labels(name)),
        transport_socket: socket,
    };
    let cluster = Cluster {
        transport_socket_matches: vec![
            choice("one", Some(tls(&one, "a.example", None, &[]))),
            choice("two", Some(tls(&two, "b.example", None, &[]))),
        ],
        ..eds("users-cluster")
    };
    let by = |name: &str, address: SocketAddr| LbEndpoint {
        metadata: Some(Metadata {
            filter_metadata: [("envoy.transport_socket_match".to_owned(), labels(name))].into(),
            ..Metadata::default()
        }),
        ..of(address)
    };
    let endpoints = vec![
        by("one", a.socket()),
        by("two", b.socket()),
        by("two", wrong.socket()),
        by("none", plain.socket()),
    ];
    let (plane, mesh) = secured("roots", cluster, endpoints).await;
    let mut seen = BTreeSet::new();
    patience(async {
        while seen.len() < 3 {
            match body(&mesh, "/").await {
                Ok(text) => drop(seen.insert(text)),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    })
    .await;
    for _ in 0..30 {
        seen.extend(body(&mesh, "/").await);
    }
    assert_eq!(seen, ["a", "b", "plain"].map(str::to_owned).into());
    assert_eq!(wrong.requests(), 0);
    assert!(plane.nacks(CDS).is_empty());
}

#[tokio::test]
async fn names_are_offered_that_istio_s_proxies_look_at() {
    let ca = Ca::new("ca");
    let server = |alpn: &'static [&'static str]| {
        let tls = Tls::new(ca.issue(&["users.example"])).alpn(alpn);
        async move { tls.start().await }
    };
    let call = async |node: &str, server: &TlsServer| {
        let socket = tls(&ca, "users.example", None, &["istio-peer-exchange", "istio"]);
        let cluster = Cluster { transport_socket: Some(socket), ..eds("users-cluster") };
        let (_plane, mesh) = secured(node, cluster, vec![of(server.socket())]).await;
        body(&mesh, "/").await.map(|_| server.met()[0].alpn.clone().unwrap())
    };
    // As a sidecar agrees: what is spoken.
    let usual = server(&["h2", "http/1.1"]).await;
    assert_eq!(call("usual", &usual).await.unwrap(), "h2");
    // They are there.
    let looks = server(&["istio-http/1.1"]).await;
    assert_eq!(call("looks", &looks).await.unwrap(), "istio-http/1.1");
    let looks = server(&["istio-h2"]).await;
    assert_eq!(call("looks-h2", &looks).await.unwrap(), "istio-h2");
    // Who agrees to this one waits for something else than HTTP.
    let tcp = server(&["istio-peer-exchange"]).await;
    assert!(call("tcp", &tcp).await.is_err());
}
