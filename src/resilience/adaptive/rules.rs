//! The bounds that all controllers keep, and the defaults of each.

use std::time::Duration;

use crate::config::{
    AdaptiveConcurrency, AimdController, ConcurrencyController, Gradient2Controller,
    GradientController, VegasController,
};

/// Latencies below it are those of answers that nobody worked for. Unit: microseconds.
///
//= Netflix concurrency-limits WindowedLimit, minRttThreshold
pub(super) const LEAST_LATENCY: u64 = 100;

/// What holds whatever computes the limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) initial: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// The limit as times the calls in flight, at most.
    pub(super) factor: f64,
    /// Nanoseconds.
    pub(super) interval: u64,
    pub(super) samples: u32,
    /// An answer that took longer is a failure. Microseconds.
    pub(super) too_long: u64,
    /// Which latency counts: a percentile, or the mean.
    pub(super) percentile: Option<f64>,
}

// === impl Rules ===

impl Rules {
    pub(super) fn new(config: &AdaptiveConcurrency) -> Self {
        let controller = config.controller();
        let min = f64::from(config.min_concurrency());
        let max = f64::from(config.max_concurrency()).max(min);
        let too_long = match &controller {
            ConcurrencyController::Aimd(aimd) => {
                u64::try_from(aimd.timeout().as_micros()).unwrap_or(u64::MAX)
            }
            _ => u64::MAX,
        };
        let percentile = match &controller {
            ConcurrencyController::Gradient(gradient) => Some(gradient.percentile()),
            _ => None,
        };
        Self {
            initial: f64::from(config.initial_concurrency()).clamp(min, max),
            min,
            max,
            factor: config.max_limit_factor(),
            interval: crate::core::nanos(config.update_interval()),
            samples: config.min_samples(),
            too_long,
            percentile,
        }
    }

    /// A limit within its bounds, where so many were in flight.
    pub(super) fn within(&self, limit: f64, in_flight: u32) -> f64 {
        limit.min(self.factor * f64::from(in_flight)).clamp(self.min, self.max)
    }
}

// === impl AdaptiveConcurrency ===

impl AdaptiveConcurrency {
    pub(crate) fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    pub(crate) fn controller(&self) -> ConcurrencyController {
        let usual = || ConcurrencyController::Gradient2(Gradient2Controller::default());
        self.controller.clone().unwrap_or_else(usual)
    }

    pub(crate) fn initial_concurrency(&self) -> u32 {
        self.initial_concurrency.unwrap_or_else(|| match self.controller() {
            ConcurrencyController::Gradient(_) => self.min_concurrency(),
            _ => 20.max(self.min_concurrency()).min(self.max_concurrency()),
        })
    }

    /// What is usual, unless what is said is less.
    pub(crate) fn min_concurrency(&self) -> u32 {
        let usual = || match self.controller() {
            ConcurrencyController::Gradient(_) => 3,
            ConcurrencyController::Vegas(_) => 1,
            ConcurrencyController::Gradient2(_) | ConcurrencyController::Aimd(_) => 20,
        };
        let said = [self.initial_concurrency, self.max_concurrency];
        let usual = || said.into_iter().flatten().fold(usual(), u32::min);
        self.min_concurrency.unwrap_or_else(usual)
    }

    /// What is usual, unless what is said is more.
    pub(crate) fn max_concurrency(&self) -> u32 {
        let usual = || match self.controller() {
            ConcurrencyController::Gradient(_) | ConcurrencyController::Vegas(_) => 1000,
            ConcurrencyController::Gradient2(_) | ConcurrencyController::Aimd(_) => 200,
        };
        let said = [self.initial_concurrency, self.min_concurrency];
        let usual = || said.into_iter().flatten().fold(usual(), u32::max);
        self.max_concurrency.unwrap_or_else(usual)
    }

    pub(crate) fn max_limit_factor(&self) -> f64 {
        self.max_limit_factor.unwrap_or(5.0)
    }

    pub(crate) fn update_interval(&self) -> Duration {
        self.update_interval.unwrap_or_else(|| match self.controller() {
            ConcurrencyController::Gradient(_) => Duration::from_millis(100),
            _ => Duration::from_secs(1),
        })
    }

    pub(crate) fn min_samples(&self) -> u32 {
        self.min_samples.unwrap_or_else(|| match self.controller() {
            ConcurrencyController::Gradient(_) => 1,
            _ => 10,
        })
    }
}

// === impl GradientController ===

impl GradientController {
    pub(crate) fn percentile(&self) -> f64 {
        self.percentile.unwrap_or(50.0)
    }

    pub(crate) fn min_rtt_interval(&self) -> Duration {
        self.min_rtt_interval.unwrap_or(Duration::from_secs(60))
    }

    pub(crate) fn request_count(&self) -> u32 {
        self.request_count.unwrap_or(50)
    }

    pub(crate) fn jitter_percent(&self) -> f64 {
        self.jitter_percent.unwrap_or(15.0)
    }

    pub(crate) fn buffer_percent(&self) -> f64 {
        self.buffer_percent.unwrap_or(25.0)
    }
}

// === impl Gradient2Controller ===

impl Gradient2Controller {
    pub(crate) fn smoothing(&self) -> f64 {
        self.smoothing.unwrap_or(0.2)
    }

    pub(crate) fn queue_size(&self) -> u32 {
        self.queue_size.unwrap_or(4)
    }

    pub(crate) fn long_window(&self) -> u32 {
        self.long_window.unwrap_or(600)
    }

    pub(crate) fn rtt_tolerance(&self) -> f64 {
        self.rtt_tolerance.unwrap_or(1.5)
    }
}

// === impl VegasController ===

impl VegasController {
    pub(crate) fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(3.0)
    }

    pub(crate) fn beta(&self) -> f64 {
        self.beta.unwrap_or(6.0)
    }

    pub(crate) fn probe_multiplier(&self) -> u32 {
        self.probe_multiplier.unwrap_or(30)
    }
}

// === impl AimdController ===

impl AimdController {
    pub(crate) fn backoff_ratio(&self) -> f64 {
        self.backoff_ratio.unwrap_or(0.9)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(5))
    }
}
