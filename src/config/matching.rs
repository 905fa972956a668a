//! What a request must look like for a route to take it.

/// A request matches when every part that is given matches.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Match {
    /// Its path. Default: any.
    pub path: Option<PathMatch>,
    /// Its method. Default: any.
    pub method: Option<String>,
    /// Its headers, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Its query parameters, all of them.
    pub query: Vec<QueryMatch>,
}

/// A match on the path, without the query.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole path elements from the start (Gateway API `PathPrefix`).
    Prefix(String),
    /// A regular expression. Not supported yet.
    Regex(String),
}

/// A match on a header.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct HeaderMatch {
    /// The header's name, without case.
    pub name: String,
    /// What one of its values must be.
    pub matcher: StringMatch,
    /// Matches when it otherwise would not.
    #[cfg_attr(feature = "serde", serde(default))]
    pub invert: bool,
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
}

/// A match on text.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
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
    /// A regular expression. Not supported yet.
    Regex(String),
    /// Any text, if there is one.
    Present,
}
