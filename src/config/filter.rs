//! Ordered filters of a service, a route or a cluster of a route. The model can say them; the stack
//! runs edits of headers, rewrites, redirects, direct responses, mirrors, sessions, rules of authorisation, faults, rate limits, adaptive limits, admission control
//! and throttling. It refuses the others by name.

use super::{
    AdaptiveConcurrency, AdmissionControl, Authorization, DirectResponse, Extension, Fault,
    GlobalRateLimit, HeaderEdit, RateLimit, Redirect, Rewrite, Session, Throttle,
};

/// One step on the way of a request, in order.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Filter {
    /// Edits request headers.
    RequestHeaders(HeaderEdit),
    /// Edits response headers.
    ResponseHeaders(HeaderEdit),
    /// Rewrites host or path.
    Rewrite(Rewrite),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Answers at once.
    DirectResponse(DirectResponse),
    /// Sends a copy elsewhere.
    Mirror(Mirror),
    /// Injects delays and failures.
    Fault(Box<Fault>),
    /// Limits the rate of requests of this process.
    RateLimit(Box<RateLimit>),
    /// Asks a service that many callers share for the rate.
    GlobalRateLimit(Box<GlobalRateLimit>),
    /// Allows or denies before any cost.
    Authorize(Authorization),
    /// Keeps a caller with its endpoint. Of a service or a route, whose own comes first.
    Session(Box<Session>),
    /// Limits concurrency by latency.
    AdaptiveConcurrency(Box<AdaptiveConcurrency>),
    /// Refuses at random as the success rate falls.
    AdmissionControl(Box<AdmissionControl>),
    /// Refuses at random what the service would refuse.
    Throttle(Box<Throttle>),
    /// A filter of another system: external authorization or processing, WebAssembly, and any
    /// that the model has no word for.
    Extension(Extension),
    /// A filter with a name that routes override it by, or one that is off until they do.
    Named(Box<NamedFilter>),
}

/// A filter that a service, its routes and their clusters override by its name.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct NamedFilter {
    /// Its name; unique among the filters of its service and of its route.
    pub name: String,
    /// Whether it is off unless a route turns it on. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub disabled: bool,
    /// What it does.
    pub filter: Filter,
}

/// Sends a copy of requests elsewhere; its answer is dropped, and nobody waits for it. At most 100
/// copies of a mirror are under way, each for at most 15 s and 64 KiB of the body behind.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Mirror {
    /// The cluster that gets the copy.
    pub cluster: Option<String>,
    /// The header that names the cluster. Default: none. Not supported yet.
    pub cluster_header: Option<String>,
    /// The share of requests. Unit: percent. Default: 100. Range: 0..=100.
    pub percent: Option<f64>,
    /// The runtime key that overrides the share.
    pub key: Option<String>,
    /// The authority of the copy. Default: the request's with `-shadow` (xDS).
    pub host: Option<String>,
    /// Whether the copy keeps the request's authority. Default: false.
    pub keep_host: Option<bool>,
    /// Whether the copy is traced. Default: as the request. Not supported yet.
    pub trace: Option<bool>,
    /// Edits of the copy's headers.
    pub request_headers: HeaderEdit,
}

impl Filter {
    /// The filter's name in the file.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Named(_) => "named",
            Self::RequestHeaders(_) => "request_headers",
            Self::ResponseHeaders(_) => "response_headers",
            Self::Rewrite(_) => "rewrite",
            Self::Redirect(_) => "redirect",
            Self::DirectResponse(_) => "direct_response",
            Self::Mirror(_) => "mirror",
            Self::Fault(_) => "fault",
            Self::RateLimit(_) => "rate_limit",
            Self::GlobalRateLimit(_) => "global_rate_limit",
            Self::Authorize(_) => "authorize",
            Self::Session(_) => "session",
            Self::AdaptiveConcurrency(_) => "adaptive_concurrency",
            Self::AdmissionControl(_) => "admission_control",
            Self::Throttle(_) => "throttle",
            Self::Extension(_) => "extension",
        }
    }

    /// Whether it answers the request itself, so that no cluster is needed.
    pub(crate) fn answers(&self) -> bool {
        match self {
            Self::Named(named) => !named.disabled && named.filter.answers(),
            Self::Redirect(_) | Self::DirectResponse(_) => true,
            _ => false,
        }
    }
}

impl Filter {
    /// The filter that runs, where it runs.
    pub(crate) fn inner(&self) -> &Self {
        match self {
            Self::Named(named) => &named.filter,
            other => other,
        }
    }
}

impl NamedFilter {
    /// A filter that is not disabled.
    #[must_use]
    pub fn new(name: impl Into<String>, filter: Filter) -> Self {
        Self { name: name.into(), disabled: false, filter }
    }
}
