//! Of every field of the settings, which kind it is.

use super::{
    Choice, Overlay, below,
    kinds::{block, boxed, choice, one, pick, secured, whole, within},
    word,
};
use crate::config::{
    Balancer, Balancing, Breakers, ClientWeighted, Cluster, DeterministicSubset, FailureAccrual,
    FailurePercentage, Failures, FollowRedirects, GrpcTimeout, Hedge, Http1Options, Http2,
    HttpOptions, InFlightBudget, LeastRequest, Limits, LoadReport, LocalityBalancing, Maglev,
    OutlierDetection, OverrideHost, PickFirst, Policy, Preconnect, Prequal, Queue, RandomSubset,
    Retry, RingHash, Rings, Sharded, SlowStart, Subsets, Subsetting, SuccessRate, Thresholds,
    Tracing, Transport, ZoneAware,
};

choice!(Balancer {
    RingHash = "ring_hash",
    Maglev = "maglev",
    ClientWeighted = "client_weighted",
    Prequal = "prequal",
    PickFirst = "pick_first",
    Sharded = "sharded",
} OverrideHost);
choice!(LocalityBalancing { ZoneAware = "zone_aware", Rings = "rings" });
choice!(Subsetting { Random = "random", Deterministic = "deterministic" });

overlay!(Policy {
    one: timeout, whole_response, attempt_timeout, idle_timeout, response_timeout,
        max_stream_duration, max_requests, priority, criticality, hash, caller_overrides,
        send_attempt_count, report_attempt_count;
    block: grpc_timeout, retry, hedge, limits, failures, follow_redirects, tracing;
});

overlay!(GrpcTimeout {
    one: max, offset;
});

overlay!(Retry {
    one: attempts, on_status, on_grpc, on_reset, on_timeout, idempotent, backoff_base, backoff_max,
        budget, max_body_bytes, respect_retry_after, retry_after_max, attempt_idle_timeout,
        backoff_multiplier, backoff_jitter, host_selection_attempts, priority, throttle;
    whole: on, on_status_ranges, on_headers, request_headers, reset_headers, avoid, predicates;
});

overlay!(Hedge {
    one: max_extra_percent, delay, max_attempts, initial_attempts, additional_percent,
        on_attempt_timeout;
    whole: non_fatal_grpc;
});

overlay!(Limits {
    one: max_request_bytes, max_response_bytes, max_request_message_bytes,
        max_response_message_bytes, max_request_header_bytes;
});

overlay!(Failures {
    one: statuses, grpc;
});

overlay!(FollowRedirects {
    one: max, cross_scheme;
    whole: statuses, predicates, copy_headers;
});

overlay!(Tracing {
    one: client_percent, random_percent, overall_percent, operation;
    whole: tags, header_tags;
});

overlay!(Cluster {
    whole: endpoints, localities, health_checks, drops, filters, labels, metadata, extensions;
    choice: balancer, subsetting;
    block: least_request, balancing, http, breakers, queue, outlier_detection, slow_start, subsets,
        load_report;
    within: transport;
    one: protocol, discovery, failover, max_stream_duration, panic_threshold,
        endpoint_stale_after, keep_healthy_removed;
    secured: security;
});

overlay!(LeastRequest {
    one: choices, active_bias, full_scan;
});

overlay!(RingHash {
    one: minimum_ring_size, maximum_ring_size, use_hostname, balance_percent, request_header;
    whole: function, hash;
});

overlay!(Maglev {
    one: table_size, use_hostname, balance_percent;
    whole: hash;
});

overlay!(ClientWeighted {
    one: blackout, expiration, update, out_of_band, out_of_band_period, error_penalty;
    whole: metrics;
});

overlay!(Prequal {
    one: pool_size, max_age, probe_rate, remove_rate, delta, hot_quantile, probe_timeout,
        probe_path;
});

overlay!(PickFirst {
    one: shuffle;
});

overlay!(Sharded {
    one: label;
    whole: shards, hash;
});

overlay!(Balancing {
    one: overprovisioning_percent, weighted_health, fail_on_panic, prefer_strictly,
        priority_failover, priority_retention, update_merge_window, wait_for_first_check,
        close_on_change, close_on_failure;
    pick: locality;
    whole: prefer;
});

overlay!(ZoneAware {
    one: routing_percent, min_cluster_size, fail_on_panic, force_local_min_size, by_weight,
        own_cluster;
});

