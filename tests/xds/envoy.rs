//! A control plane of Envoy's, as go-control-plane's own example is one: a listener with filter chains, routes
//! and endpoints of `xds_cluster`, and Envoy's meaning of what is not said. Over a real stream and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
                },
                core::v3::{
                    ApiConfigSource, ApiVersion, ConfigSource, GrpcService, HealthCheck,
                    api_config_source::ApiType,
                    config_source::ConfigSourceSpecifier,
                    grpc_service::{EnvoyGrpc, TargetSpecifier},
                    health_check::{HealthChecker, HttpHealthCheck},
                },
                listener::v3::{Filter, FilterChain, Listener, filter},
                route::v3::{
                    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route,
                    route_action::ClusterSpecifier, route_match::PathSpecifier,
                },
            },
            extensions::filters::{
                http::router::v3::Router,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds,
                    http_connection_manager::RouteSpecifier, http_filter,
                },
            },
        },
        google::protobuf::{Duration as PbDuration, UInt32Value},
    },
    util::pack_any,
};
use http::HeaderValue;
use prost::Message;
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Dialect, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::support::{Server, fetch, get, patience, reply};

const CLUSTER: &str = "example_proxy_cluster";

/// What Envoy knows by a cluster of its own bootstrap.
fn xds_cluster() -> Option<ConfigSource> {
    let envoy = EnvoyGrpc { cluster_name: "xds_cluster".into(), ..EnvoyGrpc::default() };
    let api = ApiConfigSource {
        api_type: ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        set_node_on_first_message_only: true,
        grpc_services: vec![GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(envoy)),
            ..GrpcService::default()
        }],
        ..ApiConfigSource::default()
    };
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(api)),
        ..ConfigSource::default()
    })
}

fn encoded<M: Message>(kind: &str, name: &str, message: &M) -> Resource {
    Resource::encoded(kind, name, message.encode_to_vec())
}

/// It trusts one proxy before it, which a client of gRPC refuses.
fn listener() -> Resource {
    let manager = HttpConnectionManager {
        stat_prefix: "http".into(),
        xff_num_trusted_hops: 1,
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: xds_cluster(),
            route_config_name: "local_route".into(),
        })),
        http_filters: vec![HttpFilter {
            name: "http-router".into(),
            config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(Router::default()))),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    };
    let filters = vec![Filter {
        name: "http-connection-manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(pack_any(manager))),
    }];
    let listener = Listener {
        name: "listener_0".into(),
        filter_chains: vec![FilterChain { filters, ..FilterChain::default() }],
        ..Listener::default()
    };
    encoded(LDS, "listener_0", &listener)
}

fn leads(path: &str, to: ClusterSpecifier) -> Route {
    let action = RouteAction { cluster_specifier: Some(to), ..RouteAction::default() };
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(path.into())),
            ..RouteMatch::default()
        }),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    }
}

fn routes() -> Resource {
    let host = |name: &str, domain: &str, routes| VirtualHost {
        name: name.into(),
        domains: vec![domain.into()],
        routes,
        ..VirtualHost::default()
    };
    let all = vec![
        leads("/named", ClusterSpecifier::ClusterHeader("x-cluster".into())),
        leads("/", ClusterSpecifier::Cluster(CLUSTER.into())),
    ];
    // Which of them counts is told by what is called, not by the listener's name.
    let other = vec![leads("/", ClusterSpecifier::Cluster("nobody".into()))];
    let configuration = RouteConfiguration {
        name: "local_route".into(),
        virtual_hosts: vec![
            host("other", "listener_0", other),
            host("local_service", "shop.example", all),
        ],
        ..RouteConfiguration::default()
    };
    encoded(RDS, "local_route", &configuration)
}

