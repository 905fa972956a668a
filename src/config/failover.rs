//! What takes over when a cluster has no available endpoint.

/// Clusters that take over, best first: aggregate clusters of xDS (a cluster without endpoints of
/// its own), failover of Consul. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Failover {
    /// The clusters.
    pub clusters: Vec<String>,
    /// Their order. Default: as listed.
    pub mode: FailoverMode,
    /// Regions, nearest first, for the order by locality. Source: Consul `Policy.Regions`.
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
    /// Nearest first (Consul `order-by-locality`).
    ByLocality,
}
