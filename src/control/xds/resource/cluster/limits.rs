//! Circuit breakers and outlier detection.

use std::time::Duration;

use envoy_types::pb::{
    envoy::config::{
        cluster::v3::{
            CircuitBreakers, OutlierDetection as PbOutliers,
            circuit_breakers::{Thresholds as PbThresholds, thresholds::RetryBudget},
        },
        core::v3::RoutingPriority,
    },
    google::protobuf::UInt32Value,
};

use super::super::{
    Context, Dialect, EndpointsFrom,
    read::{bools, u32s},
    walk::{IGNORED, Result, Walk},
};
use crate::config::{
    self, Breakers, FailurePercentage, InFlightBudget, OutlierDetection, SuccessRate, Thresholds,
};

/// Requests, connections and waiting requests where nothing is said (Envoy, gRFC A32).
const USUAL: u32 = 1024;
/// Retries in flight where nothing is said (Envoy).
const USUAL_RETRIES: u32 = 3;

pub(super) fn breakers(
    walk: &mut Walk,
    dialect: Dialect,
    pb: Option<&CircuitBreakers>,
    config: &mut config::Cluster,
) -> Result<()> {
    let empty = CircuitBreakers::default();
    let CircuitBreakers { thresholds, per_host_thresholds } = pb.unwrap_or(&empty);
    walk.within("circuit_breakers", |walk| {
        let mut breakers = Breakers::default();
        let of = |priority: RoutingPriority| {
            let is_it = |it: &&PbThresholds| RoutingPriority::try_from(it.priority) == Ok(priority);
            // The first of a priority counts (Envoy, gRPC).
            thresholds.iter().find(is_it)
        };
        let low = limits(walk, dialect, of(RoutingPriority::Default))?;
        breakers.max_requests = low.max_requests;
        breakers.max_connections = low.max_connections;
        breakers.max_pending = low.max_pending;
        breakers.max_retries = low.max_retries;
        breakers.retry_budget = low.retry_budget;
        let high = of(RoutingPriority::High);
        if high.is_some() || dialect == Dialect::Sidecar {
            breakers.high = Some(Box::new(limits(walk, dialect, high)?));
        }
        for (index, it) in per_host_thresholds.iter().enumerate() {
            if it.priority != 0 {
                walk.note(&format!("per_host_thresholds[{index}]"), IGNORED);
                continue;
            }
            let most = u32s(it.max_connections.as_ref()).filter(|most| *most < u32::MAX);
            breakers.max_connections_per_endpoint = most;
        }
        config.breakers = Some(breakers);
        Ok(())
    })
}

/// The count of its calls: that of every mesh of the process that this control plane tells of it.
//= gRFC A32: a count is of a pair of the cluster and its EDS service, in the whole process
pub(super) fn count(context: &Context, cluster: &str, endpoints: &EndpointsFrom) -> String {
    let service = match endpoints {
        EndpointsFrom::Eds { service_name: Some(name) } => &**name,
        _ => "",
    };
    format!("xds.{}.{cluster:?}.{service:?}", context.realm)
}

fn limits(walk: &mut Walk, dialect: Dialect, pb: Option<&PbThresholds>) -> Result<Thresholds> {
    let empty = PbThresholds::default();
    let PbThresholds {
        priority: _,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        track_remaining: _,
        max_connection_pools,
    } = pb.unwrap_or(&empty);
    let mut read = Thresholds::default();
    let is_envoy = dialect == Dialect::Sidecar;
    let usual = |said: &Option<UInt32Value>, usual: u32| match said {
        Some(it) => Some(it.value),
        None => is_envoy.then_some(usual),
    };
    // What is without an end is no limit: no counting is needed.
    let bounded = |limit: Option<u32>| limit.filter(|limit| *limit < u32::MAX);
    //= gRFC A32: 1024 where nothing is said
    let requests = max_requests.as_ref().map_or(USUAL, |it| it.value);
    // 0 is none, by which a plane shuts a cluster (Envoy, gRPC).
    read.max_requests = bounded(Some(requests));
    read.max_connections = bounded(usual(max_connections, USUAL));
    read.max_pending = bounded(usual(max_pending_requests, USUAL));
    read.max_retries = bounded(usual(max_retries, USUAL_RETRIES));
    let pools = u32s(max_connection_pools.as_ref()).filter(|pools| *pools < u32::MAX);
    walk.note_if(
        pools.is_some(),
        "thresholds.max_connection_pools",
        "an endpoint has one pool: counts for nothing here",
    );
    if let Some(RetryBudget { budget_percent, budget_interval, min_retry_concurrency }) =
        retry_budget
    {
        walk.within("thresholds.retry_budget", |walk| {
            let mut budget = InFlightBudget::default();
            if let Some(percent) = walk.percent("budget_percent", budget_percent.as_ref())? {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is in 0..=100"
                )]
                let whole = percent.round() as u32;
                if (percent - percent.round()).abs() > f64::EPSILON {
                    walk.note("budget_percent", format!("counts as {whole}"));
                }
                budget.percent = Some(whole);
            }
            budget.interval = walk
                .time("budget_interval", budget_interval.as_ref())?
                .map(|interval| interval.min(Duration::from_secs(3600)));
            budget.min_concurrency = u32s(min_retry_concurrency.as_ref());
            read.retry_budget = Some(Box::new(budget));
            // It takes the place of the number.
            read.max_retries = None;
            Ok(())
        })?;
    }
    Ok(read)
}

