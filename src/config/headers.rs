//! Edits of headers.

use std::collections::BTreeMap;

use http::HeaderName;

use super::StringMatch;

/// Edits of headers, in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct HeaderEdit {
    /// Replaces the values of a name.
    pub set: BTreeMap<String, String>,
    /// Replaces the values of a name that is there (xDS `OVERWRITE_IF_EXISTS`).
    pub set_if_present: BTreeMap<String, String>,
    /// Adds values to names, in order.
    pub add: Vec<HeaderPair>,
    /// Adds a value to a name that is not there (xDS `ADD_IF_ABSENT`).
    pub add_if_absent: BTreeMap<String, String>,
    /// Removes a name.
    pub remove: Vec<String>,
    /// Removes the names that match (xDS `remove_on_match`).
    pub remove_matching: Vec<StringMatch>,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct HeaderPair {
    /// Its name.
    pub name: String,
    /// Its value; `%NAME%` is a value that the source's system defines.
    pub value: String,
}

impl HeaderEdit {
    /// Whether it edits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { set, set_if_present, add, add_if_absent, remove, remove_matching } = self;
        set.is_empty()
            && set_if_present.is_empty()
            && add.is_empty()
            && add_if_absent.is_empty()
            && remove.is_empty()
            && remove_matching.is_empty()
    }
}

/// Whether edits may touch a header: what frames a message, or names its host, is not theirs.
//= RFC 9110 §7.6.1; RFC 9112 §6; Envoy refuses `host` and pseudo-headers, too
pub(crate) fn is_editable(name: &HeaderName) -> bool {
    const FIXED: [&str; 9] = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    !FIXED.contains(&name.as_str())
}
