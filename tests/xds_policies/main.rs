//! Policies of a control plane that speaks xDS, as calls meet them: how endpoints are picked, sessions,
//! limits, outliers. Over real streams and servers.
#![cfg(feature = "xds")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod limits;
mod loads;
mod localities;
mod picks;
mod sessions;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use envoy_types::{
    pb::{
        envoy::config::{
            cluster::v3::{
                Cluster, LoadBalancingPolicy,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
                load_balancing_policy::Policy,
            },
            core::v3::{
                Address, AggregatedConfigSource, ConfigSource, HealthStatus, Locality,
                SocketAddress, TypedExtensionConfig, address, config_source::ConfigSourceSpecifier,
                socket_address::PortSpecifier,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                lb_endpoint::HostIdentifier,
            },
        },
        google::protobuf::{Duration as PbDuration, UInt32Value},
    },
    util::pack_any,
};
use http::{Request, StatusCode};
use prost::{Message, Name};
use tokio::sync::Semaphore;
use tower_mesh::{
    Body, Client, Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use support::{Server, fetch, patience, reply};

const CLUSTER: &str = "users-cluster";

fn said<M: Message>(url: &str, name: &str, message: &M) -> Resource {
    Resource::encoded(url, name, message.encode_to_vec())
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn time(time: Duration) -> Option<PbDuration> {
    let nanos = i32::try_from(time.subsec_nanos()).unwrap();
    Some(PbDuration { seconds: i64::try_from(time.as_secs()).unwrap(), nanos })
}

fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

fn cluster(change: impl FnOnce(&mut Cluster)) -> Resource {
    let mut cluster = Cluster {
        name: CLUSTER.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            ..EdsClusterConfig::default()
        }),
        ..Cluster::default()
    };
    change(&mut cluster);
    said(CDS, CLUSTER, &cluster)
}

fn extension<M: Message + Name>(name: &str, message: M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack_any(message)) }
}

fn list<M: Message + Name>(policy: M) -> LoadBalancingPolicy {
    let policy = Policy { typed_extension_config: Some(extension("policy", policy)) };
    LoadBalancingPolicy { policies: vec![policy] }
}

/// The cluster under this policy.
fn under<M: Message + Name>(policy: M) -> Resource {
    cluster(|it| it.load_balancing_policy = Some(list(policy)))
}

fn endpoint(server: &Server, health: HealthStatus) -> LbEndpoint {
    let socket = SocketAddress {
        address: server.socket().ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(server.socket().port().into())),
        ..SocketAddress::default()
    };
    let endpoint = Endpoint {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        ..Endpoint::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        health_status: health.into(),
        ..LbEndpoint::default()
    }
}

/// Endpoints by zones, each of which has a weight.
fn zones(zones: impl IntoIterator<Item = (&'static str, u32, Vec<LbEndpoint>)>) -> Resource {
    let zones = zones.into_iter().map(|(zone, weight, lb_endpoints)| LocalityLbEndpoints {
        locality: Some(Locality { zone: zone.to_owned(), ..Locality::default() }),
        load_balancing_weight: number(weight),
        lb_endpoints,
        ..LocalityLbEndpoints::default()
    });
    let assignment = ClusterLoadAssignment {
        cluster_name: CLUSTER.to_owned(),
        endpoints: zones.collect(),
        ..ClusterLoadAssignment::default()
    };
    said(EDS, CLUSTER, &assignment)
}

fn at<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Resource {
    Resource::endpoints(CLUSTER, servers.into_iter().map(Server::socket))
}

/// A plane whose service `users` is the cluster, and a client that asks it.
async fn start(
    node: &str,
    resources: impl IntoIterator<Item = Resource>,
) -> (AdsServer, Mesh, Client) {
    let plane = AdsServer::start().await.unwrap();
    let routes = Resource::routes("routes", [("users", CLUSTER)]);
    plane.set([Resource::listener("users", "routes"), routes]);
    plane.set(resources);
    let (mesh, client) = join(&plane, node);
    (plane, mesh, client)
}

/// A mesh of this plane, and a client that asks it.
fn join(plane: &AdsServer, node: &str) -> (Mesh, Client) {
    let server = Plane::insecure(plane.uri());
    let bootstrap = Bootstrap::builder().node_id(node).server(server).build().unwrap();
    let mesh = Mesh::builder().seed(7).source(Xds::new(bootstrap)).build().unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

async fn named<const N: usize>(names: [&'static str; N]) -> Vec<Server> {
    let mut servers = Vec::new();
    for name in names {
        servers.push(Server::named(name).await);
    }
    servers
}

/// A server whose answers wait for leave.
async fn waiting(leave: &Arc<Semaphore>) -> Server {
    let leave = Arc::clone(leave);
    Server::start(move |_| {
        let leave = Arc::clone(&leave);
        async move {
            leave.acquire().await.unwrap().forget();
            reply("let go")
        }
    })
    .await
}

/// The text of an answer that is a success.
async fn text(client: &Client, request: Request<Body>) -> String {
    let answer = patience(fetch(client, request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    String::from_utf8_lossy(answer.body().as_ref()).into_owned()
}

/// A request with this header.
fn with(name: &str, value: &str) -> Request<Body> {
    Request::get("/").header(name, value).body(Body::empty()).unwrap()
}

async fn until(holds: impl Fn() -> bool) {
    patience(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What the mesh tells of an endpoint, if it has it.
fn told(mesh: &Mesh, at: SocketAddr) -> Option<String> {
    let told = mesh.describe();
    let clusters = told.services.iter().flat_map(|it| &it.routes).flat_map(|it| &it.clusters);
    let mut lines = clusters.flat_map(|it| &it.endpoints);
    lines.find(|line| line.starts_with(&format!("{at} "))).cloned()
}

fn is_accepted(plane: &AdsServer) {
    for kind in [LDS, RDS, CDS, EDS] {
        assert!(plane.nacks(kind).is_empty(), "{:?}", plane.nacks(kind));
    }
}
