//! One address of a cluster and what is special about it.

use std::{collections::BTreeMap, net::SocketAddr};

use super::Address;

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it listens.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub address: Address,
    /// Its share of the traffic relative to its siblings. Default: 1. Range: 1..=65535.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub weight: u32,
    /// 0 is tried first. Default: 0. Others are not supported yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub priority: u32,
    /// Where it runs. Carried, not balanced by yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub locality: Option<Box<Locality>>,
    /// What its source says about it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub labels: BTreeMap<String, String>,
    /// How its connections are secured. Default: plain; others are not supported yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub security: Security,
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
            priority: 0,
            locality: None,
            labels: BTreeMap::new(),
            security: Security::Plain,
            tunnel: Tunnel::None,
            protocol: None,
            authority: None,
            http2: None,
            health: Health::Unknown,
        }
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

/// Where an endpoint runs.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Locality {
    /// The largest unit.
    pub region: String,
    /// A part of the region.
    pub zone: String,
    /// A part of the zone.
    pub sub_zone: String,
}

/// How connections to an endpoint are secured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Security {
    /// Plaintext.
    #[default]
    Plain,
    /// TLS with the identities that the endpoint must prove.
    #[non_exhaustive]
    Tls {
        /// DNS names or SPIFFE ids.
        identities: Vec<String>,
        /// The name asked for in the handshake.
        sni: Option<String>,
    },
}

/// What connections to an endpoint pass through.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Tunnel {
    /// Nothing.
    #[default]
    None,
    /// HTTP CONNECT over mutual TLS (Istio ambient).
    Hbone,
    /// Linkerd's transport header.
    LinkerdHeader,
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
}

/// HTTP/2 parameters of one endpoint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Http2 {
    /// The initial window of a stream. Unit: bytes.
    pub stream_window_bytes: Option<u32>,
    /// The initial window of a connection. Unit: bytes.
    pub connection_window_bytes: Option<u32>,
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
    /// It takes no new calls.
    Draining,
}
