use std::time::Duration;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                CircuitBreakers, LoadBalancingPolicy, OutlierDetection,
                circuit_breakers::Thresholds,
                cluster::{
                    CommonLbConfig, CustomClusterType, LbConfig, LbPolicy, RingHashLbConfig,
                    common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
                },
                load_balancing_policy::Policy,
            },
            core::v3::{
                HealthStatusSet, Http2ProtocolOptions, HttpProtocolOptions as Common, Locality,
                RoutingPriority, SelfConfigSource, TypedExtensionConfig,
            },
        },
        extensions::{
            clusters::aggregate::v3::ClusterConfig,
            load_balancing_policies::{
                client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
                least_request::v3::LeastRequest as PbLeastRequest, pick_first::v3::PickFirst,
                random_subsetting::v3::RandomSubsetting, ring_hash::v3::RingHash as PbRing,
                round_robin::v3::RoundRobin, wrr_locality::v3::WrrLocality,
            },
            upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{
                    ExplicitHttpConfig, UpstreamProtocolOptions,
                    explicit_http_config::ProtocolConfig,
                },
            },
        },
        r#type::v3::Percent,
    },
    google::protobuf::{Any, UInt64Value},
};

use super::*;
use crate::config::{
    Balancer, Discovery, Health, LocalityBalancing, Maglev, Protocol, RingHash, Subsetting,
};

pub(super) fn list(policies: Vec<Any>) -> LoadBalancingPolicy {
    let policy = |any: Any| Policy {
        typed_extension_config: Some(TypedExtensionConfig {
            name: "p".into(),
            typed_config: Some(any),
        }),
    };
    LoadBalancingPolicy { policies: policies.into_iter().map(policy).collect() }
}

pub(super) fn unknown() -> Any {
    Any { type_url: "type.googleapis.com/my.Policy".into(), value: vec![1, 2] }
}

pub(super) fn with_policies(policies: Vec<Any>) -> PbCluster {
    PbCluster { load_balancing_policy: Some(list(policies)), ..eds("c") }
}

#[test]
fn validate_cluster_success() {
    let read = proxyless().cluster(&eds("c")).unwrap();
    assert_eq!(read.endpoints, EndpointsFrom::Eds { service_name: None });
    assert_eq!(read.config.balancer, Some(Balancer::RoundRobin));
    assert_eq!(read.load_report, None);
    let mut named = eds("c");
    named.eds_cluster_config.as_mut().unwrap().service_name = "s".into();
    named.lrs_server = Some(ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Self_(SelfConfigSource::default())),
        ..ConfigSource::default()
    });
    let read = proxyless().cluster(&named).unwrap();
    assert_eq!(read.endpoints, EndpointsFrom::Eds { service_name: Some("s".into()) });
    assert_eq!(read.load_report, Some(Vec::new()));
}

#[test]
fn validate_cluster_failure() {
    let refused = |change: &dyn Fn(&mut PbCluster), text: &str| {
        let mut pb = eds("c");
        change(&mut pb);
        refuses(proxyless().cluster(&pb), text);
    };
    refused(&|pb| pb.name.clear(), "name = \"\": must not be empty");
    refused(&|pb| pb.eds_cluster_config = None, "eds_cluster_config.eds_config = none");
    refused(
        &|pb| {
            let source = &mut pb.eds_cluster_config.as_mut().unwrap().eds_config;
            *source = Some(ConfigSource {
                config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(
                    ApiConfigSource::default(),
                )),
                ..ConfigSource::default()
            });
        },
        "eds_cluster_config.eds_config = api_config_source: must be `ads` or `self`",
    );
    refused(&|pb| pb.lrs_server = Some(ads()), "lrs_server = another source: must be `self`");
    refused(&|pb| pb.lb_policy = LbPolicy::ClusterProvided.into(), "lb_policy = CLUSTER_PROVIDED");
    refused(&|pb| pb.name = "xdstp://a/c".into(), "service_name = \"\": must be given");
    refused(
        &|pb| {
            pb.cluster_discovery_type =
                Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into()));
        },
        "type = ORIGINAL_DST",
    );
    refused(&|pb| pb.cluster_discovery_type = Some(ClusterDiscoveryType::Type(-4)), "type = -4");
}

