//! Who may call what: rules that are a superset of xDS RBAC, Consul intentions, Linkerd
//! authorizations and SMI access.

use super::{Extension, HeaderMatch, IdentityMatch, MetadataMatch, PathMatch, StringMatch};

/// Allows or denies calls of this process before any cost.
///
/// It says rules, `otherwise`, or both: an empty one would mean everything to some systems, and
/// nothing to others. What it is asked of is told in `docs/AUTHORIZATION.md`.
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
    /// What happens when no rule decides. Default: deny if any rule that is not dry allows, else
    /// allow (Istio).
    pub otherwise: Option<Action>,
    /// The status of a denial, as the error tells it. Default: 403. Range: 400..=599.
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

/// One rule: it matches when a principal and a permission match.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct AuthorizationRule {
    /// Its name in errors and events. Default: `rule 1`, by its place in the list.
    pub name: Option<String>,
    /// What it does. Default: allow.
    pub action: Action,
    /// Who calls; one must match. None: anyone.
    pub principals: Vec<Principal>,
    /// What is called; one must match. None: anything.
    pub permissions: Vec<Permission>,
    /// A further condition (CEL). Default: none. Not supported yet.
    pub condition: Option<String>,
    /// Whether its verdict is only reported. Default: false. Source: xDS `shadow_rules`, Istio
    /// dry-run.
    pub dry_run: bool,
}

/// Where rules are asked, which decides what they can ask for.
#[cfg_attr(
    not(feature = "xds"),
    allow(dead_code, reason = "xDS alone tells of calls that come in")
)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Role {
    /// Where a call is made: its connection is not known.
    #[default]
    Caller,
    /// Where it comes in.
    Receiver,
}

/// Who calls.
///
/// Where rules are asked before a call is made, that is this process: its identity is the one that the
/// mesh shows to endpoints.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Principal {
    /// Anyone.
    Any,
    /// Anyone with an identity: a certificate of its own.
    Authenticated,
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    AnyOf(Vec<Self>),
    /// Not this one.
    Not(Box<Self>),
    /// One with this identity. Names are compared as the certificate has them, wildcards too.
    Identity(IdentityMatch),
    /// One of this namespace: `shop` of `spiffe://prod.example/ns/shop/sa/cart`.
    Namespace(StringMatch),
    /// One of this service account: `cart` of `spiffe://prod.example/ns/shop/sa/cart`.
    ServiceAccount(StringMatch),
    /// One that carries this label ([`MeshBuilder::label`](crate::MeshBuilder::label)).
    Label(LabelMatch),
    /// One whose certificate names it so: by one of its URIs; where it has none by one of its DNS names; where
    /// it has neither by its subject (RFC 2253). Only where calls come in: not supported yet in files. Source:
    /// gRFC A41, `principal_name`.
    Name(StringMatch),
    /// The peer's address, as the connection has it: `10.0.0.0/8`. Only where calls come in: not supported yet
    /// in files.
    PeerIp(String),
    /// The caller's address, as proxies forward it. Only where calls come in: not supported yet in files.
    RemoteIp(String),
    /// A request with this header.
    Header(HeaderMatch),
    /// A request to this path, without its query.
    Path(PathMatch),
    /// A request to this path with its query, as one text: `/orders?id=7`. Source: xDS, the header `:path`.
    PathAndQuery(StringMatch),
    /// What earlier filters have noted. Only where calls come in, where nothing is noted: not supported yet in
    /// files.
    Metadata(MetadataMatch),
    /// A claim of a verified token. Not supported yet.
    Claim(ClaimMatch),
    /// A matcher of another system. Not supported yet.
    Extension(Extension),
}

/// A match on a label of the caller; one that it does not carry meets nothing.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct LabelMatch {
    /// The label's name.
    pub name: String,
    /// What its value must be.
    pub matcher: StringMatch,
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

/// What is called.
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
    /// A request to this path, without its query.
    Path(PathMatch),
    /// A request to this path with its query, as one text: `/orders?id=7`. Source: xDS, the header `:path`.
    PathAndQuery(StringMatch),
    /// A request with this method.
    Method(String),
    /// A call of this service of the mesh, whatever its authority.
    Service(StringMatch),
    /// A request to this authority, without case.
    Host(StringMatch),
    /// A request that came in at this address: `10.0.0.0/8`. Only where calls come in: not supported yet in files.
    DestinationIp(String),
    /// A request that came in at this port. Only where calls come in: not supported yet in files.
    DestinationPort(u16),
    /// A request that came in at one of these ports. Only where calls come in: not supported yet in files.
    DestinationPorts(PortRange),
    /// A connection that asked for this name, without case. Only where calls come in: not supported yet in files.
    ServerName(StringMatch),
    /// What earlier filters have noted. Only where calls come in, where nothing is noted: not supported yet in
    /// files.
    Metadata(MetadataMatch),
    /// A matcher of another system. Not supported yet.
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

impl AuthorizationRule {
    /// A rule that allows all that it matches; without more, everything.
    #[must_use]
    pub fn allow(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// A rule that denies all that it matches; without more, everything.
    #[must_use]
    pub fn deny(name: impl Into<String>) -> Self {
        Self { action: Action::Deny, ..Self::allow(name) }
    }

    /// Adds a principal, one of which must match.
    #[must_use]
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principals.push(principal);
        self
    }

    /// Adds a permission, one of which must match.
    #[must_use]
    pub fn permission(mut self, permission: Permission) -> Self {
        self.permissions.push(permission);
        self
    }

    /// Only reports what it would have done.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

impl LabelMatch {
    /// A match on the value of this label.
    #[must_use]
    pub fn new(name: impl Into<String>, matcher: StringMatch) -> Self {
        Self { name: name.into(), matcher }
    }
}
