//! Clusters: each typed policy (gRFC A52), TLS, what endpoints speak, outliers, breakers, checks.

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                CircuitBreakers, OutlierDetection,
                circuit_breakers::{Thresholds, thresholds::RetryBudget},
                cluster::{
                    CommonLbConfig, DiscoveryType, LbConfig, LbPolicy, LbSubsetConfig,
                    RingHashLbConfig, common_lb_config::ConsistentHashingLbConfig as OldHashing,
                    lb_subset_config::LbSubsetSelector as OldSelector,
                },
            },
            core::v3::{
                HealthCheck, HealthStatusSet, Http2ProtocolOptions, HttpProtocolOptions as Shared,
                KeepaliveSettings, RoutingPriority, RuntimeDouble, SelfConfigSource,
                UpstreamHttpProtocolOptions,
                health_check::{HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck, payload},
            },
        },
        extensions::{
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
            transport_sockets::tls::v3::{
                CertificateValidationContext, CommonTlsContext, SdsSecretConfig, TlsParameters,
                UpstreamTlsContext,
                certificate_validation_context::SystemRootCerts,
                common_tls_context::{
                    CertificateProviderInstance, CombinedCertificateValidationContext,
                    ValidationContextType,
                },
            },
            upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{
                    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions,
                    explicit_http_config::ProtocolConfig,
                },
            },
        },
        r#type::v3::Int64Range,
    },
    google::protobuf::{Any, FloatValue, UInt64Value},
};

use super::{
    super::{cluster, tls},
    routes::hash_policies,
    *,
};

pub(super) fn all() -> Vec<(&'static str, PbCluster)> {
    let mut all: Vec<_> = policies()
        .into_iter()
        .map(|(name, any)| (name, cluster::with_policies(vec![any])))
        .collect();
    all.extend(secured());
    let listed = cluster::with_policies(vec![cluster::unknown(), pack_any(RoundRobin::default())]);
    all.extend([
        ("lb-after-an-unknown-one", listed),
        ("lb-by-name", by_name()),
        ("http-explicit", speaks(explicit())),
        ("http-auto", speaks(auto())),
        ("outliers", PbCluster { outlier_detection: Some(outliers()), ..eds("c") }),
        ("breakers", PbCluster { circuit_breakers: Some(breakers()), ..eds("c") }),
        ("checks", PbCluster { health_checks: checks(), ..eds("c") }),
        ("reports", reports()),
        ("aggregate", cluster::aggregate(&["a", "b", "c"])),
        (
            "strict-dns",
            cluster::of_dns(
                DiscoveryType::StrictDns,
                vec![vec![endpoint("a.example", 80), endpoint("10.0.0.9", 80)]],
            ),
        ),
        (
            "logical-dns",
            cluster::of_dns(DiscoveryType::LogicalDns, vec![vec![endpoint("a.example", 80)]]),
        ),
        ("static", cluster::of_dns(DiscoveryType::Static, vec![vec![endpoint("10.0.0.1", 80)]])),
    ]);
    all
}

fn double(default_value: f64) -> Option<RuntimeDouble> {
    Some(RuntimeDouble { default_value, runtime_key: String::new() })
}

fn long(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

// === policies ===

fn slow_start() -> Option<SlowStartConfig> {
    Some(SlowStartConfig {
        slow_start_window: seconds(60),
        aggression: double(2.0),
        min_weight_percent: percent(10.0),
    })
}

fn zone_aware() -> Option<LocalityLbConfig> {
    let zone = ZoneAwareLbConfig {
        routing_enabled: percent(90.0),
        min_cluster_size: long(3),
        fail_traffic_on_panic: true,
        force_local_zone: Some(ForceLocalZone { min_size: wrapped(2) }),
        locality_basis: 1,
        ..ZoneAwareLbConfig::default()
    };
    let specifier = LocalityConfigSpecifier::ZoneAwareLbConfig(zone);
    Some(LocalityLbConfig { locality_config_specifier: Some(specifier) })
}

fn by_weight() -> Option<LocalityLbConfig> {
    let specifier = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {});
    Some(LocalityLbConfig { locality_config_specifier: Some(specifier) })
}

fn hashing() -> Option<ConsistentHashingLbConfig> {
    Some(ConsistentHashingLbConfig {
        use_hostname_for_hashing: true,
        hash_balance_factor: wrapped(150),
        hash_policy: hash_policies(),
    })
}

