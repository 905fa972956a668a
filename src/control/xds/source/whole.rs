//! The way from bytes to a mesh, driven by bytes, for the fuzz target and a property test: whatever
//! resources say and whatever becomes of them, nothing panics, and no service that is published names a
//! cluster that is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a finding is a panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex},
};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, OutlierDetection, cluster},
            core::v3::{
                Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, Locality,
                SocketAddress, TransportSocket, address, config_source::ConfigSourceSpecifier,
                data_source, socket_address, transport_socket,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
            },
            listener::v3::{ApiListener, Listener},
            route::v3::{
                RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                WeightedCluster, route, route_action, route_match, weighted_cluster,
            },
        },
        extensions::{
            clusters::aggregate::v3::ClusterConfig,
            filters::{
                http::{fault::v3::HttpFault, router::v3::Router},
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
                },
            },
            transport_sockets::tls::v3::{
                CertificateValidationContext, CommonTlsContext, SdsSecretConfig, Secret,
                TlsCertificate, UpstreamTlsContext, common_tls_context, secret,
            },
        },
    },
    google::protobuf::{Any, UInt32Value},
};
use prost::{Message, Name};

use super::publish::{Publish, Silent};
use crate::{
    Mesh,
    control::xds::{
        bootstrap::Bootstrap,
        graph::{Do, Graph, Id, Lack, Service, Why},
        kind::Kind,
        resource::{Decoder, Resource},
    },
    discover::{Discover, Publisher},
};

const SERVICES: [&str; 4] = ["a", "b.prod", "c:8080", "D"];
const LISTENERS: [&str; 3] = ["l0", "l1", "l2"];
const ROUTES: [&str; 3] = ["r0", "r1", "r2"];
const CLUSTERS: [&str; 7] = ["c0", "c1", "C1", "c2", "c3", "", "c\u{7}é"];
const SECRETS: [&str; 2] = ["s0", "s1"];
const ENDPOINTS: [&str; 4] = ["c0", "e0", "e1", "c3"];
const DOMAINS: [&str; 7] = ["*", "a", "b.prod", "*.prod", "c:8080", "c", ""];
const HOSTS: [&str; 6] = ["10.0.0.1", "10.0.0.2", "::1", "127.0.0.1", "name", ""];

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, most: usize) -> usize {
        usize::from(self.next()) % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn text(&mut self, all: &[&str]) -> String {
        self.of(all).to_owned()
    }

    fn often(&mut self) -> bool {
        self.below(4) > 0
    }

    fn number(&mut self) -> Option<UInt32Value> {
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
            filters.push(filter("fault", &HttpFault::default()));
        }
        if self.below(16) == 0 {
            filters.push(filter("unknown", &Locality::default()));
        }
        if self.below(16) > 0 {
            filters.push(filter("router", &Router::default()));
        }
        let manager = HttpConnectionManager {
            route_specifier: Some(routes),
            http_filters: filters,
            ..HttpConnectionManager::default()
        };
        let api_listener = Some(ApiListener { api_listener: Some(packed(&manager)) });
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
        let retry = RetryPolicy { retry_on: "5xx".to_owned(), ..RetryPolicy::default() };
        let action = RouteAction {
            cluster_specifier: Some(specifier),
            retry_policy: (self.below(4) == 0).then_some(retry),
            ..RouteAction::default()
        };
        let prefix = self.text(&["", "/", "/a", "a"]);
        let matched = RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix(prefix)),
            ..RouteMatch::default()
        };
        Route {
            r#match: Some(matched),
            action: Some(route::Action::Route(action)),
            ..Route::default()
        }
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
                    typed_config: Some(packed(&ClusterConfig { clusters })),
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
        if self.below(4) == 0 {
            pb.lb_policy = i32::from(self.next() % 7);
        }
        if self.below(4) == 0 {
            let consecutive_5xx = self.number();
            pb.outlier_detection =
                Some(OutlierDetection { consecutive_5xx, ..OutlierDetection::default() });
        }
        pb.encode_to_vec()
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
            ..UpstreamTlsContext::default()
        };
        TransportSocket {
            name: "tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(packed(&context))),
        }
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
        let endpoint = Endpoint { address, ..Endpoint::default() };
        LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            load_balancing_weight: self.number(),
            ..LbEndpoint::default()
        }
    }

    /// A resource of this name, now and then with bytes that nobody wrote.
    fn resource(&mut self, kind: Kind, name: &str) -> Vec<u8> {
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

fn packed<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn filter<M: Message + Name>(name: &str, message: &M) -> HttpFilter {
    let config_type = Some(http_filter::ConfigType::TypedConfig(packed(message)));
    HttpFilter { name: name.to_owned(), config_type, ..HttpFilter::default() }
}

/// A source that hands its publisher out.
struct Handed(Arc<Mutex<Option<Publisher>>>);

impl Discover for Handed {
    fn name(&self) -> String {
        "script".to_owned()
    }

    fn run(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            *self.0.lock().unwrap() = Some(publisher);
            std::future::pending::<()>().await;
        })
    }
}

