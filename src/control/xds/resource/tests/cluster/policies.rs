//! Load-balancing policies: the older field, and the list of which the first known one counts.

use std::time::Duration;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::cluster::{CommonLbConfig, LbConfig, RingHashLbConfig},
            core::v3::HealthStatusSet,
        },
        extensions::load_balancing_policies::{
            client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
            least_request::v3::LeastRequest as PbLeastRequest, pick_first::v3::PickFirst,
            random_subsetting::v3::RandomSubsetting, ring_hash::v3::RingHash as PbRing,
            round_robin::v3::RoundRobin, wrr_locality::v3::WrrLocality,
        },
        r#type::v3::Percent,
    },
    google::protobuf::UInt64Value,
};

use super::*;
use crate::config::{Health, LocalityBalancing, Maglev, RingHash, Subsetting};

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
