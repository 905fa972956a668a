//! The latency that the next call may expect: a median of what calls in a like situation took.
//!
//! What comes in takes a lock that nobody waits for; of two that come in at once, one is lost.

use std::sync::{
    Mutex, TryLockError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// So many calls are remembered.
const MEMORY: usize = 128;
/// So many of them, those that met about as many others, make the median.
const NEAREST: usize = 16;
/// An estimate lasts so long. Nanoseconds.
const LASTS: u64 = 1_000_000;

/// What a call met and took.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: u64,
    in_flight: u32,
    /// Microseconds; 0: none.
    took: u32,
}

#[derive(Debug)]
pub(super) struct Latency {
    /// How old a sample may be. Nanoseconds.
    max_age: u64,
    /// Microseconds; 0: unknown.
    estimate: AtomicU64,
    samples: Mutex<Samples>,
}

#[derive(Debug)]
struct Samples {
    ring: [Sample; MEMORY],
    next: usize,
    estimated: u64,
}

impl Latency {
    pub(super) fn new(max_age: u64) -> Self {
        let samples = Samples { ring: [Sample::default(); MEMORY], next: 0, estimated: 0 };
        Self { max_age, estimate: AtomicU64::new(0), samples: Mutex::new(samples) }
    }

    /// A call that met so many others has taken so many nanoseconds; so many are there now.
    pub(super) fn record(&self, now: u64, (met, there): (u32, u32), took: u64) {
        let mut samples = match self.samples.try_lock() {
            Ok(samples) => samples,
            Err(TryLockError::Poisoned(samples)) => samples.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let next = samples.next;
        let took = u32::try_from(took / 1_000).unwrap_or(u32::MAX).max(1);
        if let Some(sample) = samples.ring.get_mut(next) {
            *sample = Sample { at: now, in_flight: met, took };
        }
        samples.next = (next + 1) % MEMORY;
        if now.saturating_sub(samples.estimated) >= LASTS || samples.estimated == 0 {
            samples.estimated = now.max(1);
            let estimate = samples.median(now, there, self.max_age);
            self.estimate.store(estimate.unwrap_or(0).into(), Relaxed);
        }
    }

    /// Microseconds; nothing while nothing is known.
    pub(super) fn estimate(&self) -> Option<u64> {
        Some(self.estimate.load(Relaxed)).filter(|estimate| *estimate > 0)
    }
}

impl Samples {
    /// The median of the young samples that are nearest to so many in flight.
    //= NSDI '24 §4.1: the median of recent latencies recorded at (or near) the current RIF
    fn median(&self, now: u64, in_flight: u32, max_age: u64) -> Option<u32> {
        let mut nearest = [(u32::MAX, 0); MEMORY];
        let young = self
            .ring
            .iter()
            .filter(|sample| sample.took > 0 && now.saturating_sub(sample.at) <= max_age);
        let mut count = 0;
        for (slot, sample) in nearest.iter_mut().zip(young) {
            *slot = (sample.in_flight.abs_diff(in_flight), sample.took);
            count += 1;
        }
        let mut nearest = nearest.get_mut(..count)?;
        if count > NEAREST {
            nearest.select_nth_unstable_by_key(NEAREST - 1, |(distance, _)| *distance);
            nearest = nearest.get_mut(..NEAREST)?;
        }
        let middle = nearest.len() / 2;
        let (_, (_, median), _) = (!nearest.is_empty())
            .then(|| nearest.select_nth_unstable_by_key(middle, |(_, took)| *took))?;
        Some(*median)
    }
}
