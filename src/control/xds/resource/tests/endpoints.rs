use envoy_types::pb::envoy::{
    config::{
        core::v3::{HealthStatus, Locality, Pipe},
        endpoint::v3::{
            cluster_load_assignment::{Policy, policy::DropOverload},
            endpoint::AdditionalAddress,
        },
    },
    r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
};

use super::*;
use crate::config::{Address as At, Health, Locality as Place};

fn locality(zone: &str, priority: u32, weight: u32, list: Vec<LbEndpoint>) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: Some(Locality { region: "r".into(), zone: zone.into(), sub_zone: String::new() }),
        lb_endpoints: list,
        load_balancing_weight: wrapped(weight).filter(|_| weight > 0),
        priority,
        ..LocalityLbEndpoints::default()
    }
}

fn weighing(mut endpoint: LbEndpoint, weight: u32) -> LbEndpoint {
    endpoint.load_balancing_weight = wrapped(weight);
    endpoint
}

#[test]
fn eds_parse_resp_proto_good() {
    let mut sick = endpoint("addr::2".replace("addr", "fe80").as_str(), 314);
    sick.health_status = HealthStatus::Unhealthy.into();
    let pb = assignment(
        "c",
        vec![
            locality("1", 1, 1, vec![weighing(endpoint("10.0.0.1", 314), 271)]),
            locality("2", 0, 2, vec![sick]),
        ],
    );
    let read = proxyless().endpoints(&pb).unwrap();
    assert_eq!(*read.name, *"c");
    let all = read.endpoints.to_vec();
    let [first, second] = all.as_slice() else { panic!("two") };
    assert_eq!((first.weight, first.priority, first.health), (271, 1, Health::Unknown));
    assert_eq!(first.address, "10.0.0.1:314".parse().unwrap());
    assert_eq!(first.locality.as_deref(), Some(&Place::new("r", "1")));
    assert_eq!((second.weight, second.priority, second.health), (1, 0, Health::Unhealthy));
    let weights: Vec<_> = read.localities.iter().map(|it| (it.priority, it.weight)).collect();
    assert_eq!(weights, [(1, 1), (0, 2)]);
}

#[test]
fn missing_priority() {
    let groups = vec![
        locality("1", 0, 1, vec![endpoint("10.0.0.1", 1)]),
        locality("2", 2, 1, vec![endpoint("10.0.0.2", 1)]),
    ];
    let wanted = "endpoints.priority = 2: there is no priority 1: none may be left out";
    refuses(proxyless().endpoints(&assignment("c", groups)), wanted);
}

#[test]
fn duplicate_locality() {
    let groups = vec![
        locality("1", 0, 1, vec![endpoint("10.0.0.1", 1)]),
        locality("1", 0, 1, vec![endpoint("10.0.0.2", 1)]),
    ];
    let wanted = "endpoints[1].locality = r/1/: is listed twice at this priority";
    refuses(sidecar().endpoints(&assignment("c", groups)), wanted);
}

#[test]
fn zero_endpoint_weight() {
    let groups = vec![locality("1", 0, 1, vec![weighing(endpoint("10.0.0.1", 1), 0)])];
    let wanted = "endpoints[0].lb_endpoints[0].load_balancing_weight = 0: must be at least 1";
    refuses(proxyless().endpoints(&assignment("c", groups)), wanted);
}

#[test]
fn duplicate_endpoint_address() {
    let groups = || {
        vec![
            locality("1", 0, 1, vec![endpoint("10.0.0.1", 1)]),
            locality("2", 0, 1, vec![endpoint("10.0.0.1", 1)]),
        ]
    };
    let wanted =
        "endpoints[1].lb_endpoints[0].endpoint.address = 10.0.0.1:1: is the address of another";
    refuses(proxyless().endpoints(&assignment("c", groups())), wanted);
    // A sidecar keeps the first.
    let read = sidecar().endpoints(&assignment("c", groups())).unwrap();
    assert_eq!(read.endpoints.len(), 1);
    assert!(read.notes[0].contains("the first counts"), "{:?}", read.notes);
}

#[test]
fn duplicate_additional_address() {
    let mut one = endpoint("10.0.0.1", 1);
    let Some(HostIdentifier::Endpoint(it)) = &mut one.host_identifier else { panic!("it is") };
    it.additional_addresses.push(AdditionalAddress { address: Some(socket("::1", 1)) });
    let read =
        proxyless().endpoints(&assignment("c", vec![locality("1", 0, 1, vec![one.clone()])]));
    assert_eq!(read.unwrap().endpoints[0].more_addresses, ["[::1]:1".parse().unwrap()]);
    let groups = vec![locality("1", 0, 1, vec![one, endpoint("::1", 1)])];
    refuses(proxyless().endpoints(&assignment("c", groups)), "is the address of another endpoint");
}

