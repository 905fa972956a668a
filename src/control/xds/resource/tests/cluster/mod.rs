//! Clusters: what any of them must have, and what is said of it in either dialect.

mod discovery;
mod policies;
mod protection;
mod protocol;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                LoadBalancingPolicy,
                cluster::{CustomClusterType, LbPolicy},
                load_balancing_policy::Policy,
            },
            core::v3::{SelfConfigSource, TypedExtensionConfig},
        },
        extensions::clusters::aggregate::v3::ClusterConfig,
    },
    google::protobuf::Any,
};

use super::*;
use crate::config::Balancer;

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
