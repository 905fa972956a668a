//! A process that uses a part of a hundred real servers is connected to no others, to the same ones
//! when it comes back, and to one other at most when one of them leaves.
//!
//! Over sockets, in paused time: what they take is not counted, and a busy machine is no slower.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    Server, cluster, failures, fetch, get, over, patience, published, reply, small_steps, storm,
};
use http::Version;
use tower_mesh::{
    Client, Mesh, Publisher,
    config::{DeterministicSubset, RandomSubset, Subsetting},
};

const SERVERS: usize = 100;
const SIZE: u32 = 20;
/// Calls at the same time.
const WIDTH: usize = 200;
/// Calls of a process between two looks.
const CALLS: usize = 800;

async fn servers() -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        let server = Server::start(|_| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            reply("hello")
        });
        servers.push(server.await);
    }
    servers
}

/// A process that uses a part of them.
async fn process(servers: &[Server], subsetting: Subsetting) -> (Mesh, Publisher) {
    let mut members = cluster(servers.iter().map(Server::address));
    members.subsetting = Some(subsetting);
    published(Mesh::builder(), |publish| publish.cluster("users", members).unwrap()).await
}

/// Twenty, by the number of a process; nobody else's choice matters.
fn by_seed(seed: u64) -> Subsetting {
    let mut random = RandomSubset::default();
    (random.size, random.above, random.seed) = (Some(SIZE), Some(SIZE), Some(seed));
    Subsetting::Random(random)
}

/// Twenty, those of a process of five.
fn by_number(process: u32) -> Subsetting {
    let mut numbered = DeterministicSubset::default();
    (numbered.size, numbered.process, numbered.processes) = (Some(SIZE), process, 5);
    Subsetting::Deterministic(numbered)
}

/// By their places, who gets any calls of this version, and who was connected to for them.
async fn met(
    client: &Client,
    servers: &[Server],
    version: Version,
) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let counts = || -> Vec<_> {
        servers.iter().map(|server| (server.requests(), server.connections())).collect()
    };
    let before = counts();
    let call = |_| fetch(client, over(version, get("/")));
    let answers = patience(storm(WIDTH, CALLS, call)).await;
    let failed = failures(&answers);
    assert!(failed.is_empty(), "{} calls failed: {}", failed.len(), failed[0]);
    let after = counts();
    let changed = |such: fn(&(usize, usize)) -> usize| -> BTreeSet<usize> {
        let pairs = before.iter().zip(&after).enumerate();
        pairs.filter(|(_, (old, new))| such(old) < such(new)).map(|(place, _)| place).collect()
    };
    (changed(|counts| counts.0), changed(|counts| counts.1))
}

#[tokio::test(start_paused = true)]
async fn two_hundred_calls_at_once_hold_connections_to_twenty_of_a_hundred_servers() {
    small_steps();
    let servers = servers().await;
    let (mesh, publisher) = process(&servers, by_seed(7)).await;
    let client = mesh.client("users").unwrap();
    // Each call has a connection of its own.
    let (called, connected) = met(&client, &servers, Version::HTTP_11).await;
    assert_eq!(called.len(), SIZE as usize);
    assert_eq!(connected, called);
    drop((client, mesh, publisher));

    // It comes back as who it was, and there is somebody else.
    let (mesh, publisher) = process(&servers, by_seed(7)).await;
    let client = mesh.client("users").unwrap();
    assert_eq!(met(&client, &servers, Version::HTTP_2).await, (called.clone(), connected));
    let (other, _publisher) = process(&servers, by_seed(8)).await;
    let (others, _) = met(&other.client("users").unwrap(), &servers, Version::HTTP_2).await;
    assert_eq!(others.len(), SIZE as usize);
    assert_ne!(others, called);

    // One of them leaves: one other takes its place.
    let gone = *called.first().unwrap();
    publisher.remove_endpoints("users", &[servers[gone].address()]);
    servers[gone].abort();
    let (since, connected) = met(&client, &servers, Version::HTTP_2).await;
    assert_eq!(since.len(), SIZE as usize);
    assert_eq!(called.difference(&since).copied().collect::<Vec<_>>(), [gone]);
    let new: Vec<_> = since.difference(&called).copied().collect();
    assert_eq!(new.len(), 1);
    assert!(connected.contains(&new[0]) && connected.is_subset(&since), "{connected:?}");

    // One of those that are not its own leaves: nothing changes.
    let stranger = (0..SERVERS).find(|place| !called.contains(place) && *place != new[0]).unwrap();
    publisher.remove_endpoints("users", &[servers[stranger].address()]);
    assert_eq!(met(&client, &servers, Version::HTTP_2).await.0, since);
}

#[tokio::test(start_paused = true)]
async fn five_processes_by_their_numbers_share_out_a_hundred_servers() {
    small_steps();
    let servers = servers().await;
    let mut all = BTreeSet::new();
    for number in 0..5 {
        let (mesh, _publisher) = process(&servers, by_number(number)).await;
        let (called, connected) =
            met(&mesh.client("users").unwrap(), &servers, Version::HTTP_2).await;
        assert_eq!(called.len(), SIZE as usize, "process {number}");
        assert_eq!(connected, called, "process {number}");
        assert!(all.is_disjoint(&called), "process {number} uses what another one uses");
        all.extend(called);
    }
    assert_eq!(all.len(), SERVERS);
    let (mesh, _publisher) = process(&servers, by_number(3)).await;
    let (first, _) = met(&mesh.client("users").unwrap(), &servers, Version::HTTP_2).await;
    let (mesh, _publisher) = process(&servers, by_number(3)).await;
    let (second, _) = met(&mesh.client("users").unwrap(), &servers, Version::HTTP_2).await;
    assert_eq!(first, second, "it is the same part when a process comes back");
}
