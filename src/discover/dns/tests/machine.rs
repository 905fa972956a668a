//! Names, families, search domains, and when they are asked.

use std::time::Duration;

use super::{
    super::{
        Docker, Lookup,
        answer::{
            Kind,
            records::{address, alias},
        },
        search::Search,
    },
    fake::{Does, Resolved, key, named},
};
use crate::config::{DnsDiscovery, DnsFamily, DnsKind};

fn a(list: &[&str], ttl: u32) -> Does {
    Does::Say(list.iter().map(|it| address("users.", ttl, it)).collect())
}

fn zone(v4: &[&str], v6: &[&str]) -> [(&'static str, Does); 2] {
    [("users. A", a(v4, 10)), ("users. AAAA", a(v6, 10))]
}

#[tokio::test(start_paused = true)]
async fn addresses_become_endpoints_sorted_and_once() {
    let zone = zone(&["10.0.0.2", "10.0.0.1", "10.0.0.2"], &[]);
    let users = Resolved::new(named("dns:///users.:80"), &zone);
    users.pass(0.1).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(users.told.failure(), None, "one family alone is no failure");
}

#[tokio::test(start_paused = true)]
async fn a_ttl_is_kept_within_a_second_and_sixty_and_up_to_a_tenth_is_added() {
    for (ttl, least) in [(0, 1.0), (1, 1.0), (30, 30.0), (600, 60.0), (u32::MAX, 1.0)] {
        let dns = DnsDiscovery { family: Some(DnsFamily::V4Only), ..named("users.:80") };
        let users = Resolved::new(dns, &[("users. A", a(&["10.0.0.1"], ttl))]);
        users.pass(200.0).await;
        let times = users.server.times("users. A");
        for pair in times.windows(2) {
            let wait = pair[1].saturating_sub(pair[0]).as_secs_f64();
            assert!((least..=least * 1.1 + 0.01).contains(&wait), "TTL {ttl}: {wait}");
        }
        assert!(times.len() > 2, "TTL {ttl}");
    }
}

#[tokio::test(start_paused = true)]
async fn settings_bound_the_waits() {
    let times = |dns: DnsDiscovery, ttl: u32| async move {
        let dns =
            DnsDiscovery { family: Some(DnsFamily::V4Only), jitter: Some(Duration::ZERO), ..dns };
        let users = Resolved::new(dns, &[("users. A", a(&["10.0.0.1"], ttl))]);
        users.pass(100.0).await;
        let times = users.server.times("users. A");
        times[1].saturating_sub(times[0]).as_secs()
    };
    let refresh = Some(Duration::from_secs(5));
    assert_eq!(times(DnsDiscovery { refresh, ..named("users.") }, 600).await, 5);
    assert_eq!(times(DnsDiscovery { refresh, ..named("users.") }, 2).await, 2);
    let respect_ttl = Some(false);
    assert_eq!(times(DnsDiscovery { refresh, respect_ttl, ..named("users.") }, 2).await, 5);
    assert_eq!(times(DnsDiscovery { respect_ttl, ..named("users.") }, 2).await, 60);
}

#[tokio::test(start_paused = true)]
async fn docker_is_asked_every_ten_seconds_whatever_its_ttl_says() {
    let web =
        |list: &[&str]| Does::Say(list.iter().map(|it| address("tasks.web.", 600, it)).collect());
    let zone = [("tasks.web. A", web(&["10.0.0.1"]))];
    let tasks = Resolved::new(Lookup::from(Docker::swarm("web").port(8080)).dns, &zone);
    tasks.pass(100.0).await;
    let times = tasks.server.times("tasks.web. A");
    assert!((9..=11).contains(&times.len()), "{times:?}");
    for pair in times.windows(2) {
        let wait = pair[1].saturating_sub(pair[0]).as_secs_f64();
        assert!((10.0..=11.01).contains(&wait), "{times:?}");
    }
    // A container comes and another goes: the next question finds out.
    tasks.server.set("tasks.web. A", web(&["10.0.0.2"]));
    tasks.pass(11.1).await;
    assert_eq!(tasks.told.endpoints(), ["10.0.0.2:8080"]);
}

#[tokio::test(start_paused = true)]
async fn as_many_addresses_of_both_families_are_endpoints_of_two() {
    let users = Resolved::new(
        named("users.:80"),
        &zone(&["10.0.0.2", "10.0.0.1"], &["2001:db8::1", "2001:db8::2"]),
    );
    users.pass(0.1).await;
    assert_eq!(
        users.told.endpoints(),
        ["[2001:db8::1]:80+10.0.0.1:80", "[2001:db8::2]:80+10.0.0.2:80"]
    );
    // A host goes and another comes: the pair that is still there stays.
    users.server.set("users. A", a(&["10.0.0.0", "10.0.0.2"], 10));
    users.server.set("users. AAAA", a(&["2001:db8::2", "2001:db8::3"], 10));
    users.pass(12.0).await;
    assert_eq!(
        users.told.endpoints(),
        ["[2001:db8::2]:80+10.0.0.2:80", "[2001:db8::3]:80+10.0.0.0:80"]
    );
    // A pair stays, and what has lost its other is one for itself.
    users.server.set("users. A", a(&["10.0.0.2"], 10));
    users.pass(12.0).await;
    assert_eq!(users.told.endpoints(), ["[2001:db8::2]:80+10.0.0.2:80", "[2001:db8::3]:80"]);
}

#[tokio::test(start_paused = true)]
async fn the_family_decides_which_addresses_are_asked_and_used() {
    let both = zone(&["10.0.0.1"], &["2001:db8::1"]);
    let (v4, v6) = ("10.0.0.1:80", "[2001:db8::1]:80");
    for (family, expected, asked) in [
        (DnsFamily::All, "[2001:db8::1]:80+10.0.0.1:80", 2),
        (DnsFamily::Auto, v6, 2),
        (DnsFamily::V4Preferred, v4, 2),
        (DnsFamily::V4Only, v4, 1),
        (DnsFamily::V6Only, v6, 1),
    ] {
        let users =
            Resolved::new(DnsDiscovery { family: Some(family), ..named("users.:80") }, &both);
        users.pass(0.1).await;
        assert_eq!(users.told.endpoints(), [expected], "{family:?}");
        assert_eq!(users.server.asked().len(), asked, "{family:?}");
    }
    let only_v4 = zone(&["10.0.0.1"], &[]);
    let users = Resolved::new(
        DnsDiscovery { family: Some(DnsFamily::Auto), ..named("users.:80") },
        &only_v4,
    );
    users.pass(0.1).await;
    assert_eq!(users.told.endpoints(), [v4]);
}

#[tokio::test(start_paused = true)]
async fn a_logical_name_is_one_endpoint_that_keeps_its_first_address() {
    let dns = DnsDiscovery {
        kind: DnsKind::Logical,
        family: Some(DnsFamily::V4Only),
        ..named("users.:80")
    };
    let users = Resolved::new(dns, &[("users. A", a(&["10.0.0.3", "10.0.0.1"], 10))]);
    users.pass(0.1).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.3:80+10.0.0.1:80"]);
    users.server.set("users. A", a(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], 10));
    users.pass(12.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.3:80+10.0.0.1:80+10.0.0.2:80"]);
    users.server.set("users. A", a(&["10.0.0.2", "10.0.0.1"], 10));
    users.pass(12.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.2:80+10.0.0.1:80"]);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_an_endpoint_without_a_question() {
    for (name, expected) in [("10.0.0.1:81", "10.0.0.1:81"), ("dns:///[::1]", "[::1]:80")] {
        let users = Resolved::new(named(name), &[]);
        users.pass(1000.0).await;
        users.unreachable.notify_one();
        users.pass(1000.0).await;
        assert_eq!(users.told.endpoints(), [expected]);
        assert!(users.server.asked().is_empty());
        assert_eq!(users.told.rounds(), 1);
    }
}

fn searching(ndots: usize) -> Search {
    Search { domains: vec!["one.".into(), "two.".into()], ndots }
}

#[tokio::test(start_paused = true)]
async fn the_first_search_domain_that_has_records_is_asked_alone_from_then_on() {
    let two =
        |list: &[&str]| Does::Say(list.iter().map(|it| address("users.two.", 10, it)).collect());
    let zone = [("users.two. A", two(&["10.0.0.1"]))];
    let dns = DnsDiscovery { stale_limit: Some(Duration::from_secs(20)), ..named("users") };
    let users = Resolved::searching(dns, &zone, searching(1));
    users.pass(100.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(users.server.count("users.one. A"), 1);
    assert!(users.server.count("users.two. A") > 8);
    assert_eq!(users.server.count("users. A"), 0);
    // It is gone, and the name is to be found elsewhere.
    users.server.set("users.two. A", Does::Deny(Some(5)));
    users.server.set("users. A", a(&["10.0.0.2"], 10));
    users.pass(15.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(users.server.count("users. A"), 0, "not before the stale limit");
    users.pass(30.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.2:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_denial_does_not_lead_to_a_stranger_in_another_search_domain() {
    let ours = || Does::Say(vec![address("users.one.", 10, "10.0.0.1")]);
    // A wildcard of the whole company.
    let stranger = Does::Say(vec![address("users.two.", 10, "10.6.6.6")]);
    let zone = [("users.one. A", ours()), ("users.two. A", stranger)];
    let users = Resolved::searching(named("users"), &zone, searching(1));
    users.pass(1.0).await;
    users.server.set("users.one. A", Does::Deny(Some(1)));
    users.pass(60.0).await;
    users.server.set("users.one. A", Does::Fail("SERVFAIL"));
    users.pass(60.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(users.server.count("users.two. A"), 0);
    assert!(users.told.failure().is_some());
    users.server.set("users.one. A", ours());
    users.pass(60.0).await;
    assert_eq!(users.told.failure(), None);
    assert_eq!(users.told.history().len(), 1, "the same all the time");
}

#[tokio::test(start_paused = true)]
async fn both_families_are_those_of_one_name() {
    let zone = [
        ("users.one. A", Does::Say(vec![address("users.one.", 10, "10.0.0.1")])),
        ("users.two. AAAA", Does::Say(vec![address("users.two.", 10, "2001:db8::6")])),
    ];
    let users = Resolved::searching(named("users"), &zone, searching(1));
    users.pass(1.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(users.server.count("users.two. AAAA"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_question_without_an_answer_ends_the_search() {
    let zone = [
        ("users.one. A", Does::Fail("SERVFAIL")),
        ("users. A", Does::Say(vec![address("users.", 10, "10.6.6.6")])),
    ];
    let users = Resolved::searching(named("users"), &zone, searching(1));
    users.pass(10.0).await;
    assert_eq!(users.told.endpoints(), [""; 0]);
    assert_eq!(users.server.count("users. A"), 0, "it may be somebody else's");
    assert!(users.told.failure().unwrap().contains("users.one. A: SERVFAIL"));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_asked_again_when_its_denial_is_over() {
    let dns = DnsDiscovery { family: Some(DnsFamily::V4Only), ..named("users.") };
    let users = Resolved::new(dns, &[("users. A", Does::Deny(Some(20)))]);
    users.pass(0.1).await;
    assert_eq!(users.told.failure().unwrap(), "users. does not exist");
    users.pass(100.0).await;
    let times = users.server.times("users. A");
    assert!((4..=5).contains(&times.len()), "{times:?}");
    users.server.set("users. A", a(&["10.0.0.1"], 10));
    users.pass(22.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(users.told.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn one_family_that_fails_or_stalls_does_not_keep_the_other_waiting() {
    for trouble in [Does::Stall, Does::Fail("SERVFAIL")] {
        let users = Resolved::new(
            named("users.:80"),
            &[("users. A", a(&["10.0.0.1"], 30)), ("users. AAAA", trouble)],
        );
        users.pass(0.06).await;
        assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
        users.pass(10.0).await;
        assert!(users.told.failure().unwrap().contains("users. AAAA: "));
        assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
        // It is asked again on its own, and joins.
        users.server.set("users. AAAA", a(&["2001:db8::1"], 30));
        users.pass(30.0).await;
        assert_eq!(users.told.endpoints(), ["[2001:db8::1]:80+10.0.0.1:80"]);
        assert_eq!(users.told.failure(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn aliases_lead_to_addresses() {
    let answer = vec![alias("users.", 5, "host."), address("host.", 60, "10.0.0.1")];
    let users = Resolved::new(named("users.:80"), &[(&key("users.", Kind::A), Does::Say(answer))]);
    users.pass(0.1).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    users.pass(5.6).await;
    assert_eq!(users.server.count("users. A"), 2, "the alias has the smaller TTL");
}
