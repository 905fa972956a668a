//! Checks of adaptive limits, throttling and admission control.

use std::time::Duration;

use super::Checker;
use crate::config::{
    AdaptiveConcurrency, AdmissionControl, AimdController, ConcurrencyController, ConfigErrors,
    Gradient2Controller, GradientController, IntegerRange, Throttle, VegasController,
};

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const MILLION: u32 = 1_000_000;

impl Checker {
    pub(super) fn adaptive_concurrency(&mut self, limit: &AdaptiveConcurrency) {
        let AdaptiveConcurrency {
            enabled: _,
            controller,
            initial_concurrency,
            min_concurrency,
            max_concurrency,
            max_limit_factor,
            update_interval,
            min_samples,
            status,
        } = limit;
        count(self, "min_concurrency", *min_concurrency, 1, MILLION);
        count(self, "max_concurrency", *max_concurrency, 1, MILLION);
        let (min, max) = (limit.min_concurrency(), limit.max_concurrency());
        if min > max {
            let reason = format!("must be at most max_concurrency ({max})");
            self.refuse("min_concurrency", min, reason);
        } else if let Some(initial) = initial_concurrency {
            count(self, "initial_concurrency", Some(*initial), min, max);
        }
        number(self, "max_limit_factor", *max_limit_factor, 1.0, 1e6);
        at_least_a_milli(self, "update_interval", *update_interval);
        count(self, "min_samples", *min_samples, 1, MILLION);
        refusal_status(self, "status", *status);
        if let Some(controller) = controller {
            self.within("controller", |checker| checker.controller(controller));
        }
    }

    fn controller(&mut self, controller: &ConcurrencyController) {
        match controller {
            ConcurrencyController::Gradient(it) => {
                self.within("gradient", |checker| checker.gradient(it));
            }
            ConcurrencyController::Gradient2(it) => {
                self.within("gradient2", |checker| checker.gradient2(it));
            }
            ConcurrencyController::Vegas(it) => {
                self.within("vegas", |checker| checker.vegas(it));
            }
            ConcurrencyController::Aimd(it) => {
                self.within("aimd", |checker| checker.aimd(it));
            }
        }
    }

    fn gradient(&mut self, gradient: &GradientController) {
        let GradientController {
            percentile,
            min_rtt_interval,
            fixed_min_rtt,
            request_count,
            jitter_percent,
            buffer_percent,
        } = gradient;
        over_zero(self, "percentile", *percentile, 100.0);
        at_least_a_milli(self, "min_rtt_interval", *min_rtt_interval);
        self.time("fixed_min_rtt", *fixed_min_rtt);
        count(self, "request_count", *request_count, 1, MILLION);
        number(self, "jitter_percent", *jitter_percent, 0.0, 100.0);
        number(self, "buffer_percent", *buffer_percent, 0.0, 100.0);
    }

    fn gradient2(&mut self, gradient: &Gradient2Controller) {
        let Gradient2Controller { smoothing, queue_size, long_window, rtt_tolerance } = gradient;
        over_zero(self, "smoothing", *smoothing, 1.0);
        count(self, "queue_size", *queue_size, 0, 1_000);
        count(self, "long_window", *long_window, 1, 100_000);
        number(self, "rtt_tolerance", *rtt_tolerance, 1.0, 100.0);
    }

    fn vegas(&mut self, vegas: &VegasController) {
        let VegasController { alpha, beta, probe_multiplier } = vegas;
        over_zero(self, "alpha", *alpha, 1_000.0);
        over_zero(self, "beta", *beta, 1_000.0);
        if vegas.alpha() > vegas.beta() {
            let reason = format!("must be at most beta ({})", vegas.beta());
            self.refuse("alpha", vegas.alpha(), reason);
        }
        count(self, "probe_multiplier", *probe_multiplier, 1, 100_000);
    }

    fn aimd(&mut self, aimd: &AimdController) {
        let AimdController { backoff_ratio, timeout } = aimd;
        if let Some(ratio) = backoff_ratio.filter(|ratio| !(0.5..1.0).contains(ratio)) {
            self.refuse("backoff_ratio", ratio, "must be from 0.5, and below 1");
        }
        self.time("timeout", *timeout);
    }