#[test]
fn validate_cluster_with_ring_sizes() {
    let ring = |least: Option<u64>, most: Option<u64>, hash: i32| {
        let size = |size: Option<u64>| size.map(|value| UInt64Value { value });
        PbCluster {
            lb_policy: LbPolicy::RingHash.into(),
            lb_config: Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: size(least),
                hash_function: hash,
                maximum_ring_size: size(most),
            })),
            ..eds("c")
        }
    };
    let read = proxyless().cluster(&ring(Some(10), Some(100), 0)).unwrap();
    let Some(Balancer::RingHash(it)) = &read.config.balancer else { panic!("a ring") };
    assert_eq!((it.minimum_ring_size, it.maximum_ring_size), (Some(10), Some(100)));
    refuses(
        proxyless().cluster(&ring(Some(200), Some(100), 0)),
        "must be at most maximum_ring_size",
    );
    refuses(proxyless().cluster(&ring(Some(8_388_609), None, 0)), "minimum_ring_size = 8388609");
    refuses(proxyless().cluster(&ring(None, Some(u64::MAX), 0)), "maximum_ring_size");
    // Rings of gRPC are small.
    let size = |decoder: Decoder, most: Option<u64>| {
        let read = decoder.cluster(&ring(Some(8192), most, 0)).unwrap();
        let Some(Balancer::RingHash(it)) = &read.config.balancer else { panic!("a ring") };
        (it.minimum_ring_size, it.maximum_ring_size)
    };
    assert_eq!(size(proxyless(), None), (Some(4096), Some(4096)));
    assert_eq!(size(sidecar(), Some(9000)), (Some(8192), Some(9000)));
    // Only gRPC has one hash.
    refuses(proxyless().cluster(&ring(None, None, 1)), "hash_function = MURMUR_HASH_2");
    assert!(sidecar().cluster(&ring(None, None, 1)).is_ok());
    // The default of the other gives way.
    assert!(sidecar().cluster(&ring(None, Some(100), 0)).is_ok());
}

/// Another client refused clusters of these.
#[test]
fn rings_tables_and_chance_are_no_reason_to_refuse_a_cluster() {
    for (policy, balancer) in [
        (LbPolicy::RingHash, Balancer::RingHash(RingHash::default())),
        (LbPolicy::Maglev, Balancer::Maglev(Maglev::default())),
        (LbPolicy::Random, Balancer::Random),
    ] {
        for decoder in [proxyless(), sidecar()] {
            let pb = PbCluster { lb_policy: policy.into(), ..eds("c") };
            let read = decoder.cluster(&pb).unwrap();
            let read = read.config.balancer.as_ref().unwrap();
            assert_eq!(std::mem::discriminant(read), std::mem::discriminant(&balancer), "{read:?}");
        }
    }
}

#[test]
fn the_first_known_policy_of_the_list_counts() {
    let pb = with_policies(vec![
        unknown(),
        pack_any(WrrLocality {
            endpoint_picking_policy: Some(list(vec![unknown(), pack_any(RoundRobin::default())])),
        }),
        pack_any(PbRing::default()),
    ]);
    let read = proxyless().cluster(&pb).unwrap();
    assert_eq!(read.config.balancer, Some(Balancer::RoundRobin));
    let balancing = read.config.balancing.clone().unwrap();
    assert_eq!(balancing.locality, LocalityBalancing::Weighted);
}

