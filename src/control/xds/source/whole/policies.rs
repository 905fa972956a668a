//! What calls obey by resources: every typed policy, ejections, limits, retries, hashes, sessions. Of each wrapper
//! the value may be absent, or as large as it goes.

#![allow(deprecated, reason = "control planes say it all the same")]

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                CircuitBreakers, LoadBalancingPolicy, OutlierDetection,
                circuit_breakers::{Thresholds, thresholds::RetryBudget},
                cluster::{CommonLbConfig, common_lb_config},
                load_balancing_policy::Policy,
            },
            core::v3::{HealthStatusSet, RuntimeDouble, TypedExtensionConfig},
            route::v3::{
                RedirectAction, RetryPolicy, redirect_action,
                retry_policy::{RateLimitedRetryBackOff, ResetHeader, RetryBackOff},
                route_action::{HashPolicy, hash_policy},
            },
        },
        extensions::{
            filters::{
                common::fault::v3::{FaultDelay, fault_delay},
                http::{
                    fault::v3::{FaultAbort, HttpFault, fault_abort},
                    stateful_session::v3::StatefulSession,
                },
            },
            http::stateful_session::{
                cookie::v3::CookieBasedSessionState, header::v3::HeaderBasedSessionState,
            },
            load_balancing_policies::{
                client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
                common::v3::{
                    ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
                    locality_lb_config::{
                        LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
                        zone_aware_lb_config::ForceLocalZone,
                    },
                },
                least_request::v3::LeastRequest,
                maglev::v3::Maglev,
                override_host::v3::{OverrideHost, override_host::OverrideHostSource},
                pick_first::v3::PickFirst,
                random::v3::Random,
                random_subsetting::v3::RandomSubsetting,
                ring_hash::v3::RingHash,
                round_robin::v3::RoundRobin,
                subset::v3::{Subset, subset::LbSubsetSelector},
                wrr_locality::v3::WrrLocality,
            },
        },
        r#type::{
            http::v3::Cookie,
            v3::{FractionalPercent, Percent},
        },
    },
    google::protobuf::{Any, BoolValue, Duration, FloatValue, UInt32Value, UInt64Value},
};
use envoy_types::util::pack_any;

use super::resources::Bytes;

