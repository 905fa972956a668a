//! Resources as bytes have them: most are sound, some are nonsense.

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{self, TransportSocketMatch},
            },
            core::v3::{
                Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, Locality,
                Metadata, SocketAddress, TransportSocket, address,
                config_source::ConfigSourceSpecifier, data_source, socket_address,
                transport_socket,
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
            clusters::aggregate::v3::ClusterConfig,
            filters::{
                http::router::v3::Router,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
                },
            },
            transport_sockets::{
                internal_upstream::v3::InternalUpstreamTransport,
                raw_buffer::v3::RawBuffer,
                tls::v3::{
                    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, Secret,
                    TlsCertificate, UpstreamTlsContext, common_tls_context, secret,
                },
            },
        },
    },
    google::protobuf::{Any, Struct, UInt32Value, Value, value},
};
use envoy_types::util::pack_any;
use prost::{Message, Name};

use crate::control::xds::kind::Kind;

pub(super) const SERVICES: [&str; 4] = ["a", "b.prod", "c:8080", "D"];
pub(super) const LISTENERS: [&str; 3] = ["l0", "l1", "l2"];
const ROUTES: [&str; 3] = ["r0", "r1", "r2"];
const CLUSTERS: [&str; 7] = ["c0", "c1", "C1", "c2", "c3", "", "c\u{7}é"];
const SECRETS: [&str; 2] = ["s0", "s1"];
const ENDPOINTS: [&str; 4] = ["c0", "e0", "e1", "c3"];
const DOMAINS: [&str; 7] = ["*", "a", "b.prod", "*.prod", "c:8080", "c", ""];
const HOSTS: [&str; 6] = ["10.0.0.1", "10.0.0.2", "::1", "127.0.0.1", "name", ""];

