//! Whom a call is sent to beside itself: whom its retry would go to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use tower_mesh::{
    Body, Choice, Hedge, Mesh, MeshBuilder, Retry,
    config::{
        AvoidEndpoint, Balancer, Budget, Cluster, Endpoint, HashPolicy, Locality, Maglev, RingHash,
    },
    discover::Static,
};

use crate::support::{BoxError, Leaves, SERVICE, get, leaf::ok};

const MS: Duration = Duration::from_millis(1);

/// Whom the attempts of a call were sent to, in turn.
type Seen = Arc<Mutex<Vec<usize>>>;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

/// How endpoints answer of which those before the last of so many attempts take long.
fn late_before(
    last: usize,
    seen: Seen,
) -> impl Fn(usize, Request<Body>) -> Answer + Clone + Send + Sync + 'static {
    move |number: usize, _: Request<Body>| -> Answer {
        let turn = {
            let mut seen = seen.lock().unwrap();
            seen.push(number);
            seen.len()
        };
        Box::pin(async move {
            tokio::time::sleep(if turn < last { 1_000 * MS } else { MS }).await;
            Ok(ok(number.to_string()))
        })
    }
}

/// A retry policy whose budget is not what these tests are about.
fn rich() -> Retry {
    Retry::standard().attempts(1).budget(Budget::new(10.0))
}

/// Sends a call; whom its attempts have met.
async fn met(mesh: &Mesh, seen: &Seen, request: Request<Body>) -> Vec<usize> {
    seen.lock().unwrap().clear();
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    seen.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_hash_is_hedged_to_the_next_ones_of_its_hash() {
    for balancer in [Balancer::RingHash(RingHash::default()), Balancer::Maglev(Maglev::default())] {
        let (leaves, seen) = (Leaves::new(10), Seen::default());
        let mesh = leaves
            .mesh(late_before(4, Arc::clone(&seen)))
            .service(SERVICE, |s| {
                s.balancer(balancer)
                    .hash([HashPolicy::header("x-user")])
                    .hedge(Hedge::after(10 * MS).max_attempts(4))
                    .retry(rich())
            })
            .build()
            .unwrap();
        mesh.ready().await.unwrap();
        let mut firsts = Vec::new();
        for user in 0..20 {
            let request = || {
                let request = Request::get("/").header("x-user", user.to_string());
                request.body(Body::empty()).unwrap()
            };
            let said = mesh.client(SERVICE).unwrap().explain(&request()).unwrap();
            let Choice::Endpoint { address, then } = &said.clusters[0].pick.choice else {
                panic!("{said}");
            };
            let told: Vec<_> = std::iter::once(address).chain(then).cloned().collect();
            let met = met(&mesh, &seen, request()).await;
            let met: Vec<_> = met.iter().map(|it| Leaves::address(*it).to_string()).collect();
            assert_eq!(met, told, "{user}: {said}");
            firsts.push(met[0].clone());
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert!(firsts.len() > 3, "the hashes are those of several endpoints: {firsts:?}");
    }
}

/// Endpoints in these zones, any of which takes the first attempt of a call.
fn in_zones(zones: &[&str], avoid: &[AvoidEndpoint]) -> (MeshBuilder, Seen) {
    let (leaves, seen) = (Leaves::new(zones.len()), Seen::default());
    let mut cluster = Cluster::default();
    cluster.balancer = Some(Balancer::Random);
    cluster.endpoints = zones
        .iter()
        .enumerate()
        .map(|(number, zone)| {
            let mut endpoint = Endpoint::new(Leaves::address(number));
            endpoint.locality = Some(Box::new(Locality::new("eu", *zone)));
            endpoint
        })
        .collect();
    let builder = leaves
        .leaves(Mesh::builder(), late_before(2, Arc::clone(&seen)))
        .seed(7)
        .source(Static::default().cluster(SERVICE, cluster))
        .service(SERVICE, |s| s.hedge(Hedge::after(10 * MS)).retry(rich().avoid(avoid)));
    (builder, seen)
}

#[tokio::test(start_paused = true)]
async fn a_hedge_leaves_the_locality_of_the_first_attempt_where_that_is_asked_for() {
    let zones = ["one", "one", "one", "two"];
    for (avoid, leaves) in [(&[AvoidEndpoint::TriedLocalities][..], true), (&[], false)] {
        let (builder, seen) = in_zones(&zones, avoid);
        let mesh = builder.build().unwrap();
        mesh.ready().await.unwrap();
        let mut stayed = 0;
        for _ in 0..60 {
            let met = met(&mesh, &seen, get("/")).await;
            assert_eq!(met.len(), 2, "{met:?}");
            assert_ne!(met[0], met[1], "another endpoint");
            stayed += usize::from(zones[met[0]] == zones[met[1]]);
        }
        // Three of four begin in the large zone, and two of the three others are there, too.
        let is_expected = if leaves { stayed == 0 } else { (15..45).contains(&stayed) };
        assert!(is_expected, "{stayed} of 60 stayed in their zone, {avoid:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_stays_in_the_locality_of_the_first_attempt_where_there_is_no_other() {
    let (builder, seen) = in_zones(&["one", "one"], &[AvoidEndpoint::TriedLocalities]);
    let mesh = builder.build().unwrap();
    mesh.ready().await.unwrap();
    for _ in 0..10 {
        let mut met = met(&mesh, &seen, get("/")).await;
        met.sort_unstable();
        assert_eq!(met, [0, 1]);
    }
}