impl Bytes<'_> {
    // === wrappers ===

    fn long(&mut self) -> Option<UInt64Value> {
        let value = [0, 1, 64, 1_009, 4_096, u64::MAX][self.below(6)];
        (self.below(3) > 0).then_some(UInt64Value { value })
    }

    /// Of whole percents.
    fn share(&mut self) -> Option<UInt32Value> {
        let value = [0, 1, 50, 99, 100, 101][self.below(6)];
        (self.below(3) > 0).then_some(UInt32Value { value })
    }

    fn percent(&mut self) -> Option<Percent> {
        let value = [0.0, 0.1, 50.0, 100.0, -1.0, f64::NAN][self.below(6)];
        (self.below(3) > 0).then_some(Percent { value })
    }

    fn double(&mut self) -> Option<RuntimeDouble> {
        let default_value = [0.0, 0.5, 1.0, 2.0, 100.0, 1e300, f64::INFINITY][self.below(7)];
        let runtime_key = String::new();
        (self.below(3) > 0).then_some(RuntimeDouble { default_value, runtime_key })
    }

    fn flag(&mut self) -> Option<BoolValue> {
        let value = self.below(2) == 0;
        self.often().then_some(BoolValue { value })
    }

    pub(super) fn time(&mut self) -> Option<Duration> {
        let seconds = [0, 0, 1, 10, 3_600, 315_576_000_000, -1][self.below(7)];
        let nanos = [0, 1, 1_000_000, 999_999_999][self.below(4)];
        (self.below(2) == 0).then_some(Duration { seconds, nanos })
    }

    // === policies ===

    pub(super) fn policies(&mut self, deeper: usize) -> LoadBalancingPolicy {
        let count = if self.below(8) == 0 { 2 } else { 1 };
        let policies = (0..count).map(|_| {
            let typed_config = Some(self.policy(deeper));
            let typed = TypedExtensionConfig { name: "p".to_owned(), typed_config };
            Policy { typed_extension_config: Some(typed) }
        });
        LoadBalancingPolicy { policies: policies.collect() }
    }

    fn policy(&mut self, deeper: usize) -> Any {
        let kinds = if deeper == 0 { 7 } else { 11 };
        match self.below(kinds) {
            0 => pack_any(RoundRobin {
                slow_start_config: self.slow_start(),
                locality_lb_config: self.localities(),
            }),
            1 => pack_any(LeastRequest {
                choice_count: self.number(),
                active_request_bias: self.double(),
                slow_start_config: self.slow_start(),
                locality_lb_config: self.localities(),
                enable_full_scan: self.flag(),
                ..LeastRequest::default()
            }),
            2 => pack_any(Random { locality_lb_config: self.localities() }),
            3 => pack_any(RingHash {
                hash_function: i32::from(self.next() % 3),
                minimum_ring_size: self.long(),
                maximum_ring_size: self.long(),
                consistent_hashing_lb_config: self.hashing(),
                locality_weighted_lb_config: self.by_weight(),
                ..RingHash::default()
            }),
            4 => pack_any(Maglev {
                table_size: self.long(),
                consistent_hashing_lb_config: self.hashing(),
                locality_weighted_lb_config: self.by_weight(),
            }),
            5 => pack_any(PickFirst { shuffle_address_list: self.often() }),
            6 => pack_any(self.client_weighted()),
            7 => pack_any(WrrLocality { endpoint_picking_policy: self.child(deeper) }),
            8 => pack_any(RandomSubsetting {
                subset_size: self.number(),
                child_policy: self.child(deeper),
            }),
            9 => pack_any(OverrideHost {
                override_host_sources: vec![OverrideHostSource {
                    header: self.text(&["x-endpoint", "", "x y"]),
                    metadata: None,
                }],
                selected_host_key: None,
                fallback_policy: self.child(deeper),
            }),
            _ => pack_any(self.subset(deeper)),
        }
    }

    fn child(&mut self, deeper: usize) -> Option<LoadBalancingPolicy> {
        self.often().then(|| self.policies(deeper.saturating_sub(1)))
    }

    fn client_weighted(&mut self) -> ClientSideWeightedRoundRobin {
        let penalty = [0.0, 1.0, 1000.0, f32::NAN][self.below(4)];
        ClientSideWeightedRoundRobin {
            enable_oob_load_report: self.flag(),
            oob_reporting_period: self.time(),
            blackout_period: self.time(),
            weight_expiration_period: self.time(),
            weight_update_period: self.time(),
            error_utilization_penalty: self.often().then_some(FloatValue { value: penalty }),
            slow_start_config: self.slow_start(),
            ..ClientSideWeightedRoundRobin::default()
        }
    }

    fn subset(&mut self, deeper: usize) -> Subset {
        let selector = |of: &mut Self| LbSubsetSelector {
            keys: vec![of.text(&["stage", "version", ""])],
            fallback_policy: i32::from(of.next() % 5),
            fallback_keys_subset: vec![of.text(&["stage", "version"])],
            single_host_per_subset: of.below(4) == 0,
        };
        Subset {
            fallback_policy: i32::from(self.next() % 3),
            subset_selectors: (0..self.below(3)).map(|_| selector(self)).collect(),
            locality_weight_aware: self.below(4) == 0,
            panic_mode_any: self.below(4) == 0,
            subset_lb_policy: self.child(deeper),
            ..Subset::default()
        }
    }

    fn slow_start(&mut self) -> Option<SlowStartConfig> {
        (self.below(3) == 0).then(|| SlowStartConfig {
            slow_start_window: self.time(),
            aggression: self.double(),
            min_weight_percent: self.percent(),
        })
    }

    fn by_weight(&mut self) -> Option<LocalityWeightedLbConfig> {
        (self.below(3) == 0).then_some(LocalityWeightedLbConfig {})
    }

    fn localities(&mut self) -> Option<LocalityLbConfig> {
        let specifier = match self.below(4) {
            0 => LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}),
            1 => LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
                routing_enabled: self.percent(),
                min_cluster_size: self.long(),
                fail_traffic_on_panic: self.often(),
                force_local_zone: self.often().then(|| ForceLocalZone { min_size: self.number() }),
                locality_basis: i32::from(self.next() % 3),
                ..ZoneAwareLbConfig::default()
            }),
            2 => return Some(LocalityLbConfig::default()),
            _ => return None,
        };
        Some(LocalityLbConfig { locality_config_specifier: Some(specifier) })
    }

    fn hashing(&mut self) -> Option<ConsistentHashingLbConfig> {
        (self.below(3) == 0).then(|| ConsistentHashingLbConfig {
            use_hostname_for_hashing: self.often(),
            hash_balance_factor: self.share(),
            hash_policy: (0..self.below(3)).map(|_| self.hash_policy()).collect(),
        })
    }

    pub(super) fn common(&mut self) -> CommonLbConfig {
        let hashing = common_lb_config::ConsistentHashingLbConfig {
            use_hostname_for_hashing: self.often(),
            hash_balance_factor: self.number(),
        };
        let statuses = (0..self.below(4)).map(|_| i32::from(self.next() % 7)).collect();
        CommonLbConfig {
            healthy_panic_threshold: self.percent(),
            consistent_hashing_lb_config: self.often().then_some(hashing),
            override_host_status: self.often().then_some(HealthStatusSet { statuses }),
            close_connections_on_host_set_change: self.below(4) == 0,
            ..CommonLbConfig::default()
        }
    }

    // === what happens to endpoints, and how much of it ===

    pub(super) fn outliers(&mut self) -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: self.number(),
            interval: self.time(),
            base_ejection_time: self.time(),
            max_ejection_percent: self.share(),
            enforcing_consecutive_5xx: self.share(),
            enforcing_success_rate: self.share(),
            success_rate_minimum_hosts: self.number(),
            success_rate_request_volume: self.number(),
            success_rate_stdev_factor: self.number(),
            consecutive_gateway_failure: self.number(),
            enforcing_consecutive_gateway_failure: self.share(),
            split_external_local_origin_errors: self.often(),
            consecutive_local_origin_failure: self.number(),
            enforcing_consecutive_local_origin_failure: self.share(),
            enforcing_local_origin_success_rate: self.share(),
            failure_percentage_threshold: self.share(),
            enforcing_failure_percentage: self.share(),
            enforcing_failure_percentage_local_origin: self.share(),
            failure_percentage_minimum_hosts: self.number(),
            failure_percentage_request_volume: self.number(),
            max_ejection_time: self.time(),
            max_ejection_time_jitter: self.time(),
            successful_active_health_check_uneject_host: self.flag(),
            always_eject_one_host: self.flag(),
            ..OutlierDetection::default()
        }
    }

    pub(super) fn breakers(&mut self) -> CircuitBreakers {
        let threshold = |of: &mut Self| Thresholds {
            priority: i32::from(of.next() % 3),
            max_connections: of.number(),
            max_pending_requests: of.number(),
            max_requests: of.number(),
            max_retries: of.number(),
            retry_budget: (of.below(4) == 0).then(|| RetryBudget {
                budget_percent: of.percent(),
                budget_interval: of.time(),
                min_retry_concurrency: of.number(),
            }),
            max_connection_pools: of.number(),
            ..Thresholds::default()
        };
        CircuitBreakers {
            thresholds: (0..self.below(4)).map(|_| threshold(self)).collect(),
            per_host_thresholds: (0..self.below(2)).map(|_| threshold(self)).collect(),
        }
    }

    // === routes and filters ===

    pub(super) fn retry(&mut self) -> RetryPolicy {
        let limited = |of: &mut Self| RateLimitedRetryBackOff {
            reset_headers: vec![ResetHeader {
                name: of.text(&["retry-after", "x-reset", ""]),
                format: i32::from(of.next() % 3),
            }],
            max_interval: of.time(),
        };
        RetryPolicy {
            retry_on: self.text(&[
                "",
                "5xx",
                "unavailable,reset",
                "retriable-status-codes,nothing",
            ]),
            num_retries: self.number(),
            per_try_timeout: self.time(),
            per_try_idle_timeout: self.time(),
            retriable_status_codes: vec![409, 429, 99],
            retry_back_off: self
                .often()
                .then(|| RetryBackOff { base_interval: self.time(), max_interval: self.time() }),
            rate_limited_retry_back_off: (self.below(4) == 0).then(|| limited(self)),
            ..RetryPolicy::default()
        }
    }

    pub(super) fn hash_policy(&mut self) -> HashPolicy {
        use hash_policy::{Cookie, FilterState, Header, PolicySpecifier as Of, QueryParameter};
        let specifier = match self.below(6) {
            0 => Of::Header(Header {
                header_name: self.text(&["x-user", "", ":path"]),
                regex_rewrite: None,
            }),
            1 => Of::Cookie(Cookie {
                name: self.text(&["user", "", "a b"]),
                ttl: self.time(),
                path: self.text(&["", "/", "/shop"]),
                ..Cookie::default()
            }),
            2 => Of::QueryParameter(QueryParameter { name: self.text(&["a", ""]) }),
            3 => Of::FilterState(FilterState { key: self.text(&["io.grpc.channel_id", "x"]) }),
            4 => return HashPolicy::default(),
            _ => Of::Header(Header { header_name: "x-user".to_owned(), regex_rewrite: None }),
        };
        HashPolicy { terminal: self.often(), policy_specifier: Some(specifier) }
    }

    pub(super) fn redirect(&mut self) -> RedirectAction {
        let path = self.text(&["", "/new", "new?a=b", "/é"]);
        RedirectAction {
            host_redirect: self.text(&["", "b.example", "b.example:8443", "a b"]),
            port_redirect: [0, 443, 70_000][self.below(3)],
            response_code: i32::from(self.next() % 6),
            path_rewrite_specifier: Some(if self.often() {
                redirect_action::PathRewriteSpecifier::PathRedirect(path)
            } else {
                redirect_action::PathRewriteSpecifier::PrefixRewrite(path)
            }),
            strip_query: self.often(),
            ..RedirectAction::default()
        }
    }

    fn fraction(&mut self) -> Option<FractionalPercent> {
        let numerator = [0, 1, 100, u32::MAX][self.below(4)];
        let denominator = i32::from(self.next() % 4);
        self.often().then_some(FractionalPercent { numerator, denominator })
    }

    pub(super) fn fault(&mut self) -> HttpFault {
        let delay = |of: &mut Self| FaultDelay {
            percentage: of.fraction(),
            fault_delay_secifier: of.time().map(fault_delay::FaultDelaySecifier::FixedDelay),
        };
        let abort = |of: &mut Self| FaultAbort {
            percentage: of.fraction(),
            error_type: of
                .often()
                .then(|| fault_abort::ErrorType::HttpStatus([200, 503, 600][of.below(3)])),
            ..FaultAbort::default()
        };
        HttpFault {
            delay: (self.below(2) == 0).then(|| delay(self)),
            abort: (self.below(2) == 0).then(|| abort(self)),
            max_active_faults: self.number(),
            ..HttpFault::default()
        }
    }

    pub(super) fn session(&mut self) -> StatefulSession {
        let state = match self.below(3) {
            0 => None,
            1 => Some(pack_any(CookieBasedSessionState {
                cookie: self.often().then(|| Cookie {
                    name: self.text(&["at", "", "a;b"]),
                    ttl: self.time(),
                    path: self.text(&["", "/", "/shop"]),
                    ..Cookie::default()
                }),
            })),
            _ => {
                let name = self.text(&["x-endpoint", "", "x y"]);
                Some(pack_any(HeaderBasedSessionState { name }))
            }
        };
        StatefulSession {
            session_state: state
                .map(|any| TypedExtensionConfig { name: "s".to_owned(), typed_config: Some(any) }),
            strict: self.often(),
            ..StatefulSession::default()
        }
    }
}
