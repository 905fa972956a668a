//! What is absent: each message with nothing in it is a default that is written down somewhere, or is refused. A
//! client that is known dies of a valid cluster that does not say how many hosts its success rates need.

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{CircuitBreakers, OutlierDetection, circuit_breakers::Thresholds},
            core::v3::{
                HealthCheck,
                health_check::{HealthChecker, TcpHealthCheck},
            },
            route::v3::{
                RetryPolicy, WeightedCluster as PbWeighted,
                retry_policy::{RateLimitedRetryBackOff, RetryBackOff},
                weighted_cluster::ClusterWeight,
            },
        },
        extensions::{
            filters::http::fault::v3::HttpFault,
            load_balancing_policies::{
                client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
                common::v3::SlowStartConfig, least_request::v3::LeastRequest, maglev::v3::Maglev,
                override_host::v3::OverrideHost, pick_first::v3::PickFirst,
                random_subsetting::v3::RandomSubsetting, ring_hash::v3::RingHash,
                round_robin::v3::RoundRobin, wrr_locality::v3::WrrLocality,
            },
            transport_sockets::tls::v3::{CommonTlsContext, UpstreamTlsContext},
        },
    },
    google::protobuf::Any,
};

use super::{
    cluster::with_policies,
    listener::{named, router, with},
    tls::secured,
    *,
};
use crate::config::{Balancer, Cluster as Model};

