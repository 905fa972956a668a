//! The same resources, the same calls: routes, splits, retries, faults, endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    bed::{Bed, counts, failed, failing, named},
    peer::{Calls, Who, everybody},
    resources::{
        abort, at, cluster, cluster_with, endpoint, endpoints, listener, localities, routes, split,
        to,
    },
};
use crate::{
    load::Load,
    program::scale,
    support::{GreeterClient, HelloRequest, Server},
};

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

/// These clients of three endpoints, of which one fails every call, under these rules.
async fn with_an_outlier(clients: &[Who], rules: Value) -> (Bed, [Server; 3]) {
    let servers = [named("a").await, named("b").await, failing("bad", |_| true).await];
    let resources = [
        listener("greeter", "r", &[]),
        routes("r", &[to("one")]),
        cluster_with("one", json!({"outlierDetection": rules})),
        endpoints("one", &servers.each_ref()),
    ];
    (Bed::start(clients, &resources).await, servers)
}

/// By failure percentage, from so many calls of an interval on.
fn by_percentage(volume: u32) -> Value {
    json!({
        "interval": "0.5s", "baseEjectionTime": "60s", "maxEjectionPercent": 50,
        "failurePercentageThreshold": 50, "enforcingFailurePercentage": 100,
        "failurePercentageMinimumHosts": 3, "failurePercentageRequestVolume": volume,
        "enforcingSuccessRate": 0, "enforcingConsecutive5xx": 0, "successRateMinimumHosts": 5,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outlier_is_left_out() {
    let (mut bed, _servers) = with_an_outlier(&everybody(), by_percentage(5)).await;
    let (mut seen, began) = (BTreeMap::<Who, Vec<usize>>::new(), Instant::now());
    // Until it was found out by all: a hundred calls, of which none fails. Here a failing one that
    // is passed over is still called once in a while.
    let most = |who| if who == Who::Ours { 2 } else { 0 };
    let found = |(who, bad): (&Who, &Vec<usize>)| bad.last().is_some_and(|bad| *bad <= most(*who));
    while seen.is_empty() || !seen.iter().all(found) {
        for (who, outcomes) in bed.call(Calls::of(100)).await {
            seen.entry(who).or_default().push(failed(&outcomes, 14));
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{seen:?}");
    }
    println!("failed, of a hundred each: {seen:?}");
    for (who, bad) in seen {
        let first = bad[0];
        if who == Who::Ours {
            // Who fails is passed over from its first failures on, without any rule.
            assert!((1..=5).contains(&first), "{bad:?}");
        } else {
            assert!((4..=40).contains(&first), "{who:?}: {bad:?}");
        }
    }
}

/// One that is passed over is called too seldom to be found out from five calls of an interval on: from one on, it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_outlier_that_is_passed_over_is_ejected_by_its_percentage_too() {
    let (mut bed, _servers) = with_an_outlier(&[Who::Ours], by_percentage(1)).await;
    let ejected = |bed: &Bed| {
        let why = [("mesh.eject.reason", "failure_percentage")];
        bed.ours().metrics().total("mesh.client.ejections", &why) > 0.5
    };
    let (mut bad, began) = (Vec::new(), Instant::now());
    while !ejected(&bed) {
        let outcomes = bed.call(Calls::of(20)).await;
        bad.push(failed(&outcomes[&Who::Ours], 14));
        assert!(began.elapsed() < Duration::from_secs(20), "{bad:?}: {}", bed.ours().describe());
    }
    println!("failed, of 20 each, until it was ejected: {bad:?}");
    assert!(bad.iter().sum::<usize>() >= 1, "{bad:?}");
    // One that is only passed over is called again after a second.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let outcomes = bed.call(Calls::of(100)).await;
        assert_eq!(failed(&outcomes[&Who::Ours], 14), 0, "{}", bed.ours().describe());
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
    let (mut bed, _servers) = with_an_outlier(&everybody(), rules).await;
    let (mut seen, began) = (BTreeMap::<Who, usize>::new(), Instant::now());
    let mut rounds = 0;
    // One that is only passed over is called again after a second.
    while began.elapsed() < Duration::from_secs(4) {
        rounds += 1;
        for (who, outcomes) in bed.call(Calls::of(60)).await {
            *seen.entry(who).or_default() += failed(&outcomes, 14);
        }
    }
    println!("failed, of {} each: {seen:?}", rounds * 60);
    for (who, bad) in seen {
        match who {
            Who::Ours => assert_eq!(bad, 1),
            // Another thread ejects it there.
            Who::Envoy => assert!((1..=20).contains(&bad), "{bad}"),
            _ => assert!((rounds * 15..=rounds * 25).contains(&bad), "{who:?}: {bad}"),
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
    let client = bed.ours().client("greeter").unwrap();
    let call = move |_: usize| {
        let mut client = GreeterClient::new(client.clone());
        async move {
            let reply = client.say_hello(HelloRequest::default()).await;
            reply.map(|it| it.into_inner().message).map_err(|status| status.to_string())
        }
    };
    // Of ours, others are on their way at every moment of it.
    let changes = Box::pin(async {
        for (name, server, who) in [("one", &a, "a"), ("one", &b, "b"), ("two", &a, "a")] {
            bed.set(&chain(name, server.socket()));
            all_come_to(&mut bed, name, who).await;
        }
    });
    let (load, ()) = Load::during(2, call, changes).await;
    println!("Ours: {} calls meanwhile", load.calls());
    load.assert_none_failed(100);
    assert_eq!(load.first_words(), 2, "{:?}", load.answers);
}

/// Until the calls of all, made one after the other, come to this server; of ours, none fails.
async fn all_come_to(bed: &mut Bed, name: &str, who: &str) {
    let mut done = BTreeSet::new();
    let began = Instant::now();
    while done.len() < bed.peers.len() {
        for (peer, outcomes) in bed.call(Calls::of(20)).await {
            let answered = counts(&outcomes).values().sum::<usize>();
            if peer == Who::Ours {
                assert_eq!(answered, 20, "{outcomes:?}");
            } else if answered < 20 {
                println!("{peer:?}: {} of 20 fail", 20 - answered);
            }
            if outcomes[19].who.as_deref() == Some(who) && done.insert(peer) {
                println!("{peer:?}: {name} at {who} after {} ms", began.elapsed().as_millis());
            }
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{done:?}");
    }
}