fn policies() -> Vec<(&'static str, Any)> {
    let round_robin =
        RoundRobin { slow_start_config: slow_start(), locality_lb_config: zone_aware() };
    let child = || Some(cluster::list(vec![pack_any(RoundRobin::default())]));
    let least = LeastRequest {
        choice_count: wrapped(3),
        active_request_bias: double(0.5),
        slow_start_config: slow_start(),
        locality_lb_config: by_weight(),
        ..LeastRequest::default()
    };
    let ring = RingHash {
        hash_function: 1,
        minimum_ring_size: long(64),
        maximum_ring_size: long(4096),
        consistent_hashing_lb_config: hashing(),
        locality_weighted_lb_config: Some(LocalityWeightedLbConfig {}),
        ..RingHash::default()
    };
    let maglev = Maglev {
        table_size: long(1009),
        consistent_hashing_lb_config: hashing(),
        locality_weighted_lb_config: Some(LocalityWeightedLbConfig {}),
    };
    let source = OverrideHostSource { header: "x-endpoint".into(), metadata: None };
    let over = OverrideHost {
        override_host_sources: vec![source],
        selected_host_key: None,
        fallback_policy: child(),
    };
    vec![
        ("lb-round-robin", pack_any(round_robin)),
        ("lb-random", pack_any(Random { locality_lb_config: by_weight() })),
        ("lb-least-request", pack_any(least)),
        ("lb-ring-hash", pack_any(ring)),
        ("lb-maglev", pack_any(maglev)),
        ("lb-pick-first", pack_any(PickFirst { shuffle_address_list: true })),
        ("lb-client-weighted", pack_any(client_weighted())),
        ("lb-wrr-locality", pack_any(WrrLocality { endpoint_picking_policy: child() })),
        ("lb-override-host", pack_any(over)),
        (
            "lb-random-subsetting",
            pack_any(RandomSubsetting { subset_size: wrapped(7), child_policy: child() }),
        ),
        ("lb-subset", pack_any(subset(child()))),
    ]
}

fn client_weighted() -> ClientSideWeightedRoundRobin {
    ClientSideWeightedRoundRobin {
        enable_oob_load_report: bool_value(true),
        oob_reporting_period: seconds(10),
        blackout_period: seconds(0),
        weight_expiration_period: seconds(60),
        weight_update_period: seconds(1),
        error_utilization_penalty: Some(FloatValue { value: 0.5 }),
        metric_names_for_computing_utilization: vec!["named_metrics.queue".into()],
        slow_start_config: slow_start(),
        ..ClientSideWeightedRoundRobin::default()
    }
}

fn subset(
    child: Option<envoy_types::pb::envoy::config::cluster::v3::LoadBalancingPolicy>,
) -> Subset {
    let selector = LbSubsetSelector {
        keys: vec!["stage".into(), "version".into()],
        fallback_policy: 4,
        fallback_keys_subset: vec!["stage".into()],
        ..LbSubsetSelector::default()
    };
    Subset {
        fallback_policy: 2,
        default_subset: Some(fields(&[("stage", "prod")])),
        subset_selectors: vec![selector],
        locality_weight_aware: true,
        panic_mode_any: true,
        subset_lb_policy: child,
        ..Subset::default()
    }
}

fn by_name() -> PbCluster {
    let common = CommonLbConfig {
        healthy_panic_threshold: percent(30.0),
        consistent_hashing_lb_config: Some(OldHashing {
            use_hostname_for_hashing: true,
            hash_balance_factor: wrapped(125),
        }),
        override_host_status: Some(HealthStatusSet { statuses: vec![0, 1, 3] }),
        ..CommonLbConfig::default()
    };
    let selector =
        OldSelector { keys: vec!["stage".into()], fallback_policy: 2, ..OldSelector::default() };
    let subsets = LbSubsetConfig {
        fallback_policy: 1,
        subset_selectors: vec![selector],
        ..LbSubsetConfig::default()
    };
    PbCluster {
        lb_policy: LbPolicy::RingHash.into(),
        lb_config: Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
            minimum_ring_size: long(64),
            hash_function: 0,
            maximum_ring_size: long(1024),
        })),
        common_lb_config: Some(common),
        lb_subset_config: Some(subsets),
        metadata: Some(metadata("istio", &[("a", "b")])),
        connect_timeout: seconds(1),
        ..eds("c")
    }
}

// === TLS ===