/// The message, who says what its absence means, and what that is: to Envoy's sidecars, and to gRPC. A text that
/// begins with `refused: ` is a part of the reason.
type Row = (&'static str, &'static str, PbCluster, fn(&Model) -> String, [&'static str; 2]);

fn policy(any: Any) -> PbCluster {
    with_policies(vec![any])
}

fn breakers(thresholds: Vec<Thresholds>) -> PbCluster {
    let breakers = CircuitBreakers { thresholds, ..CircuitBreakers::default() };
    PbCluster { circuit_breakers: Some(breakers), ..eds("c") }
}

fn checked(check: HealthCheck) -> PbCluster {
    PbCluster { health_checks: vec![check], ..eds("c") }
}

fn limits(cluster: &Model) -> String {
    let it = cluster.breakers.as_ref().unwrap();
    let of_default = (it.max_requests, it.max_connections, it.max_pending, it.max_retries);
    format!("{of_default:?} {:?}", it.high.as_ref().map(|it| it.max_requests))
}

fn balancer(cluster: &Model) -> String {
    match cluster.balancer.as_ref().unwrap() {
        Balancer::RingHash(it) => format!("{}..={}", it.least(), it.most()),
        Balancer::Maglev(it) => it.entries().to_string(),
        Balancer::PickFirst(it) => format!("{:?}", it.shuffle),
        Balancer::ClientWeighted(it) => {
            let times = (it.blackout(), it.expiration(), it.update());
            format!("{times:?} {} {}", it.is_out_of_band(), it.error_penalty())
        }
        other => format!("{other:?} {:?}", cluster.slow_start),
    }
}

fn least_request(cluster: &Model) -> String {
    let it = cluster.least_request.as_ref().unwrap();
    format!("{} {} {:?}", it.choices(), it.is_full_scan(), it.active_bias)
}

fn outliers(cluster: &Model) -> String {
    let it = cluster.outlier_detection.as_ref().unwrap();
    let rate = it.success_rate.as_ref().map(|it| (it.minimum_hosts, it.enforcing));
    format!("{rate:?} {:?} {:?}", it.failure_percentage, it.always_eject_one)
}

fn checks(cluster: &Model) -> String {
    let told = cluster.health_checks.iter().map(|it| {
        format!("{:?}", (it.timeout, it.interval, it.unhealthy_threshold, it.healthy_threshold))
    });
    told.collect::<Vec<_>>().join(" ")
}

fn security(cluster: &Model) -> String {
    format!("{:?}", cluster.security)
}

fn rows() -> Vec<Row> {
    let ramp =
        RoundRobin { slow_start_config: Some(SlowStartConfig::default()), ..RoundRobin::default() };
    let childless = RandomSubsetting { subset_size: wrapped(1), ..RandomSubsetting::default() };
    let trustless = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext::default()),
        ..UpstreamTlsContext::default()
    };
    let tcp = HealthCheck {
        health_checker: Some(HealthChecker::TcpHealthCheck(TcpHealthCheck::default())),
        ..HealthCheck::default()
    };
    let all = "(Some(1024), Some(1024), Some(1024), Some(3)) Some(Some(1024))";
    let requests = "(Some(1024), None, None, None) None";
    vec![
        (
            "LeastRequest {}",
            "Envoy least_request.proto; gRFC A48: choice_count 2",
            policy(pack_any(LeastRequest::default())),
            least_request,
            ["2 false None"; 2],
        ),
        (
            "ClientSideWeightedRoundRobin {}",
            "gRFC A58: 10 s, 3 min, 1 s, no reports beside the calls, a penalty of 1",
            policy(pack_any(ClientSideWeightedRoundRobin::default())),
            balancer,
            ["(10s, 180s, 1s) false 1"; 2],
        ),
        (
            "RingHash {}",
            "Envoy ring_hash.proto: 1024 and 8 M; gRFC A42: capped at 4096",
            policy(pack_any(RingHash::default())),
            balancer,
            ["1024..=8388608", "1024..=4096"],
        ),
        (
            "Maglev {}",
            "Envoy maglev.proto: 65537",
            policy(pack_any(Maglev::default())),
            balancer,
            ["65537"; 2],
        ),
        (
            "PickFirst {}",
            "gRFC A62: in the order of the list",
            policy(pack_any(PickFirst::default())),
            balancer,
            ["None"; 2],
        ),
        (
            "SlowStartConfig {}",
            "Envoy common.proto: without a window it is off",
            policy(pack_any(ramp)),
            balancer,
            ["RoundRobin None"; 2],
        ),
        (
            "WrrLocality {}",
            "Envoy wrr_locality.proto, gRFC A52: the child is required",
            policy(pack_any(WrrLocality::default())),
            balancer,
            ["refused: endpoint_picking_policy.policies = []: none of them is known"; 2],
        ),
        (
            "RandomSubsetting {}",
            "gRFC A68: the size is required",
            policy(pack_any(RandomSubsetting::default())),
            balancer,
            ["refused: subset_size = 0: must be at least 1"; 2],
        ),
        (
            "RandomSubsetting { subset_size: 1 }",
            "gRFC A68: the child is required",
            policy(pack_any(childless)),
            balancer,
            ["refused: child_policy.policies = []: none of them is known"; 2],
        ),
        (
            "OverrideHost {}",
            "Envoy override_host.proto: a source is required",
            policy(pack_any(OverrideHost::default())),
            balancer,
            ["refused: override_host_sources = []: must not be empty"; 2],
        ),
        (
            "LoadBalancingPolicy {}",
            "gRFC A52: none of its policies is known",
            with_policies(Vec::new()),
            balancer,
            ["refused: load_balancing_policy.policies = []: none of them is known"; 2],
        ),
        (
            "Thresholds {}",
            "Envoy circuit_breaker.proto: 1024, 1024, 1024, 3; gRFC A32: 1024 requests",
            breakers(vec![Thresholds::default()]),
            limits,
            [all, requests],
        ),
        ("CircuitBreakers {}", "the same", breakers(Vec::new()), limits, [all, requests]),
        (
            "OutlierDetection {}",
            "Envoy outlier_detection.proto, gRFC A50: by success rate, as `health/rules.rs` has it",
            PbCluster { outlier_detection: Some(OutlierDetection::default()), ..eds("c") },
            outliers,
            ["Some((None, None)) None Some(false)", "Some((None, None)) None None"],
        ),
        (
            "UpstreamTlsContext {}",
            "own: who would be accepted is never left open",
            secured(UpstreamTlsContext::default()),
            security,
            ["refused: common_tls_context = none: must say whom to trust"; 2],
        ),
        (
            "CommonTlsContext {}",
            "own: who would be accepted is never left open",
            secured(trustless),
            security,
            ["refused: validation_context_type = none: must say whom to trust"; 2],
        ),
        (
            "HealthCheck {}",
            "Envoy health_check.proto: the checker is required; gRFC A27: none are made",
            checked(HealthCheck::default()),
            checks,
            ["refused: health_checker = none: must be given", ""],
        ),
        (
            "HealthCheck { tcp_health_check: {} }",
            "own: Envoy asks for all four; 1 s, 10 s, 3 and 2 (`config::HealthCheck`)",
            checked(tcp),
            checks,
            ["(None, None, None, None)", ""],
        ),
    ]
}

#[test]
fn what_is_absent_of_a_cluster_is_a_default_or_a_reason() {
    for (what, source, pb, tell, expected) in rows() {
        for (decoder, expected) in [sidecar(), proxyless()].iter().zip(expected) {
            let told = decoder.cluster(&pb).map(|read| tell(&read.config));
            let is_so = match (&told, expected.strip_prefix("refused: ")) {
                (Ok(told), None) => told == expected,
                (Err(reason), Some(part)) => reason.contains(part),
                _ => false,
            };
            assert!(is_so, "{what}: {told:?} is not {expected:?} ({source})");
            // And what is valid is run so.
            super::super::sound::reads(Kind::Cluster, &pb.encode_to_vec());
        }
    }
}

