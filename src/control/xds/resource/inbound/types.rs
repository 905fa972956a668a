//! What a listener of calls that come in is read into.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use crate::config::{Authorization, ClusterSecurity, IdentityFiles, Match, Upgrade};

/// A listener of calls that come in (gRFC A36): who is let in where, and what they may call.
///
/// It is what a resource says, and serves nobody: whoever does so takes the chain of each connection, its routes for each
/// request, and lets go on what every rule of the route allows. Routes are looked for, and rules asked, by the path, the
/// authority and the headers that [`InboundHttp`] says are made of those that are written: `/x/../admin` may be of the
/// route of `/admin`, and `a.example.` of the host `a.example`. A connection that no chain takes, a
/// request that no route takes, and one on a route that is not `served` are refused.
///
/// ```
/// use tower_mesh::control::xds::{Bootstrap, Inbound};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bootstrap = Bootstrap::from_json(
///     r#"{
///         "xds_servers": [{
///             "server_uri": "xds.example:18000",
///             "channel_creds": [{"type": "insecure"}]
///         }],
///         "server_listener_resource_name_template": "server/%s"
///     }"#,
/// )?;
/// let name = bootstrap.server_listener("10.0.0.1:8080".parse()?);
/// assert_eq!(name.as_deref(), Some("server/10.0.0.1:8080"));
///
/// // What a control plane sends under that name: this is no listener.
/// let refused = Inbound::decode(b"\xff", &bootstrap).unwrap_err();
/// assert!(refused.to_string().contains("cannot be read"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Inbound {
    /// The name of the resource.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// In the order of the resource: the one with the most specific match takes a connection.
    pub chains: Vec<InboundChain>,
    /// What takes the connections that no other one does. None: they are closed.
    pub default_chain: Option<InboundChain>,
    /// Files of keys and roots that chains name, by the names that their references have for them
    /// ([`CertificateRef::provider`](crate::config::CertificateRef::provider)): those that the listener names, and those of
    /// the bootstrap's certificate providers that it uses.
    pub identities: BTreeMap<String, IdentityFiles>,
    /// What is said and not done, in words.
    pub notes: Vec<String>,
    /// Those of the listener itself.
    pub(super) own_notes: Vec<String>,
    /// Those of routes, by the name of their resource.
    pub(super) route_notes: BTreeMap<String, Vec<String>>,
}

/// How some of the connections of a listener are served.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboundChain {
    /// For people.
    pub name: String,
    /// Which connections it takes.
    pub matches: InboundMatch,
    /// How they are secured. None: they are plaintext.
    pub security: Option<InboundSecurity>,
    /// What their requests meet. None: they are no HTTP, and nothing here serves them.
    pub http: Option<InboundHttp>,
}

