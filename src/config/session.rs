//! Sessions: a caller stays with its endpoint.

use std::{collections::BTreeMap, time::Duration};

/// Keeps a caller with its endpoint (gRFC A55, Gateway API `sessionPersistence`). Not supported
/// yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Session {
    /// The name of the session. Default: the cookie's or header's.
    pub name: Option<String>,
    /// A cookie that carries it.
    pub cookie: Option<SessionCookie>,
    /// A header that carries it.
    pub header: Option<String>,
    /// Whether a call fails when its endpoint cannot be used. Default: false: another is picked.
    pub strict: Option<bool>,
    /// The longest that a session lives. Default: for ever.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub absolute_timeout: Option<Duration>,
    /// The longest that it is unused. Default: for ever.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub idle_timeout: Option<Duration>,
}

/// The cookie of a session. Not supported yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct SessionCookie {
    /// Its name.
    pub name: String,
    /// Its path. Default: the route's.
    pub path: Option<String>,
    /// How long it lives. Default: the browser's session.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub ttl: Option<Duration>,
    /// Its further attributes.
    pub attributes: BTreeMap<String, String>,
}
