//! How soon a process that knows nothing gets its first answer, and how long a call takes when all is known: all
//! clients in turn, of the same control plane and the same server.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    bed::{Bed, bootstrap, counts, named, with_port},
    errors::chain,
    peer::{Calls, Peer, Who, everybody},
    plane::{Kind, Plane},
};
use crate::program::{free_port, scale};

/// Rounds of which the median counts.
const ROUNDS: usize = 11;
/// No first answer may take longer. Unit: ms.
const MOST: f64 = 1000.0;

/// The time of a first call of a new client, all that it has to find out included. Unit: ms.
async fn first(who: Who, ports: &[u16], round: usize, port: Option<u16>) -> f64 {
    let bootstrap = bootstrap(ports, &[]).replace("NODE", &format!("{}-{round}", who.node()));
    let began = Instant::now();
    let mut peer = Peer::start(who, &bootstrap, port).await;
    let there = Instant::now();
    let outcomes = peer.call(&Calls::of(1)).await;
    let (all, call) = (began.elapsed(), there.elapsed());
    assert_eq!(outcomes[0].who.as_deref(), Some("a"), "{who:?}: {outcomes:?}");
    match who {
        // Here a client begins with its builder; Envoy with its process, which listens when it knows the way.
        Who::Ours | Who::Envoy => all.as_secs_f64() * 1000.0,
        // It refuses calls while it connects, which are made again.
        Who::GrpcJs => call.as_secs_f64() * 1000.0,
        // They begin with the first call, once the process is there.
        Who::CCore | Who::CCoreA88 | Who::GrpcGo | Who::OursBuilt | Who::TonicXds => outcomes[0].ms,
    }
}

/// The least, the one in the middle and the most of these, said of whom it is.
fn summed_up(what: &str, who: Who, mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    let count = times.len();
    println!("{what}, {who:?}: {median:.3} ms (of {count}: {least:.3} to {most:.3})");
    median
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_and_a_next_server_beside_c_core() {
    let server = named("a").await;
    let plane = Plane::start(Kind::Scripted, &chain(&server)).await;
    let gone = free_port();
    for (what, ports) in [("cold start", vec![plane.port]), ("next server", vec![gone, plane.port])]
    {
        let mut times: BTreeMap<Who, Vec<f64>> = BTreeMap::new();
        for round in 0..ROUNDS {
            for who in [Who::CCore, Who::Ours] {
                let place = round + ports.len() * ROUNDS;
                times.entry(who).or_default().push(first(who, &ports, place, None).await);
            }
        }
        for (who, times) in times {
            let median = summed_up(what, who, times);
            assert!(who != Who::Ours || median < MOST, "{what}: {median} ms");
        }
    }
}

/// All of them, Envoy included: a few rounds, for some take seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_call_of_each() {
    let server = named("a").await;
    let plane = Plane::start(Kind::Scripted, &chain(&server)).await;
    let mut times: BTreeMap<Who, Vec<f64>> = BTreeMap::new();
    for round in 0..3 * scale().min(3) as usize {
        for who in everybody() {
            let port = (who == Who::Envoy).then(free_port);
            plane.set(&with_port(port, &chain(&server)));
            times.entry(who).or_default().push(first(who, &[plane.port], round, port).await);
        }
    }
    for (who, times) in times {
        let median = summed_up("first call", who, times);
        assert!(who != Who::Ours || median < MOST, "{median} ms");
    }
}

/// One after the other, and one client after the other; through Envoy from a client of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_us_no_longer_than_thrice_that_of_c_core() {
    let server = named("a").await;
    let mut bed = Bed::start(&everybody(), &chain(&server)).await;
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let mut medians = BTreeMap::new();
    for peer in &mut bed.peers {
        // Until it is connected, and warm.
        peer.call(&Calls::of(200)).await;
        let outcomes = peer.call(&Calls::of(1000)).await;
        assert_eq!(counts(&outcomes).get("a"), Some(&1000), "{:?}", peer.who);
        let times = outcomes.iter().map(|outcome| outcome.ms).collect();
        let what = format!("a call (the mesh: {build})");
        medians.insert(peer.who, summed_up(&what, peer.who, times));
    }
    assert!(medians[&Who::Ours] <= 3.0 * medians[&Who::CCore], "{medians:?}");
}
