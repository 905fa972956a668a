//! The hashes of keys.

use twox_hash::XxHash64;

/// The hash of a ring's entries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::balance) enum Function {
    /// With seed 0.
    #[default]
    XxHash,
    /// As `std::hash` of GNU C++ has it.
    Murmur2,
}

impl Function {
    pub(in crate::balance) fn hash(self, bytes: &[u8]) -> u64 {
        match self {
            Self::XxHash => XxHash64::oneshot(0, bytes),
            Self::Murmur2 => murmur2(bytes),
        }
    }
}

//= GCC libstdc++ hash_bytes.cc: MurmurHash64A, whose seed is 0xc70f6907
const SEED: u64 = 0xc70f_6907;
const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;

/// `MurmurHash64A` (A. Appleby, public domain) over little-endian words.
fn murmur2(bytes: &[u8]) -> u64 {
    let fold = |word: u64| word ^ (word >> 47);
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = fold(u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER));
        hash = (hash ^ word.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    fold(fold(hash).wrapping_mul(MULTIPLIER))
}
