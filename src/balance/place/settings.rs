//! Where to pick, compiled from the settings of a cluster.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{priority, rings::Rings, slow_start::SlowStart, used::Used, zone};
use crate::config::{self, Locality, LocalityBalancing, LocalityScope};

/// Where the rings end unless told otherwise: a region, its neighbours, a continent.
const RINGS: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(15), Duration::from_millis(80)];
/// Percent.
const THRESHOLD: f64 = 70.0;
const FULL_LOAD: u32 = 10;

/// What comes before the picking policy.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(in crate::balance) struct Placing {
    /// Something of it was said, so that there is a plan whatever the endpoints are.
    pub(in crate::balance) said: bool,
    pub(in crate::balance) rule: priority::Rule,
    /// A call fails rather than that it goes to an endpoint that is known to be bad.
    pub(in crate::balance) fail_on_panic: bool,
    pub(in crate::balance) prefer: Vec<LocalityScope>,
    pub(in crate::balance) prefer_strictly: bool,
    pub(in crate::balance) sharing: Sharing,
    pub(in crate::balance) subsetting: Option<Used>,
    pub(in crate::balance) slow_start: Option<SlowStart>,
    pub(in crate::balance) subsets: Option<config::Subsets>,
    /// One whose first check is not over has no part in the health of its priority.
    pub(in crate::balance) waits_for_check: bool,
    /// Connections are replaced when the set of endpoints changes.
    pub(in crate::balance) close_on_change: bool,
    /// Those of an endpoint are when it fails its checks.
    pub(in crate::balance) close_on_failure: bool,
}

/// What localities weigh, by their priority.
pub(in crate::balance) type LocalityWeights = HashMap<(u32, Locality), u32>;

/// How the localities of a priority share.
#[derive(Debug)]
pub(in crate::balance) enum Sharing {
    /// As if there were none.
    Together,
    Weighted(LocalityWeights),
    Zone {
        rule: zone::Rule,
        by_weight: bool,
        own_cluster: Option<String>,
    },
    Rings(ByRing),
}

/// Rings of latency.
#[derive(Debug)]
pub(in crate::balance) struct ByRing {
    pub(in crate::balance) bounds: Vec<Duration>,
    thresholds: Vec<f64>,
    pub(in crate::balance) full_load: f64,
    /// How far they are open, by the index of the priority. Locked off the path alone.
    open: Mutex<HashMap<(usize, u64), Rings>>,
}

// === impl Placing ===

impl Placing {
    /// What the settings say; `seed` is asked for where they need one and give none.
    pub(in crate::balance) fn of(cluster: &config::Cluster, seed: impl FnOnce() -> u64) -> Self {
        let balancing = cluster.balancing.clone().unwrap_or_default();
        let usual = priority::Rule::default();
        let mut fail_on_panic = balancing.fail_on_panic.unwrap_or(false);
        let sharing = match &balancing.locality {
            LocalityBalancing::None => Sharing::Together,
            LocalityBalancing::Weighted => Sharing::weighted(cluster),
            LocalityBalancing::ZoneAware(zone) => {
                fail_on_panic |= zone.fail_on_panic.unwrap_or(false);
                Sharing::zone(zone)
            }
            LocalityBalancing::Rings(rings) => Sharing::Rings(ByRing::of(rings)),
        };
        let said = cluster.balancing.is_some()
            || !cluster.localities.is_empty()
            || cluster.panic_threshold.is_some()
            || cluster.slow_start.is_some()
            || cluster.subsetting.is_some()
            || cluster.subsets.is_some()
            || cluster.outlier_detection.is_some()
            || !cluster.health_checks.is_empty();
        Self {
            said,
            rule: priority::Rule {
                overprovisioning: balancing
                    .overprovisioning_percent
                    .map_or(usual.overprovisioning, u64::from),
                weighted: balancing.weighted_health.unwrap_or(false),
                panic_threshold: cluster.panic_threshold.unwrap_or(usual.panic_threshold),
                in_order: balancing.overprovisioning_percent.is_none() && is_of_services(cluster),
            },
            fail_on_panic,
            prefer: balancing.prefer,
            prefer_strictly: balancing.prefer_strictly.unwrap_or(false),
            sharing,
            subsetting: cluster.subsetting.as_ref().map(|it| Used::of(it, seed)),
            slow_start: cluster.slow_start.as_ref().map(SlowStart::new),
            subsets: cluster.subsets.clone(),
            waits_for_check: balancing.wait_for_first_check.unwrap_or(false),
            close_on_change: balancing.close_on_change.unwrap_or(false),
            close_on_failure: balancing.close_on_failure.unwrap_or(false),
        }
    }
}