fn secured() -> Vec<(&'static str, PbCluster)> {
    let mut both = tls::mutual();
    both.sni = "cart.example".into();
    let mut names = tls::trusting();
    names.match_subject_alt_names = vec![tls::exact("old.example"), tls::regex("old[0-9]+")];
    tls::common(&mut both).validation_context_type =
        Some(ValidationContextType::ValidationContext(names));
    tls::common(&mut both).tls_params = Some(versions());
    let mut by_host = tls::trusting();
    by_host.match_typed_subject_alt_names.clear();
    let mut by_host = tls::tls(by_host);
    by_host.auto_host_sni = true;
    let system = CertificateValidationContext {
        system_root_certs: Some(SystemRootCerts {}),
        match_typed_subject_alt_names: vec![tls::uri("spiffe://prod.example/ns/shop/sa/cart")],
        ..CertificateValidationContext::default()
    };
    vec![
        ("tls-mutual", tls::secured(tls::mutual())),
        ("tls-names-of-both-fields", tls::secured(both)),
        ("tls-host-of-the-endpoint", tls::secured(by_host)),
        ("tls-system-roots", tls::secured(tls::tls(system))),
        ("tls-secrets", tls::secured(secrets("default", "ROOTCA"))),
        (
            "tls-secrets-of-files",
            tls::secured(secrets("file-cert:/etc/a.pem~/etc/k.pem", "file-root:/etc/ca.pem")),
        ),
        ("tls-old-providers", tls::secured(old_providers())),
    ]
}

fn versions() -> TlsParameters {
    TlsParameters {
        tls_minimum_protocol_version: 3,
        tls_maximum_protocol_version: 4,
        ..TlsParameters::default()
    }
}

fn expected() -> Option<CertificateValidationContext> {
    Some(CertificateValidationContext {
        match_subject_alt_names: vec![tls::exact("spiffe://prod.example/ns/shop/sa/cart")],
        ..CertificateValidationContext::default()
    })
}

/// As istiod says it to sidecars.
fn secrets(own: &str, roots: &str) -> UpstreamTlsContext {
    let secret = |name: &str| SdsSecretConfig { name: name.into(), sds_config: Some(ads()) };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: expected(),
        validation_context_sds_secret_config: Some(secret(roots)),
        ..CombinedCertificateValidationContext::default()
    };
    let common = CommonTlsContext {
        alpn_protocols: vec!["istio-peer-exchange".into(), "istio".into()],
        tls_params: Some(versions()),
        tls_certificate_sds_secret_configs: vec![secret(own)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..CommonTlsContext::default()
    };
    UpstreamTlsContext {
        sni: "outbound_.80_._.cart.shop.svc".into(),
        common_tls_context: Some(common),
        ..UpstreamTlsContext::default()
    }
}

/// As istiod says it to clients of gRPC.
fn old_providers() -> UpstreamTlsContext {
    let provider = |name: &str| CertificateProviderInstance {
        instance_name: "default".into(),
        certificate_name: name.into(),
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: expected(),
        validation_context_certificate_provider_instance: Some(provider("ROOTCA")),
        ..CombinedCertificateValidationContext::default()
    };
    let common = CommonTlsContext {
        tls_certificate_certificate_provider_instance: Some(provider("default")),
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..CommonTlsContext::default()
    };
    UpstreamTlsContext { common_tls_context: Some(common), ..UpstreamTlsContext::default() }
}

// === what endpoints speak ===

fn speaks(options: HttpProtocolOptions) -> PbCluster {
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
    PbCluster { typed_extension_protocol_options: [(name, pack_any(options))].into(), ..eds("c") }
}

fn http2() -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        max_concurrent_streams: wrapped(100),
        initial_stream_window_size: wrapped(65_536),
        initial_connection_window_size: wrapped(1_048_576),
        connection_keepalive: Some(KeepaliveSettings {
            interval: seconds(30),
            timeout: seconds(5),
            interval_jitter: percent(10.0),
            connection_idle_interval: None,
        }),
        ..Http2ProtocolOptions::default()
    }
}

fn shared() -> Shared {
    Shared {
        idle_timeout: seconds(60),
        max_connection_duration: seconds(3600),
        max_requests_per_connection: wrapped(1000),
        ..Shared::default()
    }
}

fn explicit() -> HttpProtocolOptions {
    let config =
        ExplicitHttpConfig { protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(http2())) };
    HttpProtocolOptions {
        common_http_protocol_options: Some(shared()),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)),
        ..HttpProtocolOptions::default()
    }
}

