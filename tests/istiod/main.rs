//! What istiod's generators say of Istio's YAML, in both dialects, drives calls: played from recordings of the real ones,
//! over real sockets. `tests/peers/xds/istiod.rs` runs the same against the real ones, and records them.
#![cfg(all(feature = "xds", feature = "dns", feature = "tls-aws-lc-rs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it saw"
)]

mod bed;
#[allow(dead_code, reason = "who records writes, too")]
mod recorded;
mod replay;
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

use replay::Replay;

#[tokio::test(flavor = "multi_thread")]
async fn a_split_over_subsets_that_shifts_and_ends() {
    scenarios::a_split_over_subsets_that_shifts_and_ends::<Replay>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_timeouts_and_faults() {
    scenarios::retries_timeouts_and_faults::<Replay>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_as_it_is_said_and_never_less() {
    scenarios::tls_as_it_is_said_and_never_less::<Replay>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_by_name_and_by_address() {
    scenarios::entries_by_name_and_by_address::<Replay>().await;
}
