//! Which addresses of both families are one endpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use proptest::prelude::*;

use super::super::endpoints::{Pairs, strict};
use crate::config::{Address, Endpoint};

fn all(v4: &[u8], v6: &[u8]) -> Vec<IpAddr> {
    let v4 = v4.iter().map(|last| IpAddr::from([10, 0, 0, *last]));
    let v6 = v6.iter().map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(*last)]));
    v4.chain(v6).collect()
}

fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let all = std::iter::once(&endpoint.address).chain(&endpoint.more_addresses);
    let ip = |address: &Address| match address {
        Address::Socket(socket) => socket.ip(),
        Address::Unix(path) => panic!("{path:?}"),
    };
    all.map(ip).collect()
}

/// The last parts of the addresses of each endpoint, in their order.
fn shape(endpoints: &[Endpoint]) -> Vec<String> {
    let last = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[3].to_string(),
        IpAddr::V6(v6) => format!("::{}", v6.segments()[7]),
    };
    let shown = |endpoint| addresses(endpoint).iter().map(last).collect::<Vec<_>>().join("+");
    endpoints.iter().map(shown).collect()
}

#[test]
fn each_address_is_an_endpoint_where_some_hosts_have_one_family_alone() {
    for (v4, v6, expected) in [
        (&[1, 2][..], &[1, 2][..], &["::1+1", "::2+2"][..]),
        // Were they paired, the one or the other might never be called.
        (&[1, 2, 3], &[2, 3], &["::2", "::3", "1", "2", "3"]),
        (&[1, 2, 3], &[7], &["::7", "1", "2", "3"]),
        (&[1, 2], &[], &["1", "2"]),
        (&[], &[1, 2], &["::1", "::2"]),
    ] {
        let endpoints = strict(&all(v4, v6), 80, &mut Pairs::new());
        assert_eq!(shape(&endpoints), expected, "{v4:?} {v6:?}");
    }
}

#[test]
fn a_host_whose_records_come_and_go_one_by_one_changes_no_other() {
    let mut pairs = Pairs::new();
    let mut next = |v4: &[u8], v6: &[u8]| shape(&strict(&all(v4, v6), 80, &mut pairs));
    assert_eq!(next(&[1, 3], &[1, 3]), ["::1+1", "::3+3"]);
    // A host comes, one family after the other, in the middle.
    assert_eq!(next(&[1, 2, 3], &[1, 3]), ["::1+1", "::3+3", "2"]);
    assert_eq!(next(&[1, 2, 3], &[1, 2, 3]), ["::1+1", "::2+2", "::3+3"]);
    // The first goes in the same way.
    assert_eq!(next(&[2, 3], &[1, 2, 3]), ["::1", "::2+2", "::3+3"]);
    assert_eq!(next(&[2, 3], &[2, 3]), ["::2+2", "::3+3"]);
}

proptest! {
    #[test]
    fn each_address_is_of_one_endpoint_and_pairs_that_are_there_stay(
        rounds in prop::collection::vec(
            (prop::collection::vec(0_u8..12, 0..10), prop::collection::vec(0_u8..12, 0..10)),
            1..6,
        )
    ) {
        let mut pairs = Pairs::new();
        let mut before: BTreeMap<IpAddr, IpAddr> = BTreeMap::new();
        for (v4, v6) in rounds {
            let list = all(&v4, &v6);
            let endpoints = strict(&list, 80, &mut pairs);
            let told: Vec<Vec<IpAddr>> = endpoints.iter().map(addresses).collect();
            let known: BTreeSet<IpAddr> = list.iter().copied().collect();
            // Every address once.
            let mut flat: Vec<IpAddr> = told.concat();
            flat.sort_unstable();
            prop_assert_eq!(flat, known.iter().copied().collect::<Vec<_>>());
            let now: BTreeMap<IpAddr, IpAddr> = told
                .iter()
                .filter_map(|one| if let [v6, v4] = one[..] { Some((v6, v4)) } else { None })
                .collect();
            prop_assert!(now.iter().all(|(v6, v4)| v6.is_ipv6() && v4.is_ipv4()));
            for (v6, v4) in &before {
                if known.contains(v6) && known.contains(v4) {
                    prop_assert_eq!(now.get(v6), Some(v4));
                }
            }
            before = now;
        }
    }
}
