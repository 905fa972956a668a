//! A cluster: interchangeable endpoints with one policy.

use std::time::Duration;

use super::{Endpoint, Protocol, Transport};

/// A set of interchangeable endpoints with one policy.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Cluster {
    /// The endpoints that the configuration itself lists.
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is picked. Default: peak EWMA.
    pub balancer: Option<Balancer>,
    /// How connections are made and kept.
    pub transport: Transport,
    /// What the endpoints speak. Default: the request's version.
    pub protocol: Option<Protocol>,
    /// Where further endpoints come from. Default: nowhere; DNS is not supported yet.
    pub discovery: Option<Discovery>,
    /// Limits of the cluster.
    pub breakers: Option<Breakers>,
    /// Ejection of outliers. Not supported yet.
    pub outlier_detection: Option<OutlierDetection>,
    /// Health under which all endpoints are used. Unit: percent. Not supported yet.
    pub panic_threshold: Option<f64>,
    /// The ramp of new endpoints. Not supported yet.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub slow_start: Option<Duration>,
    /// Endpoints that one client uses. Not supported yet.
    pub subset_size: Option<u32>,
}

/// How an endpoint is picked.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Balancer {
    /// The better of two random choices, by latency (peak EWMA), success and calls in flight.
    #[non_exhaustive]
    PeakEwma {
        /// How fast a peak is forgotten. Default: 10 s (Finagle, Linkerd).
        #[cfg_attr(
            feature = "serde",
            serde(default = "ten_seconds", with = "super::serde_support::plain_duration")
        )]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        decay: Duration,
    },
    /// The better of two random choices, by calls in flight.
    LeastRequest,
    /// One after the other, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// Consistent hashing on a ring. Not supported yet.
    #[non_exhaustive]
    RingHash {
        /// Entries at least.
        minimum_ring_size: u32,
        /// Entries at most.
        maximum_ring_size: u32,
    },
    /// Consistent hashing by a table. Not supported yet.
    #[non_exhaustive]
    Maglev {
        /// Entries; a prime.
        table_size: u32,
    },
}

/// The default decay of peak EWMA.
fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl Balancer {
    /// Peak EWMA that forgets a peak in this time.
    #[must_use]
    pub fn peak_ewma(decay: Duration) -> Self {
        Self::PeakEwma { decay }
    }
}

impl Default for Balancer {
    fn default() -> Self {
        Self::peak_ewma(ten_seconds())
    }
}

/// Limits of a cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Breakers {
    /// Attempts in flight. Default: no limit.
    pub max_requests: Option<u32>,
    /// Connections. Not supported yet.
    pub max_connections: Option<u32>,
    /// Attempts that wait for a connection. Not supported yet.
    pub max_pending: Option<u32>,
    /// Retries in flight. Not supported yet: the retry budget bounds them.
    pub max_retries: Option<u32>,
}

/// Where further endpoints come from.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Discovery {
    /// The cluster's own list.
    Static,
    /// DNS. Not supported yet.
    Dns(DnsDiscovery),
}

/// Endpoints by DNS.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DnsDiscovery {
    /// `dns:///host:port`.
    pub name: String,
}

/// Ejection of outliers (Envoy's outlier detection).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct OutlierDetection {
    /// Failures in a row.
    pub consecutive_failures: Option<u32>,
    /// The sweep.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub interval: Option<Duration>,
    /// The first ejection.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::duration"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub base_ejection_time: Option<Duration>,
    /// The share that may be ejected. Unit: percent.
    pub max_ejection_percent: Option<f64>,
}
