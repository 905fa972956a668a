//! Nothing is asked, and nobody woken, more often than the TTLs ask.

use std::time::Duration;

use super::{
    super::answer::records::{address, service},
    fake::{Does, Resolved, named},
};
use crate::config::{DnsDiscovery, DnsFamily, DnsKind};

fn host(name: &str, ip: &str, ttl: u32) -> Does {
    Does::Say(vec![address(name, ttl, ip)])
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_a_name_costs_one_wake_up_per_ttl() {
    for (ttl, most) in [(1, 3600), (30, 120), (600, 60)] {
        let zone =
            [("users. A", host("users.", "10.0.0.1", ttl)), ("users. AAAA", Does::Deny(Some(ttl)))];
        let users = Resolved::new(named("users.:80"), &zone);
        users.pass(3600.0).await;
        let (rounds, asked) = (users.told.rounds(), users.server.asked().len());
        // Up to a tenth is added to each.
        assert!(rounds <= most + 1 && rounds * 11 >= most * 10, "TTL {ttl}: {rounds} wake-ups");
        assert_eq!(asked, rounds * 2, "both families are asked together");
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_a_service_asks_each_question_once_per_its_ttl() {
    let name = "_http._tcp.users.";
    let dns = DnsDiscovery {
        kind: DnsKind::Srv,
        family: Some(DnsFamily::V4Only),
        jitter: Some(Duration::ZERO),
        ..named("_http._tcp.users.")
    };
    let records = ["0 1 80 a.", "0 1 80 b.", "5 1 80 c."];
    let records = records.iter().map(|it| service(name, 10, it)).collect();
    let zone = [
        ("_http._tcp.users. SRV", Does::Say(records)),
        ("a. A", host("a.", "10.0.0.1", 30)),
        ("b. A", host("b.", "10.0.0.2", 60)),
        ("c. A", host("c.", "10.0.0.3", 60)),
    ];
    let users = Resolved::new(dns, &zone);
    users.pass(3599.0).await;
    assert_eq!(users.server.count("_http._tcp.users. SRV"), 360);
    assert_eq!(users.server.count("a. A"), 120);
    assert_eq!(users.server.count("b. A"), 60);
    assert_eq!(users.server.count("c. A"), 60, "it is asked for before it is needed");
    assert_eq!(users.told.rounds(), 360, "what is due together is asked together");
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_an_answer_is_a_wake_up_a_minute() {
    let users =
        Resolved::new(named("users."), &[("users. A", Does::Stall), ("users. AAAA", Does::Stall)]);
    users.pass(3600.0).await;
    assert!(users.told.rounds() <= 7 + 60, "{}", users.told.rounds());
}

#[tokio::test(start_paused = true)]
async fn a_failed_connection_asks_at_once_but_no_more_than_once_a_second() {
    let dns = DnsDiscovery { family: Some(DnsFamily::V4Only), ..named("users.:80") };
    let users = Resolved::new(dns, &[("users. A", host("users.", "10.0.0.1", 60))]);
    users.pass(10.0).await;
    assert_eq!(users.server.count("users. A"), 1);
    users.server.set("users. A", host("users.", "10.0.0.2", 60));
    users.unreachable.notify_one();
    users.pass(0.01).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.2:80"], "before its TTL was over");
    // A storm of failures.
    for _ in 0..1000 {
        users.unreachable.notify_one();
        users.pass(0.01).await;
    }
    let times = users.server.times("users. A");
    assert!(
        times[1..].windows(2).all(|pair| pair[1].saturating_sub(pair[0]) >= Duration::from_secs(1))
    );
    assert!((4..=6).contains(&times.len()), "{times:?}");
    // And none after it.
    users.pass(58.0).await;
    assert!(users.server.count("users. A") <= times.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_connection_asks_the_targets_of_a_service_again_too() {
    let dns = DnsDiscovery {
        kind: DnsKind::Srv,
        family: Some(DnsFamily::V4Only),
        ..named("_http._tcp.users.")
    };
    let zone = [
        ("_http._tcp.users. SRV", Does::Say(vec![service("_http._tcp.users.", 60, "0 1 80 a.")])),
        ("a. A", host("a.", "10.0.0.1", 60)),
    ];
    let users = Resolved::new(dns, &zone);
    users.pass(10.0).await;
    users.server.set("a. A", host("a.", "10.0.0.9", 60));
    users.unreachable.notify_one();
    users.pass(0.01).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.9:80"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_asks_dns_ever_more_rarely_until_the_answer_changes() {
    let dns = DnsDiscovery {
        family: Some(DnsFamily::V4Only),
        refresh: Some(Duration::from_secs(3600)),
        jitter: Some(Duration::ZERO),
        ..named("users.:80")
    };
    let users = Resolved::new(dns, &[("users. A", host("users.", "10.0.0.1", 3600))]);
    let outage = async |seconds: u32| {
        for _ in 0..seconds * 10 {
            users.unreachable.notify_one();
            users.pass(0.1).await;
        }
    };
    let waits = |since: usize| -> Vec<u64> {
        let times = users.server.times("users. A");
        times[since..].windows(2).map(|two| two[1].saturating_sub(two[0]).as_secs()).collect()
    };
    outage(300).await;
    let waited = waits(0);
    assert_eq!(waited, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let asked = users.server.count("users. A");
    users.server.set("users. A", host("users.", "10.0.0.2", 3600));
    outage(70).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.2:80"]);
    assert_eq!(waits(asked)[..3], [1, 2, 4], "another answer begins anew");
    // So does another outage.
    outage(60).await;
    users.pass(400.0).await;
    let asked = users.server.count("users. A");
    outage(10).await;
    assert_eq!(waits(asked)[..2], [2, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_connection_does_not_ask_again_what_has_failed_or_was_denied() {
    let dns = DnsDiscovery {
        kind: DnsKind::Srv,
        jitter: Some(Duration::ZERO),
        ..named("_http._tcp.users.")
    };
    let name = "_http._tcp.users.";
    let records = vec![service(name, 60, "0 1 80 a."), service(name, 60, "0 1 80 b.")];
    let zone = [
        ("_http._tcp.users. SRV", Does::Say(records)),
        ("a. A", host("a.", "10.0.0.1", 60)),
        ("a. AAAA", Does::Deny(Some(60))),
        ("b. A", Does::Fail("SERVFAIL")),
        ("b. AAAA", Does::Deny(Some(60))),
    ];
    let users = Resolved::new(dns, &zone);
    for _ in 0..300 {
        users.unreachable.notify_one();
        users.pass(0.1).await;
    }
    assert!(users.server.count("a. A") > 3, "what is relied on is asked for again");
    let times: Vec<u64> = users.server.times("b. A").iter().map(Duration::as_secs).collect();
    assert_eq!(times, [0, 1, 3, 7, 15], "after its back-off");
    assert_eq!((users.server.count("a. AAAA"), users.server.count("b. AAAA")), (1, 1));
}
