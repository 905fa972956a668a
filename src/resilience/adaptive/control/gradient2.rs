//! The gradient that does not pin: the latency now against a long average of it.
//!
//! *g* = clamp(*tolerance* · *long* / *short*, ½, 1), *L'* = *g*·*L* + *queue*, *L* ←
//! (1 − *smoothing*)·*L* + *smoothing*·*L'*. *long* is an exponential average over 600 windows; where it
//! is more than twice *short*, it falls by 5 % with each window, so that it recovers fast. Nothing
//! grows while less than half of the limit is in flight.
//!
//! There is no smallest latency that has to be measured with few calls in flight, and none that
//! holds a limit down for ever: a latency that has come to stay becomes the long average.
//!
//! Netflix' own looks at no failures. Here a window with failures does not grow, and one where they
//! are more than a tenth of the ends shrinks to nine tenths: a service that hangs answers nothing, so its
//! latency says nothing.
//!
//! Source: Netflix concurrency-limits `Gradient2Limit`, `ExpAvgMeasurement`.

use super::{super::rules::Rules, Seen};
use crate::config::Gradient2Controller;

/// The long average is the mean of so many windows before it is exponential.
const WARM_UP: f64 = 10.0;
/// Failures as a part of the ends, and what they cost.
const FAILING: f64 = 0.1;
const BACKOFF: f64 = 0.9;

#[derive(Debug)]
pub(in super::super) struct Gradient2 {
    smoothing: f64,
    queue: f64,
    factor: f64,
    tolerance: f64,
    limit: f64,
    /// The long average, in microseconds, and how many windows it is of.
    long: f64,
    windows: f64,
}

// === impl Gradient2 ===

impl Gradient2 {
    pub(super) fn new(config: &Gradient2Controller, rules: &Rules) -> Self {
        Self {
            smoothing: config.smoothing(),
            queue: f64::from(config.queue_size()),
            factor: 2.0 / (f64::from(config.long_window()) + 1.0),
            tolerance: config.rtt_tolerance(),
            limit: rules.initial,
            long: 0.0,
            windows: 0.0,
        }
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    pub(super) fn update(&mut self, seen: &Seen, rules: &Rules) -> f64 {
        let limit = self.next(seen);
        let ends = f64::from(seen.drops) + f64::from(seen.answers);
        let limit = if f64::from(seen.drops) > FAILING * ends {
            self.limit * BACKOFF
        } else if seen.drops > 0 {
            limit.min(self.limit)
        } else {
            limit
        };
        self.limit = rules.within(limit, seen.in_flight);
        self.limit
    }

    fn next(&mut self, seen: &Seen) -> f64 {
        let Some(short) = seen.latency.filter(|latency| *latency > 0.0) else { return self.limit };
        self.average(short);
        if self.long > 2.0 * short {
            self.long *= 0.95;
        }
        if f64::from(seen.in_flight) < self.limit / 2.0 {
            return self.limit;
        }
        let gradient = (self.tolerance * self.long / short).clamp(0.5, 1.0);
        let limit = self.limit * gradient + self.queue;
        self.limit * (1.0 - self.smoothing) + limit * self.smoothing
    }

    fn average(&mut self, short: f64) {
        if self.windows < WARM_UP {
            self.windows += 1.0;
            self.long += (short - self.long) / self.windows;
        } else {
            self.long += (short - self.long) * self.factor;
        }
    }
}