#[test]
fn max_sum_of_weights_at_the_same_priority_exceeded() {
    let groups = vec![
        locality("1", 0, 1, vec![endpoint("10.0.0.1", 1)]),
        locality("2", 0, u32::MAX, vec![endpoint("10.0.0.2", 1)]),
    ];
    refuses(proxyless().endpoints(&assignment("c", groups)), "must be at most 4294967295 together");
    let list =
        vec![weighing(endpoint("10.0.0.1", 1), 1), weighing(endpoint("10.0.0.2", 1), u32::MAX)];
    let groups = vec![locality("1", 0, 1, list)];
    refuses(proxyless().endpoints(&assignment("c", groups)), "must be at most 4294967295 together");
}

#[test]
fn good_duplicate_locality_with_different_priority() {
    let groups = vec![
        locality("1", 1, 1, vec![endpoint("10.0.0.1", 1)]),
        locality("1", 0, 1, vec![endpoint("10.0.0.2", 1)]),
    ];
    assert_eq!(proxyless().endpoints(&assignment("c", groups)).unwrap().endpoints.len(), 2);
}

#[test]
fn a_locality_without_a_weight_gets_nothing_of_grpc() {
    let groups = || {
        vec![
            locality("1", 0, 0, vec![endpoint("10.0.0.1", 1)]),
            locality("2", 0, 3, vec![endpoint("10.0.0.2", 1)]),
        ]
    };
    assert_eq!(proxyless().endpoints(&assignment("c", groups())).unwrap().endpoints.len(), 1);
    assert_eq!(sidecar().endpoints(&assignment("c", groups())).unwrap().endpoints.len(), 2);
}

#[test]
fn weights_are_brought_into_range() {
    let list = vec![
        weighing(endpoint("10.0.0.1", 1), 1_000_000),
        weighing(endpoint("10.0.0.2", 1), 500_000),
        weighing(endpoint("10.0.0.3", 1), 1),
    ];
    let read = sidecar().endpoints(&assignment("c", vec![locality("1", 0, 1, list)])).unwrap();
    let weights: Vec<u32> = read.endpoints.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [65_535, 32_767, 1]);
}

#[test]
fn weights_brought_into_range_share_as_before_over_localities_and_each_priority_alone() {
    let one = |zone: &str, priority: u32, host: &str, weight: u32| {
        locality(zone, priority, 1, vec![weighing(endpoint(host, 1), weight)])
    };
    let groups = vec![
        one("1", 0, "10.0.0.1", 1_000_000),
        one("2", 0, "10.0.0.2", 60_000),
        one("1", 1, "10.0.0.3", 60_000),
    ];
    let read = sidecar().endpoints(&assignment("c", groups)).unwrap();
    let weights: Vec<u32> = read.endpoints.iter().map(|it| it.weight).collect();
    assert_eq!(weights, [65_535, 3_932, 60_000]);
    let told = "endpoints.lb_endpoints.load_balancing_weight: weights over 65535 are scaled down";
    assert!(read.notes[0].starts_with(told), "{:?}", read.notes);
}

#[test]
fn labels_and_hash_key_are_of_the_balancer_s_namespace() {
    let mut one = endpoint("10.0.0.1", 1);
    one.metadata = Some(metadata("envoy.lb", &[("version", "v2"), ("hash_key", "k")]));
    let read = sidecar().endpoints(&assignment("c", vec![locality("1", 0, 1, vec![one])])).unwrap();
    assert_eq!(read.endpoints[0].labels["version"], "v2");
    assert_eq!(read.endpoints[0].hash_key.as_deref(), Some("k"));
}

#[test]
fn health_of_every_kind() {
    for (status, health) in [
        (0, Health::Unknown),
        (1, Health::Healthy),
        (2, Health::Unhealthy),
        (3, Health::Draining),
        (4, Health::Unhealthy),
        (5, Health::Degraded),
        // What nobody knows is not known to be well.
        (77, Health::Unhealthy),
    ] {
        let mut one = endpoint("10.0.0.1", 1);
        one.health_status = status;
        let pb = assignment("c", vec![locality("1", 0, 1, vec![one])]);
        assert_eq!(sidecar().endpoints(&pb).unwrap().endpoints[0].health, health, "{status}");
    }
}

