//! How calls are traced.

use std::collections::BTreeMap;

/// How calls are traced (xDS `Tracing`). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Tracing {
    /// The share of calls traced because the caller asks. Unit: percent. Default: 100. Range:
    /// 0..=100.
    pub client_percent: Option<f64>,
    /// The share of calls traced at random. Unit: percent. Default: 100. Range: 0..=100.
    pub random_percent: Option<f64>,
    /// The most that is traced in all. Unit: percent. Default: 100. Range: 0..=100.
    pub overall_percent: Option<f64>,
    /// Tags with fixed values.
    pub tags: BTreeMap<String, String>,
    /// Tags with the values of request headers, by tag.
    pub header_tags: BTreeMap<String, String>,
    /// The name of the span. Default: the route's.
    pub operation: Option<String>,
}
