//! Where the endpoints of a cluster come from.

use std::time::Duration;

use super::{Address, Endpoint, Extension};

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
    /// DNS. Needs the feature `dns`. Its presets (Kubernetes, Docker, Consul, Mesos) are in code
    /// alone.
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

/// Endpoints by DNS. What becomes of answers is told in [`discover`](crate::discover#dns).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct DnsDiscovery {
    /// `dns:///host:port`; the scheme may be left out. A final dot keeps search domains away; an
    /// IP address is used as it is. Port: 80 unless said (RFC 9110 §4.2.1); the names of SRV
    /// records have none.
    pub name: String,
    /// What the answers mean. Default: each is an endpoint.
    #[cfg_attr(feature = "serde", serde(default))]
    pub kind: DnsKind,
    /// The longest time between two questions; where TTLs are not respected, the time itself.
    /// Default: 60 s. Range: 1 s..=365 days.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub refresh: Option<Duration>,
    /// The wait after a failure, doubled with each further one. Default: 1 s. Range: 1 s..=365
    /// days. Source: xDS `dns_failure_refresh_rate`.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub failure_refresh: Option<Duration>,
    /// The longest wait after failures in a row. Default: 60 s. Range: `failure_refresh`..=365
    /// days.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub failure_refresh_max: Option<Duration>,
    /// Whether TTLs are respected, within 1 s..=`refresh`. Default: true.
    #[cfg_attr(feature = "serde", serde(default))]
    pub respect_ttl: Option<bool>,
    /// The most that is added to a wait at random. Default: 10 % of it. Source: xDS
    /// `dns_jitter`.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub jitter: Option<Duration>,
    /// How long the last good answer outlives its TTL while DNS fails or answers nothing. Default:
    /// 1 h. Source: RFC 8767 §4, which lets resolvers keep it for days; addresses of a cluster
    /// come to belong to others sooner.
    #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
    pub stale_limit: Option<Duration>,
    /// Which addresses. Default: both, IPv6 first (RFC 8305 §4).
    #[cfg_attr(feature = "serde", serde(default))]
    pub family: Option<DnsFamily>,
    /// Whether it is asked over TCP alone. Default: only when an answer does not fit, or as `use-vc` of
    /// `resolv.conf` says. Source: xDS `use_tcp_for_dns_lookups`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub use_tcp: Option<bool>,
    /// Servers that are asked, as `address:port`. Default: the system's.
    #[cfg_attr(feature = "serde", serde(default))]
    pub resolvers: Vec<Address>,
    /// Domains that a name without a final dot is looked for in. Default: the system's, or none
    /// where `resolvers` are given. Source: `search` of resolv.conf.
    #[cfg_attr(feature = "serde", serde(default))]
    pub search: Vec<String>,
    /// The dots in a name from which on it is first asked as it is. Default: the system's, or 1.
    /// Range: 0..=15. Source: `ndots` of resolv.conf.
    #[cfg_attr(feature = "serde", serde(default))]
    pub ndots: Option<u32>,
    /// Several names, whose endpoints are the cluster's together: they stand for `name`, which is the
    /// first of them. A control plane says them (xDS `STRICT_DNS`), no file.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) targets: Vec<DnsTarget>,
}

/// One of several names that DNS is asked for, and what its endpoints are but for their addresses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DnsTarget {
    /// `dns:///host:port`.
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
}

/// What DNS answers mean.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DnsKind {
    /// Each is an endpoint (xDS `STRICT_DNS`); an IPv4 and an IPv6 address are one of two, as long as
    /// there are both.
    #[default]
    Strict,
    /// One endpoint with all of the addresses (xDS `LOGICAL_DNS`, gRFC A61).
    Logical,
    /// SRV records (RFC 2782) give host, port, priority and weight. Each target is an endpoint with
    /// all of its addresses. The lowest priority of which a target works gets all calls, unless
    /// `balancing.overprovisioning_percent` says how priorities share.
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
