//! The settings of retries beyond the usual ones.

use super::{Layers, text, time};
use crate::{
    config::{InFlightBudget, IntegerRange, Retry, RetryOn},
    mesh::describe::Setting,
};

pub(super) fn of(retry: &Layers<'_, Retry>) -> Vec<Setting> {
    let default = Retry::default();
    let throttle = retry.within(|retry| retry.throttle.as_ref());
    let priority = retry.within(|retry| retry.priority.as_ref());
    let names = |all: Vec<String>| (!all.is_empty()).then(|| all.join(", "));
    vec![
        retry.setting("retry.on", "none", |r| names(r.on.iter().copied().map(named).collect())),
        retry.setting("retry.on_status_ranges", "none", |r| {
            names(r.on_status_ranges.iter().map(range).collect())
        }),
        retry.setting("retry.on_headers", "none", |r| {
            names(r.on_headers.iter().map(|header| header.name.clone()).collect())
        }),
        retry.setting("retry.request_headers", "any", |r| {
            names(r.request_headers.iter().map(|header| header.name.clone()).collect())
        }),
        retry.setting("retry.attempt_idle_timeout", "none", |r| r.attempt_idle_timeout.map(time)),
        retry.setting("retry.backoff_multiplier", &default.multiplier().to_string(), |r| {
            text(r.backoff_multiplier)
        }),
        retry.setting("retry.backoff_jitter", &default.jitter().to_string(), |r| {
            text(r.backoff_jitter)
        }),
        retry.setting("retry.reset_headers", "none", |r| {
            names(r.reset_headers.iter().map(|header| header.name.clone()).collect())
        }),
        priority.setting("retry.priority.update_frequency", "none", |p| {
            Some(p.update_frequency.unwrap_or(2).to_string())
        }),
        throttle.setting("retry.throttle.max_tokens", "none", |t| text(Some(t.max_tokens))),
        throttle.setting("retry.throttle.token_ratio", "none", |t| text(Some(t.token_ratio))),
    ]
}

/// Ranges of statuses.
pub(super) fn ranges(list: &[IntegerRange]) -> String {
    list.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// A share of what is in flight.
pub(super) fn in_flight(budget: &InFlightBudget) -> String {
    let (percent, least) = (budget.percent.unwrap_or(20), budget.min_concurrency.unwrap_or(3));
    let within = budget.interval.filter(|it| !it.is_zero()).map(|it| format!(", of {}", time(it)));
    format!("{percent} %, at least {least}{}", within.unwrap_or_default())
}

fn range(range: &IntegerRange) -> String {
    format!("{}..{}", range.start, range.end)
}

/// A condition by Envoy's name.
fn named(on: RetryOn) -> String {
    match on {
        RetryOn::ServerError => "5xx".to_owned(),
        RetryOn::RetriableClientError => "retriable-4xx".to_owned(),
        RetryOn::Http3PostConnectFailure => "http3-post-connect-failure".to_owned(),
        other => super::name_of(&other).replace('_', "-"),
    }
}
