//! Envoy's gradient: the latency now against the smallest one.
//!
//! *g* = clamp((*minRTT* + *buffer*) / *sampleRTT*, ½, 2), *L* ← *g*·*L* + √(*g*·*L*). At first, every
//! `min_rtt_interval` (and a random part of it), and after five windows at the smallest limit, the
//! smallest latency is measured: the limit is `min_concurrency` until 50 calls that began then have
//! ended. Only the latency of such calls counts.
//!
//! Two things are known of it, and tested here: while it measures, it refuses nearly
//! everything; and where the latency has risen for good, its limit stays pinned near the smallest until the next
//! measurement, and with `fixed_min_rtt` for ever. `gradient2` does neither.
//!
//! Source: Envoy adaptive concurrency filter, `GradientController`.

use super::{super::rules::Rules, Seen, Verdict};
use crate::{config::GradientController, core::Random};

/// Windows in a row at the smallest limit after which the smallest latency is doubted.
const STUCK: u32 = 5;

#[derive(Debug)]
pub(in super::super) struct Gradient {
    buffer: f64,
    /// Nanoseconds.
    interval: f64,
    jitter: f64,
    requests: u32,
    is_fixed: bool,
    limit: f64,
    least: f64,
    /// In microseconds.
    min_rtt: f64,
    is_measuring: bool,
    /// When it is measured again.
    measure_at: f64,
    stuck: u32,
}

// === impl Gradient ===

impl Gradient {
    pub(super) fn new(config: &GradientController, rules: &Rules, random: &Random) -> Self {
        let fixed = config.fixed_min_rtt.map(|rtt| rtt.as_secs_f64() * 1e6);
        let mut it = Self {
            buffer: config.buffer_percent() / 100.0,
            interval: config.min_rtt_interval().as_secs_f64() * 1e9,
            jitter: config.jitter_percent() / 100.0,
            requests: config.request_count(),
            is_fixed: fixed.is_some(),
            limit: rules.initial,
            least: rules.min,
            min_rtt: fixed.unwrap_or_default(),
            is_measuring: fixed.is_none(),
            measure_at: 0.0,
            stuck: 0,
        };
        it.plan(0, random);
        it
    }

    pub(super) fn first(&self) -> Verdict {
        self.verdict(false)
    }

    #[expect(clippy::cast_precision_loss, reason = "a time")]
    pub(super) fn update(&mut self, seen: &Seen, rules: &Rules, random: &Random) -> Verdict {
        let Some(latency) = seen.latency.filter(|latency| *latency > 0.0) else {
            return self.verdict(false);
        };
        if self.is_measuring {
            (self.min_rtt, self.is_measuring, self.stuck) = (latency, false, 0);
            self.plan(seen.now, random);
            return self.verdict(true);
        }
        let gradient = (self.min_rtt * (1.0 + self.buffer) / latency).clamp(0.5, 2.0);
        let limit = self.limit * gradient;
        self.limit = rules.within(limit + limit.sqrt(), seen.in_flight);
        self.stuck = if self.limit <= self.least { self.stuck + 1 } else { 0 };
        let is_due = seen.now as f64 >= self.measure_at || self.stuck >= STUCK;
        self.is_measuring = is_due && !self.is_fixed;
        self.verdict(self.is_measuring)
    }

    fn verdict(&self, afresh: bool) -> Verdict {
        if self.is_measuring {
            Verdict { limit: self.least, needs: Some(self.requests), afresh }
        } else {
            Verdict { limit: self.limit, needs: None, afresh }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a time")]
    fn plan(&mut self, now: u64, random: &Random) {
        let interval = self.interval * (1.0 + self.jitter * random.ratio());
        self.measure_at = now as f64 + interval;
    }
}
