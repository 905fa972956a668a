//! What becomes of a resource that is known, by what happens to it and by the features of the server: for each
//! client, and what each then says.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    bed::{Bed, bootstrap, counts, named, with_port},
    errors::chain,
    peer::{Calls, Outcome, Peer, Who},
    plane::{Kind, Plane},
    resources::{cluster_with, endpoints, listener, routes, split, to},
};
use crate::{program::free_port, support::Server};

/// What is made of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Made {
    /// What was known is used.
    Keeps,
    /// Calls fail.
    Fails,
    /// The process of the client ends.
    Dies,
}

const FEATURES: [&[&str]; 3] = [&[], &["fail_on_data_errors"], &["ignore_resource_deletion"]];

// Rows, by these features.
const KEPT: [Made; 3] = [Made::Keeps; 3];
const DEAD: [Made; 3] = [Made::Dies; 3];
/// What is gone is gone, but where the server says otherwise.
const GONE: [Made; 3] = [Made::Fails, Made::Fails, Made::Keeps];
/// As gRFC A88 has it.
const A88: [Made; 3] = [Made::Keeps, Made::Fails, Made::Keeps];

// What happens; the first letters are the kind of the resource.
/// A path's expression that does not parse.
const REGEX: &str = "RDS with a wrong expression";
/// Weights that sum up to nothing.
const WEIGHTS: &str = "RDS without weight";
const CLUSTER: &str = "CDS absent";
const LISTENER: &str = "LDS absent";

/// The resources once this has happened.
fn after(event: &str, server: &Server) -> Vec<Value> {
    let mut resources = chain(server);
    match event {
        REGEX => {
            let regex =
                json!({"match": {"safeRegex": {"regex": "("}}, "route": {"cluster": "one"}});
            resources[1] = routes("r", &[regex]);
        }
        WEIGHTS => resources[1] = routes("r", &[split(&[("one", 0)])]),
        CLUSTER => drop(resources.remove(2)),
        LISTENER => drop(resources.remove(0)),
        _ => panic!("{event} is none of these"),
    }
    resources
}

/// So many calls. What grpc-js refuses is made again for as long as a call may take.
fn few(who: Who, count: usize) -> Calls {
    Calls::of(count).within(if who == Who::GrpcJs { 1 } else { 5 })
}

/// A client that knows the way to one server, and the control plane that has told it.
struct Known {
    plane: Plane,
    peer: Peer,
    /// Where Envoy listens, if it is that.
    port: Option<u16>,
    server: Server,
}

impl Known {
    async fn start(who: Who, features: &[&str]) -> Self {
        let server = named("a").await;
        let port = (who == Who::Envoy).then(free_port);
        let plane = Plane::start(Kind::Scripted, &with_port(port, &chain(&server))).await;
        let mut peer = Peer::start(who, &bootstrap(&[plane.port], features), port).await;
        let first = peer.call(&Calls::of(3)).await;
        assert_eq!(counts(&first).get("a"), Some(&3), "{who:?}, {features:?}: {first:?}");
        Self { plane, peer, port, server }
    }

    /// From now on these resources are told.
    fn told(&self, resources: &[Value]) {
        self.plane.set(&with_port(self.port, resources));
    }

