//! Cases of the Gateway API conformance suite, those of a mesh and those of a gateway that say what a
//! route does: over loopback servers, with the names and numbers of the suite. Its YAML is told
//! here in the mesh file's words.
#![cfg(feature = "file")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod backends;
mod bad_input;
mod echo;
mod headers;
mod matching;
mod mirrors;
mod redirects;
mod retries;
mod rewrites;
#[cfg(feature = "tls-aws-lc-rs")]
mod tls;
mod weights;
