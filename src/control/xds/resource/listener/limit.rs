//! Filters that fault and limit.

use envoy_types::pb::envoy::{
    config::core::v3::{
        GrpcService, HeaderValueOption, RuntimeDouble, RuntimeFeatureFlag, RuntimePercent,
        RuntimeUInt32, grpc_service::TargetSpecifier,
    },
    extensions::{
        common::ratelimit::v3::LocalRateLimitDescriptor,
        filters::{
            common::fault::v3::{
                FaultDelay as PbDelay, FaultRateLimit, fault_delay::FaultDelaySecifier,
                fault_rate_limit::LimitType,
            },
            http::{
                adaptive_concurrency::v3::{
                    AdaptiveConcurrency as PbConcurrency, GradientControllerConfig,
                    adaptive_concurrency::ConcurrencyControllerConfig,
                    gradient_controller_config::{
                        ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
                    },
                },
                admission_control::v3::{
                    AdmissionControl as PbAdmission,
                    admission_control::{EvaluationCriteria, SuccessCriteria},
                },
                fault::v3::{FaultAbort as PbAbort, HttpFault, fault_abort::ErrorType},
                local_ratelimit::v3::LocalRateLimit,
                ratelimit::v3::RateLimit as PbRateLimit,
            },
        },
    },
    r#type::v3::{HttpStatus, TokenBucket as PbBucket},
};

use super::super::{
    Step,
    read::{bools, said, u32s},
    routes::{Edits, descriptors},
    text,
    walk::{Result, Walk},
};
use crate::config::{
    AdaptiveConcurrency, AdmissionControl, ConcurrencyController, DescriptorEntry, Fault,
    FaultAbort, FaultDelay, FaultRate, Filter, GlobalRateLimit, GradientController, HeaderEdit,
    IntegerRange, LimitedDescriptor, RateLimit, RateRequestType, TokenBucket,
    format::{Parsed, Side},
};

