//! A route: which requests it takes, where they go and what happens on the way.

use std::{collections::BTreeMap, time::Duration};

use super::{Extension, Filter, Match, Policy};

/// A rule that takes some requests of a service.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Route {
    /// Its name in reports; unique in its service.
    pub name: Option<String>,
    /// Authorities, one of which the request must have: `a.b`, `*.b`, `a.*`, `*`; one without a port
    /// is for every port. Default: any.
    pub hosts: Vec<String>,
    /// One of these must match. None: every request does.
    pub matches: Vec<Match>,
    /// Where requests go, by weight.
    pub clusters: Vec<WeightedCluster>,
    /// How one of the clusters is chosen, once for all attempts of a call. Default: by weight.
    pub choice: ClusterChoice,
    /// The header of a request with a number that stands in for chance where `choice` is by weight: its
    /// remainder by the sum of the weights says which cluster, so that those on the way of a call who ask
    /// alike choose alike. One that is not there once, or is no number of 64 bits, is passed over. Default:
    /// none. Source: xDS `header_name`.
    pub choice_header: Option<String>,
    /// The header that names the cluster, in place of `clusters`: one that a source defines. The call
    /// must be allowed by the rules of the services that lead there, too. Default: none. Source: xDS
    /// `cluster_header`.
    pub cluster_header: Option<String>,
    /// A plugin that names the cluster (gRFC A28's cluster specifier). Not supported yet.
    pub cluster_plugin: Option<Box<Extension>>,
    /// The status of the error where `cluster_header` is not there or names no cluster. Default: 503
    /// (Envoy). Range: 400..=599.
    pub missing_cluster_status: Option<u16>,
    /// Labels that the endpoint must carry: a part of its cluster, which must have `subsets`.
    pub subset: BTreeMap<String, String>,
    /// What these requests obey.
    pub policy: Policy,
    /// Steps on the way, in order, after those of the service. Supported are those of the service.
    pub filters: Vec<Filter>,
    /// Changes to filters of the service, by the filter's name. What a cluster of the route says goes
    /// before it, and it before what the service says.
    pub overrides: BTreeMap<String, FilterOverride>,
    /// Protocols that a connection may change to (`Upgrade`). What is not listed is refused if one
    /// is listed that is not `disabled`, and else allowed. Default: all are allowed.
    pub upgrades: Vec<Upgrade>,
    /// What its source says about it. Carried, not used.
    pub labels: BTreeMap<String, String>,
}

/// How one of a route's clusters is chosen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ClusterChoice {
    /// At random, by weight.
    #[default]
    Weighted,
    /// The first that has an available endpoint (Linkerd `FirstAvailable`); where none has, the
    /// first. Weights mean nothing then.
    FirstAvailable,
    /// By weight and the request's hash, by the `hash` of the policy or the call's own key; a request
    /// without a hash at random (xDS `use_hash_policy`).
    Hashed,
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
    /// Its share relative to its siblings. Default: 1. Range: 0..=1000000.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub weight: u32,
    /// Why its requests cannot go there: they are answered with status 500, gRPC callers with
    /// `UNAVAILABLE`. Source: Gateway API (invalid `backendRefs`), Linkerd `FailureInjector`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub invalid: Option<String>,
    /// Steps of these requests, in order, after those of the route. Sessions, and faults of each
    /// attempt, are a route's.
    #[cfg_attr(feature = "serde", serde(default))]
    pub filters: Vec<Filter>,
    /// Changes to filters of the service and of the route, by the filter's name.
    #[cfg_attr(feature = "serde", serde(default))]
    pub overrides: BTreeMap<String, FilterOverride>,
    /// Labels that the endpoint must carry, over and beside those of the route.
    #[cfg_attr(feature = "serde", serde(default))]
    pub subset: BTreeMap<String, String>,
    /// Bounds requests to this cluster. Default: none. Not supported yet. Source: Linkerd
    /// `RouteBackend.request_timeout`.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub timeout: Option<Duration>,
}

#[cfg(feature = "serde")]
fn one() -> u32 {
    1
}

/// What a service, a route or one of its clusters changes about a filter with a name. The most
/// specific of them that says anything about a filter decides all of it.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FilterOverride {
    /// Whether the filter is left out. Default: no where `filter` is given, else as it is said.
    pub disabled: Option<bool>,
    /// What takes its place, of the same kind. Default: itself.
    pub filter: Option<Box<Filter>>,
}

/// A protocol that a connection may change to.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Upgrade {
    /// `websocket`, …: as the header `upgrade` says it, with its version or without, in any case.
    /// `connect` is not supported: a tunnel is no request to a service.
    pub protocol: String,
    /// Whether it is refused.
    pub disabled: bool,
}

impl WeightedCluster {
    /// A cluster of weight 1.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            invalid: None,
            filters: Vec::new(),
            overrides: BTreeMap::new(),
            subset: BTreeMap::new(),
            timeout: None,
        }
    }

    /// Sets its share relative to its siblings. Range: 0..=1000000.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }
}
