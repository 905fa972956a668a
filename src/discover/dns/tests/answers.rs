//! What of a message counts.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::answer::{
    Kind, Question, of_consul, read,
    records::{address, alias, service},
};

fn question(name: &str, kind: Kind) -> Question {
    Question { name: name.into(), kind }
}

#[test]
fn records_of_other_names_and_kinds_do_not_count() {
    let answers = [
        address("users.", 30, "10.0.0.1"),
        address("users.", 30, "::1:2"),
        address("bank.", 30, "10.6.6.6"),
        address("users.", 30, "10.0.0.1"),
    ];
    let found = read(&question("users.", Kind::A), &answers, &[]).unwrap();
    assert_eq!(found.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(read(&question("other.", Kind::A), &answers, &[]).is_none());
}

#[test]
fn aliases_are_followed_and_the_smallest_ttl_counts() {
    let answers = [
        alias("users.", 20, "a."),
        address("b.", 30, "10.0.0.1"),
        alias("a.", 7, "b."),
        alias("x.", 1, "b."),
    ];
    let found = read(&question("users.", Kind::A), &answers, &[]).unwrap();
    assert_eq!((found.addresses.len(), found.ttl), (1, 7));
}

#[test]
fn aliases_in_a_circle_end() {
    let answers = [alias("a.", 1, "b."), alias("b.", 1, "a.")];
    assert!(read(&question("a.", Kind::A), &answers, &[]).is_none());
    let myself = [alias("a.", 1, "a."), address("a.", 1, "10.0.0.1")];
    assert!(read(&question("a.", Kind::A), &myself, &[]).is_some());
    let long: Vec<_> =
        (0..100).map(|n| alias(&format!("{n}."), 1, &format!("{}.", n + 1))).collect();
    let with_end = [&long[..], &[address("100.", 1, "10.0.0.1")]].concat();
    assert!(read(&question("0.", Kind::A), &with_end, &[]).is_none());
}

#[test]
fn addresses_that_lead_nowhere_or_here_do_not_count() {
    for bad in ["0.0.0.0", "224.0.0.1", "255.255.255.255"] {
        assert!(read(&question("a.", Kind::A), &[address("a.", 1, bad)], &[]).is_none(), "{bad}");
    }
    for bad in ["::", "ff02::1", "::ffff:0.0.0.0", "::ffff:10.0.0.1"] {
        let answers = [address("a.", 1, bad)];
        assert!(read(&question("a.", Kind::Aaaa), &answers, &[]).is_none(), "{bad}");
    }
}

#[test]
fn a_ttl_with_its_highest_bit_set_is_none() {
    let found = read(&question("a.", Kind::A), &[address("a.", u32::MAX, "10.0.0.1")], &[]);
    assert_eq!(found.unwrap().ttl, 0);
}

#[test]
fn services_are_sorted_and_those_of_nothing_are_left_out() {
    let name = "_http._tcp.users.";
    let answers = [
        service(name, 9, "1 0 80 b."),
        service(name, 9, "0 5 80 a."),
        service(name, 9, "0 5 80 a."),
        service(name, 9, "0 5 80 ."),
        service(name, 9, "0 5 0 c."),
    ];
    let additionals = [address("a.", 3, "10.0.0.1"), address("z.", 1, "10.0.0.9")];
    let found = read(&question(name, Kind::Srv), &answers, &additionals).unwrap();
    let targets: Vec<&str> = found.services.iter().map(|it| &*it.target).collect();
    assert_eq!(targets, ["a.", "b."]);
    assert_eq!((found.glue.len(), found.ttl), (1, 3), "what is beside counts for targets only");
    assert!(read(&question(name, Kind::Srv), &[service(name, 1, "0 0 0 .")], &[]).is_none());
}

#[test]
fn consul_writes_addresses_into_names() {
    let read = |name: &str| of_consul(name, "_web._tcp.users.").map(|address| address.to_string());
    assert_eq!(read("0a000001.addr.dc1.consul.").as_deref(), Some("10.0.0.1"));
    let v6 = "20010db8000000000000000000000001.addr.dc1.consul.";
    assert_eq!(read(v6).as_deref(), Some("2001:db8::1"));
    for other in [
        "0a000001.addr.dc1.example.",
        "0a000001.node.dc1.consul.",
        "0a00000g.addr.dc1.consul.",
        "0a0001.addr.dc1.consul.",
        "00000000.addr.dc1.consul.",
        "web-1.node.dc1.consul.",
    ] {
        assert_eq!(read(other), None, "{other}");
    }
}

#[test]
fn of_another_domain_consuls_names_are_read_where_the_record_is_one_of_it() {
    let target = "0a000001.addr.dc1.corp.example.";
    for owner in [
        "_web._tcp.service.corp.example.",
        "_web._tcp.service.dc1.corp.example.",
        "_service._tcp.query.corp.example.",
    ] {
        assert!(of_consul(target, owner).is_some(), "{owner}");
    }
    for owner in [
        "_web._tcp.users.",
        "_web._tcp.corp.example.",
        "_web._tcp.service.dc2.corp.example.",
        "_web._tcp.service.example.",
        "_web._tcp.service.other.example.",
        "_web._tcp.service.",
        "_web._tcp.xservice.corp.example.",
    ] {
        assert_eq!(of_consul(target, owner), None, "{owner}");
    }
    for stranger in ["0a000001.addr.corp.", "0a000001.addr.", "0a000001.addr.dc1.xcorp."] {
        for owner in ["_web._tcp.service.", "_web._tcp.service.corp."] {
            assert_eq!(of_consul(stranger, owner), None, "{stranger} of {owner}");
        }
    }
}

proptest! {
    /// Whatever a server says: no panic, and nothing but the asked kind of the asked name.
    #[test]
    fn any_message_is_read(
        parts in prop::collection::vec((0..4_usize, 0..5_usize, 0..5_usize, any::<u32>(), any::<u32>()), 0..40)
    ) {
        let names: Vec<Arc<str>> = ["a.", "b.", "c.", "d.", "."].map(Arc::from).to_vec();
        let record = |(kind, owner, other, ttl, word): &(usize, usize, usize, u32, u32)| {
            let owner = &names[*owner];
            match kind {
                0 => address(owner, *ttl, &std::net::Ipv4Addr::from(*word).to_string()),
                1 => address(owner, *ttl, &std::net::Ipv6Addr::from(u128::from(*word)).to_string()),
                2 => alias(owner, *ttl, &names[*other]),
                _ => service(owner, *ttl, &format!("{} {} {} {}", word % 3, word % 7, word % 9, names[*other])),
            }
        };
        let answers: Vec<_> = parts.iter().map(record).collect();
        for kind in [Kind::A, Kind::Aaaa, Kind::Srv] {
            if let Some(found) = read(&question("a.", kind), &answers, &answers) {
                prop_assert!(found.addresses.iter().all(|it| it.is_ipv4() == (kind == Kind::A)));
                prop_assert!(found.addresses.is_empty() != (kind != Kind::Srv));
                prop_assert!(found.services.is_empty() != (kind == Kind::Srv));
                prop_assert!(found.services.iter().all(|it| &*it.target != "." && it.port > 0));
                prop_assert!(found.ttl <= 0x7fff_ffff);
            }
        }
    }
}