/// The mesh, the graph that feeds it, and what it was given.
struct World {
    mesh: Mesh,
    decoder: Decoder,
    graph: Graph,
    publish: Publish,
    publisher: Publisher,
    watched: BTreeSet<Id>,
    /// What is known of each, to know what may be ambient.
    held: BTreeSet<Id>,
    /// The clusters that are published, or known to be missing.
    clusters: BTreeSet<String>,
    /// The clusters that each service names.
    services: BTreeMap<String, BTreeSet<String>>,
    /// The clusters that take over from each.
    lines: BTreeMap<String, Vec<String>>,
}

impl World {
    fn settle(&mut self) {
        for step in 0.. {
            assert!(step < 10_000, "it never ends");
            let Some(wanted) = self.graph.next() else { break };
            let (mut service, mut line) = (None, None);
            match &wanted {
                Do::Watch(id) => assert!(self.watched.insert(id.clone()), "{id:?} twice"),
                Do::Unwatch(id) => {
                    assert!(self.watched.remove(id), "{id:?} was not watched");
                    self.held.remove(id);
                    self.publish.mended(id.0, &id.1);
                }
                Do::Cluster { cluster, .. } => {
                    self.clusters.insert(cluster.name.to_string());
                    let names = cluster.config.failover.iter().flat_map(|it| it.clusters.clone());
                    line = Some((cluster.name.to_string(), names.collect()));
                }
                Do::NoCluster { name, .. } => {
                    self.lines.remove(&**name);
                    self.clusters.insert(name.to_string());
                }
                Do::RemoveCluster(name) => {
                    self.lines.remove(&**name);
                    assert!(self.clusters.remove(&**name), "{name} was not there");
                }
                Do::Service { name, target: Service { listener, routes, authority, .. } } => {
                    let host = listener.host(routes, authority).expect("it was found before");
                    let names = host.clusters().into_iter().chain(listener.clusters());
                    service = Some((name.to_string(), names.map(str::to_owned).collect()));
                }
                // What is in use stays where nobody can be asked.
                Do::NoService { lack: Lack { why: Why::Away, .. }, .. } => {}
                Do::NoService { name, .. } | Do::RemoveService(name) => {
                    self.services.remove(&**name);
                }
            }
            if matches!(wanted, Do::Watch(_) | Do::Unwatch(_)) {
                continue;
            }
            match self.publish.publish(wanted) {
                Ok(()) => {
                    self.services.extend(service);
                    self.lines.extend(line);
                }
                // The last good one stays.
                Err(reason) => self.graph.refused(&reason),
            }
            self.check();
        }
    }

    /// At any moment, for calls come at any moment.
    fn check(&self) {
        for (service, names) in &self.services {
            for name in names {
                assert!(self.clusters.contains(name), "{service} names {name}, which is not there");
            }
        }
        for (cluster, names) in &self.lines {
            for name in names {
                assert!(
                    self.clusters.contains(name),
                    "{cluster} leads to {name}, which is not there"
                );
            }
        }
        for reason in self.mesh.describe().refused {
            let is_lost = reason.part.starts_with("service ")
                && reason.text.contains("which no source defines");
            assert!(!is_lost, "{reason}");
        }
    }

