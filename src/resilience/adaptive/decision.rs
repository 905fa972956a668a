//! The limit that all calls share: what ends is recorded without a lock, and one of those that end
//! computes the next limit.

use super::{
    atomic::{AtomicU32, AtomicU64, Mutex, Ordering, taken},
    control::{Control, Seen, Verdict},
    histogram::Histogram,
    rules::{LEAST_LATENCY, Rules},
    window::Window,
};
use crate::{config::AdaptiveConcurrency, core::Random};

/// A limit that follows the latency, for one destination.
///
/// The time is nanoseconds since an epoch of its owner's.
#[derive(Debug)]
pub(crate) struct Adaptive {
    rules: Rules,
    limit: AtomicU32,
    /// When it is computed next, and of how many ends.
    due: AtomicU64,
    needs: AtomicU32,
    /// Only calls that began then or later count.
    since: AtomicU64,
    /// The latency of the last window, in microseconds.
    usual: AtomicU64,
    window: Window,
    histogram: Option<Box<Histogram>>,
    /// Only ever tried, never waited for: whoever does not get it finds that another computes.
    control: Mutex<Control>,
}

/// What a call has come to, for a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// It was answered: its latency counts.
    Answered,
    /// It failed as calls do that are too many.
    Dropped,
    /// Nothing that says anything of the load.
    Ignored,
}

// === impl Adaptive ===

impl Adaptive {
    pub(crate) fn new(config: &AdaptiveConcurrency, now: u64, random: &Random) -> Self {
        let rules = Rules::new(config);
        let control = Control::new(&config.controller(), &rules, random);
        let first = control.first();
        Self {
            limit: AtomicU32::new(whole(first.limit)),
            due: AtomicU64::new(now.saturating_add(rules.interval)),
            needs: AtomicU32::new(first.needs.unwrap_or(rules.samples)),
            since: AtomicU64::new(0),
            usual: AtomicU64::new(u64::MAX),
            window: Window::new(),
            histogram: rules.percentile.map(|_| Box::new(Histogram::new())),
            control: Mutex::new(control),
            rules,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// A call has come to something now that began then and whose head came then, while so many were
    /// in flight, itself included. True if the limit is another now.
    pub(crate) fn ended(
        &self,
        end: End,
        (began, head): (u64, u64),
        now: u64,
        in_flight: u32,
        random: &Random,
    ) -> bool {
        if began < self.since.load(Ordering::Relaxed) {
            return false;
        }
        let mut micros = head.saturating_sub(began) / 1_000;
        if self.histogram.is_some() {
            // Envoy's gradient counts every answer: without one its measurement has no end.
            micros = micros.max(LEAST_LATENCY);
        }
        match end {
            End::Ignored => return false,
            End::Answered if micros < LEAST_LATENCY => return false,
            End::Answered if micros <= self.rules.too_long => {
                self.window.answered(micros, in_flight);
                if let Some(histogram) = &self.histogram {
                    histogram.record(micros);
                }
            }
            End::Answered | End::Dropped => self.window.dropped(in_flight),
        }
        self.is_due(now) && self.compute(now, random)
    }

    /// The caller of one has left: its age may raise the latency, never lower it.
    pub(crate) fn left(&self, began: u64, now: u64, in_flight: u32, random: &Random) -> bool {
        let age = now.saturating_sub(began);
        let is_long = age / 1_000 > self.usual.load(Ordering::Relaxed);
        is_long && self.ended(End::Answered, (began, now), now, in_flight, random)
    }

    fn is_due(&self, now: u64) -> bool {
        now >= self.due.load(Ordering::Acquire)
            && self.window.ends() >= u64::from(self.needs.load(Ordering::Relaxed))
    }

    #[cold]
    fn compute(&self, now: u64, random: &Random) -> bool {
        let Some(mut control) = taken(&self.control) else { return false };
        if !self.is_due(now) {
            // Another has done it meanwhile.
            return false;
        }
        let window = self.window.take();
        let latency = match (&self.histogram, self.rules.percentile) {
            (Some(histogram), Some(percent)) => histogram.take(percent),
            _ => (window.answers > 0).then(|| window.mean()),
        };
        if let Some(latency) = latency {
            self.usual.store(micros(latency), Ordering::Relaxed);
        }
        let seen = Seen {
            now,
            latency,
            answers: window.answers,
            drops: window.drops,
            in_flight: window.in_flight,
        };
        let Verdict { limit, needs, afresh } = control.update(&seen, &self.rules, random);
        if afresh {
            self.since.store(now, Ordering::Relaxed);
        }
        self.needs.store(needs.unwrap_or(self.rules.samples), Ordering::Relaxed);
        self.due.store(now.saturating_add(self.rules.interval), Ordering::Release);
        let limit = whole(limit);
        self.limit.swap(limit, Ordering::Relaxed) != limit
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn whole(limit: f64) -> u32 {
    limit.clamp(1.0, f64::from(u32::MAX)) as u32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a latency")]
fn micros(latency: f64) -> u64 {
    latency as u64
}
