//! End to end over the loopback: subscribers, the client, and a control plane that does what a test says.

mod cached;
#[cfg(unix)]
mod credentials;
mod ends;
mod flow_control;
mod protocols;
#[cfg(feature = "tls-aws-lc-rs")]
mod secured;
mod shared;
mod trouble;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use envoy_types::pb::envoy::config::{
    cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
    route::v3::RouteConfiguration,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use prost::Message as _;
use tokio::runtime::Handle;

use super::{Batch, Registry, Subscriber, Told, one::MAX_MESSAGE_BYTES};
use crate::{
    control::xds::{
        bootstrap::{Bootstrap, Server},
        client::{Decode, Decoded, Invalid, Watched},
        kind::Kind,
    },
    testing::xds::{AdsServer, Answer, CDS, EDS, LDS, Order, RDS, Resource},
};

/// Reads names, and keeps the bytes.
struct Plain;

type Known = Arc<[u8]>;

impl Decode for Plain {
    type Resource = Known;

    fn decode(&self, kind: Kind, value: &[u8]) -> Result<Decoded<Known>, Invalid> {
        let name = match kind {
            Kind::Listener => Listener::decode(value).map(|it| it.name),
            Kind::Routes => RouteConfiguration::decode(value).map(|it| it.name),
            Kind::Cluster => Cluster::decode(value).map(|it| it.name),
            Kind::Endpoints => ClusterLoadAssignment::decode(value).map(|it| it.cluster_name),
            Kind::Secret => Secret::decode(value).map(|it| it.name),
        };
        let name = name.map_err(|error| Invalid { name: None, reason: error.to_string() })?;
        assert!(!name.ends_with("panics"), "as a bug would");
        if name.ends_with("bad") {
            return Err(Invalid { name: Some(name.into()), reason: "its name is bad".to_owned() });
        }
        Ok(Decoded { name: name.into(), resource: value.into() })
    }
}

static REGISTRY: Registry<Plain> = Registry::new();

/// A mesh, as far as it is one here.
struct Mesh {
    subscriber: Subscriber<Plain>,
    heard: VecDeque<Told<Known>>,
}

impl Mesh {
    fn of(bootstrap: Bootstrap) -> Self {
        let subscribed = REGISTRY.subscribe(Arc::new(bootstrap), Handle::current(), |_| Plain);
        Self { subscriber: subscribed.unwrap(), heard: VecDeque::new() }
    }

    fn to(servers: impl IntoIterator<Item = Server>) -> Self {
        Self::of(bootstrap(servers))
    }

    fn watch(&mut self, kind: Kind, name: &str) {
        self.subscriber.watch(kind, &name.into());
    }

    fn unwatch(&mut self, kind: Kind, name: &str) {
        self.subscriber.unwatch(kind, &name.into());
    }

    /// What it is told next of this resource.
    async fn hears(&mut self, kind: Kind, name: &str) -> Watched<Known> {
        within(async {
            loop {
                let found = self.heard.iter().position(|it| it.kind == kind && &*it.name == name);
                if let Some(told) = found.and_then(|at| self.heard.remove(at)) {
                    return told.watched;
                }
                let Batch { told, .. } = self.subscriber.next().await;
                self.heard.extend(told);
            }
        })
        .await
    }

    /// The version of what it is told next.
    async fn gets(&mut self, kind: Kind, name: &str) -> String {
        match self.hears(kind, name).await {
            Watched::Resource { version, .. } => version.to_string(),
            other => panic!("{kind} {name}: {other:?}"),
        }
    }

    /// Why it is told that there is none.
    async fn misses(&mut self, kind: Kind, name: &str) -> String {
        match self.hears(kind, name).await {
            Watched::Missing(trouble) => trouble.to_string(),
            other => panic!("{kind} {name}: {other:?}"),
        }
    }

    /// What is wrong with what stays.
    async fn is_warned_of(&mut self, kind: Kind, name: &str) -> String {
        match self.hears(kind, name).await {
            Watched::Ambient(trouble) => trouble.to_string(),
            other => panic!("{kind} {name}: {other:?}"),
        }
    }
}

fn bootstrap(servers: impl IntoIterator<Item = Server>) -> Bootstrap {
    let builder = Bootstrap::builder().node_id("orders-1");
    servers
        .into_iter()
        .fold(builder, crate::control::xds::BootstrapBuilder::server)
        .build()
        .unwrap()
}

fn plain(plane: &AdsServer) -> Server {
    Server::insecure(plane.uri())
}

/// The machine may be busy.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("nothing came within 60 s")
}

/// What must not happen has had time to.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

fn address() -> std::net::SocketAddr {
    "127.0.0.1:8080".parse().unwrap()
}
