//! Rewrites, redirects and direct responses.

use std::collections::BTreeMap;

use super::RegexRewrite;

/// Changes host or path before the request is sent.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Rewrite {
    /// The new authority. Default: unchanged.
    pub host: Option<HostRewrite>,
    /// The new path. Default: unchanged.
    pub path: Option<PathRewrite>,
    /// Whether the old authority is passed on as `x-forwarded-host`. Default: false. Source: xDS
    /// `append_x_forwarded_host`.
    pub forwarded_host: bool,
}

/// A new authority.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum HostRewrite {
    /// This one.
    Literal(String),
    /// The host name of the endpoint, of each attempt its own: its `hostname`, else the name that DNS
    /// was asked for. One that has neither leaves the host as it is. An endpoint's `authority` goes
    /// before it. Source: xDS `auto_host_rewrite`, gRFC A81.
    Endpoint,
    /// The value of a header; without it, the host stays.
    Header(String),
    /// The path, rewritten (xDS `host_rewrite_path_regex`).
    PathRegex(RegexRewrite),
}

/// A new path; the query stays.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum PathRewrite {
    /// This one.
    Full(String),
    /// What the matched prefix becomes; where the match has no path, what is put before it.
    Prefix(String),
    /// The old one, rewritten.
    Regex(RegexRewrite),
    /// A template over the parts that the match's template named (xDS `path_rewrite_policy`).
    Template(String),
}

/// Answers with a redirect, which goes back to the caller.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Redirect {
    /// The status: 301, 302, 303, 307 or 308. Default: 302 (Gateway API; xDS: 301).
    pub status: Option<u16>,
    /// The new scheme: `http`, `https`. Default: the request's.
    pub scheme: Option<String>,
    /// The new host. Default: the request's.
    pub host: Option<String>,
    /// The new port. Default: the usual one of `scheme`, where that is given, else the request's.
    pub port: Option<u16>,
    /// The new path. Default: the request's.
    pub path: Option<PathRewrite>,
    /// Whether the query is left out. Default: false. Source: xDS `strip_query`.
    pub strip_query: bool,
    /// The port is Envoy's: where a host is given, the one that is given with it or none; else the
    /// request's, less the usual one of a scheme that is left. xDS alone says it.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) envoy_ports: bool,
}

/// Answers at once.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct DirectResponse {
    /// The status. Range: 200..=599.
    pub status: u16,
    /// The body. Default: empty.
    pub body: String,
    /// Headers of the answer.
    pub headers: BTreeMap<String, String>,
    /// The gRPC code for gRPC callers. Default: by the status. Range: 0..=16.
    pub grpc: Option<i32>,
}