#[test]
fn no_known_policy_refuses() {
    let text = "load_balancing_policy.policies = [my.Policy]: none of them is known";
    refuses(proxyless().cluster(&with_policies(vec![unknown()])), text);
    refuses(proxyless().cluster(&with_policies(vec![])), "none of them is known");
    let mut pb = eds("c");
    pb.lb_policy = LbPolicy::LoadBalancingPolicyConfig.into();
    refuses(proxyless().cluster(&pb), "needs `load_balancing_policy`");
}

#[test]
fn policies_in_policies_end() {
    let mut inner = pack_any(RoundRobin::default());
    for _ in 0..15 {
        inner = pack_any(WrrLocality { endpoint_picking_policy: Some(list(vec![inner])) });
    }
    assert!(proxyless().cluster(&with_policies(vec![inner.clone()])).is_ok());
    let deeper = pack_any(WrrLocality { endpoint_picking_policy: Some(list(vec![inner])) });
    refuses(proxyless().cluster(&with_policies(vec![deeper])), "nested more than 16 deep");
}

#[test]
fn convert_to_service_config() {
    let read = |any: Any| proxyless().cluster(&with_policies(vec![any]));
    let first = read(pack_any(PickFirst { shuffle_address_list: true })).unwrap();
    let Some(Balancer::PickFirst(it)) = &first.config.balancer else { panic!("pick first") };
    assert_eq!(it.shuffle, Some(true));
    let few = PbLeastRequest { choice_count: wrapped(1), ..Default::default() };
    refuses(read(pack_any(few)), "choice_count = 1: must be at least 2");
    let many = PbLeastRequest { choice_count: wrapped(11), ..Default::default() };
    let many = read(pack_any(many)).unwrap();
    assert_eq!(many.config.least_request.as_ref().unwrap().choices, Some(10));
    let weighted = ClientSideWeightedRoundRobin {
        blackout_period: seconds(0),
        weight_expiration_period: seconds(60),
        error_utilization_penalty: Some(protobuf::FloatValue { value: 0.5 }),
        ..Default::default()
    };
    let weighted = read(pack_any(weighted)).unwrap();
    let Some(Balancer::ClientWeighted(it)) = &weighted.config.balancer else { panic!("it is") };
    assert_eq!((it.blackout, it.error_penalty), (Some(Duration::ZERO), Some(0.5)));
    let wrong = ClientSideWeightedRoundRobin {
        error_utilization_penalty: Some(protobuf::FloatValue { value: f32::NAN }),
        ..Default::default()
    };
    refuses(read(pack_any(wrong)), "error_utilization_penalty = NaN");
}

#[test]
fn random_subsetting_has_a_size() {
    let policy = |size: Option<UInt32Value>| {
        let child_policy = Some(list(vec![pack_any(RoundRobin::default())]));
        with_policies(vec![pack_any(RandomSubsetting { subset_size: size, child_policy })])
    };
    let read = proxyless().cluster(&policy(wrapped(7))).unwrap();
    let Some(Subsetting::Random(it)) = &read.config.subsetting else { panic!("it is") };
    assert_eq!((it.size, it.above), (Some(7), Some(0)));
    refuses(proxyless().cluster(&policy(None)), "subset_size = 0: must be at least 1");
}

#[test]
fn a_balancer_of_ours_is_said_by_a_struct() {
    #[derive(Clone, PartialEq, Message)]
    struct Typed {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(message, optional, tag = "2")]
        value: Option<protobuf::Struct>,
    }
    let typed = |name: &str, value: protobuf::Struct| Any {
        type_url: "type.googleapis.com/xds.type.v3.TypedStruct".into(),
        value: Typed { type_url: format!("type.googleapis.com/tower.{name}"), value: Some(value) }
            .encode_to_vec(),
    };
    let read =
        |any: Any| proxyless().cluster(&with_policies(vec![any, pack_any(RoundRobin::default())]));
    let ewma = read(typed("peak_ewma", fields(&[("decay", "3s")]))).unwrap();
    assert_eq!(ewma.config.balancer, Some(Balancer::peak_ewma(Duration::from_secs(3))));
    let random = read(typed("random", fields(&[]))).unwrap();
    assert_eq!(random.config.balancer, Some(Balancer::Random));
    let other = read(typed("other", fields(&[]))).unwrap();
    assert_eq!(other.config.balancer, Some(Balancer::RoundRobin));
    refuses(read(typed("peak_ewma", fields(&[("deca", "3s")]))), "unknown field");
}

