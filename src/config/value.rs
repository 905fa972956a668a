//! What the model carries without a meaning of its own: metadata and settings of other systems.

use std::collections::BTreeMap;

/// A value as JSON has it.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(untagged))]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Self>),
    /// Values by name.
    Map(BTreeMap<String, Self>),
}

/// Something that only another system defines, carried by name: an external authorizer or
/// processor, a WebAssembly module, a matcher, a balancer, a filter of Envoy.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Extension {
    /// Its name there: `envoy.filters.http.ext_authz`, `cors`.
    pub name: String,
    /// Whether the part that holds it cannot be used without it. Default: true. Source: xDS
    /// `HttpFilter.is_optional`, inverted.
    #[cfg_attr(feature = "serde", serde(default = "yes"))]
    pub required: bool,
    /// Its settings there.
    #[cfg_attr(feature = "serde", serde(default))]
    pub settings: BTreeMap<String, Value>,
}

#[cfg(feature = "serde")]
fn yes() -> bool {
    true
}

impl Extension {
    /// A required extension without settings.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), required: true, settings: BTreeMap::new() }
    }
}