/// Faults (gRFC A33); none where it injects nothing.
pub(super) fn fault(walk: &mut Walk, pb: &HttpFault) -> Result<Option<Filter>> {
    let HttpFault {
        delay,
        abort,
        upstream_cluster,
        headers,
        downstream_nodes,
        max_active_faults,
        response_rate_limit,
        delay_percent_runtime,
        abort_percent_runtime,
        delay_duration_runtime,
        abort_http_status_runtime,
        max_active_faults_runtime,
        response_rate_limit_percent_runtime,
        abort_grpc_status_runtime,
        disable_downstream_cluster_stats: _,
        filter_metadata: _,
    } = pb;
    for (field, key) in [
        ("delay_percent_runtime", delay_percent_runtime),
        ("abort_percent_runtime", abort_percent_runtime),
        ("delay_duration_runtime", delay_duration_runtime),
        ("abort_http_status_runtime", abort_http_status_runtime),
        ("max_active_faults_runtime", max_active_faults_runtime),
        ("response_rate_limit_percent_runtime", response_rate_limit_percent_runtime),
        ("abort_grpc_status_runtime", abort_grpc_status_runtime),
    ] {
        walk.no_runtime(field, key);
    }
    let mut read = Fault::default();
    if let Some(PbDelay { percentage, fault_delay_secifier }) = delay {
        walk.within("delay", |walk| {
            let mut it = FaultDelay::default();
            // What is not said is no share at all (Envoy, gRFC A33).
            it.percent = Some(walk.fraction("percentage", percentage.as_ref())?.unwrap_or(0.0));
            match fault_delay_secifier {
                Some(FaultDelaySecifier::FixedDelay(time)) => {
                    it.fixed = walk.positive("fixed_delay", Some(time))?;
                }
                Some(FaultDelaySecifier::HeaderDelay(_)) => it.from_header = true,
                None => return walk.refuse("fault_delay_secifier", "none", "must be given"),
            }
            read.delay = Some(it);
            Ok(())
        })?;
    }
    if let Some(PbAbort { percentage, response_body, error_type }) = abort {
        walk.within("abort", |walk| {
            let mut it = FaultAbort::default();
            it.percent = Some(walk.fraction("percentage", percentage.as_ref())?.unwrap_or(0.0));
            it.message = said(response_body);
            match error_type {
                Some(ErrorType::HttpStatus(status)) => match u16::try_from(*status) {
                    Ok(status) if (200..=599).contains(&status) => it.status = Some(status),
                    _ => return walk.refuse("http_status", status, "must be in 200..=599"),
                },
                Some(ErrorType::GrpcStatus(code)) => match i32::try_from(*code) {
                    Ok(code) if code <= 16 => it.grpc = Some(code),
                    _ => return walk.refuse("grpc_status", code, "must be in 0..=16"),
                },
                Some(ErrorType::HeaderAbort(_)) => it.from_header = true,
                None => return walk.refuse("error_type", "none", "must be given"),
            }
            read.abort = Some(it);
            Ok(())
        })?;
    }
    if let Some(FaultRateLimit { percentage, limit_type }) = response_rate_limit {
        walk.within("response_rate_limit", |walk| {
            let mut it = FaultRate::default();
            it.percent = Some(walk.fraction("percentage", percentage.as_ref())?.unwrap_or(0.0));
            match limit_type {
                Some(LimitType::FixedLimit(limit)) if limit.limit_kbps == 0 => {
                    return walk.refuse("fixed_limit.limit_kbps", 0, "must be at least 1");
                }
                Some(LimitType::FixedLimit(limit)) => {
                    it.bytes_per_second = Some(limit.limit_kbps.saturating_mul(1024));
                }
                Some(LimitType::HeaderLimit(_)) => it.from_header = true,
                None => return walk.refuse("limit_type", "none", "must be given"),
            }
            read.response_rate = Some(it);
            Ok(())
        })?;
    }
    read.max_active = u32s(max_active_faults.as_ref());
    read.headers = walk.each("headers", headers, text::header)?;
    read.cluster = said(upstream_cluster);
    read.callers.clone_from(downstream_nodes);
    if read.delay.is_none() && read.abort.is_none() && read.response_rate.is_none() {
        return Ok(None);
    }
    Ok(Some(Filter::Fault(Box::new(read))))
}

/// Which descriptions of the virtual host count, as a filter says it: only its default is done, which is 0.
pub(super) fn note_of_host(walk: &mut Walk, option: i32) {
    walk.note_if(
        option != 0,
        "vh_rate_limits",
        "INCLUDE and IGNORE are not supported yet: what the virtual host says counts where the route says \
         nothing, or has `include_vh_rate_limits`",
    );
}

