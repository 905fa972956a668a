//! Resources as control planes send them. Tests after grpc-go's have its names, in words.

mod absent;
mod actions;
mod cluster;
mod endpoints;
mod enforced;
mod envoys;
mod listener;
mod random;
mod receiving;
mod routes;
mod rules;
mod secrets;
mod seeds;
mod shown;
mod sources;
mod table;
mod tls;

use std::sync::Arc;

use envoy_types::{
    pb::{
        envoy::config::{
            cluster::v3::{
                Cluster as PbCluster,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
            },
            core::v3::{
                Address, AggregatedConfigSource, ApiConfigSource, ApiVersion, ConfigSource,
                GrpcService, SocketAddress, address,
                api_config_source::ApiType,
                config_source::ConfigSourceSpecifier,
                grpc_service::{EnvoyGrpc, TargetSpecifier},
                socket_address::PortSpecifier,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                lb_endpoint::HostIdentifier,
            },
            listener::v3::Listener as PbListener,
            route::v3::{
                Route as PbRoute, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier,
            },
        },
        google::protobuf::{self, UInt32Value},
    },
    util::pack_any,
};
use prost::Message;

use super::*;

fn context(dialect: Dialect) -> Context {
    let name = |name: &str| (name.to_owned(), name.to_owned());
    Context {
        dialect,
        trusted: false,
        providers: [name("default")].into(),
        secrets: [("default".into(), "default".into()), ("ROOTCA".into(), "default".into())].into(),
        realm: "here".into(),
        ..Context::default()
    }
}

fn sidecar() -> Decoder {
    Decoder::new(context(Dialect::Sidecar))
}

fn proxyless() -> Decoder {
    Decoder::new(context(Dialect::Proxyless))
}

impl Decoder {
    fn cluster(&self, pb: &PbCluster) -> Result<Arc<Cluster>, String> {
        match self.decode(Kind::Cluster, &pb.encode_to_vec()) {
            Ok((name, Resource::Cluster(read))) => {
                assert_eq!(*name, *pb.name);
                Ok(read)
            }
            Ok(_) => panic!("another resource"),
            Err(refused) => Err(refused.reason),
        }
    }

    fn endpoints(&self, pb: &ClusterLoadAssignment) -> Result<Arc<Endpoints>, String> {
        match self.decode(Kind::Endpoints, &pb.encode_to_vec()) {
            Ok((_, Resource::Endpoints(read))) => Ok(read),
            Ok(_) => panic!("another resource"),
            Err(refused) => Err(refused.reason),
        }
    }

    fn listener(&self, pb: &PbListener) -> Result<Arc<Listener>, String> {
        match self.decode(Kind::Listener, &pb.encode_to_vec()) {
            Ok((_, Resource::Listener(read))) => Ok(read),
            Ok(_) => panic!("another resource"),
            Err(refused) => Err(refused.reason),
        }
    }

    fn routes(&self, pb: &RouteConfiguration) -> Result<Arc<Routes>, String> {
        match self.decode(Kind::Routes, &pb.encode_to_vec()) {
            Ok((_, Resource::Routes(read))) => Ok(read),
            Ok(_) => panic!("another resource"),
            Err(refused) => Err(refused.reason),
        }
    }
}

fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// A server that Envoy knows by a cluster of its own bootstrap.
fn of_server(kind: ApiType, cluster: &str) -> ConfigSource {
    let envoy = EnvoyGrpc { cluster_name: cluster.to_owned(), ..EnvoyGrpc::default() };
    let service = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(envoy)),
        ..GrpcService::default()
    };
    let api = ApiConfigSource {
        api_type: kind.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..ApiConfigSource::default()
    };
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(api)),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}

/// A cluster with endpoints by EDS.
fn eds(name: &str) -> PbCluster {
    PbCluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        ..PbCluster::default()
    }
}

fn socket(address: &str, port: u32) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: address.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        })),
    }
}

fn endpoint(address: &str, port: u32) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(address, port)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

fn assignment(name: &str, groups: Vec<LocalityLbEndpoints>) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: groups,
        ..ClusterLoadAssignment::default()
    }
}

fn wrapped(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn bool_value(value: bool) -> Option<protobuf::BoolValue> {
    Some(protobuf::BoolValue { value })
}

fn seconds(seconds: i64) -> Option<protobuf::Duration> {
    Some(protobuf::Duration { seconds, nanos: 0 })
}

fn fields(list: &[(&str, &str)]) -> protobuf::Struct {
    let value = |text: &str| protobuf::Value {
        kind: Some(protobuf::value::Kind::StringValue(text.to_owned())),
    };
    protobuf::Struct {
        fields: list.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect(),
    }
}

fn metadata(
    namespace: &str,
    list: &[(&str, &str)],
) -> envoy_types::pb::envoy::config::core::v3::Metadata {
    envoy_types::pb::envoy::config::core::v3::Metadata {
        filter_metadata: [(namespace.to_owned(), fields(list))].into(),
        ..Default::default()
    }
}

fn prefix(prefix: &str) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())),
        ..RouteMatch::default()
    }
}

fn to(cluster: &str) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..RouteAction::default()
    }
}

fn route(rule: RouteMatch, action: RouteAction) -> PbRoute {
    PbRoute { r#match: Some(rule), action: Some(Action::Route(action)), ..PbRoute::default() }
}

fn host(domains: &[&str], routes: Vec<PbRoute>) -> VirtualHost {
    VirtualHost {
        name: domains.join(","),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes,
        ..VirtualHost::default()
    }
}

fn configuration(hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration {
        name: "routes".to_owned(),
        virtual_hosts: hosts,
        ..RouteConfiguration::default()
    }
}

/// One route of one host, read.
fn one_route(decoder: &Decoder, pb: PbRoute) -> Result<crate::config::Route, String> {
    let routes = decoder.routes(&configuration(vec![host(&["*"], vec![pb])]))?;
    if let Some(reason) = &routes.hosts[0].refused {
        return Err(reason.clone());
    }
    routes.hosts[0]
        .routes
        .first()
        .map(|route| route.config.clone())
        .ok_or_else(|| format!("left out: {}", routes.notes.join("; ")))
}

#[track_caller]
fn refuses<T: std::fmt::Debug>(result: Result<T, String>, text: &str) {
    let reason = result.expect_err("it is refused");
    assert!(reason.contains(text), "{reason}\nhas no\n{text}");
}

#[test]
fn what_cannot_be_read_is_refused_without_a_name() {
    for kind in Kind::ALL {
        let refused = sidecar().decode(kind, &[0xff; 9]).unwrap_err();
        assert_eq!(refused.name, None);
        assert!(refused.reason.starts_with("cannot be read: "), "{refused:?}");
    }
}

#[test]
fn a_refusal_tells_the_name() {
    let mut pb = eds("c");
    pb.lb_policy = 99;
    let refused = sidecar().decode(Kind::Cluster, &pb.encode_to_vec()).unwrap_err();
    assert_eq!(refused.name.as_deref(), Some("c"));
    assert_eq!(refused.reason, "lb_policy = 99: is no policy");
}