#[test]
fn absent_wrappers_of_outlier_detection_have_their_defaults() {
    let pb = PbCluster { outlier_detection: Some(OutlierDetection::default()), ..eds("c") };
    let read = proxyless().cluster(&pb).unwrap();
    let outliers = read.config.outlier_detection.as_ref().unwrap();
    // On, though its number of hosts is not said: a known client dies of that.
    let rate = outliers.success_rate.as_ref().unwrap();
    assert_eq!((rate.minimum_hosts, rate.enforcing), (None, None));
    assert_eq!(outliers.failure_percentage, None);
    assert_eq!(outliers.always_eject_one, None);
    let envoy = sidecar().cluster(&pb).unwrap();
    assert_eq!(envoy.config.outlier_detection.as_ref().unwrap().always_eject_one, Some(false));
}

#[test]
fn validate_cluster_with_outlier_detection() {
    let with = |change: &dyn Fn(&mut OutlierDetection)| {
        let mut outliers = OutlierDetection::default();
        change(&mut outliers);
        proxyless().cluster(&PbCluster { outlier_detection: Some(outliers), ..eds("c") })
    };
    let off = with(&|it| it.enforcing_success_rate = wrapped(0)).unwrap();
    assert_eq!(off.config.outlier_detection.as_ref().unwrap().success_rate, None);
    let share = with(&|it| it.enforcing_failure_percentage = wrapped(100)).unwrap();
    assert!(share.config.outlier_detection.as_ref().unwrap().failure_percentage.is_some());
    refuses(with(&|it| it.interval = seconds(-1)), "outlier_detection.interval");
    refuses(with(&|it| it.base_ejection_time = seconds(315_576_000_001)), "base_ejection_time");
    for nanos in [-1, 1_000_000_000, i32::MAX] {
        let time = Some(protobuf::Duration { seconds: 1, nanos });
        refuses(with(&|it| it.interval = time), "interval = 1s ");
    }
    refuses(with(&|it| it.max_ejection_percent = wrapped(150)), "max_ejection_percent = 150");
    refuses(with(&|it| it.enforcing_success_rate = wrapped(101)), "enforcing_success_rate = 101");
    refuses(
        with(&|it| it.failure_percentage_threshold = wrapped(150)),
        "failure_percentage_threshold",
    );
    let short = with(&|it| it.max_ejection_time = seconds(1)).unwrap();
    let outliers = short.config.outlier_detection.as_ref().unwrap();
    assert_eq!(outliers.max_ejection_time, Some(Duration::from_secs(30)));
}

