//! Injected randomness: a thread's own generator by default, one seeded sequence for tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// From one state of `SplitMix64` to the next.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of random words that a whole mesh shares.
#[derive(Debug, Default)]
pub(crate) enum Random {
    /// Each thread's own generator: no line is shared between threads.
    #[default]
    Thread,
    /// One reproducible sequence (`SplitMix64`); threads share its counter.
    Seeded(AtomicU64),
    /// The same, of a choice that is tried out and not made: who draws from it claims nothing.
    Dry(AtomicU64),
}

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded(AtomicU64::new(seed))
    }

    /// For choices that are tried out.
    pub(crate) fn dry(seed: u64) -> Self {
        Self::Dry(AtomicU64::new(seed))
    }

    /// The same for another user: of a sequence, what is still to come of it.
    pub(crate) fn copied(&self) -> Self {
        match self {
            Self::Thread => Self::Thread,
            Self::Seeded(_) => Self::seeded(self.mark()),
            Self::Dry(_) => Self::dry(self.mark()),
        }
    }

    /// Whether what is chosen is tried out alone.
    pub(crate) fn is_dry(&self) -> bool {
        matches!(self, Self::Dry(_))
    }

    /// Where the sequence is: the same as long as nothing is drawn.
    pub(crate) fn mark(&self) -> u64 {
        match self {
            Self::Thread => 0,
            Self::Seeded(state) | Self::Dry(state) => state.load(Ordering::Relaxed),
        }
    }

    /// Whether no more words than so many were drawn since then.
    pub(crate) fn drew_at_most(&self, words: u64, since: u64) -> bool {
        (0..=words).any(|words| since.wrapping_add(STEP.wrapping_mul(words)) == self.mark())
    }

    /// The next 64 random bits.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        match self {
            Self::Thread => of_thread(),
            Self::Seeded(state) | Self::Dry(state) => {
                let mut z = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
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

#[inline(never)]
fn of_thread() -> u64 {
    fastrand::u64(..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_uniform_and_below_one() {
        let random = Random::seeded(2);
        let ratios: Vec<f64> = (0..100_000).map(|_| random.ratio()).collect();
        assert!(ratios.iter().all(|ratio| (0.0..1.0).contains(ratio)));
        for tenth in 0..10 {
            let from = f64::from(tenth) / 10.0;
            let count = ratios.iter().filter(|ratio| (from..from + 0.1).contains(*ratio)).count();
            assert!((9_500..10_500).contains(&count), "{count} from {from}");
        }
    }

    #[test]
    fn threads_share_one_sequence_without_repeating_a_word() {
        let random = Random::seeded(2);
        let mut words: Vec<u64> = std::thread::scope(|scope| {
            let draw = || (0..1_000).map(|_| random.next()).collect::<Vec<_>>();
            let threads = [(); 4].map(|()| scope.spawn(draw));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 4_000);
    }
}