/// Envoy `endpoint_components.proto` and gRFC A27: 1 of an endpoint, and nothing of a locality beside others.
#[test]
fn an_endpoint_without_a_weight_has_one_and_a_locality_without_has_none() {
    let group = |zone: &str, weight: Option<UInt32Value>, port: u32| LocalityLbEndpoints {
        locality: Some(envoy_types::pb::envoy::config::core::v3::Locality {
            zone: zone.to_owned(),
            ..Default::default()
        }),
        lb_endpoints: vec![endpoint("10.0.0.1", port)],
        load_balancing_weight: weight,
        ..LocalityLbEndpoints::default()
    };
    for (decoder, beside) in [(sidecar(), 2), (proxyless(), 1)] {
        let read = |groups: Vec<LocalityLbEndpoints>| {
            let pb = assignment("c", groups);
            super::super::sound::reads(Kind::Endpoints, &pb.encode_to_vec());
            decoder.endpoints(&pb).unwrap()
        };
        let alone = read(vec![group("a", None, 1), group("b", None, 2)]);
        let weights: Vec<u32> = alone.endpoints.iter().map(|it| it.weight).collect();
        assert_eq!((weights, alone.localities.len()), (vec![1, 1], 0));
        let mixed = read(vec![group("a", None, 1), group("b", wrapped(3), 2)]);
        assert_eq!((mixed.endpoints.len(), mixed.localities.len()), (beside, 1));
    }
}

/// Envoy `route_components.proto` and gRFC A28: 0 beside others, and no route without any.
#[test]
fn a_cluster_of_a_route_without_a_weight_gets_nothing() {
    let target = |name: &str, weight: Option<UInt32Value>| ClusterWeight {
        name: name.to_owned(),
        weight,
        ..ClusterWeight::default()
    };
    let to = |clusters: Vec<ClusterWeight>| {
        let weighted = PbWeighted { clusters, ..PbWeighted::default() };
        let specifier = Some(ClusterSpecifier::WeightedClusters(weighted));
        route(prefix("/"), RouteAction { cluster_specifier: specifier, ..RouteAction::default() })
    };
    for decoder in [sidecar(), proxyless()] {
        let read = one_route(&decoder, to(vec![target("a", None), target("b", wrapped(1))]));
        let weights: Vec<u32> = read.unwrap().clusters.iter().map(|it| it.weight).collect();
        assert_eq!(weights, [0, 1]);
        refuses(one_route(&decoder, to(vec![target("a", None)])), "clusters.weight = 0");
    }
}

/// Envoy `route_components.proto` and gRFC A44: one retry, 25 ms and ten times that; nothing to retry on is none.
#[test]
fn what_is_absent_of_a_retry_policy_is_envoys() {
    let read = |decoder: &Decoder, retry: RetryPolicy| {
        let action = RouteAction { retry_policy: Some(retry), ..to("c") };
        one_route(decoder, route(prefix("/"), action)).map(|it| it.policy.retry.unwrap())
    };
    let on = |retry: RetryPolicy| RetryPolicy { retry_on: "unavailable".to_owned(), ..retry };
    let millis = |millis| Some(std::time::Duration::from_millis(millis));
    for decoder in [sidecar(), proxyless()] {
        let nothing = read(&decoder, RetryPolicy::default()).unwrap();
        assert_eq!((nothing.attempts, nothing.on.len()), (Some(1), 0));
        let once = read(&decoder, on(RetryPolicy::default())).unwrap();
        assert_eq!(once.attempts, Some(2));
        assert_eq!((once.backoff_base, once.backoff_max), (millis(25), millis(250)));
        assert_eq!(once.budget, None);
        let limited = RetryPolicy {
            rate_limited_retry_back_off: Some(RateLimitedRetryBackOff::default()),
            ..RetryPolicy::default()
        };
        assert_eq!(read(&decoder, on(limited)).unwrap().retry_after_max, millis(300_000));
        let timeless =
            RetryPolicy { retry_back_off: Some(RetryBackOff::default()), ..RetryPolicy::default() };
        refuses(read(&decoder, on(timeless)), "base_interval = none: must be given");
    }
}

/// Envoy `fault.proto`, gRFC A33: neither a delay nor an abort.
#[test]
fn a_fault_that_says_nothing_does_nothing() {
    let read = with(vec![named("f", pack_any(HttpFault::default())), router()]).unwrap();
    assert_eq!(read.filters[0].steps, []);
}
