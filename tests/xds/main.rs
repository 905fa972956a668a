//! A control plane that speaks xDS drives the mesh. Over real streams and servers.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "xds")]
mod away;
#[cfg(feature = "xds")]
mod cache;
#[cfg(feature = "xds")]
mod callers;
#[cfg(feature = "xds")]
mod calls;
#[cfg(feature = "xds")]
mod chaos;
#[cfg(feature = "xds")]
mod clusters;
#[cfg(feature = "xds")]
mod envoy;
#[cfg(feature = "xds")]
mod federation;
#[cfg(all(feature = "xds", feature = "tls-aws-lc-rs"))]
mod istio;
#[cfg(feature = "xds")]
mod keepalive;
#[cfg(feature = "xds")]
mod load_reports;
#[cfg(feature = "xds")]
mod names;
#[cfg(feature = "xds")]
mod rejoin;
#[cfg(all(feature = "xds", feature = "tls-aws-lc-rs"))]
mod secrets;
#[cfg(feature = "xds")]
mod starts;
#[cfg(feature = "xds")]
mod status;
#[cfg(feature = "xds")]
mod statuses;