/// Which connections a chain takes: all that is said must be met, and of a list one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct InboundMatch {
    /// The port that the connection was for.
    pub destination_port: Option<u16>,
    /// Blocks of addresses that it was for: `10.0.0.0/8`.
    pub destinations: Vec<String>,
    /// Names that the handshake asks for: `a.example`, or `*.example`.
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`.
    pub transport: Option<String>,
    /// Protocols that the handshake offers.
    pub application_protocols: Vec<String>,
    /// Blocks of addresses that it comes from, whatever a proxy tells.
    pub direct_sources: Vec<String>,
    /// Where it comes from.
    pub source: InboundSource,
    /// Blocks of addresses that it comes from.
    pub sources: Vec<String>,
    /// Ports that it comes from.
    pub source_ports: Vec<u16>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum InboundSource {
    /// Anywhere.
    #[default]
    Any,
    /// The same machine.
    Local,
    /// Another one.
    External,
}

/// How connections that come in are secured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboundSecurity {
    /// Whether who calls must have a certificate that the roots vouch for.
    pub requires_certificate: bool,
    /// The own certificate, whose roots vouch for callers, the names one of which a caller must prove, and the rest of
    /// the handshake. What only who calls decides is not said.
    pub tls: ClusterSecurity,
}

/// What the requests of a chain meet.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboundHttp {
    /// Its filters of authorisation, in order.
    pub filters: Vec<InboundFilter>,
    /// Where they lead.
    pub routes: InboundRoutes,
    /// The name of the resource (RDS) that says so, also once it is there: its next version takes its place
    /// ([`Inbound::routes`]). None: the listener says it.
    pub routes_name: Option<String>,
    /// Whether a path is normalised, but for the case of what stays encoded, before a route is looked for, rules are
    /// asked and the request is passed on (RFC 3986 §6: what is encoded without need is decoded, dot segments are
    /// resolved); one that cannot be is answered with 400. Default: false. Source: Envoy, `normalize_path`.
    pub normalize_path: bool,
    /// Whether slashes that follow each other are one from then on, after that. Default: false. Source: Envoy,
    /// `merge_slashes`.
    pub merge_slashes: bool,
    /// What becomes of a path with encoded slashes, before both. Default: they stay. Source: Envoy,
    /// `path_with_escaped_slashes_action`.
    pub escaped_slashes: InboundSlashes,
    /// What becomes of the port of an authority, before a route is looked for, rules are asked and the request is passed
    /// on. Default: it stays. Source: Envoy, `strip_any_host_port` and `strip_matching_host_port`.
    pub port: InboundPort,
    /// Whether a dot at the end of an authority's host is dropped from then on: `a.example.:80` is `a.example:80`.
    /// Default: false. Source: Envoy, `strip_trailing_host_dot`.
    pub strip_trailing_dot: bool,
    /// What becomes of headers whose names have an underscore, before all else. Default: they stay. Source: Envoy,
    /// `common_http_protocol_options.headers_with_underscores_action`.
    pub underscores: InboundUnderscores,
    /// What requests may be upgraded to, or not, where their route says nothing of it.
    pub(super) upgrades: Vec<Upgrade>,
    /// Filters that are off and not known here, which no route may turn on, by their names.
    pub(super) unknown: BTreeMap<String, String>,
}

/// What becomes of a request whose path has encoded slashes: `%2F`, `%5C`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum InboundSlashes {
    /// They stay as they are.
    #[default]
    Keep,
    /// It is answered with 400; a call of gRPC with INTERNAL.
    Refuse,
    /// They are decoded, and it is sent on to the path that comes of that, by a redirect, once all else is done to it;
    /// a call of gRPC is answered with INTERNAL.
    Redirect,
    /// They are decoded.
    Decode,
}

/// What becomes of the port of an authority: `a.example:80`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum InboundPort {
    /// It stays.
    #[default]
    Keep,
    /// It is dropped where it is the one that the connection was for; `CONNECT` keeps it for whoever is called.
    DropOwn,
    /// It is dropped; `CONNECT` keeps it for whoever is called. [`InboundHost::ignores_port`] says so, too.
    Drop,
}

/// What becomes of headers of a request whose names have an underscore: `x_user`, which some servers take for `x-user`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum InboundUnderscores {
    /// They stay.
    #[default]
    Keep,
    /// The request is refused: of HTTP/1.1 with 400, of HTTP/2 by a reset of its stream.
    Refuse,
    /// They are dropped: no route, no rule and nobody who is called sees them.
    Drop,
}

/// A filter of authorisation (gRFC A41).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboundFilter {
    /// What routes override it by.
    pub name: String,
    /// Whether it is off unless a route turns it on.
    pub disabled: bool,
    /// Its rules, then those that are only reported (shadow rules): each list must allow a call.
    pub rules: Vec<Arc<Authorization>>,
}

/// Where the requests of a chain lead.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InboundRoutes {
    /// As a resource of this name says ([`Inbound::routes`]); until it is there, they are refused.
    Named(String),
    /// To one of these.
    Hosts(Vec<InboundHost>),
}

/// The routes of some authorities.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboundHost {
    /// Which ones: `a.example`, `*.example`, `a.*` or `*`.
    pub domains: Vec<String>,
    /// Whether the port of an authority counts for nothing.
    pub ignores_port: bool,
    /// The first that matches takes a request.
    pub routes: Vec<InboundRoute>,
}

/// A route of requests that come in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboundRoute {
    /// For people.
    pub name: Option<String>,
    /// Authorities that it takes beside what its host says, one of them. Empty: any.
    pub hosts: Vec<String>,
    /// What a request must look like, one of them. Empty: any.
    pub matches: Vec<Match>,
    /// Whether its requests are answered here; the others fail, UNAVAILABLE (gRFC A36).
    pub served: bool,
    /// The protocols that a request may ask to be upgraded to (`websocket`), in any case: any other is refused
    /// with 403. `CONNECT` is never one. Default: none. Source: Envoy, `upgrade_configs` of the route, then of the chain.
    pub upgrades: Vec<String>,
    /// The rules of its requests, with what it overrides: each list must allow a call, those that are only reported
    /// always do. Empty: anybody may call.
    pub authorization: Vec<Arc<Authorization>>,
}
