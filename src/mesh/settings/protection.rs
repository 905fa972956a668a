//! The settings of adaptive limits, throttling and admission control, where a route has them.

use super::{By, Layers, debug, name_of, text, time};
use crate::{
    config::{
        AdaptiveConcurrency, AdmissionControl, ConcurrencyController, Filter, IntegerRange,
        Throttle,
    },
    mesh::describe::Setting,
};

/// Those of one filter; nothing of filters of other kinds.
pub(in crate::mesh) fn of(filter: &Filter, by: By<'_>) -> Vec<Setting> {
    match filter {
        Filter::AdaptiveConcurrency(it) => adaptive(it, by),
        Filter::Throttle(it) => throttle(it, by),
        Filter::AdmissionControl(it) => admission(it, by),
        _ => Vec::new(),
    }
}

fn adaptive(limit: &AdaptiveConcurrency, by: By<'_>) -> Vec<Setting> {
    let layers = Layers::of_one(limit, by);
    let controller = limit.controller();
    // What is usual depends on the controller.
    let usual = AdaptiveConcurrency { controller: limit.controller.clone(), ..Default::default() };
    let mut list = vec![
        layers.setting("adaptive_concurrency.controller", "gradient2", |it| {
            it.controller.as_ref().map(name_of)
        }),
        layers.setting(
            "adaptive_concurrency.initial_concurrency",
            &limit.initial_concurrency().to_string(),
            |it| text(it.initial_concurrency),
        ),
        layers.setting(
            "adaptive_concurrency.min_concurrency",
            &usual.min_concurrency().to_string(),
            |it| text(it.min_concurrency),
        ),
        layers.setting(
            "adaptive_concurrency.max_concurrency",
            &usual.max_concurrency().to_string(),
            |it| text(it.max_concurrency),
        ),
        layers.setting(
            "adaptive_concurrency.max_limit_factor",
            &usual.max_limit_factor().to_string(),
            |it| text(it.max_limit_factor),
        ),
        layers.setting(
            "adaptive_concurrency.update_interval",
            &time(usual.update_interval()),
            |it| it.update_interval.map(time),
        ),
        layers.setting(
            "adaptive_concurrency.min_samples",
            &usual.min_samples().to_string(),
            |it| text(it.min_samples),
        ),
        layers.setting("adaptive_concurrency.status", "503", |it| text(it.status)),
    ];
    list.extend(of_controller(limit, &controller, by));
    list
}

/// Those of the controller that is chosen.
fn of_controller(
    limit: &AdaptiveConcurrency,
    chosen: &ConcurrencyController,
    by: By<'_>,
) -> Vec<Setting> {
    let told = |name, usual: String, said: Option<String>| {
        let plane = limit.controller.as_ref().and(said);
        Layers::of_one(&plane, by).setting(name, &usual, Clone::clone)
    };
    match chosen {
        ConcurrencyController::Gradient(it) => {
            let usual = crate::config::GradientController::default();
            vec![
                told("gradient.percentile", usual.percentile().to_string(), text(it.percentile)),
                told(
                    "gradient.min_rtt_interval",
                    time(usual.min_rtt_interval()),
                    it.min_rtt_interval.map(time),
                ),
                told("gradient.fixed_min_rtt", "measured".to_owned(), it.fixed_min_rtt.map(time)),
                told(
                    "gradient.request_count",
                    usual.request_count().to_string(),
                    text(it.request_count),
                ),
                told(
                    "gradient.jitter_percent",
                    usual.jitter_percent().to_string(),
                    text(it.jitter_percent),
                ),
                told(
                    "gradient.buffer_percent",
                    usual.buffer_percent().to_string(),
                    text(it.buffer_percent),
                ),
            ]
        }
        ConcurrencyController::Gradient2(it) => {
            let usual = crate::config::Gradient2Controller::default();
            vec![
                told("gradient2.smoothing", usual.smoothing().to_string(), text(it.smoothing)),
                told("gradient2.queue_size", usual.queue_size().to_string(), text(it.queue_size)),
                told(
                    "gradient2.long_window",
                    usual.long_window().to_string(),
                    text(it.long_window),
                ),
                told(
                    "gradient2.rtt_tolerance",
                    usual.rtt_tolerance().to_string(),
                    text(it.rtt_tolerance),
                ),
            ]
        }
        ConcurrencyController::Vegas(it) => {
            let usual = crate::config::VegasController::default();
            vec![
                told("vegas.alpha", usual.alpha().to_string(), text(it.alpha)),
                told("vegas.beta", usual.beta().to_string(), text(it.beta)),
                told(
                    "vegas.probe_multiplier",
                    usual.probe_multiplier().to_string(),
                    text(it.probe_multiplier),
                ),
            ]
        }
        ConcurrencyController::Aimd(it) => {
            let usual = crate::config::AimdController::default();
            vec![
                told(
                    "aimd.backoff_ratio",
                    usual.backoff_ratio().to_string(),
                    text(it.backoff_ratio),
                ),
                told("aimd.timeout", time(usual.timeout()), it.timeout.map(time)),
            ]
        }
    }
}

fn throttle(throttle: &Throttle, by: By<'_>) -> Vec<Setting> {
    let layers = Layers::of_one(throttle, by);
    let usual = Throttle::default();
    vec![
        layers.setting("throttle.window", &time(usual.window()), |it| it.window.map(time)),
        layers.setting("throttle.per_accept", &usual.per_accept().to_string(), |it| {
            text(it.per_accept)
        }),
        layers.setting("throttle.min_requests", &usual.min_requests().to_string(), |it| {
            text(it.min_requests)
        }),
        layers.setting("throttle.force_after", &time(usual.force_after()), |it| {
            it.force_after.map(time)
        }),
        layers.setting("throttle.rejected_statuses", "429, 503", |it| {
            it.rejected_statuses.as_deref().map(ranges)
        }),
        layers
            .setting("throttle.rejected_grpc", "8, 14", |it| it.rejected_grpc.as_ref().map(debug)),
    ]
}

fn admission(admission: &AdmissionControl, by: By<'_>) -> Vec<Setting> {
    let layers = Layers::of_one(admission, by);
    let usual = AdmissionControl::default();
    vec![
        layers.setting("admission_control.window", &time(usual.window()), |it| it.window.map(time)),
        layers.setting(
            "admission_control.threshold_percent",
            &usual.threshold_percent().to_string(),
            |it| text(it.threshold_percent),
        ),
        layers.setting("admission_control.aggression", &usual.aggression().to_string(), |it| {
            text(it.aggression)
        }),
        layers.setting(
            "admission_control.min_per_second",
            &usual.min_per_second().to_string(),
            |it| text(it.min_per_second),
        ),
        layers.setting(
            "admission_control.max_rejection_percent",
            &usual.max_rejection_percent().to_string(),
            |it| text(it.max_rejection_percent),
        ),
        layers.setting("admission_control.success_statuses", "100..500", |it| {
            it.success_statuses.as_deref().map(ranges)
        }),
        layers.setting("admission_control.success_grpc", "all but 4, 8, 10, 13, 14, 15", |it| {
            it.success_grpc.as_ref().map(debug)
        }),
    ]
}

fn ranges(ranges: &[IntegerRange]) -> String {
    let texts = ranges.iter().map(|range| format!("{}..{}", range.start, range.end));
    texts.collect::<Vec<_>>().join(", ")
}
