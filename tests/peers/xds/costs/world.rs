//! The control plane that all of them ask, and the server that they all call.
//!
//! The server is there at every address of 127.0.0.0/8, so that any of 10,000 endpoints answers, and it answers with
//! the address that it was called at.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster, LoadBalancingPolicy,
                    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
                    load_balancing_policy::Policy,
                },
                core::v3::{
                    AggregatedConfigSource, ApiVersion, ConfigSource, TypedExtensionConfig,
                    config_source::ConfigSourceSpecifier,
                },
            },
            extensions::load_balancing_policies::{
                pick_first::v3::PickFirst,
                ring_hash::v3::{RingHash, ring_hash::HashFunction},
            },
        },
        google::protobuf::UInt64Value,
    },
    util::pack_any,
};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::{Message, Name};
use tokio::{net::TcpListener, time::timeout};
use tonic::codegen::Service;
use tower_mesh::testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource};

use crate::support::{GreeterServer, hello};

/// Endpoints of the large cluster.
pub(super) const BIG: u16 = 10_000;
/// Clusters of the name `many`.
const CLUSTERS: u16 = 1_000;
/// Endpoints of each of them.
const EACH: u16 = 10;
/// Where those of `many` are, and the one that `greeter` begins with; other blocks are for the large cluster.
const MANY: u8 = 250;
const ALONE: u8 = 251;
const PATIENCE: Duration = Duration::from_secs(60);
const CLUSTER: &str = "greeter-cluster";

pub(super) struct World {
    plane: AdsServer,
    /// The server's.
    port: u16,
}

impl World {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(serve(listener));
        let world = Self { plane: AdsServer::start().await.unwrap(), port };
        world.plane.set([
            Resource::listener("greeter", "greeter-routes"),
            Resource::routes("greeter-routes", [("greeter", CLUSTER)]),
            cluster(CLUSTER, PickFirst::default()),
        ]);
        world.reset();
        world.plane.set(world.many());
        world
    }

    /// A service that is split over all of these clusters. A ring is as large as it has endpoints.
    fn many(&self) -> Vec<Resource> {
        let name = |number: u16| format!("many-{number}");
        let mut all = vec![
            Resource::listener("many", "many-routes"),
            Resource::split("many-routes", "*", (0..CLUSTERS).map(|number| (name(number), 1))),
        ];
        for number in 0..CLUSTERS {
            let size = Some(UInt64Value { value: EACH.into() });
            let ring = RingHash {
                hash_function: HashFunction::XxHash.into(),
                minimum_ring_size: size,
                maximum_ring_size: size,
                ..RingHash::default()
            };
            let endpoints = (number * EACH..(number + 1) * EACH).map(|n| self.address(MANY, n));
            all.push(cluster(&name(number), ring));
            all.push(Resource::endpoints(name(number), endpoints));
        }
        all
    }

    /// Where the server is, too.
    pub(super) fn address(&self, block: u8, number: u16) -> SocketAddr {
        let [high, low] = (number + 1).to_be_bytes();
        (Ipv4Addr::new(127, block, high, low), self.port).into()
    }

    /// The only endpoint that `greeter` has to begin with.
    pub(super) fn alone(&self) -> SocketAddr {
        self.address(ALONE, 0)
    }

    /// `greeter` has one endpoint again, and what was asked is forgotten: for the next process.
    pub(super) fn reset(&self) {
        self.plane.forget_requests();
        self.plane.set([Resource::endpoints(CLUSTER, [self.alone()])]);
    }

    /// The control plane's.
    pub(super) fn port(&self) -> u16 {
        self.plane.uri().parse::<SocketAddr>().unwrap().port()
    }

    /// Tells these endpoints of `greeter`, and waits until they are acknowledged.
    pub(super) async fn tell(&self, endpoints: &[SocketAddr]) -> Result<(), String> {
        self.plane.forget_requests();
        self.plane.set([Resource::endpoints(CLUSTER, endpoints.iter().copied())]);
        let heard =
            self.plane.until(|plane| !plane.acks(EDS).is_empty() || !plane.nacks(EDS).is_empty());
        if timeout(PATIENCE, heard).await.is_err() {
            let count = endpoints.len();
            return Err(format!("{count} endpoints are not acknowledged in {PATIENCE:?}"));
        }
        let refused = self.plane.nacks(EDS);
        refused.first().map_or(Ok(()), |nack| Err(format!("refuses endpoints: {:?}", nack.error)))
    }

    /// Waits until the endpoints of all clusters of `many` are asked for by one stream.
    pub(super) async fn asked_for_all(&self) -> Result<(), String> {
        let most = |plane: &AdsServer| {
            plane.subscriptions(EDS).iter().map(BTreeSet::len).max().unwrap_or(0)
        };
        let asked = self.plane.until(|plane| most(plane) >= usize::from(CLUSTERS));
        timeout(PATIENCE, asked).await.map_err(|_| {
            format!(
                "asks for the endpoints of {} clusters, of {CLUSTERS}, in {PATIENCE:?}; {}",
                most(&self.plane),
                self.refused()
            )
        })
    }

    /// What was refused lately, for the text of a failure.
    pub(super) fn refused(&self) -> String {
        let nacks = [LDS, RDS, CDS, EDS].into_iter().flat_map(|kind| self.plane.nacks(kind));
        let errors: Vec<String> = nacks.filter_map(|nack| nack.error).take(3).collect();
        format!("refused: {errors:?}")
    }
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // Otherwise an answer's trailers wait for what the client acknowledges only after 40 ms.
        stream.set_nodelay(true).unwrap();
        let at = stream.local_addr().unwrap().ip().to_string();
        let greeter = GreeterServer::new(hello(move |_| {
            let at = at.clone();
            async move { Ok(at) }
        }));
        let service = service_fn(move |request: http::Request<Incoming>| {
            let mut greeter = greeter.clone();
            async move { greeter.call(request).await }
        });
        tokio::spawn(async move {
            let http2 = http2::Builder::new(TokioExecutor::new());
            // Clients are killed: their connections may end as they like.
            drop(http2.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A cluster under a policy by which nobody connects to all of its endpoints.
fn cluster<P: Message + Name>(name: &str, policy: P) -> Resource {
    let this_stream = ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    };
    let policy =
        TypedExtensionConfig { name: "policy".to_owned(), typed_config: Some(pack_any(policy)) };
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(this_stream),
            ..EdsClusterConfig::default()
        }),
        load_balancing_policy: Some(LoadBalancingPolicy {
            policies: vec![Policy { typed_extension_config: Some(policy) }],
        }),
        ..Cluster::default()
    };
    Resource::encoded(CDS, name, cluster.encode_to_vec())
}