/// A local limit; nothing where it is asked of no request.
pub(super) fn local(walk: &mut Walk, pb: &LocalRateLimit) -> Result<Vec<Step>> {
    let LocalRateLimit {
        stat_prefix: _,
        status,
        token_bucket,
        filter_enabled,
        filter_enforced,
        request_headers_to_add_when_not_enforced,
        response_headers_to_add,
        descriptors: limited,
        stage,
        local_rate_limit_per_downstream_connection,
        local_cluster_rate_limit,
        enable_x_ratelimit_headers,
        vh_rate_limits,
        always_consume_default_token_bucket,
        rate_limited_as_resource_exhausted: _,
        rate_limits,
        max_dynamic_descriptors,
        enable_retry_after_header: _,
    } = pb;
    let mut read = RateLimit::default();
    // Envoy: what is not said is no share at all.
    let enabled = walk.runtime_fraction("filter_enabled", filter_enabled.as_ref())?;
    let enforced = walk.runtime_fraction("filter_enforced", filter_enforced.as_ref())?;
    read.enabled_percent = Some(enabled.unwrap_or(0.0));
    read.enforced_percent = Some(enforced.unwrap_or(0.0));
    walk.note_if(*stage != 0, "stage", "not supported yet: a local limit has one stage");
    walk.note_if(
        *local_rate_limit_per_downstream_connection,
        "local_rate_limit_per_downstream_connection",
        "not supported yet: all calls share the bucket",
    );
    note_of_host(walk, *vh_rate_limits);
    let is_shared = local_cluster_rate_limit.is_some();
    walk.note_if(is_shared, "local_cluster_rate_limit", "not supported yet");
    if let Some(pb) = token_bucket {
        read.bucket = walk.within("token_bucket", |walk| bucket(walk, pb))?;
    }
    for (index, it) in limited.iter().enumerate() {
        let LocalRateLimitDescriptor { entries, token_bucket, shadow_mode } = it;
        walk.within(&format!("descriptors[{index}]"), |walk| {
            if *shadow_mode {
                walk.note("shadow_mode", "not supported yet: the descriptor is left out");
                return Ok(());
            }
            let Some(pb) = token_bucket else {
                return walk.refuse("token_bucket", "none", "must be given");
            };
            let mut one = LimitedDescriptor::default();
            one.entries = entries
                .iter()
                .map(|entry| DescriptorEntry::new(entry.key.clone(), entry.value.clone()))
                .collect();
            one.bucket = walk.within("token_bucket", |walk| bucket(walk, pb))?;
            read.descriptors.push(one);
            Ok(())
        })?;
    }
    if token_bucket.is_none() && read.descriptors.is_empty() {
        return Ok(Vec::new());
    }
    let is_always = bools(always_consume_default_token_bucket.as_ref()).unwrap_or(true);
    read.always_bucket =
        (is_always && token_bucket.is_some() && !read.descriptors.is_empty()).then_some(true);
    read.max_buckets = u32s(max_dynamic_descriptors.as_ref());
    read.describe = descriptors(walk, "rate_limits", rate_limits)?;
    read.status = refusal(walk, "status", status.as_ref())?;
    read.limit_headers = (*enable_x_ratelimit_headers != 0).then_some(true);
    read.response_headers = edits(walk, response_headers_to_add)?;
    read.request_headers = edits(walk, request_headers_to_add_when_not_enforced)?;
    if read.enabled_percent == Some(0.0) {
        walk.note("filter_enabled", "is 0: no request is counted");
        return Ok(Vec::new());
    }
    let is_described = !read.descriptors.is_empty();
    let filter = Filter::RateLimit(Box::new(read));
    Ok(vec![if is_described { Step::Limited(filter) } else { Step::Filter(filter) }])
}

fn bucket(walk: &mut Walk, pb: &PbBucket) -> Result<TokenBucket> {
    let PbBucket { max_tokens, tokens_per_fill, fill_interval } = pb;
    let mut read = TokenBucket::default();
    read.max_tokens = *max_tokens;
    read.tokens_per_fill = u32s(tokens_per_fill.as_ref());
    read.fill_interval = walk.positive("fill_interval", fill_interval.as_ref())?;
    if read.fill_interval.is_none() {
        return walk.refuse("fill_interval", "none", "must be given");
    }
    Ok(read)
}

/// Envoy: what is under 400 is 429.
fn refusal(walk: &Walk, field: &str, status: Option<&HttpStatus>) -> Result<Option<u16>> {
    match status.map(|status| status.code) {
        None => Ok(None),
        Some(code) if code < 400 => Ok(None),
        Some(code) => match u16::try_from(code) {
            Ok(code) if code <= 599 => Ok(Some(code)),
            _ => walk.refuse(field, code, "must be in 400..=599"),
        },
    }
}

/// Of answers of a limit nothing is filled in.
fn edits(walk: &mut Walk, list: &[HeaderValueOption]) -> Result<HeaderEdit> {
    let is_plain = |option: &&HeaderValueOption| {
        let value = option.header.as_ref().map_or("", |it| it.value.as_str());
        !matches!(Parsed::new(value, Side::Request), Ok(Parsed::Made(_)))
    };
    let plain: Vec<HeaderValueOption> = list.iter().filter(is_plain).cloned().collect();
    let is_cut = plain.len() < list.len();
    walk.note_if(is_cut, "headers", "what each call would fill in is left out");
    Ok(Edits::read(walk, &plain, &[], &[], &[])?.request)
}

