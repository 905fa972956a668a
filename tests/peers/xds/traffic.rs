//! The same resources, the same calls: routes, splits, retries, faults, endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    bed::{Bed, counts, failed, failing, named},
    peer::{Calls, Who, everybody},
    resources::{
        abort, at, cluster, cluster_with, endpoint, endpoints, listener, localities, routes, split,
        to,
    },
};
use crate::program::scale;

/// This client saw these calls be answered by one and the other server, and by no third.
fn between(what: &str, seen: usize, least: usize, most: usize) {
    assert!((least..=most).contains(&seen), "{what}: {seen}, not {least} to {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_a_route_by_header() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let header = json!({
        "match": {"prefix": "", "headers": [{"name": "x-canary", "stringMatch": {"exact": "yes"}}]},
        "route": {"cluster": "green"},
    });
    let mut bed = Bed::start(
        &everybody(),
        &[
            listener("greeter", "r", &[]),
            routes("r", &[header, split(&[("blue", 75), ("green", 25)])]),
            cluster("blue"),
            cluster("green"),
            endpoints("blue", &[&a, &b]),
            endpoints("green", &[&c]),
        ],
    )
    .await;
    let calls = 400 * scale() as usize;
    for (who, outcomes) in bed.call(Calls::of(calls)).await {
        let counts = counts(&outcomes);
        println!("{who:?}: {counts:?}, first {:.0} ms", outcomes[0].ms);
        assert_eq!(counts.values().sum::<usize>(), calls, "{who:?}: {outcomes:?}");
        for (name, expected) in [("a", 0.375), ("b", 0.375), ("c", 0.25)] {
            let share = counts[name] as f64 / calls as f64;
            assert!((share - expected).abs() < 0.09, "{who:?}: {counts:?}");
        }
    }
    for (who, outcomes) in bed.call(Calls::of(20).header("x-canary", "yes")).await {
        assert_eq!(counts(&outcomes).get("c"), Some(&20), "{who:?}: {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries() {
    let server = failing("a", |number| number % 3 == 2).await;
    let chain = |route| {
        [
            listener("greeter", "r", &[]),
            routes("r", &[route]),
            cluster("one"),
            endpoints("one", &[&server]),
        ]
    };
    let mut bed = Bed::start(&everybody(), &chain(to("one"))).await;
    for (who, outcomes) in bed.call(Calls::of(60)).await {
        assert_eq!((counts(&outcomes).get("a"), failed(&outcomes, 14)), (Some(&40), 20), "{who:?}");
    }
    let mut route = to("one");
    route["route"]["retryPolicy"] = json!({
        "retryOn": "unavailable", "numRetries": 2,
        "retryBackOff": {"baseInterval": "0.010s", "maxInterval": "0.020s"},
    });
    bed.change("RDS", &chain(route)).await;
    for (who, outcomes) in bed.call(Calls::of(60)).await {
        assert_eq!(counts(&outcomes).get("a"), Some(&60), "{who:?}: {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_shared_out() {
    let server = named("a").await;
    let mut bed = Bed::start(
        &everybody(),
        &[
            listener("greeter", "r", &[abort(50)]),
            routes("r", &[to("one")]),
            cluster("one"),
            endpoints("one", &[&server]),
        ],
    )
    .await;
    for (who, outcomes) in bed.call(Calls::of(200)).await {
        let aborted = failed(&outcomes, 14);
        let text = outcomes.iter().find(|it| it.code.is_some()).map(|it| it.text.clone());
        println!("{who:?}: {aborted} of 200 are aborted: {text:?}");
        between(&format!("{who:?}"), aborted, 70, 130);
        assert_eq!(counts(&outcomes)["a"], 200 - aborted, "{who:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_takes_a_header_to_the_same_endpoint() {
    let servers = [named("a").await, named("b").await, named("c").await, named("d").await];
    let mut route = to("ring");
    route["route"]["hashPolicy"] = json!([{"header": {"headerName": "x-user"}}]);
    let ring = json!({"lbPolicy": "RING_HASH", "ringHashLbConfig": {"minimumRingSize": "1024"}});
    let mut bed = Bed::start(
        &everybody(),
        &[
            listener("greeter", "r", &[]),
            routes("r", &[route]),
            cluster_with("ring", ring),
            endpoints("ring", &servers.each_ref()),
        ],
    )
    .await;
    // A ring connects to an endpoint when a call is sent there first.
    bed.call(Calls::of(100).header("x-user", "user-{n}")).await;
    let outcomes = bed.call(Calls::of(100).header("x-user", "user-{n}")).await;
    let of = |who| outcomes[&who].iter().map(|it| it.who.clone()).collect::<Vec<_>>();
    let theirs = of(Who::CCore);
    assert_eq!(counts(&outcomes[&Who::CCore]).len(), 4, "{theirs:?}");
    for who in outcomes.keys() {
        assert_eq!(of(*who), theirs, "{who:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_and_endpoints_that_drain() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let first = |health| {
        localities(
            "one",
            &[
                (0, vec![endpoint(a.socket(), health)]),
                (1, vec![endpoint(b.socket(), "HEALTHY"), endpoint(c.socket(), "DRAINING")]),
            ],
        )
    };
    let chain = |health| {
        [listener("greeter", "r", &[]), routes("r", &[to("one")]), cluster("one"), first(health)]
    };
    let mut bed = Bed::start(&everybody(), &chain("UNHEALTHY")).await;
    for (who, outcomes) in bed.call(Calls::of(60)).await {
        assert_eq!(counts(&outcomes).get("b"), Some(&60), "{who:?}: {outcomes:?}");
    }
    bed.change("EDS", &chain("HEALTHY")).await;
    for (who, outcomes) in bed.call(Calls::of(60)).await {
        assert_eq!(counts(&outcomes).get("a"), Some(&60), "{who:?}: {outcomes:?}");
    }
    assert_eq!(c.requests(), 0);
}

/// One of three fails every call: how many calls of each client failed, and how many it made.
async fn outlier(rules: Value, time: Duration) -> BTreeMap<Who, (usize, usize)> {
    let (a, b, bad) = (named("a").await, named("b").await, failing("bad", |_| true).await);
    let mut bed = Bed::start(
        &everybody(),
        &[
            listener("greeter", "r", &[]),
            routes("r", &[to("one")]),
            cluster_with("one", json!({"outlierDetection": rules})),
            endpoints("one", &[&a, &b, &bad]),
        ],
    )
    .await;
    let began = Instant::now();
    let mut all = BTreeMap::<Who, (usize, usize)>::new();
    while began.elapsed() < time {
        for (who, outcomes) in bed.call(Calls::of(100)).await {
            let seen = all.entry(who).or_default();
            seen.0 += failed(&outcomes, 14);
            seen.1 += outcomes.len();
        }
    }
    println!("failed, of: {all:?}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outlier_is_left_out() {
    let rules = json!({
        "interval": "0.5s", "baseEjectionTime": "1s", "maxEjectionTime": "30s",
        "maxEjectionPercent": 50,
        "failurePercentageThreshold": 50, "enforcingFailurePercentage": 100,
        "failurePercentageMinimumHosts": 3, "failurePercentageRequestVolume": 10,
        "enforcingSuccessRate": 0, "enforcingConsecutive5xx": 0, "successRateMinimumHosts": 5,
    });
    for (who, (bad, all)) in outlier(rules, Duration::from_secs(4)).await {
        let share = bad as f64 / all as f64;
        // Here who fails is passed over from its first failures on, without any rule.
        let most = if who == Who::Ours { 0.02 } else { 0.27 };
        assert!(bad > 0 && share < most, "{who:?}: {bad} of {all}");
    }
}

/// Failures in a row: Envoy's rule, which gRPC has not (gRFC A50).
#[tokio::test(flavor = "multi_thread")]
async fn an_outlier_by_failures_in_a_row() {
    let rules = json!({
        "interval": "0.5s", "baseEjectionTime": "60s", "maxEjectionPercent": 50,
        "consecutive5xx": 1, "enforcingConsecutive5xx": 100,
        "enforcingSuccessRate": 0, "enforcingFailurePercentage": 0, "successRateMinimumHosts": 5,
    });
    for (who, (bad, all)) in outlier(rules, Duration::from_secs(4)).await {
        if matches!(who, Who::Ours | Who::Envoy) {
            assert_eq!(bad, 1, "{who:?}: of {all}");
        } else {
            let share = bad as f64 / all as f64;
            assert!((0.2..0.45).contains(&share), "{who:?}: {bad} of {all}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_endpoints_and_another_cluster_cost_no_call() {
    let (a, b) = (named("a").await, named("b").await);
    let chain = |name: &'static str, server: std::net::SocketAddr| {
        [
            listener("greeter", "r", &[]),
            routes("r", &[to(name)]),
            cluster(name),
            at(name, &[server]),
        ]
    };
    let mut bed = Bed::start(&everybody(), &chain("one", a.socket())).await;
    for (name, server, who) in [("one", &a, "a"), ("one", &b, "b"), ("two", &a, "a")] {
        bed.set(&chain(name, server.socket()));
        let mut done = BTreeSet::new();
        let began = Instant::now();
        while done.len() < bed.peers.len() {
            for (peer, outcomes) in bed.call(Calls::of(20)).await {
                assert_eq!(counts(&outcomes).values().sum::<usize>(), 20, "{peer:?}: {outcomes:?}");
                if outcomes[19].who.as_deref() == Some(who) && done.insert(peer) {
                    println!("{peer:?}: {name} at {who} after {} ms", began.elapsed().as_millis());
                }
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{done:?}");
        }
    }
}