#[test]
fn a_count_is_of_a_plane_a_cluster_and_its_service() {
    let shared = |decoder: &Decoder, name: &str, service: &str| {
        let mut pb = eds(name);
        pb.eds_cluster_config.as_mut().unwrap().service_name = service.to_owned();
        decoder.cluster(&pb).unwrap().config.breakers.as_ref().unwrap().shared.clone().unwrap()
    };
    let here = proxyless();
    assert_eq!(shared(&here, "c", "s"), r#"xds.here."c"."s""#);
    let elsewhere = Context { realm: "elsewhere".into(), ..context(Dialect::Proxyless) };
    let elsewhere = Decoder::new(elsewhere);
    let others = [
        shared(&here, "c", ""),
        shared(&here, "c", "s"),
        shared(&here, "d", ""),
        shared(&here, "c.s", ""),
        shared(&here, r#"c"."s"#, ""),
        shared(&elsewhere, "c", ""),
    ];
    let names: std::collections::BTreeSet<_> = others.iter().collect();
    assert_eq!(names.len(), others.len(), "{others:?}");
}

#[test]
fn validate_cluster_with_circuit_breaking() {
    let thresholds = |priority: RoutingPriority, most: Option<UInt32Value>| Thresholds {
        priority: priority.into(),
        max_requests: most,
        ..Thresholds::default()
    };
    let with = |list: Vec<Thresholds>| {
        let breakers = CircuitBreakers { thresholds: list, ..CircuitBreakers::default() };
        PbCluster { circuit_breakers: Some(breakers), ..eds("c") }
    };
    let pb = with(vec![
        thresholds(RoutingPriority::Default, wrapped(512)),
        thresholds(RoutingPriority::High, None),
        thresholds(RoutingPriority::Default, wrapped(1)),
    ]);
    let read = proxyless().cluster(&pb).unwrap();
    let breakers = read.config.breakers.as_ref().unwrap();
    assert_eq!(breakers.max_requests, Some(512));
    assert_eq!(breakers.high.as_ref().unwrap().max_requests, Some(1024));
    assert_eq!(breakers.max_connections, None);
    // Nothing said: 1024 of gRPC, and all four of Envoy.
    let read = proxyless().cluster(&eds("c")).unwrap();
    assert_eq!(read.config.breakers.as_ref().unwrap().max_requests, Some(1024));
    let read = sidecar().cluster(&eds("c")).unwrap();
    let breakers = read.config.breakers.as_ref().unwrap();
    assert_eq!((breakers.max_pending, breakers.max_retries), (Some(1024), Some(3)));
    // No end is no limit.
    let pb = with(vec![thresholds(RoutingPriority::Default, wrapped(u32::MAX))]);
    assert_eq!(
        proxyless().cluster(&pb).unwrap().config.breakers.as_ref().unwrap().max_requests,
        None
    );
    let pb = with(vec![thresholds(RoutingPriority::Default, wrapped(0))]);
    // None at all is a limit, too: the plane shuts the cluster.
    let read = proxyless().cluster(&pb).unwrap();
    assert_eq!(read.config.breakers.as_ref().unwrap().max_requests, Some(0));
    let shut = Thresholds {
        max_connections: wrapped(0),
        max_pending_requests: wrapped(0),
        max_retries: wrapped(0),
        ..Thresholds::default()
    };
    let breakers = CircuitBreakers { thresholds: vec![shut], per_host_thresholds: vec![shut] };
    let pb = PbCluster { circuit_breakers: Some(breakers), ..eds("c") };
    let read = sidecar().cluster(&pb).unwrap();
    let read = read.config.breakers.as_ref().unwrap();
    assert_eq!((read.max_connections, read.max_pending), (Some(0), Some(0)));
    assert_eq!((read.max_retries, read.max_connections_per_endpoint), (Some(0), Some(0)));
}

pub(super) fn aggregate(clusters: &[&str]) -> PbCluster {
    let clusters = clusters.iter().map(|name| (*name).to_owned()).collect();
    PbCluster {
        name: "all".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
            name: "envoy.clusters.aggregate".into(),
            typed_config: Some(pack_any(ClusterConfig { clusters })),
        })),
        ..PbCluster::default()
    }
}

#[test]
fn aggregates_list_each_once() {
    let read = proxyless().cluster(&aggregate(&["a", "b", "a"])).unwrap();
    assert_eq!(read.endpoints, EndpointsFrom::Aggregate(vec!["a".into(), "b".into()]));
    // What Envoy asks for; of another policy it is told that it counts for nothing.
    for (policy, notes) in [(LbPolicy::ClusterProvided, 0), (LbPolicy::Random, 1)] {
        let pb = PbCluster { lb_policy: policy.into(), ..aggregate(&["a"]) };
        for decoder in [proxyless(), sidecar()] {
            let read = decoder.cluster(&pb).unwrap();
            assert_eq!((&read.config.balancer, read.notes.len()), (&None, notes), "{read:?}");
        }
    }
    let pb = PbCluster { lb_policy: LbPolicy::ClusterProvided.into(), ..eds("c") };
    refuses(proxyless().cluster(&pb), "is for clusters that are made of others");
    refuses(proxyless().cluster(&aggregate(&[])), "typed_config.clusters = []");
    refuses(proxyless().cluster(&aggregate(&["a", ""])), "typed_config.clusters[1] = \"\"");
    refuses(proxyless().cluster(&aggregate(&["all"])), "does not take over from itself");
}

