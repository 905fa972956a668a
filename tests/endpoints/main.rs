//! Endpoints that die, fail, hang, drain, change and leave. Over real servers.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "testing")]
mod changed_endpoints;
mod closing_endpoints;
mod dead_endpoint;
mod draining_endpoints;
mod failing_endpoint;
mod health_checks;
mod hung_endpoint;
mod outlier_detection;
mod removed_endpoint;
