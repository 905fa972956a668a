//! A service and its routes.

use super::{Filter, Match, Policy};

/// The logical name that an application calls, and where its requests go.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Service {
    /// What every route obeys unless it says otherwise.
    pub policy: Policy,
    /// The first that matches takes the request. None: everything goes to `cluster`.
    pub routes: Vec<Route>,
    /// The cluster of a service without routes. Default: the one of the service's name.
    pub cluster: Option<String>,
}

/// A rule that takes some requests of a service.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Route {
    /// Its name in reports; unique in its service.
    pub name: Option<String>,
    /// One of these must match. None: every request does.
    pub matches: Vec<Match>,
    /// Where requests go, by weight.
    pub clusters: Vec<WeightedCluster>,
    /// What these requests obey.
    pub policy: Policy,
    /// Steps on the way, in order. Not supported yet.
    pub filters: Vec<Filter>,
}

/// A cluster and its share of a route's requests.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct WeightedCluster {
    /// The cluster.
    pub name: String,
    /// Its share relative to its siblings. Default: 1.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub weight: u32,
}

#[cfg(feature = "serde")]
fn one() -> u32 {
    1
}

impl WeightedCluster {
    /// A cluster of weight 1.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), weight: 1 }
    }
}
