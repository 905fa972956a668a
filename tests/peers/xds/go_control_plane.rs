//! go-control-plane 0.14: both protocols, both of its caches.
//!
//! `.ci/peers full` builds it.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    bed::{bootstrap, counts, named},
    peer::{Calls, Peer, Who},
    plane::{Kind, Plane},
    resources::{at, by_secret, cluster, cluster_with, listener, routes, split, to},
};

const CACHES: [Kind; 2] = [Kind::Snapshot, Kind::Linear];

fn chain(name: &'static str, server: SocketAddr) -> Vec<Value> {
    vec![
        listener("greeter", "r", &[]),
        routes("r", &[to(name)]),
        cluster(name),
        at(name, &[server]),
    ]
}

async fn start(who: Who, cache: Kind, features: &[&str], resources: &[Value]) -> (Plane, Peer) {
    let plane = Plane::start(cache, resources).await;
    let peer = Peer::start(who, &bootstrap(&[plane.port], features), None).await;
    (plane, peer)
}

/// Calls until this server answers; none may fail.
async fn until_answered(peer: &mut Peer, server: &str, what: &str) {
    let began = Instant::now();
    loop {
        let outcomes = peer.call(&Calls::of(10)).await;
        assert_eq!(counts(&outcomes).values().sum::<usize>(), 10, "{what}: {outcomes:?}");
        if outcomes[9].who.as_deref() == Some(server) {
            println!("{what}: {server} after {} ms", began.elapsed().as_millis());
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{what}: {outcomes:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Both protocols, by what the bootstrap says of the server.
const PROTOCOLS: [&[&str]; 2] = [&[], &["delta"]];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn changes_arrive_and_cost_no_call() {
    let (a, b) = (named("a").await, named("b").await);
    for cache in CACHES {
        for features in PROTOCOLS {
            let what = format!("{cache:?}, {features:?}");
            let (mut plane, mut peer) =
                start(Who::Ours, cache, features, &chain("one", a.socket())).await;
            until_answered(&mut peer, "a", &what).await;
            plane.set(&chain("one", b.socket()));
            until_answered(&mut peer, "b", &what).await;
            plane.set(&chain("two", a.socket()));
            until_answered(&mut peer, "a", &what).await;
            // It forgets what it knew, and comes back with something else.
            plane.stop();
            until_answered(&mut peer, "a", &what).await;
            plane.set(&chain("two", b.socket()));
            plane.resume().await;
            until_answered(&mut peer, "b", &what).await;
            let lines = plane.lines();
            assert!(lines.iter().all(|line| line.error.is_none()), "{what}: {lines:#?}");
            if features == ["delta"] {
                let resumed = lines.iter().any(|line| !line.initial.is_empty());
                assert!(resumed, "{what}: {lines:#?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn what_is_removed_stays_or_goes_as_the_bootstrap_says_and_comes_back() {
    let (a, b) = (named("a").await, named("b").await);
    for cache in CACHES {
        for delta in [false, true] {
            for fails in [false, true] {
                let mut features = Vec::from(if delta { &["delta"][..] } else { &[] });
                features.extend(fails.then_some("fail_on_data_errors"));
                let what = format!("{cache:?}, {features:?}");
                let (plane, mut peer) =
                    start(Who::Ours, cache, &features, &chain("one", a.socket())).await;
                until_answered(&mut peer, "a", &what).await;
                let heard = plane.lines().len();
                plane.set(&chain("one", a.socket())[..2]);
                plane.until(&what, |plane| plane.lines().len() > heard).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                let outcomes = peer.call(&Calls::of(5).within(2)).await;
                let answered = counts(&outcomes).values().sum::<usize>();
                println!("{what}: {answered} of 5 after the removal: {}", outcomes[0].text);
                assert_eq!(answered, if fails { 0 } else { 5 }, "{what}: {outcomes:?}");
                if fails {
                    assert!(
                        outcomes[0].text.contains("CDS resource `one`"),
                        "{what}: {outcomes:?}"
                    );
                }
                plane.set(&chain("one", b.socket()));
                let began = Instant::now();
                while peer.call(&Calls::of(1)).await[0].who.as_deref() != Some("b") {
                    assert!(began.elapsed() < Duration::from_secs(10), "{what}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
}

/// The versions that were refused, by the nonces of the answers that brought them.
fn refused(plane: &Plane) -> Vec<String> {
    let lines = plane.lines();
    let nonces = lines.iter().filter(|line| line.kind == "RDS" && line.error.is_some());
    let mut versions: Vec<String> = nonces
        .flat_map(|nack| {
            let such = |line: &&super::plane::Line| {
                line.sent && line.kind == "RDS" && line.nonce == nack.nonce
            };
            lines.iter().filter(such).map(|line| line.version.clone())
        })
        .collect();
    versions.dedup();
    versions
}

/// A refused version is not told as accepted, whatever is told after it.
fn no_false_ack(plane: &Plane, what: &str) {
    let refused = refused(plane);
    assert!(!refused.is_empty(), "{what}");
    for line in plane.lines() {
        let told = !line.sent && line.kind == "RDS" && refused.contains(&line.version);
        // Delta says no versions.
        assert!(!told || line.version.is_empty(), "{what}: {refused:?} {line:?}");
    }
}

async fn rounds(plane: &Plane) -> usize {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let nacks = || plane.lines().iter().filter(|line| line.error.is_some()).count();
    let before = nacks();
    tokio::time::sleep(Duration::from_secs(2)).await;
    nacks() - before
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn a_refusal_is_no_loop_and_no_acceptance() {
    let (a, b) = (named("a").await, named("b").await);
    for cache in CACHES {
        for features in PROTOCOLS {
            let what = format!("{cache:?}, {features:?}");
            let (plane, mut peer) =
                start(Who::Ours, cache, features, &chain("one", a.socket())).await;
            until_answered(&mut peer, "a", &what).await;
            let mut bad = chain("one", a.socket());
            bad[1] = routes("r", &[split(&[("one", 0)])]);
            plane.set(&bad);
            let nack = |plane: &Plane| plane.lines().iter().any(|line| line.error.is_some());
            plane.until(&what, nack).await;
            let rounds = rounds(&plane).await;
            println!("{what}: {rounds} refusals in 2 s");
            assert!(rounds <= 10, "{what}: {rounds} refusals in 2 s");
            until_answered(&mut peer, "a", &what).await;
            // Other kinds are heard meanwhile.
            bad[3] = at("one", &[b.socket()]);
            plane.set(&bad);
            until_answered(&mut peer, "b", &what).await;
            // The routes are not there at all, then they are well.
            drop(bad.remove(1));
            plane.set(&bad);
            tokio::time::sleep(Duration::from_millis(500)).await;
            until_answered(&mut peer, "b", &what).await;
            plane.set(&chain("one", a.socket()));
            until_answered(&mut peer, "a", &what).await;
            no_false_ack(&plane, &what);
        }
    }
}

/// For the table: the same of gRPC C-core, which does not wait.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn a_refusal_is_a_loop_for_c_core_and_grpc_go() {
    let a = named("a").await;
    for who in [Who::CCore, Who::GrpcGo] {
        let (plane, mut peer) = start(who, Kind::Snapshot, &[], &chain("one", a.socket())).await;
        until_answered(&mut peer, "a", "the others").await;
        let mut bad = chain("one", a.socket());
        bad[1] = routes("r", &[split(&[("one", 0)])]);
        plane.set(&bad);
        let rounds = rounds(&plane).await;
        println!("{who:?}: {rounds} refusals in 2 s");
        assert!(rounds > 100, "{who:?} waits, too: say so in docs/XDS-PEERS.md ({rounds})");
    }
}

/// Its `MuxCache` ends the stream, which all share, when it is asked for a type that none of its caches has.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn a_type_that_it_has_no_cache_for_costs_no_other_a_call_or_a_change() {
    let (a, b) = (named("a").await, named("b").await);
    for features in PROTOCOLS {
        let what = format!("{features:?}");
        let told = |server: SocketAddr| {
            let mut resources = chain("one", server);
            resources.extend([
                listener("locked", "locked", &[]),
                routes("locked", &[to("locked")]),
                cluster_with("locked", json!({"transportSocket": by_secret("roots")})),
                at("locked", &[server]),
            ]);
            resources
        };
        let (plane, mut peer) = start(Who::Ours, Kind::Linear, features, &told(a.socket())).await;
        until_answered(&mut peer, "a", &what).await;
        // Another mesh of the process, on the same stream.
        let mut other = Peer::start(Who::Ours, &bootstrap(&[plane.port], features), None).await;
        let began = Instant::now();
        let first = Calls::of(1).to("locked").within(10);
        let (refused, ()) = tokio::join!(other.call(&first), async {
            while began.elapsed() < Duration::from_secs(5) {
                until_answered(&mut peer, "a", &what).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let is_told = |text: &str| {
            let server = format!("127.0.0.1:{}", plane.port);
            ["SDS resource `roots`", "node `ours`", &server].iter().all(|it| text.contains(it))
        };
        assert_eq!(refused[0].code, Some(14), "{what}: {refused:?}");
        assert!(is_told(&refused[0].text), "{what}: {refused:?}");
        // By now it is known what ends the streams, and whoever needs it is told in the plane's words.
        let outcomes = other.call(&Calls::of(1).to("locked")).await;
        println!("{what}: {:?}", outcomes[0]);
        let text = &outcomes[0].text;
        let why = ["not asked for now", "tls.v3.Secret"];
        assert!(is_told(text) && why.iter().all(|it| text.contains(it)), "{what}: {text}");
        // What is new of all else comes as soon as ever.
        for (server, name) in [(&b, "b"), (&a, "a"), (&b, "b"), (&a, "a")] {
            plane.set(&told(server.socket()));
            let changed = Instant::now();
            until_answered(&mut peer, name, &what).await;
            assert!(changed.elapsed() < Duration::from_secs(3), "{what}: {:?}", changed.elapsed());
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        let lines = plane.lines();
        let asked = lines.iter().filter(|line| !line.sent);
        let streams: BTreeSet<u64> = asked.clone().map(|line| line.stream).collect();
        let secrets = asked.filter(|line| line.kind == "SDS").count();
        let seconds = began.elapsed().as_secs();
        println!("{what}: {} streams, {secrets} for secrets, in {seconds} s", streams.len());
        // Three that show it, and those of the pauses that are over.
        assert!((4..=7).contains(&streams.len()), "{what}: {streams:?} {lines:#?}");
        assert!((3..=6).contains(&secrets), "{what}: {lines:#?}");
    }
}
