//! An assignment that is read beside another is read as it is read alone.

use std::sync::Arc;

use envoy_types::pb::{
    envoy::config::{
        core::v3::{
            Address as PbAddress, Locality as PbLocality, Metadata, SocketAddress, address,
            socket_address::PortSpecifier,
        },
        endpoint::v3::{
            ClusterLoadAssignment, Endpoint as PbEndpoint, LbEndpoint, LocalityLbEndpoints,
            cluster_load_assignment::Policy,
            endpoint::AdditionalAddress,
            lb_endpoint::HostIdentifier,
            locality_lb_endpoints::{LbConfig, LbEndpointList},
        },
    },
    google::protobuf::{Struct, UInt32Value, Value, value::Kind as ValueKind},
};
use proptest::prelude::*;
use prost::Message;

use super::{
    super::{Context, Decoder, Dialect, Endpoints, Resource},
    again::{again, at_most},
};
use crate::control::xds::kind::Kind;

fn decoder(dialect: Dialect) -> Decoder {
    Decoder::new(Context { dialect, ..Context::default() })
}

fn wrapped(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn at(host: u8, port: u32) -> Option<PbAddress> {
    let socket = SocketAddress {
        address: format!("10.0.0.{host}"),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    Some(PbAddress { address: Some(address::Address::SocketAddress(socket)) })
}

fn label(value: ValueKind) -> Option<Metadata> {
    let fields = [("v".to_owned(), Value { kind: Some(value) })].into();
    let fields = Struct { fields };
    Some(Metadata { filter_metadata: [("envoy.lb".into(), fields)].into(), ..Metadata::default() })
}

fn endpoint(port: u32) -> LbEndpoint {
    let inner = PbEndpoint { address: at(1, port), ..PbEndpoint::default() };
    LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(inner)), ..LbEndpoint::default() }
}

