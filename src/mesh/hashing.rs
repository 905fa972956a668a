//! Which hash policies a cluster's calls obey: its own, else their route's, else one header.

use http::Request;

use crate::{
    config::{self, Balancer, HashPolicy},
    core::Random,
    route::hash::{Beside, HashKey, Hashed, Hashing},
};

/// What a cluster whose balancer hashes says of it.
#[derive(Debug, Default)]
pub(crate) struct ClusterHashing {
    own: Hashing,
    /// Where no route says more (gRFC A76).
    last: Hashing,
    /// A call without a hash has a random one.
    random: bool,
}

impl ClusterHashing {
    /// None: the balancer does not hash.
    pub(crate) fn of(cluster: &config::Cluster) -> Option<Self> {
        Self::of_balancer(cluster.balancer.as_ref()?)
    }

    fn of_balancer(balancer: &Balancer) -> Option<Self> {
        match balancer {
            Balancer::RingHash(ring) => {
                let last = ring.request_header.as_deref().map(Hashing::by_header);
                Some(Self::new(&ring.hash, last.unwrap_or_default(), true))
            }
            Balancer::Maglev(maglev) => Some(Self::new(&maglev.hash, Hashing::default(), true)),
            // Any shard will not do.
            Balancer::Sharded(sharded) => Some(Self::new(&sharded.hash, Hashing::default(), false)),
            Balancer::OverrideHost(over) => Self::of_balancer(&over.fallback),
            _ => None,
        }
    }

    fn new(own: &[HashPolicy], last: Hashing, random: bool) -> Self {
        Self { own: Hashing::new(own), last, random }
    }

    /// Whether the cluster says what calls are hashed by, whatever their route says.
    pub(crate) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// The policies that a call obeys.
    fn obeyed<'a>(&'a self, route: Option<&'a Hashing>) -> &'a Hashing {
        let given = [Some(&self.own), route, Some(&self.last)];
        let hashing = given.into_iter().flatten().find(|hashing| !hashing.is_empty());
        hashing.unwrap_or(&self.last)
    }

    /// What they ask of a request, and what that has of it.
    pub(crate) fn keys<B>(
        &self,
        route: Option<&Hashing>,
        request: &Request<B>,
        beside: Beside,
    ) -> Vec<HashKey> {
        self.obeyed(route).keys(request, beside)
    }

    /// Hashes a call; the route's policy is asked where the cluster has none.
    ///
    /// Unless it is for shards, a call without a hash has a random one, the same for all of its attempts: the next one goes to
    /// the next endpoint.
    //= Envoy LoadBalancerImpl::chooseHost: the balancer's own hash policy comes before the route's
    pub(crate) fn hash<B>(
        &self,
        route: Option<&Hashing>,
        request: &Request<B>,
        beside: Beside,
        random: &Random,
    ) -> Hashed {
        let hashing = self.obeyed(route);
        let mut hashed = hashing.hash(request, beside, || random.next());
        if self.random {
            hashed.hash = hashed.hash.or_else(|| Some(random.next()));
        }
        hashed
    }
}
