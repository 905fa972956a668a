//! How calls are traced.

use std::collections::BTreeMap;

/// How calls are traced (xDS `Tracing`), where a tracer is given to the mesh.
///
/// A call whose caller's trace is not sampled is never recorded. Of the others these shares are
/// handed to the tracer, whose own sampler then decides.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Tracing {
    /// The share of the calls that are traced because their caller's trace is sampled. Unit:
    /// percent. Default: 100. Range: 0..=100.
    pub client_percent: Option<f64>,
    /// The share of the calls without a caller's trace that begin one. Unit: percent. Default: 100.
    /// Range: 0..=100.
    pub random_percent: Option<f64>,
    /// The share of either that is traced in the end. Unit: percent. Default: 100. Range: 0..=100.
    pub overall_percent: Option<f64>,
    /// Attributes of the call's span with fixed values. Spans of the feature `tracing` have none.
    pub tags: BTreeMap<String, String>,
    /// Attributes of the call's span with the values of request headers, by attribute; a value that
    /// is marked sensitive is left out. Spans of the feature `tracing` have none.
    pub header_tags: BTreeMap<String, String>,
    /// The name of the call's span. Default: by OpenTelemetry's conventions, the HTTP method or
    /// gRPC's service and method.
    pub operation: Option<String>,
}