fn one_of(list: Vec<LbEndpoint>) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: "c".into(),
        endpoints: vec![LocalityLbEndpoints {
            locality: Some(PbLocality { zone: "z".into(), ..PbLocality::default() }),
            lb_endpoints: list,
            load_balancing_weight: wrapped(1),
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}

fn read(decoder: &Decoder, bytes: &[u8]) -> Option<Arc<Endpoints>> {
    match decoder.decode(Kind::Endpoints, bytes) {
        Ok((_, Resource::Endpoints(read))) => Some(read),
        _ => None,
    }
}

/// Endpoints of few addresses, most of them sound.
fn some_endpoint() -> impl Strategy<Value = LbEndpoint> {
    let more = prop::option::weighted(0.1, 1..40_u32);
    let odd = prop::option::weighted(0.03, 0..6_u8);
    (1..40_u32, 1..4_u32, 0..6_i32, more, odd).prop_map(|(port, weight, health, more, odd)| {
        let mut it = endpoint(port);
        it.load_balancing_weight = wrapped(weight).filter(|_| weight > 1);
        it.health_status = health;
        if let Some(HostIdentifier::Endpoint(inner)) = &mut it.host_identifier {
            inner.additional_addresses =
                more.map(|port| AdditionalAddress { address: at(2, port) }).into_iter().collect();
        }
        match odd {
            Some(0) => it.load_balancing_weight = wrapped(0),
            Some(1) => it.load_balancing_weight = wrapped(70_000),
            Some(2) => it.load_balancing_weight = wrapped(u32::MAX),
            Some(3) => it.metadata = label(ValueKind::StringValue("x".into())),
            Some(4) => it.metadata = label(ValueKind::NullValue(0)),
            Some(_) => it.host_identifier = None,
            None => {}
        }
        it
    })
}

fn some_group() -> impl Strategy<Value = LocalityLbEndpoints> {
    let list = prop::collection::vec(some_endpoint(), 0..12);
    ("[ab]", 0..3_u32, prop::sample::select(vec![0, 0, 0, 1]), list, prop::bool::weighted(0.03))
        .prop_map(|(zone, weight, priority, list, elsewhere)| {
            let mut group = LocalityLbEndpoints {
                locality: Some(PbLocality { zone, ..PbLocality::default() }),
                load_balancing_weight: wrapped(weight).filter(|_| weight > 0),
                priority,
                ..LocalityLbEndpoints::default()
            };
            if elsewhere {
                let list = LbEndpointList { lb_endpoints: list };
                group.lb_config = Some(LbConfig::LoadBalancerEndpoints(list));
            } else {
                group.lb_endpoints = list;
            }
            group
        })
}

fn some_assignment() -> impl Strategy<Value = ClusterLoadAssignment> {
    prop::collection::vec(some_group(), 0..3).prop_map(|groups| ClusterLoadAssignment {
        cluster_name: "c".into(),
        endpoints: groups,
        ..ClusterLoadAssignment::default()
    })
}

/// No address twice, so that most are good.
fn alone(mut assignment: ClusterLoadAssignment) -> ClusterLoadAssignment {
    let mut next = 100;
    for group in &mut assignment.endpoints {
        for it in &mut group.lb_endpoints {
            if let Some(HostIdentifier::Endpoint(inner)) = &mut it.host_identifier {
                next += 1;
                inner.address = at(1, next);
                inner.additional_addresses.clear();
            }
        }
    }
    assignment
}

/// What becomes of an assignment.
#[derive(Clone, Debug)]
enum Edit {
    Put(usize, usize, LbEndpoint),
    Insert(usize, usize, LbEndpoint),
    Remove(usize, usize),
    Swap(usize, usize, usize),
    Twice(usize, usize),
    Move(usize, usize),
    Turn,
    Group(LocalityLbEndpoints),
    Weight(usize, u32),
    Policy(u32),
    Name,
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = || (0..3_usize, 0..12_usize);
    prop_oneof![
        6 => (place(), some_endpoint()).prop_map(|((group, at), it)| Edit::Put(group, at, it)),
        6 => (place(), some_endpoint()).prop_map(|((group, at), it)| Edit::Insert(group, at, it)),
        6 => place().prop_map(|(group, at)| Edit::Remove(group, at)),
        3 => (place(), 0..12_usize).prop_map(|((group, at), to)| Edit::Swap(group, at, to)),
        1 => place().prop_map(|(group, at)| Edit::Twice(group, at)),
        2 => place().prop_map(|(group, at)| Edit::Move(group, at)),
        1 => Just(Edit::Turn),
        1 => some_group().prop_map(Edit::Group),
        1 => (0..3_usize, 0..3_u32).prop_map(|(group, weight)| Edit::Weight(group, weight)),
        1 => (0..200_u32).prop_map(Edit::Policy),
        1 => Just(Edit::Name),
    ]
}

fn list_of(pb: &mut ClusterLoadAssignment, group: usize) -> Option<&mut Vec<LbEndpoint>> {
    let count = pb.endpoints.len().max(1);
    pb.endpoints.get_mut(group % count).map(|it| &mut it.lb_endpoints)
}

fn edited(mut pb: ClusterLoadAssignment, edits: Vec<Edit>) -> ClusterLoadAssignment {
    for edit in edits {
        let pb = &mut pb;
        match edit {
            Edit::Put(group, at, it) => {
                if let Some(place) = list_of(pb, group).and_then(|list| list.get_mut(at)) {
                    *place = it;
                }
            }
            Edit::Insert(group, at, it) => {
                if let Some(list) = list_of(pb, group) {
                    list.insert(at.min(list.len()), it);
                }
            }
            Edit::Remove(group, at) => {
                if let Some(list) = list_of(pb, group).filter(|list| at < list.len()) {
                    list.remove(at);
                }
            }
            Edit::Swap(group, at, to) => {
                if let Some(list) =
                    list_of(pb, group).filter(|list| at < list.len() && to < list.len())
                {
                    list.swap(at, to);
                }
            }
            Edit::Twice(group, at) => {
                if let Some(list) = list_of(pb, group).filter(|list| at < list.len()) {
                    list.push(list[at].clone());
                }
            }
            Edit::Move(group, at) => {
                let moved =
                    list_of(pb, group).filter(|list| at < list.len()).map(|list| list.remove(at));
                if let (Some(moved), Some(list)) = (moved, list_of(pb, group + 1)) {
                    list.push(moved);
                }
            }
            Edit::Turn => pb.endpoints.reverse(),
            Edit::Group(group) => pb.endpoints.push(group),
            Edit::Weight(group, weight) => {
                if let Some(group) = pb.endpoints.get_mut(group) {
                    group.load_balancing_weight = wrapped(weight);
                }
            }
            Edit::Policy(percent) => {
                pb.policy =
                    Some(Policy { overprovisioning_factor: wrapped(percent), ..Policy::default() });
            }
            Edit::Name => pb.cluster_name = "d".into(),
        }
    }
    pb
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn beside_another_it_is_read_as_alone(
        before in some_assignment(),
        is_good in prop::bool::weighted(0.8),
        edits in prop::collection::vec(prop::collection::vec(edit(), 0..4), 1..4),
        is_proxyless in any::<bool>(),
    ) {
        let decoder = decoder(if is_proxyless { Dialect::Proxyless } else { Dialect::Sidecar });
        let mut pb = if is_good { alone(before) } else { before };
        let mut good: Option<(Vec<u8>, Resource)> = None;
        for edits in std::iter::once(Vec::new()).chain(edits) {
            pb = edited(pb, edits);
            let bytes = pb.encode_to_vec();
            let before = good.as_ref().map(|(bytes, read)| (bytes.as_slice(), read));
            let beside = decoder.decode_beside(Kind::Endpoints, &bytes, before);
            prop_assert_eq!(&beside, &decoder.decode(Kind::Endpoints, &bytes));
            // What is refused leaves the last good one.
            if let Ok((_, read)) = beside {
                good = Some((bytes, read));
            }
        }
    }

    /// Any bytes for those of the new one.
    #[test]
    fn beside_another_bytes_are_read_as_alone(
        before in some_assignment(),
        edits in prop::collection::vec(edit(), 0..2),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<Option<u8>>()), 0..3),
    ) {
        let decoder = decoder(Dialect::Sidecar);
        let before = alone(before);
        let first = before.encode_to_vec();
        let Ok((_, known)) = decoder.decode(Kind::Endpoints, &first) else { return Ok(()) };
        let mut bytes = edited(before, edits).encode_to_vec();
        for (at, with) in cuts {
            let at = at.index(bytes.len());
            match with {
                Some(with) => bytes[at] = with,
                None => bytes.truncate(at),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let beside = decoder.decode_beside(Kind::Endpoints, &bytes, Some((&first, &known)));
        prop_assert_eq!(beside, decoder.decode(Kind::Endpoints, &bytes));
    }
}

/// Whether a few changes are read without the rest, and are what the whole says.
#[track_caller]
fn is_read_again(before: &ClusterLoadAssignment, after: &ClusterLoadAssignment) -> bool {
    let decoder = decoder(Dialect::Sidecar);
    let (first, then) = (before.encode_to_vec(), after.encode_to_vec());
    let known = read(&decoder, &first).unwrap();
    let again = again(Dialect::Sidecar, (&first, &known), &then);
    if let Some(again) = &again {
        assert_eq!(Some(again), read(&decoder, &then).as_deref());
    }
    again.is_some()
}

#[test]
fn what_a_release_does_is_read_without_the_rest() {
    let list: Vec<LbEndpoint> = (1..=1_000).map(endpoint).collect();
    let with = |change: &dyn Fn(&mut Vec<LbEndpoint>)| {
        let mut list = list.clone();
        change(&mut list);
        one_of(list)
    };
    let before = one_of(list.clone());
    for (what, after) in [
        ("the same", with(&|_| {})),
        ("one replaced", with(&|all| all[500] = endpoint(2_000))),
        ("one said otherwise", with(&|all| all[500].health_status = 2)),
        ("one more", with(&|all| all.insert(3, endpoint(2_000)))),
        ("one less", with(&|all| drop(all.remove(700)))),
        (
            "every tenth replaced",
            with(&|all| {
                for at in (0..1_000).step_by(10) {
                    all[at] = endpoint(2_000 + u32::try_from(at).unwrap());
                }
            }),
        ),
        (
            "the first goes, one comes last",
            with(&|all| {
                all.remove(0);
                all.push(endpoint(2_000));
            }),
        ),
        ("another order", with(&|all| all.reverse())),
        (
            "another order, and every second replaced",
            with(&|all| {
                all.reverse();
                for at in (0..1_000).step_by(2) {
                    all[at] = endpoint(2_000 + u32::try_from(at).unwrap());
                }
            }),
        ),
    ] {
        assert!(is_read_again(&before, &after), "{what}");
    }
}

#[test]
fn what_grows_beyond_the_bound_is_not_read_beside_what_was_within_it() {
    let known = one_of((1..=10).map(endpoint).collect()).encode_to_vec();
    let grown = one_of((1..=15).map(endpoint).collect()).encode_to_vec();
    let before = read(&decoder(Dialect::Sidecar), &known).unwrap();
    let reads = |most: usize| at_most(most, Dialect::Sidecar, (&known, &before), &grown).is_some();
    assert!(reads(16), "with its locality");
    assert!(!reads(15));
}

#[test]
fn of_ten_thousand_more_than_half_that_are_new_are_read_whole() {
    let before: Vec<LbEndpoint> = (1..=10_000).map(endpoint).collect();
    let with = |new: u32| {
        let mut list = before.clone();
        list.reverse();
        for (at, port) in (0..).zip(20_001..=20_000 + new) {
            list[at] = endpoint(port);
        }
        one_of(list)
    };
    let before = one_of(before.clone());
    for (new, is_again) in [(10_000, false), (5_001, false), (5_000, true), (0, true)] {
        assert_eq!(is_read_again(&before, &with(new)), is_again, "{new}");
    }
    // One locality may be replaced where others stay.
    let two = |first: u32, second: u32| {
        let of = |zone: &str, from: u32, count: u32| {
            let list = (from..from + count).map(endpoint).collect();
            let mut group = one_of(list).endpoints.remove(0);
            group.locality = Some(PbLocality { zone: zone.into(), ..PbLocality::default() });
            group
        };
        let endpoints = vec![of("a", first, 2_000), of("b", second, 3_000)];
        ClusterLoadAssignment { endpoints, ..one_of(Vec::new()) }
    };
    assert!(is_read_again(&two(1, 10_001), &two(5_001, 10_001)));
    assert!(!is_read_again(&two(1, 10_001), &two(1, 15_001)));
}

#[test]
fn notes_on_its_policy_do_not_have_the_whole_read() {
    let with = |list: &[LbEndpoint]| ClusterLoadAssignment {
        policy: Some(Policy { overprovisioning_factor: wrapped(50), ..Policy::default() }),
        ..one_of(list.to_vec())
    };
    let list: Vec<LbEndpoint> = (1..=101).map(endpoint).collect();
    let (before, after) = (with(&list[..100]), with(&list[1..]));
    let known = read(&decoder(Dialect::Sidecar), &before.encode_to_vec()).unwrap();
    assert!(known.notes.len() == 1 && known.notes[0].starts_with("policy."), "{:?}", known.notes);
    assert!(is_read_again(&before, &after));
}

#[test]
fn what_is_not_certain_is_read_whole() {
    let before = one_of((1..=10).map(endpoint).collect());
    let with = |change: &dyn Fn(&mut ClusterLoadAssignment)| {
        let mut pb = before.clone();
        change(&mut pb);
        pb
    };
    fn list(pb: &mut ClusterLoadAssignment) -> &mut Vec<LbEndpoint> {
        &mut pb.endpoints[0].lb_endpoints
    }
    for (what, after) in [
        ("an address of another", with(&|pb| list(pb)[5] = endpoint(1))),
        ("a name that is no address", with(&|pb| list(pb)[5].host_identifier = None)),
        ("one twice", with(&|pb| list(pb).push(endpoint(3)))),
        (
            "a weight that scales all",
            with(&|pb| list(pb)[5].load_balancing_weight = wrapped(70_000)),
        ),
        ("a note", with(&|pb| list(pb)[5].metadata = label(ValueKind::NullValue(0)))),
        ("another locality", with(&|pb| pb.endpoints[0].load_balancing_weight = wrapped(2))),
        (
            "another policy",
            with(&|pb| {
                pb.policy = Some(Policy { weighted_priority_health: true, ..Policy::default() });
            }),
        ),
        (
            "most of it",
            with(&|pb| {
                (0..9).for_each(|at| list(pb)[at] = endpoint(100 + u32::try_from(at).unwrap()));
            }),
        ),
    ] {
        assert!(!is_read_again_or_refused(&before, &after), "{what}");
    }
}

fn is_read_again_or_refused(before: &ClusterLoadAssignment, after: &ClusterLoadAssignment) -> bool {
    let decoder = decoder(Dialect::Sidecar);
    let (first, then) = (before.encode_to_vec(), after.encode_to_vec());
    let known = read(&decoder, &first).unwrap();
    again(Dialect::Sidecar, (&first, &known), &then).is_some()
}
