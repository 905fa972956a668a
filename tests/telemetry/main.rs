//! Metrics, traces and spans as they are told to others.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "otel-033")]
mod collector;
#[cfg(feature = "otel-033")]
mod otel_metrics;
mod trace_context;
#[cfg(feature = "tracing")]
mod tracing_spans;