    pub(super) fn admission_control(&mut self, admission: &AdmissionControl) {
        let AdmissionControl {
            enabled: _,
            window,
            threshold_percent,
            aggression,
            min_per_second,
            max_rejection_percent,
            success_statuses,
            success_grpc,
        } = admission;
        sliding(self, *window, Duration::from_millis(100));
        over_zero(self, "threshold_percent", *threshold_percent, 100.0);
        number(self, "aggression", *aggression, 1.0, 1_000.0);
        number(self, "min_per_second", *min_per_second, 0.0, 1e6);
        number(self, "max_rejection_percent", *max_rejection_percent, 0.0, 100.0);
        named_statuses(self, "success_statuses", success_statuses.as_deref());
        named_codes(self, "success_grpc", success_grpc.as_deref(), 0);
    }

    pub(super) fn throttle(&mut self, throttle: &Throttle) {
        let Throttle {
            enabled: _,
            window,
            per_accept,
            // Any number of calls will do.
            min_requests: _,
            force_after,
            rejected_statuses,
            rejected_grpc,
        } = throttle;
        sliding(self, *window, Duration::from_secs(1));
        number(self, "per_accept", *per_accept, 1.0, 1_000.0);
        at_least_a_milli(self, "force_after", *force_after);
        named_statuses(self, "rejected_statuses", rejected_statuses.as_deref());
        named_codes(self, "rejected_grpc", rejected_grpc.as_deref(), 1);
    }
}

fn sliding(checker: &mut Checker, window: Option<Duration>, least: Duration) {
    if let Some(window) = window.filter(|window| !(least..=HOUR).contains(window)) {
        let reason = format!("must be in {least:?}..=1h");
        checker.refuse("window", format!("{window:?}"), reason);
    }
}

fn at_least_a_milli(checker: &mut Checker, field: &str, value: Option<Duration>) {
    checker.time(field, value.filter(|value| *value >= MILLI || value.is_zero()));
    if let Some(value) = value.filter(|value| *value < MILLI && !value.is_zero()) {
        checker.refuse(field, format!("{value:?}"), "must be at least 1ms");
    }
}

fn count(checker: &mut Checker, field: &str, value: Option<u32>, least: u32, most: u32) {
    if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
        checker.refuse(field, value, format!("must be in {least}..={most}"));
    }
}

/// NaN is in no range.
fn number(checker: &mut Checker, field: &str, value: Option<f64>, least: f64, most: f64) {
    if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
        checker.refuse(field, value, format!("must be in {least}..={most}"));
    }
}

fn over_zero(checker: &mut Checker, field: &str, value: Option<f64>, most: f64) {
    let is_in = |value: f64| value > 0.0 && value <= most;
    if let Some(value) = value.filter(|value| !is_in(*value)) {
        checker.refuse(field, value, format!("must be over 0 and at most {most}"));
    }
}

fn refusal_status(checker: &mut Checker, field: &str, value: Option<u16>) {
    if let Some(status) = value.filter(|status| !(400..=599).contains(status)) {
        checker.refuse(field, status, "must be in 400..=599");
    }
}

fn named_statuses(checker: &mut Checker, field: &str, ranges: Option<&[IntegerRange]>) {
    for (index, range) in ranges.unwrap_or_default().iter().enumerate() {
        let IntegerRange { start, end } = range;
        if start >= end || !(100..=600).contains(start) || !(100..=600).contains(end) {
            let value = format!("{start}..{end}");
            checker.refuse(
                &format!("{field}[{index}]"),
                value,
                "must not be empty, and in 100..600",
            );
        }
    }
}

fn named_codes(checker: &mut Checker, field: &str, codes: Option<&[i32]>, least: i32) {
    for code in codes.unwrap_or_default() {
        if !(least..=16).contains(code) {
            checker.refuse(field, code, format!("must be in {least}..=16"));
        }
    }
}

impl AdaptiveConcurrency {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.adaptive_concurrency(self);
        checker.done()
    }
}

impl AdmissionControl {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.admission_control(self);
        checker.done()
    }
}

impl Throttle {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.throttle(self);
        checker.done()
    }
}
