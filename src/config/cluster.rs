//! A cluster: interchangeable endpoints with one policy.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Balancer, Balancing, Breakers, ClusterSecurity, Discovery, Endpoint, Extension, Failover,
    HealthCheck, HttpOptions, LeastRequest, LocalityWeight, OutlierDetection, Protocol, SlowStart,
    Subsets, Subsetting, Transport, Value,
};

/// A set of interchangeable endpoints with one policy.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Cluster {
    /// The endpoints that the configuration itself lists.
    pub endpoints: Vec<Endpoint>,
    /// Weights of localities, by priority and locality; they count where `balancing.locality` is
    /// `weighted`. Default: every endpoint counts alone.
    pub localities: Vec<LocalityWeight>,
    /// How an endpoint is picked. Default: peak EWMA.
    pub balancer: Option<Balancer>,
    /// Settings of least request, where the balancer is that. Default: the better of two.
    pub least_request: Option<LeastRequest>,
    /// What comes before the pick: priorities, localities, panic.
    pub balancing: Option<Balancing>,
    /// How connections are made and kept.
    pub transport: Transport,
    /// What the endpoints speak. Default: the request's version.
    pub protocol: Option<Protocol>,
    /// Options of HTTP. Not supported yet.
    pub http: Option<HttpOptions>,
    /// Where further endpoints come from. Default: nowhere. Of others, DNS is supported.
    pub discovery: Option<Discovery>,
    /// Clusters that are used while no endpoint of this one works. Default: none.
    pub failover: Option<Failover>,
    /// The longest that a call lasts whose route leads to it, from its start to its trailers, both
    /// directions, whatever its route allows. 0: none. Default: none. Source: xDS
    /// `common_http_protocol_options.max_stream_duration`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max_stream_duration: Option<Duration>,
    /// Limits of the cluster.
    pub breakers: Option<Breakers>,
    /// How long attempts wait for an available endpoint. Default: not at all.
    pub queue: Option<Queue>,
    /// Ejection of outliers. Default: none.
    pub outlier_detection: Option<OutlierDetection>,
    /// Probes of endpoints, each at intervals of its own. An endpoint is healthy when all of them say
    /// so, and unhealthy when one says that it is not. Default: none. At most 16; Envoy takes one.
    pub health_checks: Vec<HealthCheck>,
    /// How connections are secured. Default: plaintext, unless the endpoint says otherwise.
    pub security: Option<ClusterSecurity>,
    /// Health under which all endpoints of a priority are used. Unit: percent. Default: 50
    /// (Envoy); 0 turns it off. Range: 0..=100.
    pub panic_threshold: Option<f64>,
    /// The ramp of new endpoints. Default: none.
    pub slow_start: Option<SlowStart>,
    /// Which endpoints this process uses, when there are many. Default: all.
    pub subsetting: Option<Subsetting>,
    /// Parts of the cluster by labels, which routes choose. Default: none.
    pub subsets: Option<Subsets>,
    /// Shares of calls that are dropped, by category, each of what those before it let through. Source:
    /// xDS `drop_overloads`.
    pub drops: Vec<DropOverload>,
    /// Steps of attempts, in order, after the pick. Not supported yet. Source: xDS
    /// `HttpProtocolOptions.http_filters`.
    pub filters: Vec<super::Filter>,
    /// What is reported to a control plane of the cluster's load, beyond what a control plane of xDS asks
    /// for by itself: its load reports run without this. Default: nothing. Not supported yet.
    pub load_report: Option<LoadReport>,
    /// How long an endpoint list without news is trusted. Default: for ever. Not supported yet.
    /// Source: xDS `endpoint_stale_after`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub endpoint_stale_after: Option<Duration>,
    /// Whether an endpoint that left its source goes on being used while it is healthy. Default:
    /// false. Not supported yet. Source: xDS `ignore_health_on_host_removal`, inverted.
    pub keep_healthy_removed: Option<bool>,
    /// What its source says about it. Carried, not used.
    pub labels: BTreeMap<String, String>,
    /// What its source says about it, by namespace (xDS `Metadata`). Carried, not used.
    pub metadata: BTreeMap<String, Value>,
    /// Parts of other systems: connection filters, transport sockets. Not supported yet.
    pub extensions: Vec<Extension>,
}

/// How long attempts wait for an available endpoint (Linkerd `Queue`).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Queue {
    /// Attempts that may wait. Default: 10000 (Linkerd). Range: from 1.
    pub capacity: Option<u32>,
    /// How long nothing may be available before they fail, and all further ones at once. Default: 3 s
    /// (Linkerd).
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub failfast_timeout: Option<Duration>,
}

impl Queue {
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity.unwrap_or(10_000)
    }

    pub(crate) fn failfast_timeout(&self) -> Duration {
        self.failfast_timeout.unwrap_or(Duration::from_secs(3))
    }
}

/// A share of calls that is dropped.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DropOverload {
    /// Its name in metrics and reports. Not empty, and no other's.
    pub category: String,
    /// The share. Unit: percent. Range: 0..=100.
    pub percent: f64,
}

impl DropOverload {
    /// A category that drops this share of the calls. Unit: percent.
    #[must_use]
    pub fn new(category: impl Into<String>, percent: f64) -> Self {
        Self { category: category.into(), percent }
    }
}

/// What is reported to a control plane about load (LRS). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct LoadReport {
    /// The provider that gets it. Default: the one that defines the cluster.
    pub provider: Option<String>,
    /// Metrics of ORCA reports that are passed on; `named_metrics.*` for all. Source: gRFC A85.
    pub metrics: Vec<String>,
}
