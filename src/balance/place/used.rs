//! Which endpoints of a priority this process uses.

use std::sync::Arc;

use super::parts::Endpoints;
use crate::{
    balance::{
        endpoint::Upstream,
        pick::Edge,
        subset::{deterministic, rendezvous},
    },
    config::{Health, Subsetting},
};

/// Which endpoints are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::balance) enum Used {
    Random { size: usize, above: usize, seed: u64 },
    Deterministic { size: u32, process: u32, processes: u32 },
}

// === impl Used ===

impl Used {
    pub(super) fn of(config: &Subsetting, seed: impl FnOnce() -> u64) -> Self {
        match config {
            Subsetting::Random(random) => Self::Random {
                size: random.size.unwrap_or(20) as usize,
                above: random.above.unwrap_or(100) as usize,
                seed: random.seed.unwrap_or_else(seed),
            },
            Subsetting::Deterministic(it) => Self::Deterministic {
                size: it.size.unwrap_or(12),
                process: it.process,
                processes: it.processes,
            },
        }
    }
}

/// Leaves those that are used by this process; whether any were left out.
pub(super) fn reduce<X: Upstream>(
    used: Used,
    endpoints: &mut Endpoints<'_, X>,
    edges: &mut Vec<Edge<X>>,
) -> bool {
    let before = endpoints.len();
    // One that takes no new calls is in nobody's way.
    endpoints.retain(|endpoint| endpoint.spec().health() != Health::Draining);
    match used {
        Used::Random { size, above, seed } => {
            let keys = endpoints.iter().map(|endpoint| endpoint.spec().address().to_string());
            if let Some(places) = rendezvous::subset(keys, seed, size, above) {
                let chosen = places.into_iter().filter_map(|place| endpoints.get(place as usize));
                *endpoints = chosen.copied().collect();
            }
        }
        Used::Deterministic { size, process, processes } => {
            if let Some(it) = deterministic::aperture(endpoints.len(), size, process, processes) {
                // Every process must have them in the same order.
                endpoints.sort_by_cached_key(|endpoint| endpoint.spec().address().to_string());
                let chosen = endpoints.iter().cycle().skip(it.first).take(it.len);
                *endpoints = chosen.copied().collect();
                for (endpoint, share) in
                    [(endpoints.first(), it.of_first), (endpoints.last(), it.of_last)]
                {
                    if let Some(endpoint) = endpoint.copied().filter(|_| share < 1.0) {
                        edges.push(Edge { endpoint: Arc::clone(endpoint), share });
                    }
                }
            }
        }
    }
    endpoints.len() < before
}
