//! What the benches share.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "bench support, of which each bench uses a part"
)]

pub(crate) mod calls;
pub(crate) mod cpu;
#[path = "../../examples/support/greeter.rs"]
pub(crate) mod greeter;
pub(crate) mod grpc;
pub(crate) mod peer;
pub(crate) mod picks;
pub(crate) mod proofs;
pub(crate) mod script;
pub(crate) mod stacks;
pub(crate) mod subjects;
pub(crate) mod units;
pub(crate) mod valgrind;
