//! Where the endpoints of a cluster come from.

use std::time::Duration;

use super::{Address, Extension};

/// Where further endpoints come from.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Discovery {
    /// The cluster's own list.
    Static,
    /// A provider knows them by name (EDS, Kubernetes, Consul health, Linkerd destination).
    /// Not supported yet.
    Provider(ProviderDiscovery),
    /// DNS. Not supported yet.
    Dns(DnsDiscovery),
    /// A source of another system (xDS `cluster_type`). Not supported yet.
    Extension(Extension),
}

/// Endpoints by a provider's name for them.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ProviderDiscovery {
    /// The name. Default: the cluster's. Source: xDS `service_name`.
    pub name: Option<String>,
    /// The provider. Default: the one that defines the cluster. Source: xDS `eds_config`.
    pub provider: Option<String>,
    /// Which of them: a filter of the provider's language (Consul `Subset.Filter`).
    pub filter: Option<String>,
    /// Whether only those that pass their checks are asked for. Default: false. Source: Consul
    /// `OnlyPassing`.
    pub only_passing: Option<bool>,
    /// The data centre that is asked. Default: the provider's own. Source: Consul.
    pub datacenter: Option<String>,
    /// The namespace that is asked. Default: the provider's own. Source: Consul, Kubernetes.
    pub namespace: Option<String>,
    /// The peer cluster that is asked. Default: none. Source: Consul.
    pub peer: Option<String>,
    /// The port's name or number, where a provider knows several. Source: Kubernetes.
    pub port: Option<String>,
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
    /// What the answers mean. Default: each is an endpoint.
    pub kind: DnsKind,
    /// How often it is asked. Default: by TTL, clamped to 1 s..=60 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub refresh: Option<Duration>,
    /// The wait after a failure. Default: as `refresh`. Source: xDS `dns_failure_refresh_rate`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub failure_refresh: Option<Duration>,
    /// The longest wait after failures in a row.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub failure_refresh_max: Option<Duration>,
    /// Whether TTLs are honoured. Default: true.
    pub respect_ttl: Option<bool>,
    /// The most that is added to a wait at random. Default: 10 % of it. Source: xDS
    /// `dns_jitter`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub jitter: Option<Duration>,
    /// Which addresses. Default: both kinds, as RFC 6724 orders them.
    pub family: DnsFamily,
    /// Whether it is asked over TCP. Default: only when an answer does not fit. Source: xDS
    /// `use_tcp_for_dns_lookups`.
    pub use_tcp: Option<bool>,
    /// Servers that are asked. Default: the system's.
    pub resolvers: Vec<Address>,
}

/// What DNS answers mean.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DnsKind {
    /// Each is an endpoint (xDS `STRICT_DNS`).
    #[default]
    Strict,
    /// One endpoint, whose address the first answer gives (xDS `LOGICAL_DNS`).
    Logical,
    /// SRV records give host, port, priority and weight.
    Srv,
}

/// Which addresses are asked for (xDS `DnsLookupFamily`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DnsFamily {
    /// Both.
    #[default]
    All,
    /// IPv6, else IPv4.
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, else IPv6.
    V4Preferred,
}
