//! Retries of a route (gRFC A44, Envoy).

use std::{collections::BTreeMap, time::Duration};

use envoy_types::pb::envoy::{
    config::route::v3::{
        RetryPolicy, RouteAction, VirtualHost as PbHost,
        retry_policy::{
            RateLimitedRetryBackOff, ResetHeader as PbResetHeader, RetryBackOff,
            RetryHostPredicate, RetryPriority as PbPriority, retry_host_predicate, retry_priority,
        },
    },
    extensions::retry::{
        host::omit_host_metadata::v3::OmitHostMetadataConfig,
        priority::previous_priorities::v3::PreviousPrioritiesConfig,
    },
};

use super::super::{
    Dialect,
    endpoints::LABELS,
    read::{type_name, u32s},
    text,
    walk::{Result, Walk},
};
use crate::config::{
    AvoidEndpoint, Policy, ResetFormat, ResetHeader, Retry, RetryOn, RetryPriority, bound,
};

/// Envoy's first back-off.
const BASE: Duration = Duration::from_millis(25);
/// The shortest.
const SHORTEST: Duration = Duration::from_millis(1);
/// Envoy's longest wait for a reset header.
const LONGEST_RESET: Duration = Duration::from_secs(300);

pub(super) fn retry(
    walk: &mut Walk,
    dialect: Dialect,
    host: &PbHost,
    action: &RouteAction,
    policy: &mut Policy,
) -> Result<()> {
    let is_typed = action.retry_policy_typed_config.is_some();
    walk.note_if(is_typed, "retry_policy_typed_config", "not supported yet");
    // The route's takes the place of the host's.
    let Some(pb) = action.retry_policy.as_ref().or(host.retry_policy.as_ref()) else {
        return Ok(());
    };
    walk.within("retry_policy", |walk| {
        if let Some(time) = walk.bound("per_try_timeout", pb.per_try_timeout.as_ref())? {
            // Envoy: one that is not shorter than the whole says nothing.
            if bound(policy.timeout).is_some_and(|whole| time >= whole) {
                walk.note(
                    "per_try_timeout",
                    "is not shorter than `timeout`: counts for nothing here",
                );
            } else {
                policy.attempt_timeout = Some(time);
            }
        }
        policy.retry = Some(read(walk, dialect, pb)?);
        Ok(())
    })
}

fn read(walk: &mut Walk, dialect: Dialect, pb: &RetryPolicy) -> Result<Retry> {
    let RetryPolicy {
        retry_on,
        num_retries,
        // Read by the caller.
        per_try_timeout: _,
        per_try_idle_timeout,
        retry_priority,
        retry_host_predicate,
        retry_options_predicates,
        host_selection_retry_max_attempts,
        retriable_status_codes,
        retry_back_off,
        rate_limited_retry_back_off,
        retriable_headers,
        retriable_request_headers,
        refresh_cluster_on_retry: _,
    } = pb;
    let mut retry = Retry::default();
    // The operator says that all of these requests may be repeated.
    retry.idempotent = Some(true);
    conditions(walk, retry_on, &mut retry.on);
    let retries = match u32s(num_retries.as_ref()) {
        //= gRFC A44: it must be over 0
        Some(0) if dialect == Dialect::Proxyless => {
            return walk.refuse("num_retries", 0, "must be at least 1");
        }
        retries => retries.unwrap_or(1),
    };
    if retry.on.is_empty() {
        // Nothing is retried but what is known never to have been worked on.
        retry.attempts = Some(1);
    } else {
        retry.attempts = Some(retries.saturating_add(1).min(100));
        walk.note_if(retries > 99, "num_retries", "over 99 counts as 99");
    }
    back_off(walk, retry_back_off.as_ref(), &mut retry)?;
    if retry.on.contains(&RetryOn::RetriableStatusCodes) {
        let mut statuses = Vec::new();
        for code in retriable_status_codes {
            match u16::try_from(*code) {
                Ok(code) if (400..=599).contains(&code) => statuses.push(code),
                _ => walk.note(
                    "retriable_status_codes",
                    format!("{code} is not in 400..=599: is left out"),
                ),
            }
        }
        retry.on_status = Some(statuses);
    }
    if retry.on.contains(&RetryOn::RetriableHeaders) {
        retry.on_headers = walk.each("retriable_headers", retriable_headers, text::header)?;
    }
    retry.request_headers =
        walk.each("retriable_request_headers", retriable_request_headers, text::header)?;
    retry.attempt_idle_timeout =
        walk.bound("per_try_idle_timeout", per_try_idle_timeout.as_ref())?;
    if let Some(limited) = rate_limited_retry_back_off {
        rate_limited(walk, limited, &mut retry)?;
    }
    for (index, predicate) in retry_host_predicate.iter().enumerate() {
        walk.within(&format!("retry_host_predicate[{index}]"), |walk| {
            avoid(walk, predicate, &mut retry)
        })?;
    }
    if let Some(priority) = retry_priority {
        walk.within("retry_priority", |walk| self::priority(walk, priority, &mut retry))?;
    }
    retry.host_selection_attempts =
        u32::try_from(*host_selection_retry_max_attempts).ok().filter(|attempts| *attempts > 0);
    walk.note_if(
        !retry_options_predicates.is_empty(),
        "retry_options_predicates",
        "not supported yet",
    );
    Ok(retry)
}

