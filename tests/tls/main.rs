//! TLS and identity: certificates, rotation, authorisation, never in clear. Over real servers.

#[path = "../support/mod.rs"]
mod support;

mod authorization;
#[cfg(feature = "file")]
mod authorization_of_all;
#[cfg(feature = "tls-aws-lc-rs")]
mod bad_certificates;
#[cfg(feature = "tls-aws-lc-rs")]
mod calls;
#[cfg(all(feature = "tls-aws-lc-rs", feature = "dns"))]
mod default_identity;
#[cfg(feature = "tls-aws-lc-rs")]
mod endpoints;
#[cfg(all(feature = "tls-aws-lc-rs", feature = "file"))]
mod never_in_clear;
#[cfg(feature = "tls-aws-lc-rs")]
mod resends;
#[cfg(feature = "tls-aws-lc-rs")]
mod revocation;
#[cfg(feature = "tls-aws-lc-rs")]
mod rotation;
#[cfg(feature = "tls-aws-lc-rs")]
mod schemes;
#[cfg(feature = "tls-aws-lc-rs")]
mod sources;
#[cfg(feature = "tls-aws-lc-rs")]
mod stricter;
