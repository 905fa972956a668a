//! The control plane of a case, the client that a driver asks and tells, and what the plane says.

use std::{net::SocketAddr, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            core::v3::{
                Address, AggregatedConfigSource, ConfigSource, HealthStatus, Locality,
                SocketAddress, address, config_source::ConfigSourceSpecifier, socket_address,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                lb_endpoint::HostIdentifier,
            },
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route,
                route_action, route_match::PathSpecifier,
            },
        },
        service::status::v3::{
            ClientConfig, ClientStatusRequest,
            client_status_discovery_service_client::ClientStatusDiscoveryServiceClient,
        },
    },
    google::protobuf::UInt32Value,
};
use prost::Message;
use tonic::{Request, transport::Channel};
use tower_mesh::{
    control::xds::{Bootstrap, Server as Plane},
    testing::xds::{AdsServer, CDS, EDS, RDS, Resource},
};

use crate::{
    client::Client,
    interop::{
        ACCUMULATED_STATS, CLIENT_STATS, CONFIGURE, Told, called,
        messages::{
            CallMetadata, ClientConfigureRequest, ClientConfigureResponse,
            LoadBalancerAccumulatedStatsRequest, LoadBalancerAccumulatedStatsResponse,
            LoadBalancerStatsRequest, LoadBalancerStatsResponse, MethodStats, RpcType,
        },
    },
    options::Options,
    server::{self, Server},
};

/// The sums of a kind of calls.
pub(crate) const UNARY: &str = "UNARY_CALL";
pub(crate) const EMPTY: &str = "EMPTY_CALL";

pub(crate) fn words(line: &str) -> impl Iterator<Item = String> {
    line.split_whitespace().map(str::to_owned)
}

pub(crate) async fn backend(name: &str, port: u16) -> Server {
    let line = format!("--port={port} --host_name_override={name} --server_id=id-{name}");
    Server::start([127, 0, 0, 1], server::Options::parse(words(&line)).unwrap()).await.unwrap()
}

pub(crate) async fn channel(at: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{at}")).unwrap().connect().await.unwrap()
}

/// The plane, and a client of it that a driver asks and tells.
pub(crate) struct Bed {
    pub(crate) plane: AdsServer,
    pub(crate) client: Client,
    pub(crate) driver: Channel,
}

// === impl Bed ===

impl Bed {
    pub(crate) async fn start(line: &str, resources: Vec<Resource>) -> Self {
        let plane = AdsServer::start().await.unwrap();
        plane.set(resources);
        let bootstrap =
            Bootstrap::builder().node_id("client").server(Plane::insecure(plane.uri())).build();
        let line = format!("--server=xds:///test --stats_port=0 {line}");
        let options = Options::parse(words(&line)).unwrap();
        let client = Client::start([127, 0, 0, 1], options, Some(bootstrap.unwrap())).await;
        let client = client.unwrap();
        let driver = channel(client.stats).await;
        Self { plane, client, driver }
    }

    pub(crate) async fn next(&self, num_rpcs: i32) -> LoadBalancerStatsResponse {
        self.next_with(num_rpcs, &[]).await
    }

    pub(crate) async fn next_with(
        &self,
        num_rpcs: i32,
        keys: &[&str],
    ) -> LoadBalancerStatsResponse {
        let metadata_keys = keys.iter().map(|&key| key.to_owned()).collect();
        let asked = LoadBalancerStatsRequest { num_rpcs, timeout_sec: 60, metadata_keys };
        called(self.driver.clone(), CLIENT_STATS, Request::new(asked)).await.unwrap().message
    }

    /// All of a kind so far.
    pub(crate) async fn all(&self, kind: &str) -> MethodStats {
        let asked = Request::new(LoadBalancerAccumulatedStatsRequest {});
        let told: Told<LoadBalancerAccumulatedStatsResponse> =
            called(self.driver.clone(), ACCUMULATED_STATS, asked).await.unwrap();
        told.message.stats_per_method.get(kind).cloned().unwrap_or_default()
    }

    /// How many of a kind have had this status so far.
    pub(crate) async fn ended(&self, kind: &str, code: i32) -> i32 {
        self.all(kind).await.result.get(&code).copied().unwrap_or_default()
    }

    /// How many of a kind are under way.
    pub(crate) async fn in_flight(&self, kind: &str) -> i32 {
        let all = self.all(kind).await;
        all.rpcs_started - all.result.values().sum::<i32>()
    }

    pub(crate) async fn configure(&self, calls: &[(RpcType, &str)], timeout_sec: i32) {
        let types = calls.iter().map(|(kind, _)| (*kind).into()).collect();
        let metadata = calls.iter().filter(|(_, value)| !value.is_empty());
        let metadata = metadata.map(|(kind, value)| CallMetadata {
            kind: (*kind).into(),
            key: "rpc-behavior".into(),
            value: (*value).to_owned(),
        });
        let asked = ClientConfigureRequest { types, metadata: metadata.collect(), timeout_sec };
        let done: Told<ClientConfigureResponse> =
            called(self.driver.clone(), CONFIGURE, Request::new(asked)).await.unwrap();
        drop(done);
    }