pub(super) fn of_dns(kind: DiscoveryType, groups: Vec<Vec<LbEndpoint>>) -> PbCluster {
    let group = |list: Vec<LbEndpoint>| LocalityLbEndpoints {
        lb_endpoints: list,
        ..LocalityLbEndpoints::default()
    };
    PbCluster {
        name: "c".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        load_assignment: Some(assignment("c", groups.into_iter().map(group).collect())),
        ..PbCluster::default()
    }
}

#[test]
fn logical_dns_is_one_name() {
    let read = proxyless()
        .cluster(&of_dns(DiscoveryType::LogicalDns, vec![vec![endpoint("dns.example", 8080)]]))
        .unwrap();
    assert_eq!(read.endpoints, EndpointsFrom::Dns);
    let Some(Discovery::Dns(dns)) = &read.config.discovery else { panic!("DNS") };
    assert_eq!(dns.name, "dns:///dns.example:8080");
    for groups in [vec![], vec![vec![]], vec![vec![endpoint("a.b", 1)], vec![endpoint("a.b", 1)]]] {
        let pb = of_dns(DiscoveryType::LogicalDns, groups);
        refuses(proxyless().cluster(&pb), "must be one locality with one endpoint");
    }
    let mut pb = of_dns(DiscoveryType::LogicalDns, vec![vec![endpoint("a.b", 1)]]);
    pb.load_assignment = None;
    refuses(proxyless().cluster(&pb), "load_assignment = none");
}

#[test]
fn strict_dns_is_a_name_and_addresses() {
    let list = vec![endpoint("a.example", 80), endpoint("10.0.0.9", 80)];
    let read = sidecar().cluster(&of_dns(DiscoveryType::StrictDns, vec![list])).unwrap();
    assert_eq!(read.config.endpoints.len(), 1);
    let Some(Discovery::Dns(dns)) = &read.config.discovery else { panic!("DNS") };
    assert_eq!((dns.respect_ttl, dns.refresh), (Some(false), Some(Duration::from_secs(5))));
    assert_eq!(dns.targets[0].name, "dns:///a.example:80");
    // One name of which no more is said is one name.
    let one = of_dns(DiscoveryType::StrictDns, vec![vec![endpoint("a.example", 80)]]);
    let read = sidecar().cluster(&one).unwrap();
    let Some(Discovery::Dns(dns)) = &read.config.discovery else { panic!("DNS") };
    assert_eq!((dns.name.as_str(), dns.targets.len()), ("dns:///a.example:80", 0));
}