    /// This happens; waits until the client has heard of it.
    async fn hears_of(&mut self, event: &str) {
        let (node, kind) = (self.peer.who.node(), &event[..3]);
        self.plane.until(event, |plane| !plane.accepted(node, kind).is_empty()).await;
        let known = self.plane.accepted(node, kind);
        self.told(&after(event, &self.server));
        for _ in 0..1000 {
            let refused = !self.plane.refusals(node, kind).is_empty();
            let accepted = self.plane.accepted(node, kind).last() != known.last();
            // One that dies of it may say neither.
            if refused || accepted || !self.peer.lives() {
                // It is now put to use.
                tokio::time::sleep(Duration::from_millis(300)).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in 10 s: {node} hears of {event}; asked: {:#?}", self.plane.lines());
    }

    /// Makes these calls. What was connected before is served for as long as Envoy drains.
    async fn call(&mut self, calls: &Calls) -> Vec<Outcome> {
        self.peer.reconnect(self.port);
        self.peer.call(calls).await
    }
}

/// One cell: what is made of it, and the first call after it.
async fn cell(who: Who, features: &[&str], event: &str) -> (Made, Outcome) {
    let mut known = Known::start(who, features).await;
    known.hears_of(event).await;
    let outcomes = known.call(&few(who, 5)).await;
    let Some(first) = outcomes.first().cloned() else {
        return (Made::Dies, Outcome::default());
    };
    let answered = counts(&outcomes).values().sum::<usize>();
    assert!([0, 5].contains(&answered), "{who:?}, {features:?}, {event}: {outcomes:?}");
    (if answered == 5 { Made::Keeps } else { Made::Fails }, first)
}

/// These rows of a client.
async fn rows(who: Who, rows: &[(&str, [Made; 3])]) {
    for (event, expected) in rows {
        let cells = FEATURES.map(|features| cell(who, features, event));
        let cells = join_all(cells).await.into_iter().zip(FEATURES);
        for (((made, first), features), expected) in cells.zip(expected) {
            println!("{who:?}, {event}, {features:?}: {made:?} {}", first.text);
            assert_eq!(made, *expected, "{who:?}, {event}, {features:?}: {first:?}");
            if made == Made::Fails {
                assert_eq!(first.code, Some(14), "{who:?}, {event}, {features:?}: {first:?}");
            }
            if made == Made::Fails && who == Who::Ours {
                let said = first.text.contains("node `ours`") && first.text.contains(&event[..3]);
                assert!(said, "{event}: {first:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_of_errors() {
    rows(Who::CCore, &[(REGEX, KEPT), (CLUSTER, GONE), (LISTENER, GONE)]).await;
    for who in [Who::CCoreA88, Who::Ours] {
        rows(who, &[(REGEX, A88), (CLUSTER, A88), (LISTENER, A88)]).await;
    }
}

/// It does not look at expressions before it uses them: a process ends of one that it has accepted.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `.ci/peers full`"]
async fn the_matrix_of_errors_of_grpc_js() {
    let all = [(REGEX, DEAD), (WEIGHTS, KEPT), (CLUSTER, GONE), (LISTENER, GONE)];
    rows(Who::GrpcJs, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn the_matrix_of_errors_of_grpc_go() {
    let all = [(REGEX, KEPT), (WEIGHTS, KEPT), (CLUSTER, GONE), (LISTENER, GONE)];
    rows(Who::GrpcGo, &all).await;
}

/// What Envoy, which knows no features of a server, makes of these.
async fn envoy(rows: &[(&str, Made)]) {
    for (event, expected) in rows {
        let (made, first) = cell(Who::Envoy, &[], event).await;
        println!("Envoy, {event}: {made:?} {}", first.text);
        assert_eq!(made, *expected, "{event}: {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_of_errors_of_envoy() {
    envoy(&[(REGEX, Made::Keeps), (CLUSTER, Made::Fails), (LISTENER, Made::Fails)]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `.ci/peers full`"]
async fn other_routes_without_weight_are_as_any_that_are_refused() {
    rows(Who::CCore, &[(WEIGHTS, KEPT)]).await;
    for who in [Who::CCoreA88, Who::Ours] {
        rows(who, &[(WEIGHTS, A88)]).await;
    }
    envoy(&[(WEIGHTS, Made::Keeps)]).await;
}

/// When calls are answered again after what was taken back, and made them fail, is told as it was.
async fn again(who: Who, features: &[&str], event: &str) -> Option<Duration> {
    let mut known = Known::start(who, features).await;
    known.hears_of(event).await;
    let one = Calls::of(1).within(1);
    let gone = known.call(&one).await;
    assert!(gone[0].code.is_some(), "{who:?}, {event}: {gone:?}");
    known.told(&chain(&known.server));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let outcomes = known.call(&one).await;
        if outcomes[0].who.as_deref() == Some("a") {
            return Some(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// grpc-js does not ask again for what the resource leads to.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "built by `.ci/peers full`"]
async fn what_was_taken_back_is_used_again_when_it_is_told_again() {
    for who in [Who::CCore, Who::GrpcJs, Who::GrpcGo, Who::Envoy, Who::Ours] {
        // Otherwise it stays in use.
        let features: &[&str] = if who == Who::Ours { &["fail_on_data_errors"] } else { &[] };
        let events = [CLUSTER, LISTENER];
        let times = join_all(events.map(|event| again(who, features, event))).await;
        println!("{who:?}, {events:?}: {times:?}");
        for (event, time) in events.into_iter().zip(times) {
            assert_eq!(time.is_some(), who != Who::GrpcJs, "{who:?}, {event}: {time:?}");
        }
    }
}

/// A valid cluster: grpc-js takes it, and computes a mean of no rates when the interval is over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `.ci/peers full`"]
async fn a_cluster_without_success_rate_minimum_hosts_ends_grpc_js() {
    let (a, b) = (named("a").await, named("b").await);
    for is_said in [true, false] {
        let mut outlier = json!({
            "interval": "0.2s",
            "baseEjectionTime": "1s",
            "enforcingSuccessRate": 100,
            "successRateRequestVolume": 100,
            "successRateStdevFactor": 1900,
        });
        if is_said {
            outlier["successRateMinimumHosts"] = json!(5);
        }
        let resources = [
            listener("greeter", "r", &[]),
            routes("r", &[to("one")]),
            cluster_with("one", json!({"outlierDetection": outlier})),
            endpoints("one", &[&a, &b]),
        ];
        let mut bed = Bed::start(&[Who::GrpcJs, Who::Envoy], &resources).await;
        let dies = |who: Who| who == Who::GrpcJs && !is_said;
        for _ in 0..10 {
            for (who, outcomes) in bed.call(Calls::of(20)).await {
                let answered = counts(&outcomes).values().sum::<usize>();
                assert!(answered == 20 || dies(who), "{who:?}, {is_said}: {outcomes:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for peer in &mut bed.peers {
            assert_eq!(peer.lives(), !dies(peer.who), "{:?}, {is_said}", peer.who);
        }
    }
}