#[test]
fn drops_and_overprovisioning() {
    let mut pb = assignment("c", vec![locality("1", 0, 1, vec![endpoint("10.0.0.1", 1)])]);
    let drop = |category: &str, numerator: u32, denominator: DenominatorType| DropOverload {
        category: category.to_owned(),
        drop_percentage: Some(FractionalPercent { numerator, denominator: denominator.into() }),
    };
    pb.policy = Some(Policy {
        drop_overloads: vec![
            drop("a", 50, DenominatorType::Hundred),
            drop("b", 250, DenominatorType::TenThousand),
            drop("c", u32::MAX, DenominatorType::Million),
        ],
        overprovisioning_factor: wrapped(200),
        endpoint_stale_after: seconds(7),
        weighted_priority_health: true,
    });
    let read = sidecar().endpoints(&pb).unwrap();
    let drops: Vec<_> = read.drops.iter().map(|it| (it.category.as_str(), it.percent)).collect();
    assert_eq!(drops, [("a", 50.0), ("b", 2.5), ("c", 100.0)]);
    assert_eq!((read.overprovisioning, read.weighted_health), (Some(200), true));
    pb.policy.as_mut().unwrap().drop_overloads[1].category.clear();
    refuses(
        sidecar().endpoints(&pb),
        "policy.drop_overloads[1].category = \"\": must not be empty",
    );
}

/// C-core and grpc-go read neither field: a priority is left when nothing of it works.
#[test]
fn how_priorities_share_is_not_said_by_an_assignment_to_grpc() {
    let mut pb = assignment("c", vec![locality("1", 0, 1, vec![endpoint("10.0.0.1", 1)])]);
    pb.policy = Some(Policy {
        overprovisioning_factor: wrapped(140),
        weighted_priority_health: true,
        ..Policy::default()
    });
    let joined = |decoder: &Decoder| {
        let endpoints = decoder.endpoints(&pb).unwrap();
        let cluster = decoder.cluster(&eds("c")).unwrap().with(&endpoints);
        (cluster.balancing.unwrap(), endpoints.notes.clone())
    };
    let listed = |decoder: &Decoder| {
        let kind = DiscoveryType::Static.into();
        let read = decoder.cluster(&PbCluster {
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind)),
            eds_cluster_config: None,
            load_assignment: Some(pb.clone()),
            ..eds("c")
        });
        let read = read.unwrap();
        (read.alone().balancing.unwrap(), read.notes.clone())
    };
    for (balancing, notes) in [joined(&sidecar()), listed(&sidecar())] {
        assert_eq!(balancing.overprovisioning_percent, Some(140));
        assert_eq!(balancing.weighted_health, Some(true));
        assert_eq!(notes, [""; 0]);
    }
    for (balancing, notes) in [joined(&proxyless()), listed(&proxyless())] {
        assert!(balancing.overprovisioning_percent > Some(100_000), "{balancing:?}");
        assert_eq!(balancing.weighted_health, None);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("policy.overprovisioning_factor: "), "{notes:?}");
        assert!(notes[1].contains("policy.weighted_priority_health: "), "{notes:?}");
    }
    // What is wrong is wrong to both.
    pb.policy.as_mut().unwrap().overprovisioning_factor = wrapped(0);
    refuses(proxyless().endpoints(&pb), "policy.overprovisioning_factor = 0: must be over 0");
}

#[test]
fn addresses_that_cannot_be_called() {
    let with =
        |it: LbEndpoint| sidecar().endpoints(&assignment("c", vec![locality("1", 0, 1, vec![it])]));
    let place = "endpoints[0].lb_endpoints[0].endpoint";
    refuses(with(LbEndpoint::default()), "endpoint = none: must be given");
    refuses(
        with(endpoint("host.example", 1)),
        "socket_address.address = host.example: is not an IP",
    );
    refuses(
        with(endpoint("10.0.0.1", 0)),
        &format!("{place}.address.socket_address.port_value = 0"),
    );
    refuses(with(endpoint("10.0.0.1", 65_536)), "must be in 1..=65535");
    refuses(with(endpoint("\u{7}\u{202e}", 1)), r"= \u{7}\u{202e}: is not an IP address");
    let mut named = endpoint("10.0.0.1", 1);
    named.host_identifier = Some(HostIdentifier::EndpointName("x".into()));
    refuses(with(named), "endpoint_name = x: not supported yet");
    let mut pipe = endpoint("10.0.0.1", 1);
    pipe.host_identifier = Some(HostIdentifier::Endpoint(Endpoint {
        address: Some(Address {
            address: Some(address::Address::Pipe(Pipe { path: "/run/a.sock".into(), mode: 0 })),
        }),
        ..Endpoint::default()
    }));
    let read = with(pipe).unwrap();
    assert_eq!(read.endpoints[0].address, "unix:/run/a.sock".parse::<At>().unwrap());
}
