//! What a control plane says.

use std::{net::SocketAddr, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{
                Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, Locality,
                SocketAddress, address, config_source::ConfigSourceSpecifier, data_source,
                socket_address,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
            },
            listener::v3::{ApiListener, Listener},
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
                route, route_action, route_match, weighted_cluster,
            },
        },
        extensions::{
            filters::{
                http::router::v3::Router,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
                },
            },
            transport_sockets::tls::v3::{
                CertificateValidationContext, Secret, TlsCertificate, secret,
            },
        },
    },
    google::protobuf::{Any, UInt32Value},
};
use envoy_types::util::pack_any;
use prost::Message;

/// The type of listeners.
pub const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// The type of route configurations.
pub const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// The type of clusters.
pub const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// The type of endpoints.
pub const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// The type of secrets.
pub const SDS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// A resource, encoded.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Resource {
    pub(super) type_url: String,
    pub(super) name: String,
    pub(super) value: Vec<u8>,
    pub(super) ttl: Option<Duration>,
}

impl Resource {
    /// Any bytes, of any type: what is made with generated types, or is broken on purpose.
    pub fn encoded(
        type_url: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<Vec<u8>>,
    ) -> Self {
        Self { type_url: type_url.into(), name: name.into(), value: value.into(), ttl: None }
    }

    fn of<M: Message>(type_url: &str, name: impl Into<String>, message: &M) -> Self {
        Self::encoded(type_url, name, message.encode_to_vec())
    }

    /// The API listener of a name, whose routes have a name of their own.
    pub fn listener(name: impl Into<String>, routes: impl Into<String>) -> Self {
        let rds = Rds { config_source: Some(this_stream()), route_config_name: routes.into() };
        let manager = HttpConnectionManager {
            route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(rds)),
            http_filters: vec![HttpFilter {
                name: "router".to_owned(),
                config_type: Some(http_filter::ConfigType::TypedConfig(
                    pack_any(Router::default()),
                )),
                ..HttpFilter::default()
            }],
            ..HttpConnectionManager::default()
        };
        let name = name.into();
        let listener = Listener {
            name: name.clone(),
            api_listener: Some(ApiListener { api_listener: Some(pack_any(manager)) }),
            ..Listener::default()
        };
        Self::of(LDS, name, &listener)
    }

    /// Routes: all calls of each domain go to one cluster.
    pub fn routes<D, C>(name: impl Into<String>, hosts: impl IntoIterator<Item = (D, C)>) -> Self
    where
        D: Into<String>,
        C: Into<String>,
    {
        let hosts = hosts.into_iter().map(|(domain, cluster)| {
            host(domain.into(), route_action::ClusterSpecifier::Cluster(cluster.into()))
        });
        Self::route_configuration(name.into(), hosts.collect())
    }

    /// Routes: the calls of one domain go to several clusters by weight.
    pub fn split<C: Into<String>>(
        name: impl Into<String>,
        domain: impl Into<String>,
        clusters: impl IntoIterator<Item = (C, u32)>,
    ) -> Self {
        let clusters = clusters.into_iter().map(|(name, weight)| weighted_cluster::ClusterWeight {
            name: name.into(),
            weight: Some(UInt32Value { value: weight }),
            ..weighted_cluster::ClusterWeight::default()
        });
        let weighted =
            WeightedCluster { clusters: clusters.collect(), ..WeightedCluster::default() };
        let specifier = route_action::ClusterSpecifier::WeightedClusters(weighted);
        Self::route_configuration(name.into(), vec![host(domain.into(), specifier)])
    }

    fn route_configuration(name: String, virtual_hosts: Vec<VirtualHost>) -> Self {
        let routes = RouteConfiguration {
            name: name.clone(),
            virtual_hosts,
            ..RouteConfiguration::default()
        };
        Self::of(RDS, name, &routes)
    }

    /// A cluster whose endpoints come by the same stream, under its name.
    pub fn cluster(name: impl Into<String>) -> Self {
        let name = name.into();
        let cluster = Cluster {
            name: name.clone(),
            cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
                cluster::DiscoveryType::Eds.into(),
            )),
            eds_cluster_config: Some(cluster::EdsClusterConfig {
                eds_config: Some(this_stream()),
                ..cluster::EdsClusterConfig::default()
            }),
            ..Cluster::default()
        };
        Self::of(CDS, name, &cluster)
    }

    /// The endpoints of a cluster, in one locality.
    pub fn endpoints(
        cluster: impl Into<String>,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        let name = cluster.into();
        let assignment = ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityLbEndpoints {
                locality: Some(Locality { zone: "zone".to_owned(), ..Locality::default() }),
                lb_endpoints: addresses.into_iter().map(endpoint).collect(),
                load_balancing_weight: Some(UInt32Value { value: 1 }),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        };
        Self::of(EDS, name, &assignment)
    }

    /// A secret: an own certificate with its chain, and its key (PEM).
    pub fn certificate(name: impl Into<String>, chain: &str, key: &str) -> Self {
        let certificate = TlsCertificate {
            certificate_chain: Some(inline(chain)),
            private_key: Some(inline(key)),
            ..TlsCertificate::default()
        };
        Self::secret(name.into(), secret::Type::TlsCertificate(certificate))
    }

    /// A secret: the roots that vouch for endpoints (PEM).
    pub fn trusted_roots(name: impl Into<String>, roots: &str) -> Self {
        let context = CertificateValidationContext {
            trusted_ca: Some(inline(roots)),
            ..CertificateValidationContext::default()
        };
        Self::secret(name.into(), secret::Type::ValidationContext(context))
    }

    fn secret(name: String, r#type: secret::Type) -> Self {
        let secret = Secret { name: name.clone(), r#type: Some(r#type) };
        Self::of(SDS, name, &secret)
    }

    /// All that a name needs: its listener, its routes (`name-routes`), its cluster (`name-cluster`) and
    /// the endpoints of it.
    pub fn chain(name: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<Self> {
        let (routes, cluster) = (format!("{name}-routes"), format!("{name}-cluster"));
        vec![
            Self::listener(name, &*routes),
            Self::routes(routes, [(name, &*cluster)]),
            Self::cluster(&*cluster),
            Self::endpoints(cluster, addresses),
        ]
    }

    /// How long it is good for; by the delta protocol, and in wrappers.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Its type.
    #[must_use]
    pub fn type_url(&self) -> &str {
        &self.type_url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn any(&self) -> Any {
        Any { type_url: self.type_url.clone(), value: self.value.clone() }
    }
}

fn host(domain: String, specifier: route_action::ClusterSpecifier) -> VirtualHost {
    let any_path = RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix(String::new())),
        ..RouteMatch::default()
    };
    let action = RouteAction { cluster_specifier: Some(specifier), ..RouteAction::default() };
    let route = Route {
        r#match: Some(any_path),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    };
    VirtualHost {
        name: domain.clone(),
        domains: vec![domain],
        routes: vec![route],
        ..VirtualHost::default()
    }
}

fn endpoint(address: SocketAddr) -> LbEndpoint {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    let endpoint = Endpoint {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        ..Endpoint::default()
    };
    LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    }
}

fn inline(text: &str) -> DataSource {
    let specifier = Some(data_source::Specifier::InlineString(text.to_owned()));
    DataSource { specifier, ..DataSource::default() }
}

fn this_stream() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}
