//! Ordered filters of a route. The model can say them; the stack runs none of them yet, and
//! refuses each by name.

use std::{collections::BTreeMap, time::Duration};

/// One step on the way of a request, in order.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Filter {
    /// Edits request headers.
    RequestHeaders(HeaderEdit),
    /// Edits response headers.
    ResponseHeaders(HeaderEdit),
    /// Rewrites host or path.
    #[non_exhaustive]
    Rewrite {
        /// The new authority.
        host: Option<String>,
        /// The new path.
        path: Option<String>,
        /// What the matched prefix becomes.
        prefix: Option<String>,
    },
    /// Answers with a redirect.
    #[non_exhaustive]
    Redirect {
        /// The status: 301, 302, 303, 307 or 308.
        status: u16,
        /// The new scheme.
        scheme: Option<String>,
        /// The new host.
        host: Option<String>,
        /// The new port.
        port: Option<u16>,
        /// The new path.
        path: Option<String>,
    },
    /// Answers at once.
    #[non_exhaustive]
    DirectResponse {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// Sends a copy elsewhere.
    #[non_exhaustive]
    Mirror {
        /// The cluster that gets the copy.
        cluster: String,
        /// The share of requests. Unit: percent.
        percent: f64,
    },
    /// Injects delays and failures.
    #[non_exhaustive]
    Fault {
        /// The delay.
        #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        delay: Option<Duration>,
        /// The status of an aborted request.
        abort: Option<u16>,
        /// The share of requests. Unit: percent.
        percent: f64,
    },
    /// Limits the rate of requests.
    #[non_exhaustive]
    RateLimit {
        /// Requests per second.
        per_second: f64,
        /// Requests at once.
        burst: u32,
    },
    /// Allows or denies before any cost.
    #[non_exhaustive]
    Authorize {
        /// The name of a policy.
        policy: String,
    },
    /// A filter of another system.
    #[non_exhaustive]
    Extension {
        /// Its name there.
        name: String,
        /// Its settings there.
        settings: BTreeMap<String, String>,
    },
}

/// Edits of headers, in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct HeaderEdit {
    /// Replaces the values of a name.
    pub set: BTreeMap<String, String>,
    /// Adds a value to a name.
    pub add: BTreeMap<String, String>,
    /// Removes a name.
    pub remove: Vec<String>,
}

impl Filter {
    /// The filter's name in the file.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::RequestHeaders(_) => "request_headers",
            Self::ResponseHeaders(_) => "response_headers",
            Self::Rewrite { .. } => "rewrite",
            Self::Redirect { .. } => "redirect",
            Self::DirectResponse { .. } => "direct_response",
            Self::Mirror { .. } => "mirror",
            Self::Fault { .. } => "fault",
            Self::RateLimit { .. } => "rate_limit",
            Self::Authorize { .. } => "authorize",
            Self::Extension { .. } => "extension",
        }
    }
}
