//! What a request must look like for a route to take it.

use std::collections::BTreeMap;

use super::Extension;

/// A request matches when every part that is given matches.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Match {
    /// Its path. Default: any.
    pub path: Option<PathMatch>,
    /// Whether the path is compared without case. Default: false. Source: xDS
    /// `RouteMatch.case_sensitive`, inverted.
    pub path_ignore_case: bool,
    /// Its method. Default: any.
    pub method: Option<String>,
    /// Its scheme, `http` or `https`; a request without one is `http`. Default: any.
    pub scheme: Option<String>,
    /// Its headers, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Its query parameters, all of them.
    pub query: Vec<QueryMatch>,
    /// Its cookies, all of them.
    pub cookies: Vec<CookieMatch>,
    /// That it is a gRPC call, and of what; not beside `path`.
    pub grpc: Option<GrpcMatch>,
    /// The share of requests that match. A request has one place in all shares: where 10 % of them
    /// match, they are among the 20 % of another match.
    pub fraction: Option<RuntimeFraction>,
    /// Labels that the calling workload must carry ([`MeshBuilder::label`]). Source: Istio
    /// `HTTPMatchRequest.sourceLabels`.
    ///
    /// [`MeshBuilder::label`]: crate::MeshBuilder::label
    pub caller: BTreeMap<String, String>,
    /// What the application, or a layer of its own, has noted about the call as
    /// [`CallMetadata`](super::CallMetadata), all of it. Source: xDS `dynamic_metadata`.
    pub metadata: Vec<MetadataMatch>,
    /// A matcher of another system. Not supported yet.
    pub extension: Option<Box<Extension>>,
}

/// A match on the path, without the query.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole path elements from the start (Gateway API `PathPrefix`, xDS
    /// `path_separated_prefix`).
    Prefix(String),
    /// Any start of the text (xDS `prefix`, Consul `PathPrefix`).
    StringPrefix(String),
    /// A regular expression over the whole path (RE2, with ASCII classes). Needs the crate feature
    /// `regex`, which `file` turns on.
    Regex(String),
    /// A template like `/users/{id}/**` (xDS `path_match_policy`): `*` and `{id}` are one element,
    /// `**` is the rest.
    Template(String),
    /// A CONNECT request (xDS `connect_matcher`). Not supported yet.
    Connect,
}

/// A match on a header.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct HeaderMatch {
    /// The header's name, without case. Of routes, and of what describes requests to rate limits, also
    /// `:method`, `:scheme` (`http` where a request has none), `:authority` (with the port, as it is sent:
    /// one for any port stands in `hosts`) and `:path` (with the query).
    pub name: String,
    /// What one of its values must be.
    pub matcher: StringMatch,
    /// Matches when it otherwise would not. A header that is not there has no other value either: it
    /// meets nothing but an inverted `present` (Envoy, gRFC A28).
    #[cfg_attr(feature = "serde", serde(default))]
    pub invert: bool,
    /// Whether the value is compared without case. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub ignore_case: bool,
    /// Whether a header that is not there counts as an empty one. Default: false. Source: xDS
    /// `treat_missing_header_as_empty`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub missing_as_empty: bool,
}

/// A match on a query parameter; the first of its name decides.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct QueryMatch {
    /// The parameter's name.
    pub name: String,
    /// What its value must be.
    pub matcher: StringMatch,
    /// Whether the value is compared without case. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub ignore_case: bool,
    /// Matches when it otherwise would not; so does a parameter that is not there.
    #[cfg_attr(feature = "serde", serde(default))]
    pub invert: bool,
}

/// A match on a cookie: the value of the first one of its name, without quotes. An empty one is there, and
/// one that is no text is there and matches nothing else.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct CookieMatch {
    /// The cookie's name.
    pub name: String,
    /// What its value must be.
    pub matcher: StringMatch,
    /// Whether the value is compared without case. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub ignore_case: bool,
    /// Matches when it otherwise would not.
    #[cfg_attr(feature = "serde", serde(default))]
    pub invert: bool,
}

/// A match on text.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum StringMatch {
    /// The whole text.
    Exact(String),
    /// Its start.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// A part of it.
    Contains(String),
    /// A regular expression over the whole text (RE2, with ASCII classes). Needs the crate feature
    /// `regex`, which `file` turns on.
    Regex(String),
    /// A whole number in a range.
    Range(IntegerRange),
    /// Any text, if there is one.
    Present,
}

impl StringMatch {
    /// Whether a text that is there meets it. Validation has refused what is not supported.
    pub(crate) fn is_met_by(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => text == wanted,
            Self::Prefix(start) => text.starts_with(start),
            Self::Suffix(end) => text.ends_with(end),
            Self::Contains(part) => text.contains(part),
            Self::Present => true,
            Self::Regex(_) | Self::Range(_) => false,
        }
    }
}

/// Whole numbers from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct IntegerRange {
    /// The first.
    pub start: i64,
    /// The first that is too large.
    pub end: i64,
}

/// A match on gRPC calls, by their content type: any, unless parts are given.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct GrpcMatch {
    /// The service with its package. Default: any.
    pub service: Option<StringMatch>,
    /// The method. Default: any.
    pub method: Option<StringMatch>,
}

/// A share of requests.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RuntimeFraction {
    /// The share. Unit: percent. Range: 0..=100.
    pub percent: f64,
    /// The runtime key that overrides the share, where somebody sets it: `runtime` of a file, or the
    /// code. Source: xDS `runtime_key`.
    pub key: Option<String>,
}

/// A match on what was noted about the call. What is not there meets nothing, and so is met only where
/// the match is inverted.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct MetadataMatch {
    /// The namespace that it was noted in.
    pub namespace: String,
    /// The way to the value: the names of maps, from the outermost on. Empty: all of the namespace.
    pub path: Vec<String>,
    /// What the value must be. Default: anything.
    pub value: ValueMatch,
    /// Matches when it otherwise would not.
    pub invert: bool,
}

/// A regular expression and what each of its matches becomes. Needs the crate feature `regex`, which
/// `file` turns on.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RegexRewrite {
    /// The expression (RE2: no look-around, no references back).
    pub pattern: String,
    /// The replacement; `\1` is the first group, `\0` the whole match, `\\` a backslash.
    pub substitution: String,
}

/// A match on a value as JSON has it (xDS `ValueMatcher`).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum ValueMatch {
    /// Anything, if it is there.
    #[default]
    Present,
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// This number.
    Number(f64),
    /// A number in a range.
    Range(NumberRange),
    /// A text.
    Text(StringMatch),
    /// A list with such an item.
    Item(Box<Self>),
    /// One of these.
    AnyOf(Vec<Self>),
}

/// Numbers from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct NumberRange {
    /// The first.
    pub start: f64,
    /// The first that is too large.
    pub end: f64,
}

impl HeaderMatch {
    /// A match on the values of this header.
    #[must_use]
    pub fn new(name: impl Into<String>, matcher: StringMatch) -> Self {
        let (invert, ignore_case, missing_as_empty) = (false, false, false);
        Self { name: name.into(), matcher, invert, ignore_case, missing_as_empty }
    }
}

impl QueryMatch {
    /// A match on the first value of this parameter.
    #[must_use]
    pub fn new(name: impl Into<String>, matcher: StringMatch) -> Self {
        Self { name: name.into(), matcher, ignore_case: false, invert: false }
    }
}

impl CookieMatch {
    /// A match on the value of this cookie.
    #[must_use]
    pub fn new(name: impl Into<String>, matcher: StringMatch) -> Self {
        Self { name: name.into(), matcher, ignore_case: false, invert: false }
    }
}