#[test]
fn several_names_keep_what_is_said_of_each() {
    let mut heavy = endpoint("B.example", 80);
    heavy.load_balancing_weight = wrapped(3);
    heavy.metadata = Some(metadata("envoy.lb", &[("stage", "canary")]));
    let mut pb = of_dns(
        DiscoveryType::StrictDns,
        vec![vec![endpoint("a.example", 80), heavy, endpoint("a.example", 80)]],
    );
    let spare = LocalityLbEndpoints {
        priority: 1,
        locality: Some(Locality { zone: "z".into(), ..Locality::default() }),
        lb_endpoints: vec![endpoint("c.example", 81), endpoint("10.0.0.9", 80)],
        ..LocalityLbEndpoints::default()
    };
    pb.load_assignment.as_mut().unwrap().endpoints.push(spare);
    let read = sidecar().cluster(&pb).unwrap();
    let Some(Discovery::Dns(dns)) = &read.config.discovery else { panic!("DNS") };
    let told: Vec<_> = dns
        .targets
        .iter()
        .map(|it| (it.name.as_str(), it.endpoint.weight, it.endpoint.priority))
        .collect();
    let wanted = [
        ("dns:///a.example:80", 1, 0),
        ("dns:///b.example:80", 3, 0),
        ("dns:///c.example:81", 1, 1),
    ];
    assert_eq!(told, wanted);
    assert_eq!(dns.targets[1].endpoint.labels["stage"], "canary");
    assert_eq!(dns.targets[2].endpoint.locality.as_ref().unwrap().zone, "z");
    assert_eq!(dns.targets[2].endpoint.hostname.as_deref(), Some("c.example"));
    assert_eq!((read.config.endpoints.len(), read.config.endpoints[0].priority), (1, 1));
    assert!(read.notes.iter().any(|note| note.contains("is there twice")), "{:?}", read.notes);
    assert!(read.config.validate("c").is_ok());
}

#[test]
fn what_the_endpoints_speak() {
    let options = |config: ProtocolConfig| {
        let typed = HttpProtocolOptions {
            upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                ExplicitHttpConfig { protocol_config: Some(config) },
            )),
            ..HttpProtocolOptions::default()
        };
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        PbCluster { typed_extension_protocol_options: [(name, pack_any(typed))].into(), ..eds("c") }
    };
    let h2 = Http2ProtocolOptions { max_concurrent_streams: wrapped(7), ..Default::default() };
    let read = sidecar().cluster(&options(ProtocolConfig::Http2ProtocolOptions(h2))).unwrap();
    assert_eq!(read.config.protocol, Some(Protocol::Http2));
    assert_eq!(read.config.transport.http2_streams_per_connection, Some(7));
    let h1 = ProtocolConfig::HttpProtocolOptions(Default::default());
    assert_eq!(sidecar().cluster(&options(h1)).unwrap().config.protocol, Some(Protocol::Http1));
    let h3 = ProtocolConfig::Http3ProtocolOptions(Default::default());
    refuses(sidecar().cluster(&options(h3)), "HTTP/3 is not spoken");
    assert_eq!(sidecar().cluster(&eds("c")).unwrap().config.protocol, None);
}

#[test]
fn how_long_connections_and_calls_last_by_the_common_options() {
    let read = |older: Option<u32>, change: &dyn Fn(&mut Common)| {
        let mut common = Common::default();
        change(&mut common);
        let older = older.and_then(wrapped);
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        let typed = HttpProtocolOptions {
            common_http_protocol_options: Some(common),
            ..HttpProtocolOptions::default()
        };
        let typed = PbCluster {
            typed_extension_protocol_options: [(name, pack_any(typed))].into(),
            max_requests_per_connection: older,
            ..eds("c")
        };
        let older = PbCluster {
            common_http_protocol_options: Some(common),
            max_requests_per_connection: older,
            ..eds("c")
        };
        let [typed, older] = [typed, older].map(|pb| sidecar().cluster(&pb).unwrap());
        assert_eq!(typed.config, older.config);
        assert_eq!(typed.notes, Vec::<String>::new());
        typed
    };
    let all = read(None, &|it| {
        it.max_requests_per_connection = wrapped(7);
        it.max_connection_duration = seconds(60);
        it.max_connection_duration_jitter = Some(Percent { value: 20.0 });
        it.max_stream_duration = seconds(5);
    });
    let transport = &all.config.transport;
    assert_eq!(transport.max_requests_per_connection, Some(7));
    assert_eq!(transport.max_age, Some(Duration::from_secs(60)));
    assert_eq!(transport.max_age_jitter, Some(20.0));
    assert_eq!(all.config.max_stream_duration, Some(Duration::from_secs(5)));
    let requests = |older, said: Option<u32>| {
        let read = read(older, &|it| it.max_requests_per_connection = said.and_then(wrapped));
        read.config.transport.max_requests_per_connection
    };
    // What the options say goes before the older field, and 0 is any number.
    assert_eq!((requests(Some(3), None), requests(Some(0), None)), (Some(3), None));
    assert_eq!((requests(Some(3), Some(4)), requests(Some(3), Some(0))), (Some(4), None));
    let endless = read(None, &|it| it.max_stream_duration = seconds(0));
    assert_eq!(endless.config.max_stream_duration, Some(Duration::ZERO));
}