overlay!(Rings {
    one: full_load;
    whole: rings;
});

overlay!(SlowStart {
    one: window, aggression, min_weight_percent, after_ejection;
});

overlay!(RandomSubset {
    one: size, above, seed;
});

// The number of a process means nothing without that of all of them: both are of one layer.
impl Overlay for DeterministicSubset {
    fn laid_over(&self, lower: &Self) -> Self {
        let number = if self.processes == 0 { lower } else { self };
        let (process, processes) = (number.process, number.processes);
        Self { size: self.size.or(lower.size), process, processes }
    }

    fn parts(&self) -> Vec<Self> {
        vec![self.clone()]
    }

    fn told(&self, path: &str, into: &mut Vec<(String, String)>) {
        one::told(&self.size, &below(path, "size"), into);
        into.push((below(path, "process"), self.process.to_string()));
        into.push((below(path, "processes"), self.processes.to_string()));
    }
}

overlay!(Subsets {
    whole: selectors, fallback, default;
    one: locality_weighted, scale_locality_weight, panic_any, list_as_any;
});

overlay!(Transport {
    one: connect_timeout, connect_backoff_base, connect_backoff_max, idle_timeout, max_age,
        max_age_jitter, max_requests_per_connection, tcp_keepalive, http2_ping_interval, http2_ping_timeout, max_http2_connections,
        http2_streams_per_connection, http1_max_connections, http2_stream_window_bytes,
        http2_connection_window_bytes, tcp_keepalive_interval, tcp_keepalive_probes,
        tcp_user_timeout, bind, buffer_bytes, happy_eyeballs_delay, proxy_protocol;
    block: preconnect;
    whole: socket_options, tunnel;
});

overlay!(Preconnect {
    one: per_endpoint_ratio, predictive_ratio;
});

overlay!(HttpOptions {
    block: http1, http2;
    one: http3, alternate_protocols, max_response_headers, max_response_header_bytes,
        header_validation;
    whole: underscores;
});

overlay!(Http1Options {
    one: accept_http_10, enable_trailers, allow_chunked_length, stream_error_on_invalid,
        absolute_url;
    whole: header_case;
});

overlay!(Http2 {
    one: stream_window_bytes, connection_window_bytes, adaptive_window, ping_interval,
        ping_timeout, ping_while_idle, ping_jitter_percent, max_concurrent_streams,
        max_reset_streams, max_frame_bytes, max_send_buffer_bytes, header_table_bytes,
        allow_connect;
});

overlay!(Breakers {
    one: max_requests, max_connections, max_pending, max_retries, max_connections_per_endpoint,
        max_pools, shared;
    boxed: retry_budget, high;
});

overlay!(Thresholds {
    one: max_requests, max_connections, max_pending, max_retries, max_pools;
    boxed: retry_budget;
});

overlay!(InFlightBudget {
    one: percent, min_concurrency, interval;
});

overlay!(Queue {
    one: capacity, failfast_timeout;
});

overlay!(LoadReport {
    one: provider;
    whole: metrics;
});

overlay!(OutlierDetection {
    one: consecutive_5xx, consecutive_gateway_failure, consecutive_local_origin_failure,
        enforcing_consecutive_5xx, enforcing_consecutive_gateway_failure,
        enforcing_consecutive_local_origin_failure, interval, base_ejection_time,
        max_ejection_time, max_ejection_time_jitter, max_ejection_percent, always_eject_one,
        min_health_percent, min_ready_endpoints, split_local_origin, uneject_on_check, statuses,
        respect_retry_after;
    block: success_rate, failure_percentage, accrual;
});

overlay!(SuccessRate {
    one: enforcing, enforcing_local_origin, minimum_hosts, request_volume, stdev_factor;
});

overlay!(FailurePercentage {
    one: threshold, enforcing, enforcing_local_origin, minimum_hosts, request_volume;
});

overlay!(FailureAccrual {
    one: consecutive_failures, success_ratio, window, min_requests, min_penalty, max_penalty,
        jitter;
});

/// One that names its fallback, whose fields are merged as those of any balancer.
impl OverrideHost {
    pub(crate) fn laid_over(&self, far: &Self) -> Self {
        Self {
            sources: whole::over(&self.sources, &far.sources),
            fallback: Box::new(self.fallback.beside(&far.fallback)),
            health: self.health.as_ref().or(far.health.as_ref()).cloned(),
        }
    }
}
