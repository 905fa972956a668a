//! How soon a process that knows nothing gets its first answer: gRPC C-core and the mesh in turn, of the same
//! control plane and the same server.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    bed::{bootstrap, named},
    errors::chain,
    peer::{Calls, Peer, Who},
    plane::{Kind, Plane},
};
use crate::program::free_port;

/// Rounds of which the median counts.
const ROUNDS: usize = 11;
/// No first answer may take longer. Unit: ms.
const MOST: f64 = 1000.0;

/// The time of a first call of a new client, all that it has to find out included. Unit: ms.
async fn first(who: Who, ports: &[u16], round: usize) -> f64 {
    let bootstrap = bootstrap(ports, &[]).replace("NODE", &format!("{}-{round}", who.node()));
    let began = Instant::now();
    let mut peer = Peer::start(who, &bootstrap, None).await;
    let outcomes = peer.call(&Calls::of(1)).await;
    assert_eq!(outcomes[0].who.as_deref(), Some("a"), "{who:?}: {outcomes:?}");
    // Here a client begins with its builder; C-core's with its first call, once its process is there.
    if who == Who::Ours { began.elapsed().as_secs_f64() * 1000.0 } else { outcomes[0].ms }
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
                times.entry(who).or_default().push(first(who, &ports, place).await);
            }
        }
        for (who, mut times) in times {
            times.sort_by(f64::total_cmp);
            let (least, median, most) = (times[0], times[ROUNDS / 2], times[ROUNDS - 1]);
            println!("{what}, {who:?}: {median:.1} ms (of {ROUNDS}: {least:.1} to {most:.1})");
            assert!(who != Who::Ours || median < MOST, "{what}: {times:?}");
        }
    }
}
