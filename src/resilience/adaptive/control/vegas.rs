//! The queue that the latency tells of, as TCP Vegas sees it.
//!
//! *queue* = ⌈*L* · (1 − *rtt₀* / *rtt*)⌉, where *rtt₀* is the smallest latency that is known. With
//! *log* = max(1, ⌊log₁₀ *L*⌋): up to a queue of *log* the limit grows by *beta*·*log*, below
//! *alpha*·*log* by *log*, above *beta*·*log* it shrinks by *log*; after failures too. Nothing grows while
//! less than half of the limit is in flight. *rtt₀* is forgotten every ½…1 · 30 · *L* windows, so that a service
//! that has become slower is believed in the end.
//!
//! Source: Netflix concurrency-limits `VegasLimit` inside of its `WindowedLimit`.

use super::{super::rules::Rules, Seen};
use crate::{config::VegasController, core::Random};

#[derive(Debug)]
pub(in super::super) struct Vegas {
    alpha: f64,
    beta: f64,
    probe: f64,
    limit: f64,
    /// The smallest latency, in microseconds; none before the first one.
    least: Option<f64>,
    /// Windows since it was last forgotten, and up to which share of the usual number it holds.
    windows: f64,
    jitter: f64,
}

// === impl Vegas ===

impl Vegas {
    pub(super) fn new(config: &VegasController, rules: &Rules, random: &Random) -> Self {
        Self {
            alpha: config.alpha(),
            beta: config.beta(),
            probe: f64::from(config.probe_multiplier()),
            limit: rules.initial,
            least: None,
            windows: 0.0,
            jitter: jitter(random),
        }
    }

    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    pub(super) fn update(&mut self, seen: &Seen, rules: &Rules, random: &Random) -> f64 {
        self.windows += 1.0;
        let is_over = self.windows >= self.jitter * self.probe * self.limit;
        let is_new = |latency: &f64| is_over || self.least.is_none_or(|least| *latency < least);
        let new = seen.latency.filter(is_new);
        if new.is_some() {
            if is_over {
                (self.windows, self.jitter) = (0.0, jitter(random));
            }
            self.least = new;
        }
        // Where what it measures by is new, there is nothing to compare with yet.
        let limit = if new.is_some() && seen.drops == 0 { self.limit } else { self.next(seen) };
        self.limit = rules.within(limit, seen.in_flight);
        self.limit
    }

    fn next(&self, seen: &Seen) -> f64 {
        let log = self.limit.log10().floor().max(1.0);
        if seen.drops > 0 {
            return self.limit - log;
        }
        let (Some(latency), Some(least)) = (seen.latency, self.least) else { return self.limit };
        if f64::from(seen.in_flight) * 2.0 < self.limit {
            return self.limit;
        }
        let queue = (self.limit * (1.0 - least / latency.max(least))).ceil();
        if queue <= log {
            self.limit + self.beta * log
        } else if queue < self.alpha * log {
            self.limit + log
        } else if queue > self.beta * log {
            self.limit - log
        } else {
            self.limit
        }
    }
}

fn jitter(random: &Random) -> f64 {
    0.5 + random.ratio() / 2.0
}