/// What the bytes say, one after the other; 0 when they are over.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    pub(super) fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        usize::from(self.next()) % most
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(super) fn text(&mut self, all: &[&str]) -> String {
        self.of(all).to_owned()
    }

    pub(super) fn often(&mut self) -> bool {
        self.below(4) > 0
    }

    /// Eight of them.
    pub(super) fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| (word << 8) | u64::from(self.next()))
    }

    pub(super) fn number(&mut self) -> Option<UInt32Value> {
        let value = [0, 1, 2, 100, u32::MAX][self.below(5)];
        (self.below(5) > 0).then_some(UInt32Value { value })
    }

    // === resources ===

    fn listener(&mut self, name: &str) -> Vec<u8> {
        let routes = if self.often() {
            let route_config_name = self.text(&ROUTES);
            let config_source = self.often().then(this_stream);
            http_connection_manager::RouteSpecifier::Rds(Rds { config_source, route_config_name })
        } else {
            let inline = self.configuration("inline");
            http_connection_manager::RouteSpecifier::RouteConfig(inline)
        };
        let mut filters = Vec::new();
        if self.below(4) == 0 {
            filters.push(filter("fault", self.fault()));
        }
        if self.below(4) == 0 {
            filters.push(filter("session", self.session()));
        }
        if self.below(16) == 0 {
            filters.push(filter("unknown", Locality::default()));
        }
        if self.below(16) > 0 {
            filters.push(filter("router", Router::default()));
        }
        let manager = HttpConnectionManager {
            route_specifier: Some(routes),
            http_filters: filters,
            ..HttpConnectionManager::default()
        };
        let api_listener = Some(ApiListener { api_listener: Some(pack_any(manager)) });
        Listener { name: name.to_owned(), api_listener, ..Listener::default() }.encode_to_vec()
    }

    fn configuration(&mut self, name: &str) -> RouteConfiguration {
        let virtual_hosts = (0..=self.below(3)).map(|at| self.host(at)).collect();
        RouteConfiguration { name: name.to_owned(), virtual_hosts, ..RouteConfiguration::default() }
    }

    fn host(&mut self, at: usize) -> VirtualHost {
        let domains = (0..=self.below(3)).map(|_| self.text(&DOMAINS)).collect();
        let routes = (0..=self.below(3)).map(|_| self.route()).collect();
        VirtualHost { name: at.to_string(), domains, routes, ..VirtualHost::default() }
    }

    fn route(&mut self) -> Route {
        let specifier = if self.often() {
            let cluster = self.text(&CLUSTERS);
            route_action::ClusterSpecifier::Cluster(cluster)
        } else {
            let weight = |of: &mut Self| weighted_cluster::ClusterWeight {
                name: of.text(&CLUSTERS),
                weight: of.number(),
                ..weighted_cluster::ClusterWeight::default()
            };
            let clusters = (0..=self.below(4)).map(|_| weight(self)).collect();
            let weighted = WeightedCluster { clusters, ..WeightedCluster::default() };
            route_action::ClusterSpecifier::WeightedClusters(weighted)
        };
        let hashes = if self.below(3) == 0 { self.below(4) } else { 0 };
        let action = RouteAction {
            cluster_specifier: Some(specifier),
            retry_policy: (self.below(4) == 0).then(|| self.retry()),
            hash_policy: (0..hashes).map(|_| self.hash_policy()).collect(),
            timeout: self.time(),
            ..RouteAction::default()
        };
        let prefix = self.text(&["", "/", "/a", "a"]);
        let matched = RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix(prefix)),
            ..RouteMatch::default()
        };
        let action = if self.below(8) == 0 {
            route::Action::Redirect(self.redirect())
        } else {
            route::Action::Route(action)
        };
        Route { r#match: Some(matched), action: Some(action), ..Route::default() }
    }

    fn cluster(&mut self, name: &str) -> Vec<u8> {
        let mut pb = Cluster { name: name.to_owned(), ..Cluster::default() };
        let of_type =
            |it: cluster::DiscoveryType| Some(cluster::ClusterDiscoveryType::Type(i32::from(it)));
        match self.below(8) {
            0 => {
                let clusters = (0..=self.below(3)).map(|_| self.text(&CLUSTERS)).collect();
                let custom = cluster::CustomClusterType {
                    name: "envoy.clusters.aggregate".to_owned(),
                    typed_config: Some(pack_any(ClusterConfig { clusters })),
                };
                pb.cluster_discovery_type =
                    Some(cluster::ClusterDiscoveryType::ClusterType(custom));
                pb.lb_policy = cluster::LbPolicy::ClusterProvided.into();
            }
            1 => {
                pb.cluster_discovery_type = of_type(cluster::DiscoveryType::Static);
                pb.load_assignment = Some(self.assignment(name));
            }
            2 => {
                pb.cluster_discovery_type = of_type(cluster::DiscoveryType::LogicalDns);
                pb.load_assignment = Some(self.assignment(name));
            }
            _ => {
                pb.cluster_discovery_type = of_type(cluster::DiscoveryType::Eds);
                let service_name =
                    if self.below(3) == 0 { self.text(&ENDPOINTS) } else { String::new() };
                let eds_config = Some(this_stream());
                pb.eds_cluster_config =
                    Some(cluster::EdsClusterConfig { eds_config, service_name });
            }
        }
        if self.below(4) == 0 {
            pb.transport_socket = Some(self.socket());
        }
        let choices = if self.below(4) == 0 { self.below(3) } else { 0 };
        pb.transport_socket_matches = (0..choices).map(|_| self.choice()).collect();
        if self.below(4) == 0 {
            pb.lb_policy = i32::from(self.next() % 7);
        }
        if self.below(2) == 0 {
            pb.load_balancing_policy = Some(self.policies(3));
        }
        if self.below(2) == 0 {
            pb.outlier_detection = Some(self.outliers());
        }
        if self.below(4) == 0 {
            pb.circuit_breakers = Some(self.breakers());
        }
        if self.below(4) == 0 {
            pb.common_lb_config = Some(self.common());
        }
        pb.encode_to_vec()
    }

    /// How endpoints are secured that say so themselves.
    fn choice(&mut self) -> TransportSocketMatch {
        let labels = self.labels();
        let transport_socket = match self.below(4) {
            0 => socket_of(pack_any(RawBuffer {})),
            1 => socket_of(pack_any(InternalUpstreamTransport::default())),
            _ => self.socket(),
        };
        TransportSocketMatch {
            name: "choice".to_owned(),
            r#match: Some(labels),
            transport_socket: Some(transport_socket),
        }
    }

    /// What an endpoint says of how it is secured, and what is looked for there.
    fn labels(&mut self) -> Struct {
        let mode = [Some("istio"), Some("disabled"), None][self.below(3)];
        let text = |mode: &str| Value { kind: Some(value::Kind::StringValue(mode.to_owned())) };
        let field = mode.map(|mode| ("tlsMode".to_owned(), text(mode)));
        Struct { fields: field.into_iter().collect() }
    }

    /// How a cluster is secured by secrets.
    fn socket(&mut self) -> TransportSocket {
        let secret =
            |name: &str| SdsSecretConfig { name: name.to_owned(), sds_config: Some(this_stream()) };
        let trust = secret(SECRETS[self.below(2)]);
        let own = self.often().then(|| secret(SECRETS[self.below(2)]));
        let common = CommonTlsContext {
            tls_certificate_sds_secret_configs: own.into_iter().collect(),
            validation_context_type: Some(
                common_tls_context::ValidationContextType::ValidationContextSdsSecretConfig(trust),
            ),
            ..CommonTlsContext::default()
        };
        let context = UpstreamTlsContext {
            common_tls_context: Some(common),
            sni: self.text(&["", "a.prod"]),
            auto_host_sni: self.below(4) == 0,
            ..UpstreamTlsContext::default()
        };
        socket_of(pack_any(context))
    }

    fn secret(&mut self, name: &str) -> Secret {
        let pem = |of: &str| DataSource {
            specifier: Some(data_source::Specifier::InlineString(format!("-----BEGIN {of}-----"))),
            ..DataSource::default()
        };
        let is_trust = self.often();
        let r#type = if is_trust {
            secret::Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(pem(["CERTIFICATE", "NOTHING"][self.below(2)])),
                ..CertificateValidationContext::default()
            })
        } else {
            secret::Type::TlsCertificate(TlsCertificate {
                certificate_chain: Some(pem("CERTIFICATE")),
                private_key: Some(pem("PRIVATE KEY")),
                ..TlsCertificate::default()
            })
        };
        Secret { name: name.to_owned(), r#type: Some(r#type) }
    }

    fn assignment(&mut self, name: &str) -> ClusterLoadAssignment {
        let group = |of: &mut Self| LocalityLbEndpoints {
            locality: of
                .often()
                .then(|| Locality { zone: of.text(&["", "a", "b"]), ..Locality::default() }),
            lb_endpoints: (0..of.below(4)).map(|_| of.endpoint()).collect(),
            load_balancing_weight: of.number(),
            priority: [0, 0, 1, 2][of.below(4)],
            ..LocalityLbEndpoints::default()
        };
        let endpoints = (0..self.below(4)).map(|_| group(self)).collect();
        let cluster_name = name.to_owned();
        ClusterLoadAssignment { cluster_name, endpoints, ..ClusterLoadAssignment::default() }
    }

    fn endpoint(&mut self) -> LbEndpoint {
        let port = [80, 81, 0, 70_000][self.below(4)];
        let socket = SocketAddress {
            address: self.text(&HOSTS),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        };
        let address = Some(Address { address: Some(address::Address::SocketAddress(socket)) });
        let hostname = self.text(&["", "e.prod"]);
        let endpoint = Endpoint { address, hostname, ..Endpoint::default() };
        let of_sockets = ("envoy.transport_socket_match".to_owned(), self.labels());
        let filter_metadata = [of_sockets].into();
        LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            load_balancing_weight: self.number(),
            metadata: Some(Metadata { filter_metadata, ..Metadata::default() }),
            ..LbEndpoint::default()
        }
    }

    /// A resource of this name, now and then with bytes that nobody wrote.
    pub(super) fn resource(&mut self, kind: Kind, name: &str) -> Vec<u8> {
        let mut bytes = match kind {
            Kind::Listener => self.listener(name),
            Kind::Routes => self.configuration(name).encode_to_vec(),
            Kind::Cluster => self.cluster(name),
            Kind::Endpoints => self.assignment(name).encode_to_vec(),
            Kind::Secret => self.secret(name).encode_to_vec(),
        };
        if self.below(8) == 0 {
            for _ in 0..=self.below(4) {
                let at = usize::from(self.next()) | (usize::from(self.next()) << 8);
                let byte = self.next();
                let length = bytes.len().max(1);
                if let Some(place) = bytes.get_mut(at % length) {
                    *place = byte;
                }
            }
        }
        bytes
    }
}

fn this_stream() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

fn socket_of(any: Any) -> TransportSocket {
    let config_type = Some(transport_socket::ConfigType::TypedConfig(any));
    TransportSocket { name: "socket".to_owned(), config_type }
}

fn filter<M: Message + Name>(name: &str, message: M) -> HttpFilter {
    let config_type = Some(http_filter::ConfigType::TypedConfig(pack_any(message)));
    HttpFilter { name: name.to_owned(), config_type, ..HttpFilter::default() }
}
