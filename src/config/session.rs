//! Sessions: a caller stays with its endpoint.

use std::{collections::BTreeMap, time::Duration};

/// Keeps a caller with the endpoint that has answered it first (gRFC A55, Envoy's stateful
/// sessions, Gateway API `sessionPersistence`), whatever the balancer.
///
/// A cookie or a header carries the endpoint's address (base64), where both are given, both; it is
/// told again when another endpoint has answered. An endpoint that drains keeps its sessions.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Session {
    /// The name of the session. Carried. Default: the cookie's or header's.
    pub name: Option<String>,
    /// A cookie that carries it.
    pub cookie: Option<SessionCookie>,
    /// A header that carries it.
    pub header: Option<String>,
    /// Whether a call fails when its endpoint is gone, or in a health in which it may not be used.
    /// Default: false: another is picked, also when it cannot be connected to, fails, or was tried.
    pub strict: Option<bool>,
    /// The longest that a session lives, in whole seconds, from 1 s on: then another endpoint may be
    /// picked, and the caller is told. The session says itself since when it has been there. Default: for
    /// ever. Source: Gateway API `absoluteTimeout`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub absolute_timeout: Option<Duration>,
    /// The longest that it is unused, in whole seconds, from 1 s on. The session says itself when it was
    /// used last, and so the caller is told anew once a second at most. Default: for ever. Source: Gateway
    /// API `idleTimeout`.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub idle_timeout: Option<Duration>,
}

/// The cookie of a session.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct SessionCookie {
    /// Its name.
    pub name: String,
    /// Its path, by whole elements: other requests have no session. Default: all.
    pub path: Option<String>,
    /// How long whoever keeps it keeps it, in whole seconds (`Max-Age`). Default, and what 0 means: the
    /// browser's session.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub ttl: Option<Duration>,
    /// Its further attributes. It is always `HttpOnly`.
    pub attributes: BTreeMap<String, String>,
}
