//! Assignments, and pairs of which the second is read beside the first.

use envoy_types::pb::envoy::config::{
    core::v3::Locality,
    endpoint::v3::{
        cluster_load_assignment::{Policy, policy::DropOverload},
        endpoint::AdditionalAddress,
    },
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;

use super::*;

pub(super) fn all() -> Vec<(&'static str, ClusterLoadAssignment)> {
    vec![("localities", localities()), ("policy", policy()), ("many", many(40))]
}

pub(super) fn pairs() -> Vec<(&'static str, ClusterLoadAssignment, ClusterLoadAssignment)> {
    let changed = |change: &dyn Fn(&mut Vec<LbEndpoint>)| {
        let mut pb = many(12);
        change(&mut pb.endpoints[0].lb_endpoints);
        pb
    };
    vec![
        ("same", many(12), many(12)),
        ("replaced", many(12), changed(&|all| all[5] = endpoint("10.0.1.1", 80))),
        ("said-otherwise", many(12), changed(&|all| all[5].health_status = 2)),
        (
            "gone-and-new",
            many(12),
            changed(&|all| {
                all.remove(0);
                all.push(endpoint("10.0.1.1", 80));
            }),
        ),
        ("turned", many(12), changed(&|all| all.reverse())),
        ("twice", many(12), changed(&|all| all.push(endpoint("10.0.0.3", 80)))),
        ("other-localities", localities(), many(12)),
    ]
}

fn zone(name: &str) -> Option<Locality> {
    Some(Locality { region: "r".into(), zone: name.into(), sub_zone: "s".into() })
}

fn group(name: &str, list: Vec<LbEndpoint>) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: zone(name),
        lb_endpoints: list,
        load_balancing_weight: wrapped(3),
        ..LocalityLbEndpoints::default()
    }
}

fn localities() -> ClusterLoadAssignment {
    let mut heavy = endpoint("10.0.0.1", 80);
    heavy.load_balancing_weight = wrapped(7);
    heavy.metadata = Some(metadata("envoy.lb", &[("stage", "canary")]));
    let mut several = endpoint("::1", 81);
    several.health_status = 3;
    if let Some(HostIdentifier::Endpoint(it)) = &mut several.host_identifier {
        it.hostname = "one.example".into();
        it.additional_addresses = vec![AdditionalAddress { address: Some(socket("10.0.0.2", 81)) }];
    }
    let spare = LocalityLbEndpoints { priority: 1, ..group("b", vec![endpoint("10.0.0.3", 80)]) };
    assignment("c", vec![group("a", vec![heavy, several]), spare])
}

fn policy() -> ClusterLoadAssignment {
    let drops = DropOverload {
        category: "lb".into(),
        drop_percentage: Some(FractionalPercent { numerator: 5, denominator: 1 }),
    };
    let policy = Policy {
        drop_overloads: vec![drops],
        overprovisioning_factor: wrapped(120),
        endpoint_stale_after: seconds(60),
        weighted_priority_health: true,
    };
    ClusterLoadAssignment { policy: Some(policy), ..localities() }
}

fn many(count: u8) -> ClusterLoadAssignment {
    let list = (0..count).map(|host| endpoint(&format!("10.0.0.{host}"), 80)).collect();
    assignment("c", vec![group("a", list)])
}