/// Outlier detection; a part that is absent has its default, as Envoy and gRFC A50 have it.
pub(super) fn outliers(
    walk: &mut Walk,
    dialect: Dialect,
    pb: &PbOutliers,
) -> Result<OutlierDetection> {
    let PbOutliers {
        consecutive_5xx,
        interval,
        base_ejection_time,
        max_ejection_percent,
        enforcing_consecutive_5xx,
        enforcing_success_rate,
        success_rate_minimum_hosts,
        success_rate_request_volume,
        success_rate_stdev_factor,
        consecutive_gateway_failure,
        enforcing_consecutive_gateway_failure,
        split_external_local_origin_errors,
        consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure,
        enforcing_local_origin_success_rate,
        failure_percentage_threshold,
        enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts,
        failure_percentage_request_volume,
        max_ejection_time,
        max_ejection_time_jitter,
        successful_active_health_check_uneject_host,
        monitors,
        always_eject_one_host,
        detect_degraded_hosts,
    } = pb;
    let mut read = OutlierDetection::default();
    read.consecutive_5xx = u32s(consecutive_5xx.as_ref());
    read.consecutive_gateway_failure = u32s(consecutive_gateway_failure.as_ref());
    read.consecutive_local_origin_failure = u32s(consecutive_local_origin_failure.as_ref());
    for (field, percent, place) in [
        (
            "enforcing_consecutive_5xx",
            enforcing_consecutive_5xx,
            &mut read.enforcing_consecutive_5xx,
        ),
        (
            "enforcing_consecutive_gateway_failure",
            enforcing_consecutive_gateway_failure,
            &mut read.enforcing_consecutive_gateway_failure,
        ),
        (
            "enforcing_consecutive_local_origin_failure",
            enforcing_consecutive_local_origin_failure,
            &mut read.enforcing_consecutive_local_origin_failure,
        ),
    ] {
        *place = walk.whole_percent(field, percent.as_ref())?;
    }
    read.interval = walk.positive("interval", interval.as_ref())?;
    read.base_ejection_time = walk.positive("base_ejection_time", base_ejection_time.as_ref())?;
    read.max_ejection_time = walk.positive("max_ejection_time", max_ejection_time.as_ref())?;
    let base = read.base_ejection_time.unwrap_or(Duration::from_secs(30));
    if let Some(most) = &mut read.max_ejection_time
        && *most < base
    {
        walk.note("max_ejection_time", format!("is less than the first: counts as {base:?}"));
        *most = base;
    }
    read.max_ejection_time_jitter =
        walk.bound("max_ejection_time_jitter", max_ejection_time_jitter.as_ref())?;
    read.max_ejection_percent =
        walk.whole_percent("max_ejection_percent", max_ejection_percent.as_ref())?.map(f64::from);
    read.always_eject_one = match bools(always_eject_one_host.as_ref()) {
        None if dialect == Dialect::Sidecar => Some(false),
        said => said,
    };
    read.success_rate = success_rate(
        walk,
        enforcing_success_rate.as_ref(),
        enforcing_local_origin_success_rate.as_ref(),
        success_rate_minimum_hosts.as_ref(),
        success_rate_request_volume.as_ref(),
        success_rate_stdev_factor.as_ref(),
    )?;
    let mut share = FailurePercentage::default();
    share.threshold =
        walk.whole_percent("failure_percentage_threshold", failure_percentage_threshold.as_ref())?;
    share.enforcing =
        walk.whole_percent("enforcing_failure_percentage", enforcing_failure_percentage.as_ref())?;
    share.enforcing_local_origin = walk.whole_percent(
        "enforcing_failure_percentage_local_origin",
        enforcing_failure_percentage_local_origin.as_ref(),
    )?;
    share.minimum_hosts = u32s(failure_percentage_minimum_hosts.as_ref());
    share.request_volume = u32s(failure_percentage_request_volume.as_ref());
    let is_enforced =
        share.enforcing.unwrap_or(0) > 0 || share.enforcing_local_origin.unwrap_or(0) > 0;
    read.failure_percentage = is_enforced.then_some(share);
    read.split_local_origin = split_external_local_origin_errors.then_some(true);
    read.uneject_on_check = bools(successful_active_health_check_uneject_host.as_ref());
    walk.note_if(!monitors.is_empty(), "monitors", "not supported yet");
    let is_degraded = bools(detect_degraded_hosts.as_ref()) == Some(true);
    walk.note_if(is_degraded, "detect_degraded_hosts", "not supported yet");
    Ok(read)
}

fn success_rate(
    walk: &mut Walk,
    enforcing: Option<&UInt32Value>,
    enforcing_local: Option<&UInt32Value>,
    hosts: Option<&UInt32Value>,
    volume: Option<&UInt32Value>,
    factor: Option<&UInt32Value>,
) -> Result<Option<SuccessRate>> {
    let mut rate = SuccessRate::default();
    rate.enforcing = walk.whole_percent("enforcing_success_rate", enforcing)?;
    rate.enforcing_local_origin =
        walk.whole_percent("enforcing_local_origin_success_rate", enforcing_local)?;
    rate.minimum_hosts = u32s(hosts);
    rate.request_volume = u32s(volume);
    rate.stdev_factor = u32s(factor);
    //= Envoy, gRFC A50: enforced at 100 % unless another share is said
    let is_off = rate.enforcing == Some(0) && rate.enforcing_local_origin.unwrap_or(0) == 0;
    Ok((!is_off).then_some(rate))
}
