//! What calls on a route obey.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::{
    HedgePolicy, RouteAction, VirtualHost as PbHost, route_action::MaxStreamDuration,
};

use super::{
    super::{
        Dialect, hash,
        read::{YEAR, u32s},
        walk::{IGNORED, Result, Walk},
    },
    retry,
};
use crate::config::{CallPriority, GrpcTimeout, Hedge, Policy};

/// Envoy's timeout of a route that says none.
const USUAL: Duration = Duration::from_secs(15);

pub(super) fn policy(
    walk: &mut Walk,
    dialect: Dialect,
    host: &PbHost,
    pb: &RouteAction,
    policy: &mut Policy,
) -> Result<()> {
    match walk.time("timeout", pb.timeout.as_ref())? {
        //= gRFC A31: gRPC reads `max_stream_duration` alone
        Some(timeout) if dialect == Dialect::Proxyless && timeout.is_zero() => {}
        None if dialect == Dialect::Proxyless => {}
        Some(timeout) => bound(policy, timeout),
        None => bound(policy, USUAL),
    }
    if let Some(idle) = walk.time("idle_timeout", pb.idle_timeout.as_ref())? {
        policy.idle_timeout = Some(idle.min(YEAR));
    }
    match &pb.max_stream_duration {
        Some(it) => walk.within("max_stream_duration", |walk| stream(walk, it, policy))?,
        None => {
            let max = walk.time("max_grpc_timeout", pb.max_grpc_timeout.as_ref())?;
            let offset = walk.time("grpc_timeout_offset", pb.grpc_timeout_offset.as_ref())?;
            grpc_timeout(walk, max, offset, policy);
        }
    }
    policy.priority = match pb.priority {
        0 => None,
        1 => Some(CallPriority::High),
        other => return walk.refuse("priority", other, "must be DEFAULT or HIGH"),
    };
    let hash = hash::policies(walk, "hash_policy", &pb.hash_policy)?;
    policy.hash = (!hash.is_empty()).then_some(hash);
    let flag = |is_so: bool| is_so.then_some(true);
    policy.send_attempt_count = flag(host.include_request_attempt_count);
    policy.report_attempt_count = flag(host.include_attempt_count_in_response);
    retry::retry(walk, dialect, host, pb, policy)?;
    hedge(walk, pb.hedge_policy.as_ref().or(host.hedge_policy.as_ref()), policy)
}

//= Envoy: a time of 0 is no bound, whatever the levels above say; so it is in the model
fn bound(policy: &mut Policy, timeout: Duration) {
    policy.timeout = Some(timeout.min(YEAR));
    policy.whole_response = (!timeout.is_zero()).then_some(true);
}

fn stream(walk: &mut Walk, pb: &MaxStreamDuration, policy: &mut Policy) -> Result<()> {
    let MaxStreamDuration {
        max_stream_duration,
        grpc_timeout_header_max,
        grpc_timeout_header_offset,
    } = pb;
    if let Some(most) = walk.time("max_stream_duration", max_stream_duration.as_ref())? {
        policy.max_stream_duration = Some(most.min(YEAR));
    }
    let max = walk.time("grpc_timeout_header_max", grpc_timeout_header_max.as_ref())?;
    let offset = walk.time("grpc_timeout_header_offset", grpc_timeout_header_offset.as_ref())?;
    grpc_timeout(walk, max, offset, policy);
    Ok(())
}

fn grpc_timeout(
    walk: &mut Walk,
    max: Option<Duration>,
    offset: Option<Duration>,
    policy: &mut Policy,
) {
    if max.is_none() && offset.is_none() {
        return;
    }
    let mut read = GrpcTimeout::default();
    read.max = max.map(|max| max.min(YEAR));
    read.offset = offset.map(|offset| offset.min(YEAR));
    if let (Some(max), Some(offset)) = (read.max, read.offset)
        && !max.is_zero()
        && offset >= max
    {
        walk.note("grpc_timeout_header_offset", "is not shorter than the longest: is left out");
        read.offset = None;
    }
    policy.grpc_timeout = Some(read);
}

fn hedge(walk: &mut Walk, pb: Option<&HedgePolicy>, policy: &mut Policy) -> Result<()> {
    let Some(pb) = pb else { return Ok(()) };
    walk.within("hedge_policy", |walk| {
        let HedgePolicy { initial_requests, additional_request_chance, hedge_on_per_try_timeout } =
            pb;
        let mut read = Hedge::default();
        read.initial_attempts = match u32s(initial_requests.as_ref()) {
            Some(0) => return walk.refuse("initial_requests", 0, "must be at least 1"),
            Some(many) if many > 5 => {
                walk.note("initial_requests", "over 5 counts as 5");
                Some(5)
            }
            attempts => attempts,
        };
        read.additional_percent =
            walk.fraction("additional_request_chance", additional_request_chance.as_ref())?;
        read.on_attempt_timeout = hedge_on_per_try_timeout.then_some(true);
        if !read.says_when() {
            return Ok(());
        }
        if policy.retry.as_ref().is_some_and(|retry| retry.attempt_idle_timeout.is_some()) {
            walk.note("", format!("stands beside `per_try_idle_timeout`: {IGNORED}"));
            return Ok(());
        }
        policy.hedge = Some(read);
        Ok(())
    })
}