/// A limit that a service is asked about.
pub(super) fn global(walk: &mut Walk, pb: &PbRateLimit) -> Result<Vec<Step>> {
    let PbRateLimit {
        domain,
        stage,
        request_type,
        timeout,
        failure_mode_deny,
        rate_limited_as_resource_exhausted: _,
        rate_limit_service,
        enable_x_ratelimit_headers,
        disable_x_envoy_ratelimited_header,
        rate_limited_status,
        response_headers_to_add,
        status_on_error,
        stat_prefix: _,
        filter_enabled,
        filter_enforced,
        failure_mode_deny_percent,
        rate_limits,
        metadata_namespace: _,
        enable_retry_after_header: _,
    } = pb;
    let service = rate_limit_service.as_ref().and_then(|it| it.grpc_service.as_ref());
    let cluster = match service {
        Some(GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(it)), .. }) => {
            it.cluster_name.clone()
        }
        _ => {
            let field = "rate_limit_service.grpc_service.envoy_grpc";
            return walk.refuse(field, "none", "must be given");
        }
    };
    for (share, field) in [
        (filter_enabled, "filter_enabled"),
        (filter_enforced, "filter_enforced"),
        (failure_mode_deny_percent, "failure_mode_deny_percent"),
    ] {
        walk.note_if(share.is_some(), field, "not supported yet: it counts for every request");
    }
    let mut read = GlobalRateLimit::new(cluster, domain.clone());
    read.stage = Some(*stage).filter(|stage| *stage > 0);
    read.request_type = match request_type.as_str() {
        "" | "both" => None,
        "internal" => Some(RateRequestType::Internal),
        "external" => Some(RateRequestType::External),
        other => return walk.refuse("request_type", other, "must be internal, external or both"),
    };
    read.timeout = walk.bound("timeout", timeout.as_ref())?;
    read.fail_closed = failure_mode_deny.then_some(true);
    read.limit_headers = (*enable_x_ratelimit_headers != 0).then_some(true);
    read.limited_header = disable_x_envoy_ratelimited_header.then_some(false);
    read.status = refusal(walk, "rate_limited_status", rate_limited_status.as_ref())?;
    read.error_status = refusal(walk, "status_on_error", status_on_error.as_ref())?;
    read.response_headers = edits(walk, response_headers_to_add)?;
    read.describe = descriptors(walk, "rate_limits", rate_limits)?;
    Ok(vec![Step::Limited(Filter::GlobalRateLimit(Box::new(read)))])
}

fn flag(walk: &mut Walk, pb: Option<&RuntimeFeatureFlag>) -> bool {
    let Some(RuntimeFeatureFlag { default_value, runtime_key }) = pb else { return true };
    walk.no_runtime("enabled.runtime_key", runtime_key);
    bools(default_value.as_ref()).unwrap_or(true)
}

/// More times what is in flight than the highest limit is.
const NO_FACTOR: f64 = 1e6;

