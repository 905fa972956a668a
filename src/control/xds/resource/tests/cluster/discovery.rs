//! Where endpoints come from: a resource of their own, DNS, or other clusters.

use std::time::Duration;

use envoy_types::pb::envoy::config::{
    cluster::v3::cluster::{
        CommonLbConfig,
        common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
    },
    core::v3::Locality,
};

use super::*;
use crate::config::{Discovery, LocalityBalancing};

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
