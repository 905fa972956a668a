//! Servers, leaves and callers that the tests share.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support, of which each test file uses a part"
)]

pub(crate) mod calls;
#[cfg(feature = "tls-aws-lc-rs")]
pub(crate) mod certificates;
pub(crate) mod frames;
#[path = "../../examples/support/greeter.rs"]
pub(crate) mod greeter;
pub(crate) mod greeters;
#[cfg(feature = "tls-aws-lc-rs")]
pub(crate) mod held;
pub(crate) mod leaf;
pub(crate) mod pipes;
pub(crate) mod protected;
pub(crate) mod raw;
#[cfg(feature = "dns")]
pub(crate) mod rogue;
pub(crate) mod server;
pub(crate) mod source;
#[cfg(feature = "tls-aws-lc-rs")]
pub(crate) mod tls_server;
#[cfg(feature = "dns")]
#[path = "../../examples/support/zone.rs"]
pub(crate) mod zone;

pub(crate) use self::{
    calls::{
        Recorder, VERSIONS, failures, fetch, get, h2, over, patience, post, small_steps, storm,
        within,
    },
    frames::{frame, h2_server},
    greeter::{GreeterClient, GreeterServer, HelloReply, HelloRequest},
    greeters::{FnGreeter, hello},
    leaf::{Leaves, SERVICE},
    pipes::Pipes,
    raw::RawServer,
    server::{Reply, Server, dead_address, reply, status},
    source::{cluster, one_cluster, published},
};
#[cfg(feature = "tls-aws-lc-rs")]
pub(crate) use self::{
    certificates::{Ca, Issued, swap},
    held::{Held, Stage, once},
    tls_server::{LATE, Tls, TlsServer},
};

/// The erased error of the tests.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
