//! What a request is hashed by, for balancers that hash.

use std::{collections::BTreeMap, time::Duration};

use super::RegexRewrite;

/// One part of a request's hash; parts are combined in order. Not supported yet.
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
    /// The address of the caller (xDS `source_ip`).
    SourceIp,
    /// The values of a header.
    Header(HashHeader),
    /// A cookie, made when there is none.
    Cookie(HashCookie),
    /// The first query parameter of this name.
    Query(String),
    /// What the connection or an extension has noted under this key (`io.grpc.channel_id`).
    FilterState(String),
    /// The key that the call itself gives.
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
    /// What its value becomes before it is hashed.
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
    /// How long a made cookie lives. Default: the session; none is made in xDS without a value.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub ttl: Option<Duration>,
    /// Whether a cookie is made when there is none. Default: false.
    pub generate: bool,
    /// Its path. Default: none.
    pub path: Option<String>,
    /// Its further attributes: `SameSite`, `Secure`, `HttpOnly`.
    pub attributes: BTreeMap<String, String>,
}

impl HashPolicy {
    /// A hash on this that further ones are combined with.
    #[must_use]
    pub fn new(on: HashOn) -> Self {
        Self { on, terminal: false }
    }
}
