//! Failures and empty answers: the last good one, for as long as it may be kept.

use std::time::Duration;

use super::{
    super::{
        answer::{
            Kind,
            records::{address, service},
        },
        machine::{Inherited, Machine, Plan},
    },
    fake::{Does, Resolved, named},
};
use crate::{
    config::{DnsDiscovery, DnsFamily, DnsKind},
    core::Instant,
};

const STALE: Duration = Duration::from_secs(100);

fn settings() -> DnsDiscovery {
    DnsDiscovery {
        family: Some(DnsFamily::V4Only),
        stale_limit: Some(STALE),
        jitter: Some(Duration::ZERO),
        ..named("users.:80")
    }
}

fn one(ttl: u32) -> Does {
    Does::Say(vec![address("users.", ttl, "10.0.0.1")])
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_the_last_good_answer_is_kept_for_the_stale_limit_after_its_ttl() {
    let lie = Does::Say(vec![address("bank.", 10, "10.6.6.6")]);
    let blocked = Does::Say(vec![address("users.", 10, "0.0.0.0")]);
    for trouble in
        [Does::Deny(Some(5)), Does::Deny(None), Does::Fail("SERVFAIL"), Does::Stall, lie, blocked]
    {
        let users = Resolved::new(settings(), &[("users. A", one(10))]);
        users.pass(1.0).await;
        users.server.set("users. A", trouble);
        users.pass(107.0).await;
        assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
        assert!(users.told.failure().is_some());
        users.pass(8.0).await;
        let gone = users.told.gone().unwrap();
        // A question that is under way then is awaited.
        assert!((110.0..115.1).contains(&gone), "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_good_again_begins_the_limit_anew() {
    let users = Resolved::new(settings(), &[("users. A", one(10))]);
    users.pass(1.0).await;
    for _ in 0..5 {
        users.server.set("users. A", Does::Fail("SERVFAIL"));
        users.pass(80.0).await;
        users.server.set("users. A", one(10));
        users.pass(70.0).await;
        assert_eq!(users.told.failure(), None);
    }
    assert_eq!(users.told.gone(), None);
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_followed_by_failures_is_still_one_that_is_not_believed() {
    let users = Resolved::new(settings(), &[("users. A", one(10))]);
    users.pass(1.0).await;
    users.server.set("users. A", Does::Deny(Some(5)));
    users.pass(30.0).await;
    users.server.set("users. A", Does::Fail("SERVFAIL"));
    users.pass(78.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    users.pass(2.0).await;
    assert!(users.told.gone().is_some());
}

#[tokio::test(start_paused = true)]
async fn fewer_endpoints_are_believed_and_none_is_not() {
    let both = vec![address("users.", 10, "10.0.0.1"), address("users.", 10, "10.0.0.2")];
    let users = Resolved::new(settings(), &[("users. A", Does::Say(both))]);
    users.pass(1.0).await;
    assert_eq!(users.told.endpoints().len(), 2);
    users.server.set("users. A", one(10));
    users.pass(10.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    users.server.set("users. A", Does::Say(Vec::new()));
    users.pass(10.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(users.told.failure().unwrap(), "users. has no address");
}

#[tokio::test(start_paused = true)]
async fn a_family_that_fails_keeps_its_addresses_while_the_other_changes() {
    let settings = DnsDiscovery { family: Some(DnsFamily::All), ..settings() };
    let v6 = |ip: &str| Does::Say(vec![address("users.", 10, ip)]);
    let users =
        Resolved::new(settings, &[("users. A", one(10)), ("users. AAAA", v6("2001:db8::1"))]);
    users.pass(1.0).await;
    users.server.set("users. A", Does::Fail("SERVFAIL"));
    users.server.set("users. AAAA", v6("2001:db8::2"));
    users.pass(12.0).await;
    assert_eq!(users.told.endpoints(), ["[2001:db8::2]:80+10.0.0.1:80"]);
    users.pass(110.0).await;
    assert_eq!(users.told.endpoints(), ["[2001:db8::2]:80"], "its limit is over");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_keeps_its_addresses_and_one_that_is_gone_does_not() {
    let name = "_http._tcp.users.";
    let settings =
        DnsDiscovery { kind: DnsKind::Srv, name: format!("dns:///{name}"), ..settings() };
    let both = vec![service(name, 10, "0 1 80 a."), service(name, 10, "0 1 80 b.")];
    let host = |name: &str, ip: &str| Does::Say(vec![address(name, 10, ip)]);
    let users = Resolved::new(
        settings,
        &[
            ("_http._tcp.users. SRV", Does::Say(both)),
            ("a. A", host("a.", "10.0.0.1")),
            ("b. A", host("b.", "10.0.0.2")),
        ],
    );
    users.pass(1.0).await;
    users.server.set("a. A", Does::Fail("SERVFAIL"));
    users.server.set("b. A", Does::Deny(Some(5)));
    users.pass(20.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"]);
    users.server.set("_http._tcp.users. SRV", Does::Deny(Some(5)));
    users.pass(20.0).await;
    assert_eq!(users.told.endpoints(), ["10.0.0.1:80"], "the service has gone, and is kept");
}

#[tokio::test(start_paused = true)]
async fn failures_are_asked_again_after_a_wait_that_doubles() {
    let settings = DnsDiscovery {
        failure_refresh: Some(Duration::from_secs(2)),
        failure_refresh_max: Some(Duration::from_secs(10)),
        ..settings()
    };
    let users = Resolved::new(settings, &[("users. A", Does::Fail("SERVFAIL"))]);
    users.pass(40.0).await;
    let times: Vec<u64> = users.server.times("users. A").iter().map(Duration::as_secs).collect();
    assert_eq!(times, [0, 2, 6, 14, 24, 34]);
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_earlier_settings_are_kept_through_failures_and_replaced_by_any_answer() {
    let now = Instant::now();
    let plan = || Plan {
        names: vec!["users.".into()],
        kind: DnsKind::Strict,
        family: DnsFamily::V4Only,
        port: 80,
    };
    use super::super::answer::{Answer, Question};
    let question = || Question { name: "users.".into(), kind: Kind::A };
    let there = Inherited { until: now + STALE, of_others: true };
    let inherited = || Machine::new(plan(), &settings(), Some(there));
    let mut machine = inherited();
    machine.begin(now, 0.0, false);
    machine.answered(question(), Answer::Failed("SERVFAIL".into()), now);
    let outcome = machine.finish(now);
    assert!(outcome.endpoints.is_none() && outcome.failure.is_some());
    machine.begin(now + STALE, 0.0, false);
    machine.answered(question(), Answer::Failed("SERVFAIL".into()), now + STALE);
    assert_eq!(machine.finish(now + STALE).endpoints, Some(Vec::new()));
    let mut machine = inherited();
    machine.begin(now, 0.0, false);
    machine.answered(question(), Answer::Nothing { exists: false, ttl: Some(5) }, now);
    assert_eq!(machine.finish(now).endpoints, Some(Vec::new()));
}
