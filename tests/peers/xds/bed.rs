//! One control plane, the clients that ask it, and the servers that they call.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tonic::{Request, Status};
use tower_mesh::Mesh;

use super::{
    peer::{Calls, Outcome, Peer, Who},
    plane::{Kind, Plane},
    resources::socket_listener,
};
use crate::program::free_port;
use crate::support::{HelloRequest, Server, hello};

/// What the calls of each came to.
pub(crate) type Outcomes = BTreeMap<Who, Vec<Outcome>>;

/// A plane, and clients of it.
pub(crate) struct Bed {
    pub(crate) plane: Plane,
    pub(crate) peers: Vec<Peer>,
    /// Where Envoy listens, if it is one of them.
    pub(crate) port: Option<u16>,
}

/// The same with a listener for Envoy at this port: a client's, which it does not know.
pub(crate) fn with_port(port: Option<u16>, resources: &[Value]) -> Vec<Value> {
    let mut all = resources.to_vec();
    let client =
        resources.iter().find(|it| it["name"] == "greeter" && !it["apiListener"].is_null());
    if let (Some(port), Some(client)) = (port, client) {
        all.push(socket_listener(port, &client["apiListener"]["apiListener"]));
    }
    all
}

/// A bootstrap that asks the servers at these ports, in turn.
pub(crate) fn bootstrap(ports: &[u16], features: &[&str]) -> String {
    let one = |port: &u16| {
        let features: Vec<&str> = ["xds_v3"].iter().chain(features).copied().collect();
        json!({
            "server_uri": format!("127.0.0.1:{port}"),
            "channel_creds": [{"type": "insecure"}],
            "server_features": features,
        })
    };
    let servers: Vec<Value> = ports.iter().map(one).collect();
    // grpc-js asks for a locality.
    let node = json!({"id": "NODE", "locality": {"region": "here"}});
    json!({"xds_servers": servers, "node": node}).to_string()
}

impl Bed {
    /// Starts a scripted plane that says these resources, and these clients.
    pub(crate) async fn start(clients: &[Who], resources: &[Value]) -> Self {
        let port = clients.contains(&Who::Envoy).then(free_port);
        let plane = Plane::start(Kind::Scripted, &with_port(port, resources)).await;
        let mut bed = Self { plane, peers: vec![], port };
        bed.join(clients, &bootstrap(&[bed.plane.port], &[])).await;
        bed
    }

    /// Starts these clients, too.
    pub(crate) async fn join(&mut self, clients: &[Who], bootstrap: &str) {
        let started = clients.iter().map(|who| Peer::start(*who, bootstrap, self.port));
        self.peers.extend(join_all(started).await);
    }

    /// Says these resources from now on.
    pub(crate) fn set(&self, resources: &[Value]) {
        self.plane.set(&with_port(self.port, resources));
    }

    /// Says these resources from now on, and waits until all have taken what is told of this kind.
    pub(crate) async fn change(&self, kind: &str, resources: &[Value]) {
        let known = |node| self.plane.accepted(node, kind).last().cloned();
        let nodes = self.peers.iter().map(|peer| peer.who.node());
        let before: Vec<_> = nodes.map(|node| (node, known(node))).collect();
        self.set(resources);
        for (node, before) in before {
            self.plane
                .until(node, |plane| plane.accepted(node, kind).last() != before.as_ref())
                .await;
        }
        // It was accepted, and is now put to use.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    /// Our mesh, which is one of them.
    pub(crate) fn ours(&self) -> &Mesh {
        self.peers.iter().find_map(Peer::mesh).expect("ours is one of them")
    }

    /// All make these calls, at the same time.
    pub(crate) async fn call(&mut self, calls: Calls) -> Outcomes {
        let made = self.peers.iter_mut().map(async |peer| (peer.who, peer.call(&calls).await));
        join_all(made).await.into_iter().collect()
    }
}

/// A gRPC server that answers with its name.
pub(crate) async fn named(name: &'static str) -> Server {
    Server::grpc(hello(move |_| async move { Ok(name.to_owned()) })).await
}

/// A gRPC server that answers with its name, but for the calls of a caller that this says no to, by their number.
pub(crate) async fn failing(
    name: &'static str,
    fails: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> Server {
    let seen = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    let answer = move |request: Request<HelloRequest>| {
        let caller = request.metadata().get("x-caller").map(|it| it.to_str().unwrap().to_owned());
        let number = {
            let mut seen = seen.lock().unwrap();
            let seen = seen.entry(caller.unwrap_or_default()).or_default();
            *seen += 1;
            *seen - 1
        };
        let fails = fails(number);
        async move { if fails { Err(Status::unavailable("it fails")) } else { Ok(name.to_owned()) } }
    };
    Server::grpc(hello(answer)).await
}

/// How many calls each server answered.
pub(crate) fn counts(outcomes: &[Outcome]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for who in outcomes.iter().filter_map(|outcome| outcome.who.as_deref()) {
        *counts.entry(who).or_default() += 1;
    }
    counts
}

/// How many calls failed with this code.
pub(crate) fn failed(outcomes: &[Outcome], code: i32) -> usize {
    outcomes.iter().filter(|outcome| outcome.code == Some(code)).count()
}
