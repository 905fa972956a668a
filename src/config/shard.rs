//! Shards: a key belongs to a shard, and a shard to its replicas.

use super::{Address, HashPolicy};

/// A map of shards: a request's key belongs to one, and goes to one of its replicas.
///
/// A key belongs to the shard that lists it, else to the shard that has its slot: the remainder of
/// its hash by 16384. A thing of this crate alone.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Sharded {
    /// The shards. Range: 1..=16384 of them.
    pub shards: Vec<Shard>,
    /// The label by which endpoints name the shards that they hold, separated by commas. Default:
    /// `shard`.
    pub label: Option<String>,
    /// What a request is hashed by, over the route's: one part, if shards list keys. Default: the
    /// route's. A request without a hash fails.
    pub hash: Vec<HashPolicy>,
}

/// A part of the keys and who holds it.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Shard {
    /// Its name; unique.
    pub name: String,
    /// Its slots, which no other has. Default, where no shard has any: equal parts, in the order of
    /// the list.
    pub slots: Vec<SlotRange>,
    /// Keys that belong to it whatever their slot; no other lists them.
    pub keys: Vec<String>,
    /// The addresses of its replicas. Default: the endpoints whose label names it.
    pub replicas: Vec<Address>,
}

/// Slots in a row.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct SlotRange {
    /// The first. Range: 0..=16383.
    pub first: u32,
    /// The last. Range: `first`..=16383.
    pub last: u32,
}

impl Sharded {
    /// Slots that there are.
    pub(crate) const SLOTS: u32 = 16_384;

    pub(crate) fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("shard")
    }
}

impl SlotRange {
    /// From the first to the last.
    #[must_use]
    pub fn new(first: u32, last: u32) -> Self {
        Self { first, last }
    }
}
