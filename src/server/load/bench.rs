//! A server's estimate of its own latency, in a time that its owner tells: for simulations. Not
//! part of the API.

#![allow(missing_docs, reason = "for the benches of this crate only")]

use super::latency::Latency;

/// The latency that a server's next call may expect.
#[derive(Debug)]
pub struct Estimate(Latency);

impl Estimate {
    /// By calls that are not older, in nanoseconds.
    #[must_use]
    pub fn new(max_age: u64) -> Self {
        Self(Latency::new(max_age))
    }

    /// A call that met so many others has taken so many nanoseconds; so many are there now.
    pub fn record(&self, now: u64, met: u32, there: u32, took: u64) {
        self.0.record(now, (met, there), took);
    }

    /// Microseconds; 0: unknown.
    #[must_use]
    pub fn micros(&self) -> u64 {
        self.0.estimate().unwrap_or(0)
    }
}
