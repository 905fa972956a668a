//! Clusters that DNS fills. Over real servers.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "dns")]
mod callers;
#[cfg(feature = "dns")]
mod discovery;
#[cfg(feature = "dns")]
mod hostile;
#[cfg(feature = "dns")]
mod sources;
#[cfg(feature = "dns")]
mod srv;
