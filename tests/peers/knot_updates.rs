//! Endpoints by DNS while the zone is updated, emptied, and its server stops.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::time::Instant;
use tower_mesh::{
    Client, Mesh,
    config::Balancer,
    discover::dns::{Dns, Lookup},
};

use crate::{
    knot::{Knot, Unbound},
    load::Load,
    program::scale,
    support::{Server, fetch, get},
    tally::Tally,
};

const NAME: &str = "_http._tcp.users.test.";
const HOST: &str = "a.users.test.";

async fn servers() -> Vec<Server> {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        servers.push(Server::named(name).await);
    }
    servers
}

fn records(servers: &[&Server]) -> Vec<String> {
    servers.iter().map(|it| format!("0 1 {} {HOST}", it.socket().port())).collect()
}

/// A mesh whose `users` this server knows, each endpoint in its turn.
async fn mesh(server: SocketAddr, lookup: Lookup) -> (Mesh, Client) {
    let mesh = Mesh::builder()
        .source(Dns::servers([server]).service("users", lookup))
        .service("users", |s| s.balancer(Balancer::RoundRobin))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

async fn call(client: Client) -> Result<String, String> {
    let answer = fetch(&client, get("/")).await.map_err(|error| error.chain())?;
    Ok(String::from_utf8_lossy(answer.body()).into_owned())
}

/// Waits until these endpoints, by port, and no others are there; how long that took.
async fn until(mesh: &Mesh, servers: &[&Server]) -> Duration {
    let wanted: BTreeSet<String> = servers.iter().map(|it| it.socket().to_string()).collect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let description = mesh.describe();
        let endpoints = &description.services[0].routes[0].clusters[0].endpoints;
        let word = |line: &String| line.split(' ').next().unwrap().to_owned();
        if endpoints.iter().map(word).collect::<BTreeSet<_>>() == wanted {
            return start.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} are not there: {}", wanted.len(), mesh.describe());
}

/// The zone changes again and again under load.
async fn updates(knot: &Knot, server: SocketAddr, ttl: u32, bound: f64, name: &str) {
    let servers = servers().await;
    let [a, b, c, d] = &servers[..] else { unreachable!() };
    knot.set(HOST, "A", 60, &["127.0.0.1".to_owned()]);
    knot.set(NAME, "SRV", ttl, &records(&[a, b]));
    let (mesh, client) = mesh(server, Lookup::new(format!("dns:///{NAME}"))).await;
    let tally = Tally::of(&mesh);
    let change = async {
        let mut times = Vec::new();
        for _ in 0..scale() {
            for set in [vec![b, c], vec![c, d], vec![d], vec![a, b, c, d], vec![a], vec![a, b]] {
                knot.set(NAME, "SRV", ttl, &records(&set));
                times.push(until(&mesh, &set).await);
            }
        }
        times.sort();
        times
    };
    let make = move |_| call(client.clone());
    let (load, times) = Load::during(8, make, change).await;
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{name}, SRV with a TTL of {ttl} s, {} updates: seen within {} ms; {} calls, {} failed, by {} servers; {}",
        times.len(),
        longest.as_millis(),
        load.calls(),
        load.failures.len(),
        load.first_words(),
        tally.line()
    );
    load.assert_none_failed(1000);
    assert_eq!(load.first_words(), 4);
    // One of them may meet a machine that stands still.
    assert!(median < Duration::from_secs_f64(bound), "{times:?}");
    assert!(longest < Duration::from_secs(12), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_updates_of_knot_are_followed_without_a_failed_call() {
    let knot = Knot::start().await;
    // A tenth is added to the TTL, and a busy machine takes its time.
    updates(&knot, knot.address(), 1, 1.1 + 1.5, "knot").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_behind_the_cache_of_unbound() {
    let knot = Knot::start().await;
    let unbound = Unbound::start(&knot).await;
    // The cache has its TTL, too, of which it tells what is left: at least a second to us.
    updates(&knot, unbound.address(), 2, 2.0 * 2.2 + 1.5, "unbound before knot").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_is_emptied_and_a_server_that_stops_cost_no_call() {
    let mut knot = Knot::start().await;
    let servers = servers().await;
    let [a, b, ..] = &servers[..] else { unreachable!() };
    knot.set(HOST, "A", 1, &["127.0.0.1".to_owned()]);
    knot.set(NAME, "SRV", 1, &records(&[a, b]));
    let address = knot.address();
    let (mesh, client) = mesh(address, Lookup::new(format!("dns:///{NAME}"))).await;
    let pause = Duration::from_secs(3) * scale();
    let troubles = async {
        knot.set(NAME, "SRV", 1, &[]);
        tokio::time::sleep(pause).await;
        assert!(mesh.ready().await.is_err(), "that nothing is there is reported");
        knot.set(NAME, "SRV", 1, &records(&[a]));
        until(&mesh, &[a]).await;
        mesh.ready().await.unwrap();
        knot.stop().await;
        let stopped = Instant::now();
        while mesh.ready().await.is_ok() {
            assert!(stopped.elapsed() < Duration::from_secs(15), "that nobody answers is reported");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(pause).await;
        knot.start_again().await;
        knot.set(NAME, "SRV", 1, &records(&[a, b]));
        // The back-off is at most a minute, and a few seconds after so short a time.
        until(&mesh, &[a, b]).await
    };
    let make = move |_| call(client.clone());
    let (load, back) = Load::during(8, make, troubles).await;
    println!(
        "knot, a zone emptied for {pause:?} and a server gone for longer: {} calls, {} failed; found again after {} ms",
        load.calls(),
        load.failures.len(),
        back.as_millis()
    );
    load.assert_none_failed(1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_addresses_come_over_tcp_from_both() {
    let knot = Knot::start().await;
    let unbound = Unbound::start(&knot).await;
    let addresses: Vec<String> =
        (0..500).map(|n| format!("127.1.{}.{}", n / 250, n % 250 + 1)).collect();
    knot.set("many.users.test.", "A", 60, &addresses);
    for server in [knot.address(), unbound.address()] {
        let (mesh, _client) = mesh(server, Lookup::new("dns:///many.users.test.:80")).await;
        let description = mesh.describe();
        assert_eq!(description.services[0].routes[0].clusters[0].endpoints.len(), 500);
    }
}