impl Placing {
    /// Whether where an endpoint belongs is said by its priority and its locality alone: not by what is measured,
    /// by the caller's place or by the other endpoints.
    pub(in crate::balance) fn is_even(&self) -> bool {
        self.prefer.is_empty()
            && self.subsetting.is_none()
            && self.slow_start.is_none()
            && self.subsets.is_none()
            && matches!(self.sharing, Sharing::Together | Sharing::Weighted(_))
    }

    /// Whether localities count for nothing.
    pub(in crate::balance) fn is_together(&self) -> bool {
        matches!(self.sharing, Sharing::Together)
    }

    /// What localities weigh, where they share by that.
    pub(in crate::balance) fn weights(&self) -> Option<&LocalityWeights> {
        match &self.sharing {
            Sharing::Weighted(weights) => Some(weights),
            _ => None,
        }
    }

    /// The seed that is in use.
    pub(in crate::balance) fn seed(&self) -> Option<u64> {
        match self.subsetting {
            Some(Used::Random { seed, .. }) => Some(seed),
            _ => None,
        }
    }
}

/// Whether its endpoints are those of SRV records.
fn is_of_services(cluster: &config::Cluster) -> bool {
    let discovery = cluster.discovery.as_ref();
    matches!(discovery, Some(config::Discovery::Dns(dns)) if dns.kind == config::DnsKind::Srv)
}

// === impl Sharing ===

impl Sharing {
    fn weighted(cluster: &config::Cluster) -> Self {
        let weight = |it: &config::LocalityWeight| ((it.priority, it.locality.clone()), it.weight);
        Self::Weighted(cluster.localities.iter().map(weight).collect())
    }

    fn zone(zone: &config::ZoneAware) -> Self {
        Self::Zone {
            rule: zone::Rule {
                min_size: zone.min_cluster_size.unwrap_or(6),
                force_local: zone.force_local_min_size.map(u64::from),
                routed: zone.routing_percent.unwrap_or(100.0) / 100.0,
            },
            by_weight: zone.by_weight.unwrap_or(false),
            own_cluster: zone.own_cluster.as_ref().map(|name| name.to_ascii_lowercase()),
        }
    }
}

// === impl ByRing ===

impl ByRing {
    fn of(config: &config::Rings) -> Self {
        let threshold = |percent: Option<f64>| percent.unwrap_or(THRESHOLD) / 100.0;
        let (bounds, mut thresholds): (Vec<_>, Vec<_>) = if config.rings.is_empty() {
            RINGS.iter().map(|bound| (*bound, threshold(None))).unzip()
        } else {
            let of = |ring: &config::Ring| (ring.round_trip, threshold(ring.threshold_percent));
            config.rings.iter().map(of).unzip()
        };
        // That of the ring beyond tells when everything is too busy.
        thresholds.push(thresholds.last().copied().unwrap_or(THRESHOLD / 100.0));
        let full_load = f64::from(config.full_load.unwrap_or(FULL_LOAD).max(1));
        Self { bounds, thresholds, full_load, open: Mutex::default() }
    }

    /// How many there are.
    pub(in crate::balance) fn len(&self) -> usize {
        self.thresholds.len()
    }

    /// What is remembered of the rings of a priority, in a part of the cluster by labels.
    pub(in crate::balance) fn with<T>(
        &self,
        level: usize,
        part: u64,
        then: impl FnOnce(&mut Rings) -> T,
    ) -> T {
        let mut open: MutexGuard<'_, _> = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        then(open.entry((level, part)).or_insert_with(|| Rings::new(self.thresholds.clone())))
    }
}