#[test]
fn panic_and_priorities_are_by_dialect() {
    let read = proxyless().cluster(&eds("c")).unwrap();
    assert_eq!(read.config.panic_threshold, Some(0.0));
    assert!(read.config.balancing.as_ref().unwrap().overprovisioning_percent > Some(100_000));
    let read = sidecar().cluster(&eds("c")).unwrap();
    assert_eq!((read.config.panic_threshold, &read.config.balancing), (None, &None));
    let common = CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: 30.0 }),
        ..CommonLbConfig::default()
    };
    let pb = PbCluster { common_lb_config: Some(common), ..eds("c") };
    assert_eq!(proxyless().cluster(&pb).unwrap().config.panic_threshold, Some(30.0));
}

#[test]
fn an_empty_set_of_health_lets_no_session_choose() {
    let read = |statuses: Vec<i32>| {
        let override_host_status = Some(HealthStatusSet { statuses });
        let common = CommonLbConfig { override_host_status, ..CommonLbConfig::default() };
        let pb = PbCluster { common_lb_config: Some(common), ..eds("c") };
        match &sidecar().cluster(&pb).unwrap().config.balancer {
            Some(Balancer::OverrideHost(over)) => over.health.clone(),
            _ => None,
        }
    };
    assert_eq!(read(Vec::new()), Some(Vec::new()));
    assert_eq!(read(vec![3]), Some(vec![Health::Draining]));
    // What is no status is left out of it.
    assert_eq!(read(vec![99]), Some(Vec::new()));
}

#[test]
fn cluster_and_endpoints_are_put_together() {
    let group = |zone: &str, weight: u32, address: &str| LocalityLbEndpoints {
        locality: Some(Locality { zone: zone.into(), ..Locality::default() }),
        lb_endpoints: vec![endpoint(address, 80)],
        load_balancing_weight: Some(UInt32Value { value: weight }).filter(|_| weight > 0),
        ..LocalityLbEndpoints::default()
    };
    let pb = assignment("c", vec![group("a", 3, "10.0.0.1"), group("b", 1, "10.0.0.2")]);
    let joined = proxyless().cluster(&eds("c")).unwrap().with(&proxyless().endpoints(&pb).unwrap());
    assert_eq!(joined.endpoints.len(), 2);
    assert_eq!(joined.balancing.as_ref().unwrap().locality, LocalityBalancing::Weighted);
    assert!(joined.validate("c").is_ok());
    // Envoy's localities count where the cluster says so, and only if they have weights.
    let endpoints = sidecar().endpoints(&pb).unwrap();
    let joined = sidecar().cluster(&eds("c")).unwrap().with(&endpoints);
    assert_eq!(joined.balancing, None);
    let specifier = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {});
    let common =
        CommonLbConfig { locality_config_specifier: Some(specifier), ..CommonLbConfig::default() };
    let weighted = PbCluster { common_lb_config: Some(common), ..eds("c") };
    let cluster = sidecar().cluster(&weighted).unwrap();
    let locality = |joined: crate::config::Cluster| joined.balancing.unwrap().locality;
    assert_eq!(locality(cluster.with(&endpoints)), LocalityBalancing::Weighted);
    let none = assignment("c", vec![group("a", 0, "10.0.0.1")]);
    let none = sidecar().endpoints(&none).unwrap();
    assert_eq!(locality(cluster.with(&none)), LocalityBalancing::None);
}
