//! The settings of retries.

use super::{Layers, debug, text, time};
use crate::{
    config::{AvoidEndpoint, Budget, InFlightBudget, IntegerRange, Retry, RetryOn},
    mesh::describe::Setting,
};

/// Their settings.
pub(super) const ON: &str = "retry.on";
pub(super) const ON_STATUS_RANGES: &str = "retry.on_status_ranges";
pub(super) const ON_HEADERS: &str = "retry.on_headers";

pub(super) fn of(retry: &Layers<'_, Retry>) -> Vec<Setting> {
    let mut list = usual(retry);
    list.extend(rarer(retry));
    list
}

fn usual(retry: &Layers<'_, Retry>) -> Vec<Setting> {
    let default = Retry::default();
    let usual = Budget::default();
    let budget = retry.within(|retry| retry.budget.as_ref());
    vec![
        retry.setting("retry.attempts", &default.attempts_or_default().to_string(), |r| {
            text(r.attempts)
        }),
        retry.setting("retry.on_status", &debug(&default.statuses()), |r| {
            r.on_status.as_ref().map(debug)
        }),
        retry.setting("retry.on_grpc", &debug(&default.codes()), |r| r.on_grpc.as_ref().map(debug)),
        retry.setting("retry.on_reset", "true", |r| text(r.on_reset)),
        retry.setting("retry.on_timeout", "true", |r| text(r.on_timeout)),
        retry.setting("retry.idempotent", "by method", |r| text(r.idempotent)),
        retry.setting("retry.backoff_base", &time(default.base()), |r| r.backoff_base.map(time)),
        retry.setting("retry.backoff_max", &time(default.max()), |r| r.backoff_max.map(time)),
        budget.setting("retry.budget.ratio", &usual.ratio.to_string(), |b| text(Some(b.ratio))),
        budget.setting("retry.budget.min_per_second", &usual.min_per_second.to_string(), |b| {
            text(Some(b.min_per_second))
        }),
        budget.setting("retry.budget.ttl", &time(usual.ttl), |b| Some(time(b.ttl))),
        retry.setting("retry.max_body_bytes", &default.body_cap().to_string(), |r| {
            text(r.max_body_bytes)
        }),
        retry.setting("retry.avoid", "tried", |r| avoided(&r.avoid)),
        retry.setting("retry.respect_retry_after", "true", |r| text(r.respect_retry_after)),
        retry.setting("retry.retry_after_max", &time(default.after_max()), |r| {
            r.retry_after_max.map(time)
        }),
    ]
}

/// Those beyond the usual ones.
fn rarer(retry: &Layers<'_, Retry>) -> Vec<Setting> {
    let default = Retry::default();
    let throttle = retry.within(|retry| retry.throttle.as_ref());
    let priority = retry.within(|retry| retry.priority.as_ref());
    let names = |all: Vec<String>| (!all.is_empty()).then(|| all.join(", "));
    vec![
        retry.setting(ON, "none", |r| Lists::of(r).on),
        retry.setting(ON_STATUS_RANGES, "none", |r| Lists::of(r).statuses),
        retry.setting(ON_HEADERS, "none", |r| Lists::of(r).headers),
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

/// What is listed to be sent again after, in words.
pub(super) struct Lists {
    pub(super) on: Option<String>,
    pub(super) statuses: Option<String>,
    pub(super) headers: Option<String>,
}

impl Lists {
    pub(super) fn of(retry: &Retry) -> Self {
        let Retry { on, on_status_ranges, on_headers, .. } = retry;
        let names = |all: Vec<String>| (!all.is_empty()).then(|| all.join(", "));
        Self {
            on: names(on.iter().copied().map(named).collect()),
            statuses: names(on_status_ranges.iter().map(range).collect()),
            headers: names(on_headers.iter().map(|header| header.name.clone()).collect()),
        }
    }
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

/// What retries avoid, as far as it is said.
fn avoided(avoid: &[AvoidEndpoint]) -> Option<String> {
    let names = avoid.iter().map(|it| match it {
        AvoidEndpoint::Tried => "tried".to_owned(),
        AvoidEndpoint::TriedLocalities => "tried_localities".to_owned(),
        AvoidEndpoint::Canaries => "canaries".to_owned(),
        AvoidEndpoint::Labels(labels) => format!("labels {labels:?}"),
        other => debug(other),
    });
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}
