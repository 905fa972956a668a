//! Shards: which replicas a hash belongs to.
//!
//! The map is part of the policy, the replicas are places of the set: an update of either makes the
//! table anew, and a pick reads both in one view.

mod map;
mod replicas;
#[cfg(test)]
mod tests;

pub(super) use self::{map::Map, replicas::Replicas};
