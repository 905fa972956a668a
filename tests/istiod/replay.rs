//! What was recorded of istiod, said by the test kit's server.

use std::{net::SocketAddr, path::Path, time::Duration};

use envoy_types::pb::envoy::config::{
    cluster::v3::Cluster,
    core::v3::{address, socket_address::PortSpecifier},
    endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
};
use prost::Message;
use tempfile::TempDir;
use tower_mesh::testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource};

use crate::{
    bed::{FIRST_PORT, How, Istiod, recording},
    recorded::{Step, is_whole, read},
};

/// A recording that is played.
pub(crate) struct Replay {
    folder: TempDir,
    agent: AdsServer,
    delta: bool,
    steps: Vec<Step>,
    now: Step,
}

impl Istiod for Replay {
    async fn start(scenario: &'static str, how: How) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = AdsServer::start_unix(folder.path().join("XDS")).await.unwrap();
        let steps = read(&recording(scenario, how));
        Self { folder, agent, delta: how.delta, steps, now: Step::new() }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn says(&mut self, step: usize, servers: &[SocketAddr]) {
        for (kind, named) in &self.steps[step - 1] {
            let is_whole = !self.delta && is_whole(kind);
            let resources = named.iter().filter_map(|(name, value)| {
                let value = placed(kind, value.as_deref()?, servers);
                Some(Resource::encoded(kind.clone(), name.clone(), value))
            });
            self.agent.set(resources);
            let before = self.now.entry(kind.clone()).or_default();
            let left_out = before.keys().filter(|name| is_whole && !named.contains_key(*name));
            let gone = named.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name);
            for name in left_out.chain(gone) {
                self.agent.remove(kind, name);
            }
            if is_whole {
                before.clear();
            }
            before.extend(named.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    fn refusals(&self) -> Vec<String> {
        let nacks = [LDS, RDS, CDS, EDS].into_iter().flat_map(|kind| self.agent.nacks(kind));
        nacks.filter_map(|nack| nack.error).collect()
    }
}

/// The resource with the servers of this run in place of those of the YAML.
fn placed(kind: &str, value: &[u8], servers: &[SocketAddr]) -> Vec<u8> {
    if kind == EDS {
        let mut assignment = ClusterLoadAssignment::decode(value).unwrap();
        place(&mut assignment, servers);
        return assignment.encode_to_vec();
    }
    if kind == CDS {
        let mut cluster = Cluster::decode(value).unwrap();
        if let Some(assignment) = &mut cluster.load_assignment {
            place(assignment, servers);
        }
        return cluster.encode_to_vec();
    }
    value.to_vec()
}

fn place(assignment: &mut ClusterLoadAssignment, servers: &[SocketAddr]) {
    let endpoints = assignment.endpoints.iter_mut().flat_map(|it| &mut it.lb_endpoints);
    for endpoint in endpoints {
        let Some(HostIdentifier::Endpoint(endpoint)) = &mut endpoint.host_identifier else {
            continue;
        };
        let address = endpoint.address.as_mut().and_then(|address| address.address.as_mut());
        let Some(address::Address::SocketAddress(socket)) = address else { continue };
        let Some(PortSpecifier::PortValue(port)) = &mut socket.port_specifier else { continue };
        let number = port.checked_sub(FIRST_PORT.into());
        let number = number.and_then(|number| usize::try_from(number).ok());
        if let Some(server) = number.and_then(|number| servers.get(number)) {
            *port = server.port().into();
        }
    }
}
