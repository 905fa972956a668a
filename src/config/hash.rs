//! What a request is hashed by, for balancers that hash.

use std::{collections::BTreeMap, time::Duration};

use super::RegexRewrite;

/// One part of a request's hash. Parts are combined in order: the hash so far is rotated by one
/// bit, and the new one is added by exclusive or (Envoy).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct HashPolicy {
    /// What is hashed.
    pub on: HashOn,
    /// Whether later parts are left out once this one gave a hash. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum HashOn {
    /// The address of the caller (xDS `source_ip`). Not supported: a call of the application's
    /// own has none.
    SourceIp,
    /// The values of a header, whatever their order.
    Header(HashHeader),
    /// A cookie, made when there is none.
    Cookie(HashCookie),
    /// The first query parameter of this name, as it stands in the URI.
    Query(String),
    /// The part of the path at this place: 1 is `17` of `/users/17`. Range: 0..=63.
    PathSegment(u32),
    /// What the connection or an extension has noted under this key. `io.grpc.channel_id` is a
    /// random number of the mesh; others are not supported yet. Source: gRFC A42.
    FilterState(String),
    /// The key that the call itself gives ([`Call::hash_key`](crate::Call::hash_key)). Where a
    /// policy does not name it, such a key stands for all of the policy.
    CallKey,
}

/// The values of a header.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct HashHeader {
    /// Its name.
    pub name: String,
    /// What each of its values becomes before it is hashed. Default: it stays. Needs the feature `regex`.
    /// Source: xDS `regex_rewrite`.
    pub rewrite: Option<RegexRewrite>,
}

/// A cookie that keeps a caller with an endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// How long a made cookie lives. Default, and what 0 means: the session. Source: xDS `ttl`,
    /// without which Envoy makes none.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub ttl: Option<Duration>,
    /// Whether a cookie with a random value is made when there is none, and set by the response.
    /// Default: false.
    pub generate: bool,
    /// Its path. Default: none.
    pub path: Option<String>,
    /// Its further attributes: `SameSite`, `Secure`. It is always `HttpOnly`.
    pub attributes: BTreeMap<String, String>,
}

impl HashPolicy {
    /// The key under which gRPC notes a channel (gRFC A42).
    pub(crate) const CHANNEL: &str = "io.grpc.channel_id";

    /// A hash on the values of a header.
    #[must_use]
    pub fn header(name: impl Into<String>) -> Self {
        Self::new(HashOn::Header(HashHeader { name: name.into(), rewrite: None }))
    }

    /// Leaves later parts out once there is a hash.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// What it is on, in one word or two.
    pub(crate) fn text(&self) -> String {
        let text = match &self.on {
            HashOn::SourceIp => "source_ip".to_owned(),
            HashOn::Header(header) => format!("header {}", header.name),
            HashOn::Cookie(cookie) => format!("cookie {}", cookie.name),
            HashOn::Query(name) => format!("query {name}"),
            HashOn::PathSegment(place) => format!("path_segment {place}"),
            HashOn::FilterState(key) => format!("filter_state {key}"),
            HashOn::CallKey => "call_key".to_owned(),
        };
        if self.terminal { text + " (terminal)" } else { text }
    }

    /// A hash on this that further ones are combined with.
    #[must_use]
    pub fn new(on: HashOn) -> Self {
        Self { on, terminal: false }
    }
}
