//! The settings of a route's policy.

use std::collections::BTreeMap;

use super::{Layers, debug, hashing::hashes, hedge, layers::By, limit, name_of, retry, text, time};
use crate::{
    config::{Policy, Tracing},
    core::Instant,
    mesh::{describe::Setting, inner::Inner, service::Route},
};

/// The settings of a route's policy; `call` is what a call says itself.
pub(in crate::mesh) fn of_route(
    inner: &Inner,
    route: &Route,
    call: Option<&Policy>,
) -> Vec<Setting> {
    let layers = route.layers.iter().map(|layer| match &layer.source {
        Some(source) => (By::Source(Some(source)), &layer.policy),
        None => (By::Code, &layer.policy),
    });
    let call = call.map(|call| (By::Call, call));
    let policy = Layers { said: call.into_iter().chain(layers).collect() };
    let resolve = Layers::of_code(&inner.code);
    let mut list = vec![
        policy.setting("timeout", "none", |p| p.timeout.map(limit)),
        policy.setting("whole_response", "false", |p| text(p.whole_response)),
        policy.setting("attempt_timeout", "none", |p| p.attempt_timeout.map(limit)),
        policy.setting("idle_timeout", "none", |p| p.idle_timeout.map(limit)),
        policy.setting("response_timeout", "none", |p| p.response_timeout.map(limit)),
        policy.setting("max_stream_duration", "none", |p| p.max_stream_duration.map(limit)),
        policy.setting("grpc_timeout.max", "none", |p| p.grpc_timeout.as_ref()?.max.map(time)),
        policy.setting("grpc_timeout.offset", "0s", |p| p.grpc_timeout.as_ref()?.offset.map(time)),
        policy.setting("failures.statuses", "500..600", |p| {
            p.failures.as_ref()?.statuses.as_deref().map(retry::ranges)
        }),
        policy.setting("failures.grpc", "[2, 4, 8, 13, 14, 15]", |p| {
            p.failures.as_ref()?.grpc.as_ref().map(debug)
        }),
        policy.setting("caller_overrides", "false", |p| text(p.caller_overrides)),
        policy.setting("send_attempt_count", "false", |p| text(p.send_attempt_count)),
        policy.setting("report_attempt_count", "false", |p| text(p.report_attempt_count)),
        policy.setting("max_requests", "none", |p| text(p.max_requests)),
        policy.setting("criticality", "critical", |p| text(p.criticality)),
        policy.setting("priority", "default", |p| p.priority.as_ref().map(name_of)),
        policy.setting("hash", "none", |p| p.hash.as_deref().and_then(hashes)),
        resolve.setting("resolve_timeout", &time(inner.resolve_timeout), |code| {
            code.resolve_timeout.map(time)
        }),
    ];
    let retry = policy.within(|policy| policy.retry.as_ref());
    list.extend(retry::of(&retry));
    let now = inner.epoch.nanos(Instant::now());
    list.extend(hedge::of(&policy, route.policy.hedging.as_deref().map(|it| (it, now))));
    list.extend(of_tracing(&policy.within(|policy| policy.tracing.as_ref())));
    policy.rest(&mut list);
    list
}

fn of_tracing(tracing: &Layers<'_, Tracing>) -> Vec<Setting> {
    let list = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| debug(map));
    vec![
        tracing.setting("tracing.client_percent", "100", |t| text(t.client_percent)),
        tracing.setting("tracing.random_percent", "100", |t| text(t.random_percent)),
        tracing.setting("tracing.overall_percent", "100", |t| text(t.overall_percent)),
        tracing.setting("tracing.tags", "none", |t| list(&t.tags)),
        tracing.setting("tracing.header_tags", "none", |t| list(&t.header_tags)),
        tracing.setting("tracing.operation", "by convention", |t| t.operation.clone()),
    ]
}
