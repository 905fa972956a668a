//! A cluster and its endpoints, put together.

use super::super::{Cluster, Endpoints};
use crate::config::{self, Endpoint, LocalityBalancing, LocalityWeight};

/// So much in reserve that one endpoint of a priority that works is enough for all of it, of ten
/// thousand. Unit: percent.
pub(super) const ALL_OF_A_PRIORITY: u32 = 1_000_000;

// === impl Cluster ===

impl Cluster {
    /// The model's cluster with these endpoints.
    pub(crate) fn with(&self, endpoints: &Endpoints) -> config::Cluster {
        let mut config = self.config.clone();
        lay(&mut config, endpoints, self.weighs_localities);
        self.sockets.secure(&mut config);
        config
    }

    /// One of its endpoints, as [`with`](Self::with) has it: nothing where it is left out.
    pub(crate) fn secured(&self, mut endpoint: Endpoint) -> Option<Endpoint> {
        self.sockets.secure_one(&mut endpoint).then_some(endpoint)
    }

    /// Whether an endpoint is one of those that [`with`](Self::with) has.
    pub(crate) fn reaches(&self, endpoint: &Endpoint) -> bool {
        self.sockets.reaches(endpoint)
    }

    /// Whether it says of one of these that the mesh shows it who it is, as [`with`](Self::with) has them.
    pub(crate) fn is_shown_to(&self, endpoints: &Endpoints) -> bool {
        self.sockets.is_mutual_for(endpoints.endpoints.iter())
    }

    /// The model's cluster with the endpoints that it lists itself, or that DNS knows.
    pub(crate) fn alone(&self) -> config::Cluster {
        let mut config = self.config.clone();
        self.sockets.secure(&mut config);
        config
    }
}

/// Lays endpoints into a cluster.
pub(super) fn lay(config: &mut config::Cluster, endpoints: &Endpoints, weighs_localities: bool) {
    config.endpoints = endpoints.endpoints.to_vec();
    config.drops.clone_from(&endpoints.drops);
    config.localities.clone_from(&endpoints.localities);
    let has_weights = endpoints.localities.iter().any(|it: &LocalityWeight| it.weight > 0);
    //= gRFC A27: localities share by their weights, whatever the policy
    if weighs_localities && has_weights {
        let balancing = config.balancing.get_or_insert_default();
        if balancing.locality == LocalityBalancing::None {
            balancing.locality = LocalityBalancing::Weighted;
        }
    }
    // Nobody would get anything.
    if let Some(balancing) = &mut config.balancing
        && balancing.locality == LocalityBalancing::Weighted
        && !has_weights
    {
        balancing.locality = LocalityBalancing::None;
    }
    if let Some(percent) = endpoints.overprovisioning {
        config.balancing.get_or_insert_default().overprovisioning_percent = Some(percent);
    }
    if endpoints.weighted_health {
        config.balancing.get_or_insert_default().weighted_health = Some(true);
    }
}
