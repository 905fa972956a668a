//! What comes before the pick: priorities, localities, panic.

use std::time::Duration;

/// What comes before the pick: priorities, localities, panic (xDS `CommonLbConfig`).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Balancing {
    /// How much a priority is taken to have in reserve. Unit: percent. Default: 140; where DNS gives
    /// the endpoints by SRV records, the first priority of which one works gets all (RFC 2782). Range:
    /// from 100. Source: xDS `overprovisioning_factor`.
    pub overprovisioning_percent: Option<u32>,
    /// Whether the health of a priority is weighed by its endpoints' weights. Default: false.
    /// Source: xDS `weighted_priority_health`.
    pub weighted_health: Option<bool>,
    /// Whether calls fail instead of using unhealthy endpoints in panic. Default: false. Source:
    /// xDS `fail_traffic_on_panic`.
    pub fail_on_panic: Option<bool>,
    /// How localities share the load. Default: as if there were none.
    pub locality: LocalityBalancing,
    /// What of the caller's place is preferred, most important first: each kind of match is a
    /// priority, so that calls go on to what is further away as health demands. The network and the
    /// cluster are not supported yet. Source: WDS `routing_preference`, Consul
    /// `PrioritizeByLocality`, Kubernetes `trafficDistribution`.
    pub prefer: Vec<LocalityScope>,
    /// Whether only what matches in everything preferred is used, even when it is down (WDS
    /// `STRICT`). Default: false.
    pub prefer_strictly: Option<bool>,
    /// How long a priority may take to connect before the next is used. Default: 10 s. Not supported
    /// yet. Source: gRFC A56.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub priority_failover: Option<Duration>,
    /// How long a priority that is no longer needed is kept. Default: 15 min. Not supported yet.
    /// Source: gRFC A56.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub priority_retention: Option<Duration>,
    /// How long updates are gathered before they count. Default: 1 s (Envoy). Not supported yet.
    /// Source: xDS `update_merge_window`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub update_merge_window: Option<Duration>,
    /// Whether an endpoint has no part in the health of its priority before its first check is over:
    /// many that come at once make it neither unwell nor panic. Default: false: they count as unwell.
    /// Source: xDS `ignore_new_hosts_until_first_hc`.
    pub wait_for_first_check: Option<bool>,
    /// Whether connections are replaced when an endpoint comes, goes or changes: idle ones close at
    /// once, busy ones when they are done. Default: false. Source: xDS `close_connections_on_host_set_change`.
    pub close_on_change: Option<bool>,
    /// Whether those of an endpoint are when its active checks find it unhealthy. Default: false.
    /// Source: xDS `close_connections_on_host_health_failure`.
    pub close_on_failure: Option<bool>,
}

/// How localities share the load.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum LocalityBalancing {
    /// As if there were none.
    #[default]
    None,
    /// By their weights (xDS `locality_weighted_lb_config`, `wrr_locality`).
    Weighted,
    /// The caller's own zone first, as far as its share of callers allows (Envoy).
    ZoneAware(ZoneAware),
    /// The nearest by measured round-trip time first, as far as their load allows (Meta's
    /// `ServiceRouter`).
    Rings(Rings),
}

/// The caller's own zone first, as far as that leaves every endpoint the same load.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ZoneAware {
    /// The share of calls it concerns. Unit: percent. Default: 100. Range: 0..=100.
    pub routing_percent: Option<f64>,
    /// Endpoints below which it is off. Default: 6.
    pub min_cluster_size: Option<u64>,
    /// Whether calls fail instead of leaving the zone in panic. Default: false.
    pub fail_on_panic: Option<bool>,
    /// Endpoints of the own zone from which all calls stay there. Default: off. Source: xDS
    /// `force_local_zone.min_size`.
    pub force_local_min_size: Option<u32>,
    /// Whether shares count endpoints' weights. Default: false: they count endpoints. Source:
    /// xDS `locality_basis`.
    pub by_weight: Option<bool>,
    /// The cluster of the caller's own service, which tells how many callers are in each zone.
    /// Default: none: the zone is kept to only as `force_local_min_size` says. Source: Envoy
    /// `local_cluster_name`.
    pub own_cluster: Option<String>,
}

/// Rings of endpoints by the round-trip time to them. The nearest ring takes the calls; the next
/// one opens when the mean load of the nearer ones passes its threshold, and takes what is above it
/// (docs/BALANCING.md has the formula). Source: Meta's `ServiceRouter`, OSDI '23.
///
/// The round trip to an endpoint is the shortest time that a connection to it took to be made, before
/// any TLS. One that was not connected to yet is taken to be as far away as the nearest measured one
/// of its locality; where nothing of a locality is measured, it is in the nearest ring, so that it is
/// found out.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Rings {
    /// The rings, nearest first; what is beyond the last one is a further ring. Default: 2 ms, 15 ms,
    /// 80 ms (a region, its neighbours, a continent). At most 16.
    pub rings: Vec<Ring>,
    /// Calls in flight that make a load of 100 % of an endpoint. They are those of this process
    /// alone. Default: 10. Range: from 1.
    pub full_load: Option<u32>,
}

/// One ring of latency.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Ring {
    /// The longest round trip of its endpoints. Range: over that of the ring before.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::Time"))]
    pub round_trip: Duration,
    /// The mean load of it and the nearer rings above which the next one opens. Unit: percent.
    /// Default: 70. Range: over 0, at most 100.
    #[cfg_attr(feature = "serde", serde(default))]
    pub threshold_percent: Option<f64>,
}

impl Ring {
    /// A ring of endpoints with a round trip of at most this.
    #[must_use]
    pub fn new(round_trip: Duration) -> Self {
        Self { round_trip, threshold_percent: None }
    }

    /// Sets the mean load above which the next ring opens. Unit: percent.
    #[must_use]
    pub fn threshold_percent(mut self, percent: f64) -> Self {
        self.threshold_percent = Some(percent);
        self
    }
}

/// A part of a caller's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LocalityScope {
    /// The network. Not supported yet.
    Network,
    /// The region.
    Region,
    /// The zone.
    Zone,
    /// The part of the zone.
    SubZone,
    /// The node.
    Node,
    /// The Kubernetes cluster. Not supported yet.
    Cluster,
}

/// The ramp of endpoints that are new, or well again (xDS `SlowStartConfig`), of every policy. The
/// first endpoints of a cluster are not new: there is nothing to be new beside. Well again is who
/// was unhealthy by its source's word or its active checks, or was ejected; where there are
/// checks, who joins is new from its first passing one on.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct SlowStart {
    /// How long it lasts. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub window: Option<Duration>,
    /// How it rises: 1 is a line. Default: 1. Range: over 0.
    pub aggression: Option<f64>,
    /// The least weight. Unit: percent. Default: 10. Range: 0..=100.
    pub min_weight_percent: Option<f64>,
    /// Whether the end of an ejection begins it. Default: true; Envoy sends an endpoint that was
    /// ejected its full share at once.
    pub after_ejection: Option<bool>,
}
