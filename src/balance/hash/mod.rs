//! Consistent hashing: which endpoint a hash stands for, the same in every client, in Envoy and in
//! gRPC.
//!
//! Pure arithmetic over keys and weights: a table is built from members and answers with their
//! positions. The tables, seeds and rules are Envoy's (`ring_hash_lb.cc`, `maglev_lb.cc`,
//! `thread_aware_lb_impl.cc`), its tests' vectors are tests here.

mod bounded;
mod function;
mod maglev;
mod ring;
mod shuffle;
mod spread;
#[cfg(test)]
mod tests;

pub(super) use self::spread::{Crowd, Kind, Spread};
use self::{
    bounded::{is_full, overload},
    function::Function,
    maglev::Maglev,
    ring::{Ring, Sizes},
    shuffle::Shuffle,
};

/// One of those that share the hashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// What it is hashed by.
    pub(super) key: &'a [u8],
    /// Its share: all of them sum to 1. One without a positive share gets nothing.
    pub(super) share: f64,
}

/// A member's share: its part of the weights of all.
//= Envoy normalizeHostWeights: weight times the locality's share, over the sum
pub(super) fn share_of(weight: u32, of_all: f64, sum: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sums of weights stay far below 2^53")]
    let sum = sum as f64;
    f64::from(weight) * of_all / sum
}

/// Those that get something.
fn sharing<'a>(members: &'a [Member<'a>]) -> impl Iterator<Item = (u32, Member<'a>)> {
    let positions = 0_u32..;
    positions.zip(members.iter().copied()).filter(|(_, member)| member.share > 0.0)
}