pub(super) fn concurrency(walk: &mut Walk, pb: &PbConcurrency) -> Result<Option<Filter>> {
    let PbConcurrency { enabled, concurrency_limit_exceeded_status, concurrency_controller_config } =
        pb;
    if !flag(walk, enabled.as_ref()) {
        return Ok(None);
    }
    let mut read = AdaptiveConcurrency::default();
    let field = "concurrency_limit_exceeded_status";
    read.status = refusal(walk, field, concurrency_limit_exceeded_status.as_ref())?;
    let Some(ConcurrencyControllerConfig::GradientControllerConfig(pb)) =
        concurrency_controller_config
    else {
        return walk.refuse("concurrency_controller_config", "none", "must be given");
    };
    walk.within("gradient_controller_config", |walk| {
        let GradientControllerConfig {
            sample_aggregate_percentile,
            concurrency_limit_params,
            min_rtt_calc_params,
        } = pb;
        let mut gradient = GradientController::default();
        gradient.percentile =
            walk.percent("sample_aggregate_percentile", sample_aggregate_percentile.as_ref())?;
        if let Some(ConcurrencyLimitCalculationParams {
            max_concurrency_limit,
            concurrency_update_interval,
            min_concurrency_limit,
        }) = concurrency_limit_params
        {
            read.max_concurrency = u32s(max_concurrency_limit.as_ref());
            read.min_concurrency = u32s(min_concurrency_limit.as_ref());
            read.update_interval =
                walk.positive("concurrency_update_interval", concurrency_update_interval.as_ref())?;
        }
        if let Some(MinimumRttCalculationParams {
            interval,
            fixed_value,
            request_count,
            jitter,
            min_concurrency,
            buffer,
        }) = min_rtt_calc_params
        {
            gradient.min_rtt_interval = walk.positive("interval", interval.as_ref())?;
            gradient.fixed_min_rtt = walk.positive("fixed_value", fixed_value.as_ref())?;
            gradient.request_count = u32s(request_count.as_ref());
            gradient.jitter_percent = walk.percent("jitter", jitter.as_ref())?;
            gradient.buffer_percent = walk.percent("buffer", buffer.as_ref())?;
            if read.min_concurrency.is_none() {
                read.min_concurrency = u32s(min_concurrency.as_ref());
            }
        }
        read.controller = Some(ConcurrencyController::Gradient(gradient));
        //= Envoy `GradientController::calculateNewLimit`: nothing bounds it but the highest limit
        read.max_limit_factor = Some(NO_FACTOR);
        Ok(())
    })?;
    Ok(Some(Filter::AdaptiveConcurrency(Box::new(read))))
}

pub(super) fn admission(walk: &mut Walk, pb: &PbAdmission) -> Result<Option<Filter>> {
    let PbAdmission {
        enabled,
        sampling_window,
        aggression,
        sr_threshold,
        rps_threshold,
        max_rejection_probability,
        evaluation_criteria,
    } = pb;
    if !flag(walk, enabled.as_ref()) {
        return Ok(None);
    }
    let mut read = AdmissionControl::default();
    read.window = walk.positive("sampling_window", sampling_window.as_ref())?;
    if let Some(RuntimeDouble { default_value, runtime_key }) = aggression {
        walk.no_runtime("aggression.runtime_key", runtime_key);
        // Envoy: what is under 1 is 1.
        read.aggression = Some(default_value.max(1.0));
    }
    let percent = |walk: &mut Walk, field: &str, pb: Option<&RuntimePercent>| {
        let Some(RuntimePercent { default_value, runtime_key }) = pb else { return Ok(None) };
        walk.no_runtime(&format!("{field}.runtime_key"), runtime_key);
        walk.percent(field, default_value.as_ref())
    };
    read.threshold_percent = percent(walk, "sr_threshold", sr_threshold.as_ref())?;
    read.max_rejection_percent =
        percent(walk, "max_rejection_probability", max_rejection_probability.as_ref())?;
    if let Some(RuntimeUInt32 { default_value, runtime_key }) = rps_threshold {
        walk.no_runtime("rps_threshold.runtime_key", runtime_key);
        read.min_per_second = Some(f64::from(*default_value));
    }
    if let Some(EvaluationCriteria::SuccessCriteria(it)) = evaluation_criteria {
        let SuccessCriteria { http_criteria, grpc_criteria } = it;
        read.success_statuses = http_criteria.as_ref().map(|it| {
            let range = |it: &envoy_types::pb::envoy::r#type::v3::Int32Range| {
                let mut range = IntegerRange::default();
                (range.start, range.end) = (i64::from(it.start), i64::from(it.end));
                range
            };
            it.http_success_status.iter().map(range).collect()
        });
        read.success_grpc = grpc_criteria.as_ref().map(|it| {
            it.grpc_success_status
                .iter()
                .map(|code| i32::try_from(*code).unwrap_or(i32::MAX))
                .collect()
        });
    }
    Ok(Some(Filter::AdmissionControl(Box::new(read))))
}
