//! Where resources say that others come from.

use envoy_types::pb::envoy::{
    config::listener::v3::ApiListener,
    extensions::filters::{
        http::router::v3::Router,
        network::http_connection_manager::v3::{
            HttpConnectionManager, HttpFilter as PbFilter, Rds,
            http_connection_manager::RouteSpecifier, http_filter,
        },
    },
};

use super::*;

/// A listener whose routes come from there, and a cluster whose endpoints do.
fn from(source: &ConfigSource) -> (PbListener, PbCluster) {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(source.clone()),
            route_config_name: "local_route".into(),
        })),
        http_filters: vec![PbFilter {
            name: "router".into(),
            config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(Router::default()))),
            ..PbFilter::default()
        }],
        ..HttpConnectionManager::default()
    };
    let listener = PbListener {
        name: "listener_0".into(),
        api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
        ..PbListener::default()
    };
    let mut cluster = eds("example_proxy_cluster");
    cluster.eds_cluster_config.as_mut().unwrap().eds_config = Some(source.clone());
    (listener, cluster)
}

#[test]
fn a_server_that_an_envoy_knows_by_name_is_the_same_control_plane_and_is_told() {
    for kind in
        [ApiType::Grpc, ApiType::DeltaGrpc, ApiType::AggregatedGrpc, ApiType::AggregatedDeltaGrpc]
    {
        let (listener, cluster) = from(&of_server(kind, "xds_cluster"));
        let read = sidecar().listener(&listener).unwrap();
        assert_eq!(read.routes, RoutesFrom::Named("local_route".into()));
        let notes = read.notes.join(" ");
        assert!(notes.contains("rds.config_source.api_config_source: the same"), "{notes}");
        let read = sidecar().cluster(&cluster).unwrap();
        assert_eq!(read.endpoints, EndpointsFrom::Eds { service_name: None });
        let notes = read.notes.join(" ");
        assert!(notes.contains("eds_config.api_config_source: the same"), "{notes}");
        // gRPC knows no other source than its stream.
        let reason = "api_config_source: must be `ads` or `self`";
        refuses(proxyless().listener(&listener), reason);
        refuses(proxyless().cluster(&cluster), reason);
    }
    // What is on the stream says nothing that is not done.
    let (listener, cluster) = from(&ads());
    let notes = [
        sidecar().listener(&listener).unwrap().notes.join(" "),
        sidecar().cluster(&cluster).unwrap().notes.join(" "),
    ];
    assert!(notes.iter().all(|it| !it.contains("config_source")), "{notes:?}");
}

#[test]
fn a_source_that_is_no_stream_is_refused() {
    let path = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Path("/etc/eds.yaml".into())),
        ..ConfigSource::default()
    };
    for source in [of_server(ApiType::Rest, "xds_cluster"), path] {
        let (listener, cluster) = from(&source);
        for decoder in [sidecar(), proxyless()] {
            refuses(decoder.listener(&listener), "must be `ads` or `self`");
            refuses(decoder.cluster(&cluster), "must be `ads` or `self`");
        }
    }
}
