//! Parts of a cluster: those that this process uses, and those that routes choose by labels.

use std::collections::BTreeMap;

/// Which endpoints this process uses, when there are many.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Subsetting {
    /// So many, by rendezvous hashing (gRFC A68).
    Random(RandomSubset),
    /// Those that are this process's by its number (Finagle's aperture, SRE book).
    Deterministic(DeterministicSubset),
}

/// So many endpoints, by rendezvous hashing. Each priority and locality has its own.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RandomSubset {
    /// Endpoints that are used. Default: 20. Range: from 1.
    pub size: Option<u32>,
    /// Endpoints below which all are used: of exactly so many it is `size`. Default: 100. Range: any.
    pub above: Option<u32>,
    /// The seed. Default: random.
    pub seed: Option<u64>,
}

/// The endpoints that are this process's by its number. Each priority and
/// locality has its own.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DeterministicSubset {
    /// Endpoints that are used at least: as many as are on an arc of `ceil(size · processes / endpoints)`
    /// parts of the circle, which has `processes`. Of 99 endpoints and 5 processes 20 are 1.01 parts, and
    /// about 40 are used; one process uses all. Default: 12. Range: from 1.
    pub size: Option<u32>,
    /// The number of this process. Range: below `processes`.
    pub process: u32,
    /// Processes in all. Range: from 1.
    pub processes: u32,
}

/// Parts of the cluster by labels, which routes choose (xDS `LbSubsetConfig`).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Subsets {
    /// Which labels make parts.
    pub selectors: Vec<SubsetSelector>,
    /// What happens when a route asks for a part that is not there. Default: the call fails. A route
    /// that asks for none gets the default part where this says so, else any endpoint.
    pub fallback: SubsetFallback,
    /// The labels of the default part.
    pub default: BTreeMap<String, String>,
    /// Whether localities' weights count within a part. Default: false.
    pub locality_weighted: Option<bool>,
    /// Whether localities' weights are scaled by how much of them is in the part. Default: false. Not
    /// supported yet.
    pub scale_locality_weight: Option<bool>,
    /// Whether all endpoints are used when a part is empty. Default: false. Source: xDS
    /// `panic_mode_any`.
    pub panic_any: Option<bool>,
    /// Whether each item of a list of labels counts. Default: false. Not supported yet. Source: xDS
    /// `list_as_any`.
    pub list_as_any: Option<bool>,
}

/// Labels that together make parts.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct SubsetSelector {
    /// The labels.
    pub keys: Vec<String>,
    /// What happens when the part is not there. Default: as the cluster says.
    pub fallback: Option<SubsetFallback>,
    /// The labels that remain for another look, of `keys` but not all of them.
    pub fallback_keys: Vec<String>,
    /// Whether a part is one endpoint. Default: false. Source: xDS `single_host_per_subset`.
    pub single: Option<bool>,
}

/// What happens when a part is not there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SubsetFallback {
    /// The call fails.
    #[default]
    None,
    /// Any endpoint.
    Any,
    /// The default part.
    Default,
    /// Fewer labels are asked for; only a selector may say so.
    Keys,
}
