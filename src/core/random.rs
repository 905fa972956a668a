//! Injected randomness: a thread's own generator by default, one seeded sequence for tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random words that a whole mesh shares.
#[derive(Debug, Default)]
pub(crate) enum Random {
    /// Each thread's own generator: no line is shared between threads.
    #[default]
    Thread,
    /// One reproducible sequence (`SplitMix64`); threads share its counter.
    Seeded(AtomicU64),
}

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded(AtomicU64::new(seed))
    }

    /// The next 64 random bits.
    pub(crate) fn next(&self) -> u64 {
        match self {
            Self::Thread => fastrand::u64(..),
            Self::Seeded(state) => {
                let step = 0x9e37_79b9_7f4a_7c15;
                let mut z = state.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
        }
    }

    /// A uniform ratio in `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub(crate) fn ratio(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
