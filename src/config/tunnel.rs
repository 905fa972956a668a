//! What connections pass through.

use super::{Address, StringMatch};

/// What connections to an endpoint pass through.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Tunnel {
    /// Nothing.
    #[default]
    None,
    /// HTTP CONNECT over mutual TLS (Istio ambient). Not supported yet.
    Hbone(Box<Hbone>),
    /// Linkerd's transport header. Not supported yet.
    LinkerdHeader(Box<LinkerdHeader>),
    /// HTTP CONNECT to a proxy (gRFC A86). Not supported yet.
    Connect(Box<HttpConnect>),
}

/// HTTP CONNECT over mutual TLS. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Hbone {
    /// Where it is dialled: the endpoint's node, a waypoint or a gateway. Default: the endpoint's
    /// address at port 15008.
    pub address: Option<Address>,
    /// What is asked for: `10.0.0.1:8080`, `host:port`. Default: the endpoint's address.
    pub authority: Option<String>,
    /// The network of the endpoint, when a gateway stands before it: then the tunnel is a double
    /// one.
    pub network: Option<String>,
    /// The identities expected of what is dialled, when that is not the endpoint.
    pub identities: Vec<super::IdentityMatch>,
}

/// Linkerd's transport header. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct LinkerdHeader {
    /// The port of the proxy that is dialled. Default: 4143. Source: Linkerd
    /// `OpaqueTransport.inbound_port`.
    pub inbound_port: Option<u16>,
    /// The port that the header names. Default: the endpoint's.
    pub port: Option<u16>,
    /// The name that the header names (gateways). Default: none.
    pub name: Option<String>,
    /// Whether the header leaves the protocol open. Default: false. Source: Linkerd
    /// `ProtocolHint.opaque`.
    pub opaque: Option<bool>,
}

/// HTTP CONNECT to a proxy. Not supported yet.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct HttpConnect {
    /// The proxy.
    pub proxy: Address,
    /// What is asked for. Default: the endpoint's address.
    #[cfg_attr(feature = "serde", serde(default))]
    pub authority: Option<String>,
    /// Whether the names that the proxy may have are checked. Default: any.
    #[cfg_attr(feature = "serde", serde(default))]
    pub server_name: Option<StringMatch>,
}

impl HttpConnect {
    /// A tunnel through the proxy at this address.
    #[must_use]
    pub fn new(proxy: Address) -> Self {
        Self { proxy, authority: None, server_name: None }
    }
}
