//! Redirects that are followed inside of a call.

use super::Extension;

/// Redirects that are followed inside of a call (xDS `InternalRedirectPolicy`). Not supported
/// yet.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct FollowRedirects {
    /// How many in a row. Default: 1.
    pub max: Option<u32>,
    /// Statuses that are followed: 301, 302, 303, 307, 308. Default: 302.
    pub statuses: Vec<u16>,
    /// Whether one from HTTP to HTTPS or back is followed. Default: false.
    pub cross_scheme: Option<bool>,
    /// Further conditions of another system.
    pub predicates: Vec<Extension>,
    /// Headers of the response that are copied into the next request.
    pub copy_headers: Vec<String>,
}
