//! Who may call what: rules that are a superset of xDS RBAC, Consul intentions, Linkerd
//! authorizations and SMI access.

use super::{Extension, HeaderMatch, IdentityMatch, MetadataMatch, PathMatch, StringMatch};

/// Allows or denies before any cost. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Authorization {
    /// How the rules decide. Default: a denial wins.
    pub evaluation: Evaluation,
    /// The rules.
    pub rules: Vec<AuthorizationRule>,
    /// What happens when no rule decides. Default: deny if any rule allows, else allow (Istio).
    pub otherwise: Option<Action>,
    /// The status of a denial. Default: 403. Range: 400..=599.
    pub status: Option<u16>,
}

/// How rules decide.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Evaluation {
    /// A rule that denies wins over any that allows (Istio, Linkerd).
    #[default]
    DenyWins,
    /// The first rule that matches decides (Consul intentions).
    FirstMatch,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Action {
    /// The call goes on.
    #[default]
    Allow,
    /// The call is refused.
    Deny,
    /// It is noted; the call goes on (xDS `LOG`).
    Log,
}

/// One rule: it matches when a principal and a permission match. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AuthorizationRule {
    /// Its name in reports.
    pub name: Option<String>,
    /// What it does. Default: allow.
    pub action: Action,
    /// Who calls; one must match. None: anyone.
    pub principals: Vec<Principal>,
    /// What is called; one must match. None: anything.
    pub permissions: Vec<Permission>,
    /// A further condition (CEL). Default: none.
    pub condition: Option<String>,
    /// Whether its verdict is only reported. Default: false. Source: xDS `shadow_rules`, Istio
    /// dry-run.
    pub dry_run: bool,
}

/// Who calls. Not supported yet.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Principal {
    /// Anyone.
    Any,
    /// Anyone with an identity.
    Authenticated,
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    AnyOf(Vec<Self>),
    /// Not this one.
    Not(Box<Self>),
    /// A peer with this identity.
    Identity(IdentityMatch),
    /// A peer of this namespace.
    Namespace(StringMatch),
    /// A peer of this service account.
    ServiceAccount(StringMatch),
    /// The peer's address, as the connection has it: `10.0.0.0/8`.
    PeerIp(String),
    /// The caller's address, as proxies forward it.
    RemoteIp(String),
    /// A request with this header.
    Header(HeaderMatch),
    /// A request to this path.
    Path(PathMatch),
    /// What earlier filters have noted.
    Metadata(MetadataMatch),
    /// A claim of a verified token.
    Claim(ClaimMatch),
    /// A matcher of another system.
    Extension(Extension),
}

/// A claim of a verified token (Consul `JWT`, Istio `request.auth.claims`). Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ClaimMatch {
    /// Who verified it. Default: anyone.
    pub provider: Option<String>,
    /// The way to the claim.
    pub path: Vec<String>,
    /// What it must be. Default: any.
    pub value: Option<StringMatch>,
}

/// What is called. Not supported yet.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Permission {
    /// Anything.
    Any,
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    AnyOf(Vec<Self>),
    /// Not this one.
    Not(Box<Self>),
    /// A request with this header.
    Header(HeaderMatch),
    /// A request to this path.
    Path(PathMatch),
    /// A request with this method.
    Method(String),
    /// A request to this authority.
    Host(StringMatch),
    /// A request that came in at this address: `10.0.0.0/8`.
    DestinationIp(String),
    /// A request that came in at this port.
    DestinationPort(u16),
    /// A request that came in at one of these ports.
    DestinationPorts(PortRange),
    /// A connection that asked for this name.
    ServerName(StringMatch),
    /// What earlier filters have noted.
    Metadata(MetadataMatch),
    /// A matcher of another system.
    Extension(Extension),
}

/// Ports from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct PortRange {
    /// The first.
    pub start: u16,
    /// The first that is too large.
    pub end: u16,
}
