//! What takes over when a cluster has no available endpoint.

/// Clusters that take over, best first: aggregate clusters of xDS (a cluster without endpoints of
/// its own), failover of Consul.
///
/// Each attempt goes to the first cluster, this one before the others, in which an endpoint works
/// that the call has not tried; when there is none anywhere, to the first that has any endpoint.
/// Limits, outliers, checks and connections are those of the cluster that is called; the failover
/// of a cluster that takes over is not followed, so that two may stand in for each other.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Failover {
    /// The clusters. Range: each once, and not this one.
    pub clusters: Vec<String>,
    /// Their order. Default: as listed; other orders are not supported yet.
    pub mode: FailoverMode,
    /// Regions, nearest first, for the order by locality. Not supported yet. Source: Consul `Policy.Regions`.
    pub regions: Vec<String>,
}

/// The order of clusters that take over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum FailoverMode {
    /// As listed: each cluster is a priority (xDS `aggregate`, Consul `sequential`).
    #[default]
    Listed,
    /// Nearest first (Consul `order-by-locality`). Not supported yet.
    ByLocality,
}