fn cluster() -> Resource {
    let http = HttpHealthCheck { path: "/healthz".into(), ..HttpHealthCheck::default() };
    let one = || Some(UInt32Value { value: 1 });
    let check = HealthCheck {
        timeout: Some(PbDuration { seconds: 5, nanos: 0 }),
        interval: Some(PbDuration { seconds: 0, nanos: 20_000_000 }),
        unhealthy_threshold: one(),
        healthy_threshold: one(),
        health_checker: Some(HealthChecker::HttpHealthCheck(http)),
        ..HealthCheck::default()
    };
    let cluster = Cluster {
        name: CLUSTER.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: xds_cluster(),
            ..EdsClusterConfig::default()
        }),
        health_checks: vec![check],
        ..Cluster::default()
    };
    encoded(CDS, CLUSTER, &cluster)
}

/// A plane with the example, its server, and how often that was asked whether it is well.
async fn example() -> (AdsServer, Server, Arc<AtomicUsize>) {
    let checks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&checks);
    let server = Server::start(move |request| {
        let is_check = request.uri().path() == "/healthz";
        if is_check {
            count.fetch_add(1, Ordering::SeqCst);
        }
        async move { reply(if is_check { "well" } else { "example" }) }
    })
    .await;
    let plane = AdsServer::start().await.unwrap();
    plane.set([listener(), routes(), cluster(), Resource::endpoints(CLUSTER, [server.socket()])]);
    (plane, server, checks)
}

fn bootstrap(plane: &AdsServer, own: &str) -> Bootstrap {
    let uri = plane.uri();
    Bootstrap::from_json(&format!(
        r#"{{
            "xds_servers": [{{"server_uri": "{uri}", "channel_creds": [{{"type": "insecure"}}]}}],
            "client_default_listener_resource_name_template": "listener_0",
            "node": {{"id": "test-id", "cluster": "test-cluster"}}{own}
        }}"#
    ))
    .unwrap()
}

#[tokio::test]
async fn the_example_of_go_control_plane_runs_with_envoy_s_meaning() {
    for by_template in [false, true] {
        let (plane, _server, checks) = example().await;
        let source = if by_template {
            Xds::new(bootstrap(&plane, r#", "tower_mesh": {"dialect": "envoy"}"#))
        } else {
            let bootstrap = Bootstrap::builder()
                .server(Plane::insecure(plane.uri()))
                .node_id("test-id")
                .dialect(Dialect::Envoy)
                .build()
                .unwrap();
            Xds::new(bootstrap).service("shop.example", "xds:///listener_0")
        };
        let mesh = Mesh::builder().source(source).build().unwrap();
        let client = mesh.client("shop.example").unwrap();
        let answer = patience(fetch(&client, get("/"))).await.unwrap();
        assert_eq!(answer.body(), "example", "{by_template}");
        assert_eq!(plane.subscriptions(LDS), [BTreeSet::from(["listener_0".to_owned()])]);
        for kind in [LDS, RDS, CDS, EDS] {
            assert!(plane.nacks(kind).is_empty(), "{kind} {:?}", plane.nacks(kind));
        }
        // Envoy's defaults, and what gRPC leaves to the control plane.
        let explained = client.explain(&get("/")).unwrap();
        let timeout = explained.route.settings.iter().find(|it| it.name == "timeout").unwrap();
        assert_eq!(timeout.value, "15s");
        patience(async {
            while checks.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let mut request = get("/named");
        request.headers_mut().insert("x-cluster", HeaderValue::from_static(CLUSTER));
        let answer = patience(fetch(&client, request)).await.unwrap();
        assert_eq!(answer.body(), "example");
        // That another server was named is told, for both.
        let told = mesh.describe().to_string();
        for field in ["rds.config_source.api_config_source", "eds_config.api_config_source"] {
            assert!(told.contains(field), "{field}: {told}");
        }
    }
}

#[tokio::test]
async fn to_whoever_does_not_say_that_it_is_an_envoy_it_means_what_it_means_to_grpc() {
    let (plane, server, _checks) = example().await;
    let mesh = Mesh::builder().source(Xds::new(bootstrap(&plane, ""))).build().unwrap();
    let client = mesh.client("shop.example").unwrap();
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    assert!(error.chain().contains("xff_num_trusted_hops"), "{}", error.chain());
    assert_eq!(server.requests(), 0);
}