fn auto() -> HttpProtocolOptions {
    let config =
        AutoHttpConfig { http2_protocol_options: Some(http2()), ..AutoHttpConfig::default() };
    HttpProtocolOptions {
        common_http_protocol_options: Some(shared()),
        upstream_http_protocol_options: Some(UpstreamHttpProtocolOptions {
            auto_sni: true,
            auto_san_validation: true,
            ..UpstreamHttpProtocolOptions::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::AutoConfig(config)),
        ..HttpProtocolOptions::default()
    }
}

// === protection ===

/// With every wrapper.
fn outliers() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: wrapped(5),
        interval: seconds(10),
        base_ejection_time: seconds(30),
        max_ejection_percent: wrapped(50),
        enforcing_consecutive_5xx: wrapped(100),
        enforcing_success_rate: wrapped(100),
        success_rate_minimum_hosts: wrapped(5),
        success_rate_request_volume: wrapped(100),
        success_rate_stdev_factor: wrapped(1900),
        consecutive_gateway_failure: wrapped(3),
        enforcing_consecutive_gateway_failure: wrapped(50),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: wrapped(4),
        enforcing_consecutive_local_origin_failure: wrapped(80),
        enforcing_local_origin_success_rate: wrapped(70),
        failure_percentage_threshold: wrapped(85),
        enforcing_failure_percentage: wrapped(60),
        enforcing_failure_percentage_local_origin: wrapped(40),
        failure_percentage_minimum_hosts: wrapped(6),
        failure_percentage_request_volume: wrapped(50),
        max_ejection_time: seconds(300),
        max_ejection_time_jitter: seconds(2),
        successful_active_health_check_uneject_host: bool_value(true),
        always_eject_one_host: bool_value(true),
        detect_degraded_hosts: bool_value(false),
        ..OutlierDetection::default()
    }
}

fn breakers() -> CircuitBreakers {
    let budget = RetryBudget {
        budget_percent: percent(20.0),
        budget_interval: seconds(1),
        min_retry_concurrency: wrapped(3),
    };
    let of = |priority: RoutingPriority, retry_budget: Option<RetryBudget>| Thresholds {
        priority: priority.into(),
        max_connections: wrapped(100),
        max_pending_requests: wrapped(200),
        max_requests: wrapped(300),
        max_retries: wrapped(4),
        retry_budget,
        ..Thresholds::default()
    };
    let per_host = Thresholds { max_connections: wrapped(7), ..Thresholds::default() };
    CircuitBreakers {
        thresholds: vec![
            of(RoutingPriority::Default, None),
            of(RoutingPriority::High, Some(budget)),
        ],
        per_host_thresholds: vec![per_host],
    }
}

/// Those of gRPC need a feature of their own.
fn checks() -> Vec<HealthCheck> {
    let check = |checker: HealthChecker| HealthCheck {
        timeout: seconds(1),
        interval: seconds(5),
        interval_jitter: seconds(1),
        unhealthy_threshold: wrapped(3),
        healthy_threshold: wrapped(2),
        no_traffic_interval: seconds(60),
        alt_port: wrapped(8080),
        reuse_connection: bool_value(true),
        health_checker: Some(checker),
        ..HealthCheck::default()
    };
    let payload = |text: &str| Payload { payload: Some(payload::Payload::Text(text.to_owned())) };
    let http = HttpHealthCheck {
        host: "health.example".into(),
        path: "/healthz".into(),
        expected_statuses: vec![Int64Range { start: 200, end: 300 }],
        ..HttpHealthCheck::default()
    };
    let tcp = TcpHealthCheck {
        send: Some(payload("00")),
        receive: vec![payload("01ff")],
        ..TcpHealthCheck::default()
    };
    vec![check(HealthChecker::HttpHealthCheck(http)), check(HealthChecker::TcpHealthCheck(tcp))]
}

fn reports() -> PbCluster {
    let own = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Self_(SelfConfigSource::default())),
        ..ConfigSource::default()
    };
    let metrics = vec!["cpu_utilization".into(), "named_metrics.*".into()];
    let mut pb =
        PbCluster { lrs_server: Some(own), lrs_report_endpoint_metrics: metrics, ..eds("c") };
    if let Some(config) = &mut pb.eds_cluster_config {
        config.service_name = "s".into();
    }
    pb
}