    fn explain(&self) {
        for name in SERVICES {
            let uri = format!("http://{name}/a");
            let request = http::Request::get(uri).body(()).expect("a request");
            if let Ok(explained) = self.mesh.explain(&request) {
                drop(explained.to_string());
            }
        }
        drop(self.mesh.describe().to_string());
    }
}

/// Runs what the bytes say.
pub(crate) fn run(script: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { steps(Bytes(script)).await });
}

async fn steps(mut script: Bytes<'_>) {
    let handed = Arc::new(Mutex::new(None));
    let source = Handed(Arc::clone(&handed));
    let mesh = Mesh::builder().source(source).dry_run().build().expect("a mesh");
    let publisher = loop {
        if let Some(publisher) = handed.lock().unwrap().take() {
            break publisher;
        }
        tokio::task::yield_now().await;
    };
    drop(publisher.asked());
    publisher.synced();
    let bootstrap = Bootstrap::builder()
        .server(super::super::Server::insecure("127.0.0.1:1"))
        .node_id("n")
        .build()
        .expect("a bootstrap");
    let mut world = World {
        mesh,
        decoder: super::Xds::decoder(&bootstrap),
        graph: Graph::default(),
        publish: Publish::new(publisher.clone(), Silent::Plaintext),
        publisher,
        watched: BTreeSet::new(),
        held: BTreeSet::new(),
        clusters: BTreeSet::new(),
        services: BTreeMap::new(),
        lines: BTreeMap::new(),
    };
    while !script.0.is_empty() {
        match script.below(8) {
            0 => {
                let name = script.of(&SERVICES);
                let listener = script.of(&LISTENERS);
                world.graph.ask(name, listener, name);
            }
            1 => {
                let name = script.of(&SERVICES);
                world.graph.forget(name);
                world.publisher.forget(name);
                world.services.remove(name);
            }
            2 => world.explain(),
            step => {
                let count = world.watched.len();
                if count == 0 {
                    continue;
                }
                let at = script.below(count);
                let Some((kind, name)) = world.watched.iter().nth(at).cloned() else { continue };
                let now = if step == 3 { None } else { said(&mut script, &world, kind, &name) };
                let now = match now {
                    Some(resource) => Ok(resource),
                    // What was good stays, as the client has it.
                    None if world.held.contains(&(kind, Arc::clone(&name))) && script.often() => {
                        continue;
                    }
                    None => Err(Lack {
                        reason: "gone".into(),
                        why: script.of(&[Why::Absent, Why::Away, Why::Denied, Why::Refused]),
                    }),
                };
                if now.is_ok() {
                    world.held.insert((kind, Arc::clone(&name)));
                }
                world.graph.told(kind, &name, now);
            }
        }
        // Changes may come together.
        if script.often() {
            world.settle();
        }
    }
    world.settle();
    world.explain();
    for name in SERVICES {
        world.graph.forget(name);
        world.publisher.forget(name);
        world.services.remove(name);
    }
    world.settle();
    assert!(world.watched.is_empty(), "{:?} is watched for nobody", world.watched);
    assert!(world.clusters.is_empty(), "{:?} stays", world.clusters);
    let left = world.mesh.describe();
    assert!(left.services.is_empty(), "{left}");
    assert!(left.refused.is_empty(), "{left}");
}

fn said(script: &mut Bytes<'_>, world: &World, kind: Kind, name: &Arc<str>) -> Option<Resource> {
    let bytes = script.resource(kind, name);
    let (named, resource) = world.decoder.decode(kind, &bytes).ok()?;
    // The client tells of a name what is of that name.
    (named == *name).then_some(resource)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn whatever_resources_say_no_service_names_a_cluster_that_is_not_there(
            script in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            run(&script);
        }
    }
}
