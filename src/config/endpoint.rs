//! One address of a cluster and what is special about it.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Address, Http2, IdentityMatch, Locality, SecurityMode, Tunnel, Value};

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Its share of the traffic relative to its siblings. Default: 1. Range: 1..=65535.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub weight: u32,
    /// Further addresses of the same endpoint. A connection is raced for between all of them, the
    /// families in turn, a new attempt every 250 ms (RFC 8305). At most 15. Source: gRFC A61.
    #[cfg_attr(feature = "serde", serde(default))]
    pub more_addresses: Vec<Address>,
    /// Its host name: hashed where the balancer says so, and sent as the host where a rewrite asks for
    /// the endpoint's (`rewrite: {host: endpoint}`).
    #[cfg_attr(feature = "serde", serde(default))]
    pub hostname: Option<String>,
    /// 0 is tried first; the next one takes over what it cannot carry. Default: 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub priority: u32,
    /// Where it runs.
    #[cfg_attr(feature = "serde", serde(default))]
    pub locality: Option<Box<Locality>>,
    /// The network that it is on. Default: the caller's. Not supported yet. Source: WDS.
    #[cfg_attr(feature = "serde", serde(default))]
    pub network: Option<String>,
    /// The node that it runs on. Source: Kubernetes `nodeName`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub node: Option<String>,
    /// What its source says about it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub labels: BTreeMap<String, String>,
    /// What its source says about it, by namespace (xDS `Metadata`). Carried, not used.
    #[cfg_attr(feature = "serde", serde(default))]
    pub metadata: BTreeMap<String, Value>,
    /// How its connections are secured. Default: as the cluster says.
    #[cfg_attr(feature = "serde", serde(default))]
    pub security: Option<Security>,
    /// What its connections pass through. Default: none; others are not supported yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub tunnel: Tunnel,
    /// What it speaks. Default: the cluster's protocol, else the request's version.
    #[cfg_attr(feature = "serde", serde(default))]
    pub protocol: Option<Protocol>,
    /// The authority that it is called by. Default: the request's.
    #[cfg_attr(feature = "serde", serde(default))]
    pub authority: Option<String>,
    /// HTTP/2 parameters of its own. Not supported yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub http2: Option<Box<Http2>>,
    /// What its probes do differently. Not supported yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub check: Option<Box<EndpointCheck>>,
    /// What it is hashed by. Default: its address, `host:port`. Source: gRFC A76, Envoy
    /// `envoy.lb.hash_key`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub hash_key: Option<String>,
    /// What its source knows of its health.
    #[cfg_attr(feature = "serde", serde(default))]
    pub health: Health,
}

#[cfg(feature = "serde")]
fn one() -> u32 {
    1
}

impl Endpoint {
    /// An endpoint at this address, of weight 1.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            weight: 1,
            more_addresses: Vec::new(),
            hostname: None,
            priority: 0,
            locality: None,
            network: None,
            node: None,
            labels: BTreeMap::new(),
            metadata: BTreeMap::new(),
            security: None,
            tunnel: Tunnel::None,
            protocol: None,
            authority: None,
            http2: None,
            check: None,
            hash_key: None,
            health: Health::Unknown,
        }
    }

    /// Whether it has an address, a weight, a protocol and a health, and nothing more is said.
    pub(crate) fn is_plain(&self) -> bool {
        let Self {
            address: _,
            weight: _,
            protocol: _,
            health: _,
            more_addresses,
            hostname,
            priority,
            locality,
            network,
            node,
            labels,
            metadata,
            security,
            tunnel,
            authority,
            http2,
            check,
            hash_key,
        } = self;
        more_addresses.is_empty()
            && hostname.is_none()
            && *priority == 0
            && locality.is_none()
            && network.is_none()
            && node.is_none()
            && labels.is_empty()
            && metadata.is_empty()
            && security.is_none()
            && *tunnel == Tunnel::None
            && authority.is_none()
            && http2.is_none()
            && check.is_none()
            && hash_key.is_none()
    }

    /// Sets its share of the traffic. Range: 1..=65535.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets what it speaks.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Sets what its source knows of its health.
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.into())
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self::new(address)
    }
}

/// How connections to an endpoint are secured.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Security {
    /// Plaintext, whatever the mode of the cluster, unless the code has set that.
    #[default]
    Plain,
    /// TLS with the identities that the endpoint must prove.
    Tls(Box<EndpointTls>),
}

impl Security {
    /// Whether it asks for mutual TLS, whatever the cluster says.
    pub(crate) fn is_mutual(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.mode == Some(SecurityMode::Mutual))
    }
}

/// TLS of one endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct EndpointTls {
    /// Whether the mesh proves who it is, too. Default: as the cluster's mode, and `tls` where that
    /// is off. Range: `tls`, `mutual`; never `tls` where the code has set `mutual`.
    pub mode: Option<SecurityMode>,
    /// Identities, one of which it must prove. Default: the cluster's.
    pub identities: Vec<IdentityMatch>,
    /// The name asked for in the handshake. Default: the cluster's.
    pub sni: Option<String>,
    /// Protocols offered in the handshake. Default: the cluster's.
    pub alpn: Vec<String>,
    /// The name of one of the cluster's `matches`, whose settings take the place of the cluster's.
    /// Default: none. What the code says of the cluster goes before it.
    pub rule: Option<String>,
}

/// What probes of one endpoint do differently (xDS `HealthCheckConfig`). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct EndpointCheck {
    /// Where it is probed. Default: its address.
    pub address: Option<Address>,
    /// The port that is probed. Default: its own.
    pub port: Option<u16>,
    /// The authority of probes. Default: the check's.
    pub host: Option<String>,
    /// Whether it is not probed. Default: false.
    pub disabled: Option<bool>,
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; on plaintext by prior knowledge.
    Http2,
}

impl Protocol {
    /// What a request asks for by its version; HTTP/2 on plaintext is prior knowledge.
    pub(crate) fn of(version: http::Version) -> Self {
        if version == http::Version::HTTP_2 { Self::Http2 } else { Self::Http1 }
    }

    /// As the `http` crate has it.
    pub(crate) fn version(self) -> http::Version {
        match self {
            Self::Http1 => http::Version::HTTP_11,
            Self::Http2 => http::Version::HTTP_2,
        }
    }
}

/// What a source knows of an endpoint's health.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Health {
    /// Nothing is known: it is called.
    #[default]
    Unknown,
    /// It is called.
    Healthy,
    /// Called only when nothing better is there.
    Unhealthy,
    /// It works, but healthy ones are better: it gets what they cannot carry (xDS `DEGRADED`).
    Degraded,
    /// It takes no new calls.
    Draining,
}
