//! Probes of endpoints.

use std::{collections::BTreeMap, time::Duration};

use super::{Extension, IntegerRange, Protocol, StringMatch, Value};

/// Probes of every endpoint (xDS `HealthCheck`).
///
/// They are sent over connections of their own, made and secured as the endpoint's, and count as
/// no traffic. The first success makes an endpoint healthy at once; until its first check is over it
/// is called only where nothing better is found, and so is one that fails its checks. An answer that says no
/// is believed at once, none counts towards `unhealthy_threshold`. One task per cluster makes
/// them; behind an own leaf, HTTP and gRPC probes go through the leaf, and TCP probes fail.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct HealthCheck {
    /// What is sent and expected.
    pub probe: Probe,
    /// How long an answer is waited for. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub timeout: Option<Duration>,
    /// The time between probes. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub interval: Option<Duration>,
    /// The most that the first probe waits. Default: 0.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub initial_jitter: Option<Duration>,
    /// The most that is added to an interval. Default: 0.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub interval_jitter: Option<Duration>,
    /// The most that is added to an interval, as a share of it. Unit: percent. Default: 0. Range: 0..=100.
    #[cfg_attr(feature = "serde", serde(default))]
    pub interval_jitter_percent: Option<u32>,
    /// Failures in a row that make an endpoint unhealthy. Default: 3. Range: from 1.
    #[cfg_attr(feature = "serde", serde(default))]
    pub unhealthy_threshold: Option<u32>,
    /// Successes in a row that make it healthy. Default: 2. Range: from 1.
    #[cfg_attr(feature = "serde", serde(default))]
    pub healthy_threshold: Option<u32>,
    /// The interval while the cluster has no traffic. Default: 60 s.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub no_traffic_interval: Option<Duration>,
    /// The interval of healthy endpoints while the cluster has no traffic. Default: as `no_traffic_interval`.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub no_traffic_healthy_interval: Option<Duration>,
    /// The interval of unhealthy endpoints. Default: `interval`.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub unhealthy_interval: Option<Duration>,
    /// The interval after the first failure. Default: `unhealthy_interval`.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub unhealthy_edge_interval: Option<Duration>,
    /// The interval after the first success. Default: `interval`.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub healthy_edge_interval: Option<Duration>,
    /// Whether a connection serves several probes; a TCP probe always makes one. Default: true.
    #[cfg_attr(feature = "serde", serde(default))]
    pub reuse_connection: Option<bool>,
    /// The port that is probed. Default: the endpoint's.
    #[cfg_attr(feature = "serde", serde(default))]
    pub port: Option<u16>,
    /// Protocols offered in a probe's TLS handshake. Default: the cluster's. Not supported yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub alpn: Vec<String>,
    /// Labels that choose how a probe is secured. Not supported yet. Source: xDS
    /// `transport_socket_match_criteria`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub security_labels: BTreeMap<String, Value>,
}

impl HealthCheck {
    /// By a connection that can be made. Every other setting has its default.
    #[must_use]
    pub fn tcp() -> Self {
        Self::new(Probe::Tcp(TcpProbe::default()))
    }

    /// By a `GET` of this path, answered by 200. Every other setting has its default.
    #[must_use]
    pub fn http(path: impl Into<String>) -> Self {
        Self::new(Probe::Http(Box::new(HttpProbe { path: path.into(), ..HttpProbe::default() })))
    }

    /// By `grpc.health.v1.Health/Check` of the whole server. Every other setting has its default.
    /// Needs the feature `grpc-health`.
    #[must_use]
    pub fn grpc() -> Self {
        Self::new(Probe::Grpc(GrpcProbe::default()))
    }

    /// By this probe. Every other setting has its default.
    #[must_use]
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            timeout: None,
            interval: None,
            initial_jitter: None,
            interval_jitter: None,
            interval_jitter_percent: None,
            unhealthy_threshold: None,
            healthy_threshold: None,
            no_traffic_interval: None,
            no_traffic_healthy_interval: None,
            unhealthy_interval: None,
            unhealthy_edge_interval: None,
            healthy_edge_interval: None,
            reuse_connection: None,
            port: None,
            alpn: Vec::new(),
            security_labels: BTreeMap::new(),
        }
    }
}

/// What is sent and expected.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Probe {
    /// A connection, and perhaps bytes.
    Tcp(TcpProbe),
    /// A request.
    Http(Box<HttpProbe>),
    /// `grpc.health.v1.Health/Check`.
    Grpc(GrpcProbe),
    /// A probe of another system. Not supported yet.
    Extension(Extension),
}

/// A connection, and perhaps bytes.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct TcpProbe {
    /// What is sent. Unit: hexadecimal. Default: nothing.
    pub send: Option<String>,
    /// What must come back, in this order. Unit: hexadecimal.
    pub receive: Vec<String>,
}

/// A request.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct HttpProbe {
    /// The path. Default: `/`. Range: begins with `/`.
    pub path: String,
    /// The authority. Default: the endpoint's own, else the cluster's name.
    pub host: Option<String>,
    /// The method. Default: `GET`.
    pub method: Option<String>,
    /// The version. Default: HTTP/1.1.
    pub protocol: Option<Protocol>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Headers that are left out.
    pub remove_headers: Vec<String>,
    /// The body. Unit: hexadecimal. Default: none.
    pub body: Option<String>,
    /// Statuses of a healthy endpoint. Default: 200..201.
    pub expected: Vec<IntegerRange>,
    /// Statuses that count towards the threshold instead of at once. Default: none.
    pub retriable: Vec<IntegerRange>,
    /// What the answer must contain. Unit: hexadecimal.
    pub receive: Vec<String>,
    /// Bytes of the answer that are looked at. Default: 1024. Range: up to 1048576.
    pub response_buffer_bytes: Option<u64>,
    /// What `x-envoy-upstream-healthchecked-cluster` must be.
    pub service: Option<StringMatch>,
}

/// The bytes of a hexadecimal text.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect(),
    )
}

/// `grpc.health.v1.Health/Check`. Needs the feature `grpc-health`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct GrpcProbe {
    /// The service that is asked for. Default: the whole server.
    pub service: Option<String>,
    /// The authority. Default: the endpoint's own, else the cluster's name.
    pub authority: Option<String>,
    /// Further metadata.
    pub metadata: BTreeMap<String, String>,
}
