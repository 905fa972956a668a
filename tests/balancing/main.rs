//! Which endpoint a call goes to. Over real servers.

#[path = "../support/mod.rs"]
mod support;

mod failover;
mod fast_and_slow;
mod hash_policies;
#[cfg(feature = "orca")]
mod load_probes;
#[cfg(feature = "orca")]
mod load_reports;
mod localities;
mod many_endpoints;
mod penalties;
mod pick_first;
mod sessions;
mod shards;
mod subset_connections;
