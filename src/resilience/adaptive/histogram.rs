//! Latencies by size, for percentiles: eight steps for each doubling, so within 7 %.

use std::array;

use super::atomic::{AtomicU32, Ordering};

const STEPS: u64 = 8;
/// From a microsecond to 2^32 of them: 71 minutes.
pub(super) const PLACES: usize = 8 * 30;

#[derive(Debug)]
pub(super) struct Histogram {
    places: [AtomicU32; PLACES],
}

// === impl Histogram ===

impl Histogram {
    pub(super) fn new() -> Self {
        Self { places: array::from_fn(|_| AtomicU32::new(0)) }
    }

    pub(super) fn record(&self, micros: u64) {
        self.places[place(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// The latency below which so many percent are; begins anew. None if there is nothing.
    pub(super) fn take(&self, percent: f64) -> Option<f64> {
        let counts: [u32; PLACES] =
            array::from_fn(|place| self.places[place].swap(0, Ordering::Relaxed));
        let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        #[expect(clippy::cast_precision_loss, reason = "calls of one window")]
        let wanted = (all as f64 * percent / 100.0).max(1.0);
        let mut below = 0_u64;
        for (place, count) in counts.iter().enumerate() {
            below += u64::from(*count);
            #[expect(clippy::cast_precision_loss, reason = "calls of one window")]
            if below as f64 >= wanted {
                return Some(middle(place));
            }
        }
        None
    }
}

/// Where a latency is counted.
#[expect(clippy::cast_possible_truncation, reason = "a place")]
pub(super) fn place(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    // The highest bit says the doubling, the three below it the step.
    let doubling = micros.ilog2();
    let step = (micros >> (doubling - 3)) & (STEPS - 1);
    ((u64::from(doubling - 2) * STEPS + step) as usize).min(PLACES - 1)
}

/// The middle of a place, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "a latency")]
pub(super) fn middle(place: usize) -> f64 {
    let place = place as u64;
    if place < STEPS {
        return place as f64;
    }
    let (doubling, step) = (place / STEPS + 2, place % STEPS);
    let width = (1_u64 << (doubling - 3)) as f64;
    (STEPS + step) as f64 * width + width / 2.0
}
