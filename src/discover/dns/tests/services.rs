//! SRV records: priorities, weights, targets.

use std::time::Duration;

use super::{
    super::answer::records::{address, service},
    fake::{Does, Resolved, named},
};
use crate::config::{DnsDiscovery, DnsFamily, DnsKind};

const NAME: &str = "_http._tcp.users.";
const SRV: &str = "_http._tcp.users. SRV";

fn srv() -> DnsDiscovery {
    DnsDiscovery { kind: DnsKind::Srv, ..named("dns:///_http._tcp.users.") }
}

fn services(list: &[&str]) -> Does {
    Does::Say(list.iter().map(|it| service(NAME, 10, it)).collect())
}

fn host(name: &str, addresses: &[&str], ttl: u32) -> Does {
    Does::Say(addresses.iter().map(|it| address(name, ttl, it)).collect())
}

#[tokio::test(start_paused = true)]
async fn a_target_is_one_endpoint_with_its_weight_and_all_of_its_addresses() {
    let users = Resolved::new(
        srv(),
        &[
            (SRV, services(&["0 30 8080 a.", "0 10 8081 b."])),
            ("a. A", host("a.", &["10.0.0.2", "10.0.0.1"], 60)),
            ("a. AAAA", host("a.", &["2001:db8::1"], 60)),
            ("b. A", host("b.", &["10.0.0.1"], 60)),
        ],
    );
    users.pass(0.1).await;
    assert_eq!(
        users.told.endpoints(),
        ["10.0.0.1:8081 10", "[2001:db8::1]:8080+10.0.0.1:8080+10.0.0.2:8080 30"]
    );
    assert_eq!(users.told.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn each_answer_is_relied_on_for_its_own_ttl() {
    let users = Resolved::new(
        DnsDiscovery { jitter: Some(Duration::ZERO), ..srv() },
        &[(SRV, services(&["0 1 80 a."])), ("a. A", host("a.", &["10.0.0.1"], 50))],
    );
    users.pass(100.5).await;
    assert_eq!(users.server.count(SRV), 11);
    assert_eq!(users.server.count("a. A"), 3);
}

#[tokio::test(start_paused = true)]
async fn addresses_beside_the_answer_and_in_consuls_names_are_not_asked_for() {
    let answers =
        vec![service(NAME, 10, "0 1 80 a."), service(NAME, 10, "0 1 80 0a000002.addr.dc1.consul.")];
    let beside = vec![
        address("a.", 10, "10.0.0.1"),
        address("a.", 10, "2001:db8::1"),
        address("bank.", 10, "10.6.6.6"),
    ];
    let users = Resolved::new(srv(), &[(SRV, Does::SayWith(answers, beside))]);
    users.pass(5.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.2:80", "[2001:db8::1]:80+10.0.0.1:80"]);
    assert_eq!(users.server.asked(), [SRV]);
}

#[tokio::test(start_paused = true)]
async fn a_family_that_is_not_beside_the_answer_is_asked_for_where_it_is_wanted() {
    use DnsFamily::{All, Auto, V4Only, V4Preferred, V6Only};
    const V4: &str = "10.0.0.1";
    const V6: &str = "2001:db8::1";
    const BOTH: &str = "[2001:db8::1]:80+10.0.0.1:80";
    const FOUR: &str = "10.0.0.1:80";
    const SIX: &str = "[2001:db8::1]:80";
    for (family, beside, asked, endpoint) in [
        (All, V4, Some("a. AAAA"), BOTH),
        (All, V6, Some("a. A"), BOTH),
        (Auto, V4, Some("a. AAAA"), SIX),
        (Auto, V6, None, SIX),
        (V4Preferred, V4, None, FOUR),
        (V4Preferred, V6, Some("a. A"), FOUR),
        (V4Only, V4, None, FOUR),
        (V4Only, V6, Some("a. A"), FOUR),
        (V6Only, V4, Some("a. AAAA"), SIX),
        (V6Only, V6, None, SIX),
    ] {
        let dns = DnsDiscovery { family: Some(family), ..srv() };
        let beside = vec![address("a.", 10, beside)];
        let records = Does::SayWith(vec![service(NAME, 10, "0 1 80 a.")], beside);
        let zone =
            [(SRV, records), ("a. A", host("a.", &[V4], 60)), ("a. AAAA", host("a.", &[V6], 60))];
        let users = Resolved::new(dns, &zone);
        users.pass(5.0).await;
        assert_eq!(users.told.endpoints(), [endpoint], "{family:?}");
        let expected: Vec<&str> = std::iter::once(SRV).chain(asked).collect();
        assert_eq!(users.server.asked(), expected, "{family:?}");
        assert_eq!(users.told.history().len(), 1, "{family:?}: it is told once");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_beside_the_answer_counts_though_the_other_family_fails_or_is_none() {
    for (does, is_partial) in
        [(Does::Fail("SERVFAIL"), true), (Does::Stall, true), (Does::Deny(Some(5)), false)]
    {
        let beside = vec![address("a.", 10, "10.0.0.1")];
        let records = Does::SayWith(vec![service(NAME, 10, "0 1 80 a.")], beside);
        let users = Resolved::new(srv(), &[(SRV, records), ("a. AAAA", does)]);
        users.pass(0.1).await;
        assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
        users.pass(10.0).await;
        assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
        assert_eq!(users.told.failure().is_some(), is_partial);
        assert!(users.told.is_partial());
    }
}

#[tokio::test(start_paused = true)]
async fn priorities_of_records_are_those_of_endpoints_numbered_from_zero_on() {
    let users = Resolved::new(
        srv(),
        &[
            (SRV, services(&["9 1 80 d.", "0 1 80 a.", "5 3 80 c.", "0 1 80 b."])),
            ("a. A", host("a.", &["10.0.0.1"], 5)),
            ("c. A", host("c.", &["10.0.0.3"], 5)),
            ("d. A", host("d.", &["10.0.0.4"], 5)),
        ],
    );
    users.pass(0.1).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80", "10.0.0.3:80 3 /1", "10.0.0.4:80 /2"]);
    assert_eq!(users.told.failure(), None, "b. alone has no address");
    // A priority that has no address is none.
    users.server.set("a. A", Does::Deny(Some(5)));
    users.pass(6.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.3:80 3", "10.0.0.4:80 /1"]);
    users.server.set("b. A", host("b.", &["10.0.0.2"], 5));
    users.pass(12.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.2:80", "10.0.0.3:80 3 /1", "10.0.0.4:80 /2"]);
}

#[tokio::test(start_paused = true)]
async fn a_place_of_two_priorities_is_of_the_better_one() {
    let users = Resolved::new(
        srv(),
        &[
            (SRV, services(&["0 2 80 a.", "5 9 80 b.", "5 1 81 b.", "7 1 80 a."])),
            ("a. A", host("a.", &["10.0.0.1"], 60)),
            ("b. A", host("b.", &["10.0.0.1"], 60)),
        ],
    );
    users.pass(0.1).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80 2", "10.0.0.1:81 /1"]);
    assert_eq!(users.server.count("a. A"), 1);
}

#[tokio::test(start_paused = true)]
async fn no_priority_takes_over_from_one_that_is_still_being_asked_for() {
    let users = Resolved::new(
        srv(),
        &[
            (SRV, services(&["0 1 80 a.", "5 1 80 c."])),
            ("a. A", Does::Stall),
            ("a. AAAA", Does::Stall),
            ("c. A", host("c.", &["10.0.0.3"], 60)),
        ],
    );
    users.pass(1.0).await;
    assert_eq!(users.told.endpoints(), [""; 0]);
    // It has failed: the next is there.
    users.pass(5.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.3:80"]);
    assert!(users.told.failure().unwrap().contains("a. A: no answer"));
    // The other way round nobody waits.
    let users = Resolved::new(
        srv(),
        &[
            (SRV, services(&["0 1 80 a.", "5 1 80 c."])),
            ("a. A", host("a.", &["10.0.0.1"], 60)),
            ("c. A", Does::Stall),
        ],
    );
    users.pass(0.06).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_weight_of_zero_is_a_very_small_share_beside_others() {
    let hosts = [("a. A", "a.", "10.0.0.1"), ("b. A", "b.", "10.0.0.2")];
    for (records, expected) in [
        (["0 0 80 a.", "0 0 80 b."], ["10.0.0.1:80", "10.0.0.2:80"]),
        (["0 0 80 a.", "0 2 80 b."], ["10.0.0.1:80", "10.0.0.2:80 200"]),
        (["0 0 80 a.", "0 65535 80 b."], ["10.0.0.1:80", "10.0.0.2:80 65535"]),
    ] {
        let mut zone = vec![(SRV, services(&records))];
        zone.extend(hosts.iter().map(|(key, name, ip)| (*key, host(name, &[ip], 60))));
        let users = Resolved::new(srv(), &zone);
        users.pass(0.1).await;
        assert_eq!(users.told.endpoints(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn targets_at_one_place_are_one_endpoint_with_all_of_their_shares() {
    let users = Resolved::new(
        srv(),
        &[
            (SRV, services(&["0 3 80 a.", "0 4 80 b.", "0 5 81 b."])),
            ("a. A", host("a.", &["10.0.0.1"], 60)),
            ("b. A", host("b.", &["10.0.0.1"], 60)),
        ],
    );
    users.pass(0.1).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80 7", "10.0.0.1:81 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_stalls_does_not_keep_the_others_waiting() {
    let users = Resolved::new(
        srv(),
        &[
            (SRV, services(&["0 1 80 a.", "0 1 80 b."])),
            ("a. A", host("a.", &["10.0.0.1"], 60)),
            ("b. A", Does::Stall),
        ],
    );
    users.pass(0.06).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    users.pass(10.0).await;
    assert!(users.told.failure().unwrap().contains("b. A: no answer"));
}

/// A service of one target, known for a second.
async fn known(dns: DnsDiscovery, ttl: u32) -> Resolved {
    let dns = DnsDiscovery {
        family: Some(DnsFamily::V4Only),
        jitter: Some(Duration::ZERO),
        stale_limit: Some(Duration::from_secs(100)),
        ..dns
    };
    let records = Does::Say(vec![service(NAME, ttl, "0 1 80 a.")]);
    let users = Resolved::new(dns, &[(SRV, records), ("a. A", host("a.", &["10.0.0.1"], 10))]);
    users.pass(1.0).await;
    users
}

#[tokio::test(start_paused = true)]
async fn targets_that_all_fail_are_named_and_their_last_good_addresses_are_no_part_of_an_answer() {
    for (does, why) in [
        (Does::Fail("the server says SERVFAIL"), "a. A: the server says SERVFAIL"),
        (Does::Stall, "a. A: no answer within 5 s"),
    ] {
        let users = known(srv(), 10).await;
        users.server.set("a. A", does);
        users.pass(16.0).await;
        assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
        assert_eq!(users.told.failure().as_deref(), Some(why));
        assert!(!users.told.is_partial(), "nothing of it was answered");
    }
    // Beside one that answers it is a part.
    let users = known(srv(), 10).await;
    users.server.set(SRV, services(&["0 1 80 a.", "0 1 80 b."]));
    users.server.set("b. A", Does::Fail("SERVFAIL"));
    users.pass(11.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(users.told.failure().as_deref(), Some("b. A: SERVFAIL"));
    assert!(users.told.is_partial());
}

#[tokio::test(start_paused = true)]
async fn targets_that_do_not_exist_are_named() {
    let users = known(srv(), 10).await;
    users.server.set("a. A", Does::Deny(Some(5)));
    users.pass(11.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    let why = "_http._tcp.users.: none of its targets has an address: a. does not exist";
    assert_eq!(users.told.failure().as_deref(), Some(why));
    assert!(!users.told.is_partial());
    // One of them exists, and has none.
    users.server.set(SRV, services(&["0 1 80 a.", "0 1 80 b.", "5 1 81 b."]));
    users.server.set("b. A", Does::Say(Vec::new()));
    users.pass(11.0).await;
    let why = format!("{why}; b. has no address");
    assert_eq!(users.told.failure(), Some(why));
}

#[tokio::test(start_paused = true)]
async fn targets_that_all_fail_are_kept_for_the_stale_limit_after_their_ttl_and_no_longer() {
    let elsewhere = || Some(services(&["0 1 80 b."]));
    for (ttl, srv_says, a, b) in [
        (10, None, Does::Fail("SERVFAIL"), Does::Deny(None)),
        (10, None, Does::Stall, Does::Deny(None)),
        (10, None, Does::Deny(Some(5)), Does::Deny(None)),
        (10, None, Does::Deny(None), Does::Deny(None)),
        // The records are believed for longer than the addresses.
        (60, None, Does::Fail("SERVFAIL"), Does::Deny(None)),
        (60, None, Does::Deny(Some(5)), Does::Deny(None)),
        // They lead to others, who fail.
        (10, elsewhere(), Does::Deny(Some(5)), Does::Fail("SERVFAIL")),
        (10, elsewhere(), Does::Deny(Some(5)), Does::Deny(Some(5))),
    ] {
        let users = known(srv(), ttl).await;
        users.server.set("a. A", a);
        users.server.set("b. A", b);
        if let Some(says) = srv_says {
            users.server.set(SRV, says);
        }
        users.pass(107.0).await;
        assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
        assert!(users.told.failure().is_some());
        users.pass(150.0).await;
        let gone = users.told.gone().expect("they are kept for ever");
        // A question that is under way then is awaited.
        assert!((110.0..115.1).contains(&gone), "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_targets_are_cut_and_told_and_asked_few_at_a_time() {
    let records: Vec<String> = (0..10_000).map(|n| format!("0 1 80 h{n}.")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let users = Resolved::new(srv(), &[(SRV, services(&records))]);
    users.pass(1.0).await;
    assert_eq!(users.server.asked().len(), 1 + 2 * 1024);
    assert!(users.told.failure().unwrap().contains("only 1024 of its targets"));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_addresses_are_ten_thousand_endpoints() {
    let addresses: Vec<String> =
        (0..10_000_u32).map(|n| std::net::Ipv4Addr::from(0x0a00_0001 + n).to_string()).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let users = Resolved::new(named("users."), &[("users. A", host("users.", &addresses, 60))]);
    users.pass(1.0).await;
    assert_eq!(users.told.endpoints().len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_round_of_stalling_targets_ends() {
    let records: Vec<String> = (0..1_000).map(|n| format!("0 1 80 h{n}.")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let mut zone = vec![(SRV.to_owned(), services(&records))];
    for n in 0..1_000 {
        zone.extend([(format!("h{n}. A"), Does::Stall), (format!("h{n}. AAAA"), Does::Stall)]);
    }
    let zone: Vec<(&str, Does)> = zone.iter().map(|(key, it)| (key.as_str(), it.clone())).collect();
    let users = Resolved::new(srv(), &zone);
    users.pass(31.0).await;
    assert_eq!(users.told.rounds(), 1);
    let failure = users.told.failure().unwrap();
    assert!(failure.ends_with("; and 1997 more"), "each question has failed: {failure}");
}

#[tokio::test(start_paused = true)]
async fn a_target_of_many_ports_is_asked_and_fails_once_per_round() {
    let ports: Vec<String> = (1..=20).map(|port| format!("0 1 {port} a.")).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let dns =
        DnsDiscovery { jitter: Some(Duration::ZERO), family: Some(DnsFamily::V4Only), ..srv() };
    let zone = [
        (SRV, Does::Say(ports.iter().map(|it| service(NAME, 600, it)).collect())),
        ("a. A", Does::Fail("SERVFAIL")),
    ];
    let users = Resolved::new(dns, &zone);
    users.pass(0.1).await;
    assert_eq!(users.told.failure().unwrap(), "a. A: SERVFAIL");
    users.pass(8.0).await;
    let times: Vec<u64> = users.server.times("a. A").iter().map(Duration::as_secs).collect();
    assert_eq!(times, [0, 1, 3, 7]);
    users.server.set("a. A", host("a.", &["10.0.0.1"], 60));
    users.pass(8.0).await;
    assert_eq!(users.told.endpoints().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_failures_are_told_in_one_short_line() {
    let records: Vec<String> = (0..1_000).map(|n| format!("0 1 80 h{n}.")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let users = Resolved::new(srv(), &[(SRV, services(&records))]);
    for n in 0..1_000 {
        let mut zone = users.server.zone.lock().unwrap();
        zone.insert(format!("h{n}. A"), Does::Fail("SERVFAIL"));
    }
    users.pass(1.0).await;
    let failure = users.told.failure().unwrap();
    assert_eq!(failure.matches("SERVFAIL").count(), 3, "{failure}");
    assert!(failure.ends_with("; and 997 more"), "{failure}");
}