    /// What the client says that it knows of its plane (CSDS, `--stats_port`).
    pub(crate) async fn known(&self) -> ClientConfig {
        let mut csds = ClientStatusDiscoveryServiceClient::new(self.driver.clone());
        let told = csds.fetch_client_status(ClientStatusRequest::default()).await.unwrap();
        // It tells of all clients of the process.
        let mut all = told.into_inner().config.into_iter();
        all.find(|it| it.client_scope == self.plane.uri()).unwrap()
    }

    /// Until these, and no others, answer.
    pub(crate) async fn until_peers(&self, peers: &[&str]) {
        self.until(async || {
            let told = self.next(20).await;
            told.num_failures == 0 && told.rpcs_by_peer.keys().eq(peers.iter())
        })
        .await;
    }

    /// Until calls of each kind have this answerer alone.
    pub(crate) async fn until_goes(&self, empty: &str, unary: &str) {
        self.until(async || {
            let told = self.next(20).await;
            let is_only = |method: &str, peer: &str| {
                let of = told.rpcs_by_method.get(method);
                of.is_some_and(|of| of.rpcs_by_peer.keys().eq([peer]))
            };
            told.num_failures == 0 && is_only("EmptyCall", empty) && is_only("UnaryCall", unary)
        })
        .await;
    }

    pub(crate) async fn until(&self, mut holds: impl AsyncFnMut() -> bool) {
        let look = async { while !holds().await {} };
        tokio::time::timeout(Duration::from_secs(90), look).await.expect("it comes");
    }

    /// No call has failed after one that has not (`--fail_on_failed_rpc`).
    pub(crate) async fn no_call_has_failed(&mut self) {
        let failed = tokio::time::timeout(Duration::from_millis(1), self.client.failed()).await;
        assert!(failed.is_err(), "{failed:?}");
    }
}

// === resources ===

pub(crate) fn cluster_of(name: &str, backends: &[&Server]) -> [Resource; 2] {
    let at = backends.iter().map(|server| server.address);
    [Resource::cluster(name), Resource::endpoints(name, at)]
}

/// A cluster with more to it.
pub(crate) fn changed(name: &str, change: impl FnOnce(&mut Cluster)) -> Resource {
    let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    let eds_config = ConfigSource { config_source_specifier: Some(ads), ..ConfigSource::default() };
    let mut cluster = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: Some(eds_config),
            ..cluster::EdsClusterConfig::default()
        }),
        ..Cluster::default()
    };
    change(&mut cluster);
    Resource::encoded(CDS, name, cluster.encode_to_vec())
}

/// All calls go to this cluster.
pub(crate) fn to(name: &str, backends: &[&Server]) -> Vec<Resource> {
    let mut all = vec![Resource::listener("test", "routes")];
    all.push(Resource::routes("routes", [("test", name)]));
    all.extend(cluster_of(name, backends));
    all
}

/// A zone of a priority and a weight, with its backends and what the plane finds of their health.
pub(crate) fn zone(
    name: &str,
    priority: u32,
    weight: u32,
    backends: &[(SocketAddr, HealthStatus)],
) -> LocalityLbEndpoints {
    let endpoint = |(at, health): &(SocketAddr, HealthStatus)| {
        let socket = SocketAddress {
            address: at.ip().to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(at.port().into())),
            ..SocketAddress::default()
        };
        let endpoint = Endpoint {
            address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
            ..Endpoint::default()
        };
        LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
            health_status: (*health).into(),
            ..LbEndpoint::default()
        }
    };
    LocalityLbEndpoints {
        locality: Some(Locality { zone: name.into(), ..Locality::default() }),
        priority,
        load_balancing_weight: Some(UInt32Value { value: weight }),
        lb_endpoints: backends.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    }
}

/// The endpoints of a cluster are those of these zones.
pub(crate) fn zones(cluster: &str, endpoints: Vec<LocalityLbEndpoints>) -> Resource {
    let assignment = ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints,
        ..ClusterLoadAssignment::default()
    };
    Resource::encoded(EDS, cluster, assignment.encode_to_vec())
}

pub(crate) fn route_to(matched: RouteMatch, cluster: &str) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..RouteAction::default()
    };
    Route { r#match: Some(matched), action: Some(route::Action::Route(action)), ..Route::default() }
}

pub(crate) fn path(path: PathSpecifier) -> RouteMatch {
    RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }
}

/// These routes, and one of everything else to `default`.
pub(crate) fn routes(first: Vec<Route>) -> Resource {
    let mut routes = first;
    routes.push(route_to(path(PathSpecifier::Prefix(String::new())), "default"));
    let host = VirtualHost {
        name: "test".into(),
        domains: vec!["*".into()],
        routes,
        ..VirtualHost::default()
    };
    let configuration = RouteConfiguration {
        name: "routes".into(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    Resource::encoded(RDS, "routes", configuration.encode_to_vec())
}

/// Two clusters of one backend each, `default` and `second`, and routes between them.
pub(crate) fn two(one: &Server, other: &Server, first: Vec<Route>) -> Vec<Resource> {
    let mut all = vec![Resource::listener("test", "routes"), routes(first)];
    all.extend(cluster_of("default", &[one]));
    all.extend(cluster_of("second", &[other]));
    all
}
