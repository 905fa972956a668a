//! What the mesh counts: cells that calls write, and the two ways to read them; and in `trace`, the
//! trace that a call is a part of.
//!
//! Every service, route, cluster and endpoint owns its cells from the moment at which it is there
//! (an endpoint: from its first pick). A call reaches them by the handles that it holds anyway, and
//! adds to atomics: no map, no lock, no string and no allocation, except that the first call which
//! ends in a way that was not met before makes the cell of that end. The cells are always on.
//!
//! They are read by [`Mesh::metrics`](crate::Mesh::metrics), as values or as the text that
//! Prometheus scrapes, and with the feature `otel-033` through the meter provider that
//! [`MeshBuilder`](crate::MeshBuilder) is given.
//!
//! `docs/METRICS.md` lists every metric with its type, unit, attributes and source.
//!
//! **Where a thing is counted, its event is told**: the methods of these meters do both, and nobody
//! else does either.

mod calls;
mod cluster;
mod drops;
mod durations;
mod end;
mod family;
mod histogram;
mod hub;
#[cfg(feature = "xds")]
mod loads;
#[cfg(feature = "tracing")]
mod log;
#[cfg(feature = "otel-033")]
pub(crate) mod otel;
mod service;
mod snapshot;
#[cfg(feature = "xds")]
mod tally;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod trace;
#[cfg(feature = "orca")]
mod weights;

/// The semantic conventions that the names and attributes of metrics and spans follow: they have one
/// scope.
#[cfg(feature = "otel-033")]
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";

#[cfg(feature = "xds")]
pub(crate) use self::tally::Tally;
pub(crate) use self::{
    cluster::{AttemptEnd, ClusterMeter, Connection, EndpointMeter, Made, Proved},
    end::{End, Verb},
    family::{Label, Metric, server},
    hub::Hub,
    service::{CallEnd, RateLimited, RouteMeter, ServiceMeter},
};
pub use self::{
    family::MetricKind,
    snapshot::{MetricFamily, MetricSample, MetricValue, Metrics},
    trace::{InvalidTraceparent, Propagation, TraceContext},
};
