//! What a control plane is to say, and the one that says it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::below;
use crate::{
    control::xds::kind::Kind,
    core::Random,
    testing::xds::{AdsServer, Order, Resource, Snapshot},
};

/// The services that both planes know.
pub(super) const SERVICES: usize = 6;
/// The endpoints of a service that a plane knows of.
pub(super) const ENDPOINTS: u8 = 6;
/// The types of what they lead to.
pub(super) const KINDS: [Kind; 4] = [Kind::Listener, Kind::Routes, Kind::Cluster, Kind::Endpoints];
/// The pasts that are remembered.
const PASTS: usize = 3;

/// What each cluster of a service has.
pub(super) type Clusters = BTreeMap<String, BTreeSet<String>>;

/// Sound as a whole: what a service leads to is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth(Vec<BTreeMap<String, BTreeSet<u8>>>);

pub(super) struct Plane {
    pub(super) server: AdsServer,
    pub(super) truth: Truth,
    number: u8,
    is_up: bool,
    pasts: Vec<Past>,
    /// The clusters that it has said, those that nothing leads to any more included.
    said: BTreeSet<String>,
    /// How many were ever made: no name is given twice.
    clusters: usize,
    /// No version is given twice: who starts anew with those of before is not heard by clients that hold them.
    versions: u64,
}

#[derive(Clone)]
struct Past {
    snapshot: Snapshot,
    truth: Truth,
    said: BTreeSet<String>,
}

pub(super) fn name(service: usize) -> String {
    format!("s{service}")
}

pub(super) fn routes(service: usize) -> String {
    format!("s{service}-routes")
}

pub(super) fn address(plane: u8, service: usize, endpoint: u8) -> SocketAddr {
    SocketAddr::from(([10, plane, u8::try_from(service).unwrap(), endpoint], 80))
}

/// At least one of them.
fn some(random: &Random) -> BTreeSet<u8> {
    let sure = below(random, usize::from(ENDPOINTS));
    let is_in = |at: &u8| usize::from(*at) == sure || below(random, 3) == 0;
    (0..ENDPOINTS).filter(is_in).collect()
}

// === impl Truth ===

impl Truth {
    pub(super) fn clusters(&self, service: usize) -> impl Iterator<Item = &String> {
        self.0[service].keys()
    }

    /// The resources of a type that these services need.
    pub(super) fn needed<'a>(
        &'a self,
        kind: Kind,
        services: impl IntoIterator<Item = &'a usize>,
    ) -> BTreeSet<String> {
        let of = |service: &usize| match kind {
            Kind::Listener => vec![name(*service)],
            Kind::Routes => vec![routes(*service)],
            Kind::Cluster | Kind::Endpoints => self.0[*service].keys().cloned().collect(),
            Kind::Secret => Vec::new(),
        };
        services.into_iter().flat_map(of).collect()
    }
}

// === impl Plane ===

impl Plane {
    pub(super) async fn start(number: u8, random: &Random) -> Self {
        let mut plane = Self {
            server: AdsServer::start_in_memory().await.unwrap(),
            truth: Truth(vec![BTreeMap::new(); SERVICES]),
            number,
            is_up: true,
            pasts: Vec::new(),
            said: BTreeSet::new(),
            clusters: 0,
            versions: 0,
        };
        for service in 0..SERVICES {
            plane.move_clusters(random, service, 1);
        }
        plane.say_all();
        plane
    }

    // === truth ===

    /// Another set of endpoints for one of the clusters of a service.
    pub(super) fn move_endpoints(&mut self, random: &Random, service: usize) {
        let clusters = &mut self.truth.0[service];
        let at = below(random, clusters.len());
        if let Some(endpoints) = clusters.values_mut().nth(at) {
            *endpoints = some(random);
        }
    }

