//! Clusters of SRV records: real calls, by names of a real server whose records change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tower_mesh::{
    Client, Mesh,
    config::{Balancer, Balancing},
    discover::dns::Dns,
};

use crate::{
    callers::{in_turn, until, who},
    support::{Server, failures, fetch, get, patience, storm, zone::Zone},
};

const SRV: &str = "_http._tcp.users.test.";

/// The SRV records of servers at their own ports, all on `a.users.test.`
fn records(servers: &[&Server]) -> Vec<String> {
    servers.iter().map(|it| format!("0 1 {} a.users.test.", it.socket().port())).collect()
}

async fn set(zone: &Zone, servers: &[&Server]) {
    let records = records(servers);
    zone.set(SRV, "SRV", 1, &records.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn calls_by_srv_follow_live_changes_without_a_failed_call() {
    let servers = [Server::named("a").await, Server::named("b").await, Server::named("c").await];
    let [a, b, c] = &servers;
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    set(&zone, &[a, b]).await;
    let dns = Dns::servers([zone.address]).service("users", "dns:///_http._tcp.users.test.");
    let mesh = in_turn(Mesh::builder().source(dns));
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    until(&client, &["a", "b"]).await;
    // Somebody calls all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        async move {
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                fetch(&client, get("/")).await.map_err(|error| error.chain())?;
                calls += 1;
            }
            Ok::<_, String>(calls)
        }
    });
    for (set_of, names) in
        [(vec![b, c], vec!["b", "c"]), (vec![c], vec!["c"]), (vec![a, b, c], vec!["a", "b", "c"])]
    {
        set(&zone, &set_of).await;
        until(&client, &names).await;
    }
    stop.store(true, Ordering::Relaxed);
    let calls = load.await.unwrap().unwrap();
    assert!(calls > 50, "{calls}");
}

#[tokio::test]
async fn weights_of_srv_records_are_shares() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    let port = |server: &Server| server.socket().port();
    let records =
        [format!("0 30 {} a.users.test.", port(&a)), format!("0 10 {} a.users.test.", port(&b))];
    zone.set(SRV, "SRV", 60, &[&records[0], &records[1]]).await;
    let dns = Dns::servers([zone.address]).service("users", "dns:///_http._tcp.users.test.");
    let mesh = Mesh::builder()
        .source(dns)
        .service("users", |s| s.balancer(Balancer::Random))
        .seed(3)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let count = who(&mesh.client("users").unwrap(), 400).await;
    assert!((260..=340).contains(&count["a"]), "{count:?}");
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_connected_to_makes_its_name_be_asked_ahead_of_its_ttl() {
    let (dead, _socket) = crate::support::dead_address();
    let server = Server::named("alive").await;
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    let port = dead.to_string().rsplit_once(':').unwrap().1.to_owned();
    zone.set(SRV, "SRV", 60, &[&format!("0 1 {port} a.users.test.")]).await;
    let dns = Dns::servers([zone.address]).service("users", "dns:///_http._tcp.users.test.");
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    set(&zone, &[&server]).await;
    let start = tokio::time::Instant::now();
    patience(async {
        while fetch(&client, get("/")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(30), "the TTL is 60 s: {:?}", start.elapsed());
}

#[tokio::test]
async fn services_behind_aliases_are_found() {
    let server = Server::named("a").await;
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    set(&zone, &[&server]).await;
    zone.set("_http._tcp.one.users.test.", "CNAME", 60, &["_http._tcp.two.users.test."]).await;
    zone.set("_http._tcp.two.users.test.", "CNAME", 60, &[SRV]).await;
    let dns = Dns::servers([zone.address]).service("users", "dns:///_http._tcp.one.users.test.");
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    assert_eq!(who(&mesh.client("users").unwrap(), 5).await["a"], 5);
}

/// SRV records of servers at their own ports, each with its priority.
async fn rank(zone: &Zone, ttl: u32, servers: &[(u16, &Server)]) {
    let record = |(priority, server): &(u16, &Server)| {
        format!("{priority} 1 {} a.users.test.", server.socket().port())
    };
    let records: Vec<String> = servers.iter().map(record).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    zone.set(SRV, "SRV", ttl, &records).await;
}

/// So many calls, ten at a time, and none may fail: who answers.
async fn all(client: &Client, calls: usize) -> Vec<String> {
    let answers = patience(storm(10, calls, |_| fetch(client, get("/")))).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
    let names = answers.into_iter().map(|it| String::from_utf8(it.unwrap().into_body().to_vec()));
    let names: BTreeSet<String> = names.map(Result::unwrap).collect();
    names.into_iter().collect()
}

#[tokio::test]
async fn the_next_srv_priority_takes_over_when_the_first_is_down() {
    let (first, next) = (Server::named("first").await, Server::named("next").await);
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    rank(&zone, 60, &[(0, &first), (5, &next)]).await;
    // Nothing but the name is said: no outlier detection, no checks.
    let dns = Dns::servers([zone.address]).service("users", "dns:///_http._tcp.users.test.");
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(all(&client, 200).await, ["first"]);
    // It dies while calls come, and its records stay.
    let at = first.socket();
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { storm(10, 2_000, |_| fetch(&client, get("/"))).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.kill().await;
    assert_eq!(failures(&patience(under_way).await.unwrap()), Vec::<String>::new());
    assert_eq!(all(&client, 200).await, ["next"]);
    let described = mesh.describe().to_string();
    assert!(described.contains("priority 1: 100 % of calls, 1 of 1 healthy"), "{described}");
    // It returns.
    let _first = Server::start_at(at, |_| async { crate::support::reply("first") }).await;
    let back = async {
        while all(&client, 50).await != ["first"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Back-off is 30 s at the most.
    tokio::time::timeout(Duration::from_secs(40), back).await.expect("it does not return");
}

#[tokio::test]
async fn the_first_srv_priority_gets_all_while_one_of_its_targets_works() {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "next"] {
        servers.push(Server::named(name).await);
    }
    let zone = Zone::serve("users.test.").await;
    zone.set("a.users.test.", "A", 60, &["127.0.0.1"]).await;
    let ranked: Vec<(u16, &Server)> = [1, 1, 1, 2].into_iter().zip(&servers).collect();
    rank(&zone, 60, &ranked).await;
    let of = |balancing: Option<Balancing>| {
        let dns = Dns::servers([zone.address]).service("users", "dns:///_http._tcp.users.test.");
        let builder = Mesh::builder().source(dns);
        let builder = match balancing {
            Some(balancing) => builder.service("users", |s| s.balancing(balancing)),
            None => builder,
        };
        builder.seed(3).build().unwrap()
    };
    let mut sharing = Balancing::default();
    sharing.overprovisioning_percent = Some(140);
    let (strict, shared) = (of(None), of(Some(sharing)));
    strict.ready().await.unwrap();
    shared.ready().await.unwrap();
    let (strict, shared) = (strict.client("users").unwrap(), shared.client("users").unwrap());
    assert_eq!(all(&strict, 200).await, ["a", "b", "c"]);
    servers.remove(0).kill().await;
    servers.remove(0).kill().await;
    // Two of three are dead: calls find that out, and it is counted within a second.
    for client in [&strict, &shared] {
        all(client, 200).await;
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(all(&strict, 400).await, ["c"]);
    // A third, and 40 % in reserve: 46 % of the calls.
    assert_eq!(all(&shared, 400).await, ["c", "next"]);
}