/// Words that are not known say nothing (gRFC A44, Envoy).
fn conditions(walk: &mut Walk, words: &str, on: &mut Vec<RetryOn>) {
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let condition = match word {
            "5xx" => RetryOn::ServerError,
            "gateway-error" => RetryOn::GatewayError,
            "reset" => RetryOn::Reset,
            "reset-before-request" => RetryOn::ResetBeforeRequest,
            "connect-failure" => RetryOn::ConnectFailure,
            "envoy-ratelimited" => RetryOn::EnvoyRatelimited,
            "retriable-4xx" => RetryOn::RetriableClientError,
            "refused-stream" => RetryOn::RefusedStream,
            "retriable-status-codes" => RetryOn::RetriableStatusCodes,
            "retriable-headers" => RetryOn::RetriableHeaders,
            "http3-post-connect-failure" => RetryOn::Http3PostConnectFailure,
            "cancelled" => RetryOn::Cancelled,
            "deadline-exceeded" => RetryOn::DeadlineExceeded,
            "internal" => RetryOn::Internal,
            "resource-exhausted" => RetryOn::ResourceExhausted,
            "unavailable" => RetryOn::Unavailable,
            other => {
                walk.note("retry_on", format!("{:?} is not known: is left out", short(other)));
                continue;
            }
        };
        if !on.contains(&condition) {
            on.push(condition);
        }
    }
}

fn short(word: &str) -> String {
    word.chars().take(40).collect()
}

fn back_off(walk: &mut Walk, pb: Option<&RetryBackOff>, retry: &mut Retry) -> Result<()> {
    let (base, most) = walk.within("retry_back_off", |walk| {
        let Some(RetryBackOff { base_interval, max_interval }) = pb else {
            return Ok((BASE, None));
        };
        //= gRFC A44: the first must be said, and over 0
        let Some(base) = walk.positive("base_interval", base_interval.as_ref())? else {
            return walk.refuse("base_interval", "none", "must be given");
        };
        let most = walk.positive("max_interval", max_interval.as_ref())?;
        if let Some(most) = most.filter(|most| *most < base) {
            let reason = format!("must be at least base_interval ({base:?})");
            return walk.refuse("max_interval", format!("{most:?}"), reason);
        }
        Ok((base, most))
    })?;
    let base = base.max(SHORTEST);
    // Envoy: ten times the first.
    let most = most.map_or_else(|| base.saturating_mul(10), |most| most.max(SHORTEST));
    retry.backoff_base = Some(base);
    retry.backoff_max = Some(most.min(super::super::read::YEAR));
    Ok(())
}

fn rate_limited(walk: &mut Walk, pb: &RateLimitedRetryBackOff, retry: &mut Retry) -> Result<()> {
    walk.within("rate_limited_retry_back_off", |walk| {
        let RateLimitedRetryBackOff { reset_headers, max_interval } = pb;
        retry.reset_headers = walk.each("reset_headers", reset_headers, |walk, it| {
            let PbResetHeader { name, format } = it;
            let format = match format {
                0 => ResetFormat::Seconds,
                1 => ResetFormat::UnixTimestamp,
                other => return walk.refuse("format", other, "must be SECONDS or UNIX_TIMESTAMP"),
            };
            let mut header = ResetHeader::default();
            header.name.clone_from(name);
            header.format = format;
            Ok(header)
        })?;
        let most = walk.positive("max_interval", max_interval.as_ref())?;
        retry.retry_after_max = Some(most.unwrap_or(LONGEST_RESET));
        Ok(())
    })
}

fn avoid(walk: &mut Walk, pb: &RetryHostPredicate, retry: &mut Retry) -> Result<()> {
    let RetryHostPredicate { name, config_type } = pb;
    let any = config_type.as_ref().map(|retry_host_predicate::ConfigType::TypedConfig(any)| any);
    let url = any.map_or(name.as_str(), |any| type_name(&any.type_url));
    let avoid = match url {
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
        | "envoy.retry_host_predicates.previous_hosts" => AvoidEndpoint::Tried,
        "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"
        | "envoy.retry_host_predicates.omit_canary_hosts" => AvoidEndpoint::Canaries,
        "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig" => {
            let Some(any) = any else { return Ok(()) };
            let pb: OmitHostMetadataConfig = walk.unpack("typed_config", any)?;
            let labels = pb.metadata_match.as_ref();
            let labels = labels.and_then(|it| it.filter_metadata.get(LABELS));
            let labels: BTreeMap<_, _> = walk.labels("metadata_match", labels)?;
            if labels.is_empty() {
                return Ok(());
            }
            AvoidEndpoint::Labels(labels)
        }
        other => {
            walk.note("", format!("{other} is not supported yet: is left out"));
            return Ok(());
        }
    };
    if !retry.avoid.contains(&avoid) {
        retry.avoid.push(avoid);
    }
    Ok(())
}

fn priority(walk: &mut Walk, pb: &PbPriority, retry: &mut Retry) -> Result<()> {
    let PbPriority { name, config_type } = pb;
    let any = config_type.as_ref().map(|retry_priority::ConfigType::TypedConfig(any)| any);
    let url = any.map_or(name.as_str(), |any| type_name(&any.type_url));
    match (url, any) {
        (
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            Some(any),
        ) => {
            let pb: PreviousPrioritiesConfig = walk.unpack("typed_config", any)?;
            let Some(often) = u32::try_from(pb.update_frequency).ok().filter(|often| *often > 0)
            else {
                return walk.refuse("update_frequency", pb.update_frequency, "must be over 0");
            };
            let mut read = RetryPriority::default();
            read.update_frequency = Some(often);
            retry.priority = Some(read);
        }
        (other, _) => walk.note("", format!("{other} is not supported yet: is left out")),
    }
    Ok(())
}