    /// So many clusters for a service, which nobody has heard of.
    pub(super) fn move_clusters(&mut self, random: &Random, service: usize, count: usize) {
        let plane = if self.number == 0 { 'a' } else { 'b' };
        let first = self.clusters;
        self.clusters += count;
        let names = (first..self.clusters).map(|at| format!("s{service}-{plane}{at}"));
        self.truth.0[service] = names.map(|name| (name, some(random))).collect();
    }

    /// What the mesh is to have of a service.
    pub(super) fn described(&self, service: usize) -> Clusters {
        let address = |at: &u8| address(self.number, service, *at).to_string();
        let of = |(name, endpoints): (&String, &BTreeSet<u8>)| {
            (name.clone(), endpoints.iter().map(address).collect::<BTreeSet<String>>())
        };
        self.truth.0[service].iter().map(of).collect()
    }

    /// All endpoints of a service.
    pub(super) fn endpoints(&self, service: usize) -> BTreeSet<String> {
        self.described(service).into_values().flatten().collect()
    }

    fn resources(&self, service: usize) -> Vec<Resource> {
        let clusters = &self.truth.0[service];
        let split = clusters.keys().map(|name| (name.clone(), 1));
        let mut all = vec![
            Resource::listener(name(service), routes(service)),
            Resource::split(routes(service), "*", split),
        ];
        for (name, endpoints) in clusters {
            let addresses = endpoints.iter().map(|at| address(self.number, service, *at));
            all.push(Resource::cluster(name.as_str()));
            all.push(Resource::endpoints(name.as_str(), addresses));
        }
        all
    }

    // === words ===

    /// Says this in a version of its own.
    pub(super) fn say(&mut self, resources: Vec<Resource>) {
        self.versions += 1;
        self.server.set_version(&format!("{}.{}", self.number, self.versions), resources);
    }

    pub(super) fn say_service(&mut self, service: usize) {
        self.said.extend(self.truth.0[service].keys().cloned());
        self.say(self.resources(service));
    }

    pub(super) fn say_all(&mut self) {
        let all = (0..SERVICES).flat_map(|service| self.resources(service)).collect();
        self.said.extend(self.truth.0.iter().flat_map(BTreeMap::keys).cloned());
        self.say(all);
    }

    /// Has no cluster any more that nothing leads to.
    pub(super) fn tidy(&mut self) {
        let used: BTreeSet<String> =
            self.truth.0.iter().flat_map(BTreeMap::keys).cloned().collect();
        for name in self.said.difference(&used) {
            self.server.remove(Kind::Cluster.url(), name);
            self.server.remove(Kind::Endpoints.url(), name);
        }
        self.said = used;
    }

    // === pasts ===

    /// What it says now may come back.
    pub(super) fn remember(&mut self) {
        let (snapshot, truth) = (self.server.snapshot(), self.truth.clone());
        self.pasts.push(Past { snapshot, truth, said: self.said.clone() });
        if self.pasts.len() > PASTS {
            self.pasts.remove(0);
        }
    }

    /// Knows nothing any more. What is true stays so.
    pub(super) fn forget(&mut self) {
        self.server.restore(Snapshot::default());
        self.said.clear();
    }

    /// Is what it was once, if it remembers.
    pub(super) fn fall_back(&mut self, random: &Random) {
        if self.pasts.is_empty() {
            return;
        }
        let Past { snapshot, truth, said } = self.pasts[below(random, self.pasts.len())].clone();
        self.server.restore(snapshot);
        (self.truth, self.said) = (truth, said);
    }

    // === life ===

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn stop(&mut self) {
        self.server.stop();
        self.is_up = false;
    }

    pub(super) async fn resume(&mut self) {
        if !self.is_up {
            self.server.resume().await.unwrap();
            self.is_up = true;
        }
    }

    /// Is well, whatever it was.
    pub(super) async fn mend(&mut self) {
        self.server.refuse(None);
        self.server.release(Order::Made);
        self.server.silent(false);
        self.resume().await;
    }

    /// All that its streams ask for.
    pub(super) fn asked(&self, kind: Kind) -> BTreeSet<String> {
        self.server.subscriptions(kind.url()).into_iter().flatten().collect()
    }
}
