//! What is wrong, missing or away: the same for all, and what each makes of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    bed::{Bed, bootstrap, counts, failed, named},
    peer::{Calls, Outcome, Who, everybody, grpcs},
    plane::{Kind, Plane},
    resources::{cluster, cluster_with, endpoints, listener, routes, split, to},
};
use crate::{program::free_port, support::Server};

pub(crate) fn chain(server: &Server) -> Vec<Value> {
    vec![
        listener("greeter", "r", &[]),
        routes("r", &[to("one")]),
        cluster("one"),
        endpoints("one", &[server]),
    ]
}

/// What Envoy tells callers of gRPC whom no route of its own leads anywhere (404): UNIMPLEMENTED.
const NO_ROUTE: i32 = 12;

/// The text of a failure, and that it is told as one of the control plane's.
fn text(who: Who, outcome: &Outcome) -> &str {
    assert_eq!(outcome.code, Some(14), "{who:?}: {outcome:?}");
    &outcome.text
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_are_refused_from_the_start() {
    let server = named("a").await;
    let mut resources = chain(&server);
    resources[1] = routes("r", &[split(&[("one", 0)])]);
    let mut bed = Bed::start(&everybody(), &resources).await;
    for (who, outcomes) in bed.call(Calls::of(1).within(3)).await {
        let outcome = &outcomes[0];
        println!("{who:?}: {outcome:?}");
        let refusals = bed.plane.refusals(who.node(), "RDS");
        assert!(!refusals.is_empty(), "{who:?}");
        for refusal in refusals {
            assert_eq!(
                (refusal.version.as_str(), refusal.nonce.is_empty()),
                ("", false),
                "{who:?}"
            );
        }
        if who == Who::GrpcJs {
            // It leaves its callers waiting.
            assert_eq!(outcome.code, Some(4), "{outcome:?}");
            continue;
        }
        assert!(outcome.ms < 2000.0, "{who:?}: {outcome:?}");
        if who == Who::Envoy {
            // It listens, and has no routes.
            assert_eq!(outcome.code, Some(NO_ROUTE), "{outcome:?}");
            continue;
        }
        let text = text(who, outcome);
        if who == Who::Ours {
            let server = format!("server `127.0.0.1:{}`", bed.plane.port);
            let field = "clusters.weight = 0: the sum must be";
            for word in ["RDS resource `r`", field, &server, "node `ours`"] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }
    // It is told well.
    bed.plane.set(&chain(&server));
    for peer in &bed.peers {
        let node = peer.who.node();
        bed.plane.until(node, |plane| !plane.accepted(node, "RDS").is_empty()).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (who, outcomes) in bed.call(Calls::of(10)).await {
        assert_eq!(counts(&outcomes).get("a"), Some(&10), "{who:?}: {outcomes:?}");
    }
}

/// Who has heard nothing waits for it; after 15 s it is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_and_a_cluster_that_are_not_there() {
    let server = named("a").await;
    let mut resources = chain(&server);
    resources.push(listener("lost", "lost", &[]));
    resources.push(routes("lost", &[to("gone")]));
    let mut bed = Bed::start(&grpcs(), &resources).await;
    let first = bed.call(Calls::of(1)).await;
    assert!(first.values().all(|it| it[0].who.is_some()), "{first:?}");
    let began = Instant::now();
    for peer in &mut bed.peers {
        // Both are asked for at once; who calls then waits beside them.
        peer.call(&Calls::of(1).to("lost").within(1)).await;
    }
    for (who, outcomes) in bed.call(Calls::of(1).to("nobody").within(20)).await {
        let (outcome, seconds) = (&outcomes[0], outcomes[0].ms / 1000.0);
        println!("nobody, {who:?}: {outcome:?}");
        match who {
            // It leaves its callers waiting.
            Who::GrpcJs => assert_eq!(outcome.code, Some(4), "{outcome:?}"),
            // A caller waits for what is not known for `resolve_timeout` at most.
            Who::Ours => {
                assert!((4.9..9.0).contains(&seconds), "{outcome:?}");
                assert!(text(who, outcome).contains("resolve_timeout"), "{outcome:?}");
            }
            _ => {
                assert!(text(who, outcome).contains("nobody"), "{who:?}: {outcome:?}");
                assert!((14.5..19.5).contains(&seconds), "{who:?}: {outcome:?}");
            }
        }
    }
    // By now it is known that neither is there: who calls is told at once, and why.
    tokio::time::sleep(Duration::from_secs(24).saturating_sub(began.elapsed())).await;
    for (target, resource) in [("nobody", "LDS resource `nobody`"), ("lost", "CDS resource `gone`")]
    {
        for (who, outcomes) in bed.call(Calls::of(1).to(target).within(2)).await {
            let outcome = &outcomes[0];
            println!("{target}, later, {who:?}: {outcome:?}");
            if who == Who::GrpcJs && target == "nobody" {
                assert_eq!(outcome.code, Some(4), "{outcome:?}");
                continue;
            }
            let text = text(who, outcome);
            assert!(outcome.ms < 1000.0, "{who:?}: {outcome:?}");
            if who == Who::Ours {
                assert!(text.contains(resource) && text.contains("node `ours`"), "{text}");
            }
        }
    }
}

/// The same of Envoy, which is called at a port and not by a name: a route to a cluster that nobody has told it.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_told_a_route_to_a_cluster_that_is_not_there() {
    let server = named("a").await;
    let mut resources = chain(&server);
    resources[1] = routes("r", &[to("gone")]);
    let mut bed = Bed::start(&[Who::Envoy], &resources).await;
    for (who, outcomes) in bed.call(Calls::of(5).within(3)).await {
        println!("{who:?}: {:?}", outcomes[0]);
        assert_eq!(failed(&outcomes, 14), 5, "{outcomes:?}");
        assert!(outcomes.iter().all(|it| it.ms < 1000.0), "{outcomes:?}");
    }
    assert!(bed.plane.refusals("envoy", "RDS").is_empty(), "{:#?}", bed.plane.lines());
    assert_eq!(server.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_down_and_the_next_one() {
    let server = named("a").await;
    let gone = free_port();
    let mut bed = Bed {
        plane: Plane::start(Kind::Scripted, &chain(&server)).await,
        peers: vec![],
        port: None,
    };
    bed.join(&grpcs(), &bootstrap(&[gone], &[])).await;
    for (who, outcomes) in bed.call(Calls::of(1).within(3)).await {
        println!("down, {who:?}: {:?}", outcomes[0]);
        if who == Who::GrpcJs {
            // It leaves its callers waiting.
            assert_eq!(outcomes[0].code, Some(4), "{outcomes:?}");
            continue;
        }
        let text = text(who, &outcomes[0]);
        assert!(outcomes[0].ms < 2500.0, "{who:?}: {:?}", outcomes[0]);
        if who == Who::Ours {
            assert!(text.contains("node `ours`") && text.contains(&gone.to_string()), "{text}");
        }
    }
    bed.peers.clear();
    bed.join(&grpcs(), &bootstrap(&[gone, bed.plane.port], &[])).await;
    for (who, outcomes) in bed.call(Calls::of(1).within(3)).await {
        println!("the next one, {who:?}: {:?}", outcomes[0]);
        if who == Who::GrpcJs {
            // It asks the first one only.
            assert_eq!(outcomes[0].code, Some(4), "{outcomes:?}");
            assert!(bed.plane.lines().iter().all(|line| line.node != who.node()));
            continue;
        }
        assert_eq!(outcomes[0].who.as_deref(), Some("a"), "{who:?}: {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_dies_and_comes_back() {
    let (a, b) = (named("a").await, named("b").await);
    let mut bed = Bed::start(&everybody(), &chain(&a)).await;
    bed.call(Calls::of(1)).await;
    bed.plane.stop();
    for (who, outcomes) in bed.call(Calls::of(100)).await {
        assert_eq!(counts(&outcomes).get("a"), Some(&100), "{who:?}: {outcomes:?}");
    }
    bed.plane.set(&chain(&b));
    bed.plane.resume().await;
    let began = Instant::now();
    let mut done = std::collections::BTreeSet::new();
    while done.len() < bed.peers.len() {
        for (who, outcomes) in bed.call(Calls::of(5)).await {
            assert_eq!(counts(&outcomes).values().sum::<usize>(), 5, "{who:?}: {outcomes:?}");
            if outcomes[4].who.as_deref() == Some("b") && done.insert(who) {
                println!("{who:?}: after {} ms", began.elapsed().as_millis());
            }
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{done:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_without_a_slash() {
    let server = named("a").await;
    let mut resources = chain(&server);
    resources[1] =
        routes("r", &[json!({"match": {"prefix": "helloworld"}, "route": {"cluster": "one"}})]);
    let mut bed = Bed::start(&everybody(), &resources).await;
    for (who, outcomes) in bed.call(Calls::of(1).within(3)).await {
        println!("{who:?}: {:?}", outcomes[0]);
        // No route leads anywhere: nobody says so as Envoy does.
        let code = if who == Who::Envoy { NO_ROUTE } else { 14 };
        assert_eq!(failed(&outcomes, code), 1, "{who:?}: {outcomes:?}");
        let node = who.node();
        bed.plane.until(node, |plane| !plane.accepted(node, "RDS").is_empty()).await;
        let refusals = bed.plane.refusals(node, "RDS");
        assert!(refusals.is_empty(), "{who:?}: {refusals:?}");
    }
}

/// A valid cluster whose outlier detection leaves a field out, which ends a process of grpc-js.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_leaves_fields_of_outlier_detection_out() {
    let (a, b) = (named("a").await, named("b").await);
    let outlier = json!({"outlierDetection": {
        "interval": "0.2s", "baseEjectionTime": "1s", "enforcingSuccessRate": 100,
    }});
    let mut bed = Bed::start(
        &everybody(),
        &[
            listener("greeter", "r", &[]),
            routes("r", &[to("one")]),
            cluster_with("one", outlier),
            endpoints("one", &[&a, &b]),
        ],
    )
    .await;
    for _ in 0..10 {
        for (who, outcomes) in bed.call(Calls::of(20)).await {
            if who != Who::GrpcJs {
                assert_eq!(counts(&outcomes).values().sum::<usize>(), 20, "{who:?}: {outcomes:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for peer in &mut bed.peers {
        let lives = peer.lives();
        assert_eq!(lives, peer.who != Who::GrpcJs, "{:?}", peer.who);
    }
}
