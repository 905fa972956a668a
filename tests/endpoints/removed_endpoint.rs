//! Endpoints come and go under load: no call reaches another service's endpoint, none fails.
//! (tower's balancer sends to a stale index: tower #856.)
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use tokio::sync::Notify;
use tower_mesh::{
    Discover, Event, Mesh, Publisher, Retry,
    config::{Address, Cluster, Endpoint, Failover, Service},
};

use crate::support::{
    Leaves, Recorder, SERVICE, Server, fetch, get,
    leaf::{answer, ok},
    patience, published, reply, storm,
};

const ORDERS: &str = "orders.prod";
const USERS: &str = "users.prod";

/// Gives each of two services another subset of its own endpoints, again and again.
struct Churn {
    orders: Vec<Address>,
    users: Vec<Address>,
    every: Duration,
    rounds: usize,
}

fn subset(all: &[Address], round: usize) -> Vec<Endpoint> {
    let kept = |n: &usize| !(n + round).is_multiple_of(3);
    (0..all.len()).filter(kept).map(|n| Endpoint::new(all[n].clone())).collect()
}

impl Discover for Churn {
    fn name(&self) -> String {
        "churn".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            for round in 0..self.rounds {
                publish.endpoints(ORDERS, subset(&self.orders, round)).unwrap();
                publish.endpoints(USERS, subset(&self.users, round)).unwrap();
                publish.synced();
                tokio::time::sleep(self.every).await;
            }
            std::future::pending::<()>().await;
        })
    }
}

#[tokio::test(start_paused = true)]
async fn picks_race_with_removals() {
    let leaves = Leaves::new(12);
    let all = leaves.addresses();
    let churn = Churn {
        orders: all[..6].to_vec(),
        users: all[6..].to_vec(),
        every: Duration::from_millis(1),
        rounds: 1000,
    };
    let builder = leaves.leaves(Mesh::builder(), |number, request| async move {
        tokio::time::sleep(Duration::from_millis(number as u64 % 4)).await;
        let expected = if number < 6 { ORDERS } else { USERS };
        let met = request.headers()["x-service"].to_str().unwrap().to_owned();
        assert_eq!(met, expected, "a call of {met} reached an endpoint of {expected}");
        Ok(ok(met))
    });
    let mesh = builder.source(churn).build().unwrap();
    let (orders, users) = (mesh.client(ORDERS).unwrap(), mesh.client(USERS).unwrap());
    let answers = storm(16, 4000, |n| {
        let (client, name) = if n % 2 == 0 { (&orders, ORDERS) } else { (&users, USERS) };
        let mut request = get("/");
        request.headers_mut().insert("x-service", http::HeaderValue::from_static(name));
        fetch(client, request)
    })
    .await;
    for answer in answers {
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sockets_too() {
    let mut servers = Vec::new();
    for number in 0..8 {
        let name = if number < 4 { ORDERS } else { USERS };
        servers.push(
            Server::start(move |request| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let meant = request.headers()["x-service"].to_str().unwrap().to_owned();
                request.into_body().collect().await.unwrap();
                reply(if meant == name { "right" } else { "wrong" })
            })
            .await,
        );
    }
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let churn = Churn {
        orders: addresses[..4].to_vec(),
        users: addresses[4..].to_vec(),
        every: Duration::from_millis(2),
        rounds: 500,
    };
    let mesh = Mesh::builder().source(churn).build().unwrap();
    let (orders, users) = (mesh.client(ORDERS).unwrap(), mesh.client(USERS).unwrap());
    let answers = storm(16, 3000, |n| {
        let (client, name) = if n % 2 == 0 { (&orders, ORDERS) } else { (&users, USERS) };
        let mut request = get("/");
        request.headers_mut().insert("x-service", http::HeaderValue::from_static(name));
        async move { client.send(request).await?.into_body().text().await }
    })
    .await;
    for answer in answers {
        assert_eq!(answer.unwrap(), "right");
    }
}

/// How often each endpoint has left, as far as its mesh has said so; 0 of one that is there.
struct Left(Vec<AtomicUsize>);

impl Left {
    fn seen(&self) -> Vec<usize> {
        self.0.iter().map(|left| left.load(Ordering::SeqCst)).collect()
    }
}

/// What a call has seen of them when it began.
#[derive(Clone)]
struct Seen(Vec<usize>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_that_begins_later_meets_an_endpoint_that_has_left() {
    const ALL: usize = 12;
    let left = Arc::new(Left((0..ALL).map(|_| AtomicUsize::new(0)).collect()));
    let leaves = Leaves::new(ALL);
    let met = Arc::clone(&left);
    let builder = leaves.leaves(Mesh::builder(), move |number, request| {
        let Seen(seen) = request.extensions().get::<Seen>().unwrap().clone();
        // Whoever has come back meanwhile has another number.
        let now = met.0[number].load(Ordering::SeqCst);
        assert!(
            seen[number] == 0 || seen[number] != now,
            "{number} had left before the call began"
        );
        async { Ok(ok("here")) }
    });
    let all: Vec<Endpoint> = leaves.addresses().into_iter().map(Endpoint::new).collect();
    let first = all.clone();
    let (mesh, publisher) =
        published(builder, |publish| publish.endpoints(USERS, first).unwrap()).await;
    let client = mesh.client(USERS).unwrap();
    let is_over = Arc::<AtomicBool>::default();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (client, left, is_over) = (client.clone(), Arc::clone(&left), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut calls = 0_u32;
                while !is_over.load(Ordering::SeqCst) {
                    let mut request = get("/");
                    request.extensions_mut().insert(Seen(left.seen()));
                    assert_eq!(fetch(&client, request).await.unwrap().status(), 200);
                    calls += 1;
                    tokio::task::yield_now().await;
                }
                calls
            })
        })
        .collect();
    let mut events = mesh.events();
    for round in 0..300 {
        let stays = |n: usize| !(n + round).is_multiple_of(3);
        // Who comes back is there before its mesh knows it.
        for n in (0..ALL).filter(|n| stays(*n)) {
            left.0[n].store(0, Ordering::SeqCst);
        }
        let kept = (0..ALL).filter(|n| stays(*n)).map(|n| all[n].clone());
        publisher.endpoints(USERS, kept).unwrap();
        let mut leave = (0..ALL).filter(|n| !stays(*n)).count();
        let told = async {
            while leave > 0 {
                if let Some(Event::EndpointRemoved { .. }) = events.recv().await {
                    leave -= 1;
                }
            }
        };
        patience(told).await;
        for n in (0..ALL).filter(|n| !stays(*n)) {
            left.0[n].store(round + 1, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    is_over.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}

/// Leads a service to one cluster, then when it is told so to another, and takes the first one back,
/// and the one that takes over from it if there is one.
struct Reroute {
    now: Arc<Notify>,
    by_another: bool,
}

impl Discover for Reroute {
    fn name(&self) -> String {
        "reroute".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let lead_to = |cluster: &str, number| {
                let mut settings = Cluster::default();
                settings.endpoints = vec![Endpoint::new(Leaves::address(number))];
                if self.by_another && number == 0 {
                    publish.cluster("azure", settings.clone()).unwrap();
                    let mut failover = Failover::default();
                    failover.clusters = vec!["azure".into()];
                    (settings.failover, settings.endpoints) = (Some(failover), Vec::new());
                }
                publish.cluster(cluster, settings).unwrap();
                let mut service = Service::default();
                service.cluster = Some(cluster.into());
                publish.service(SERVICE, service).unwrap();
            };
            lead_to("blue", 0);
            publish.synced();
            self.now.notified().await;
            lead_to("green", 1);
            publish.remove_cluster("blue");
            publish.remove_cluster("azure");
            std::future::pending::<()>().await;
        })
    }
}

/// xDS leaves a cluster as soon as no route leads there.
#[tokio::test(start_paused = true)]
async fn a_call_under_way_is_not_lost_when_its_cluster_is_taken_back() {
    taken_back_under_way(false).await;
}

#[tokio::test(start_paused = true)]
async fn nor_when_that_is_which_takes_over_from_it() {
    taken_back_under_way(true).await;
}

async fn taken_back_under_way(by_another: bool) {
    let (leaves, reroute) = (Leaves::new(2), Arc::new(Notify::new()));
    let (tell, told) = (Arc::clone(&reroute), Arc::<AtomicBool>::default());
    let builder = leaves.leaves(Mesh::builder(), move |number, _| {
        let (tell, told) = (Arc::clone(&tell), Arc::clone(&told));
        async move {
            if number == 0 && !told.swap(true, Ordering::SeqCst) {
                tell.notify_one();
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Ok(answer(503));
            }
            Ok(ok(if number == 0 { "blue" } else { "green" }))
        }
    });
    let retry = Retry::standard();
    let mesh = builder
        .source(Reroute { now: reroute, by_another })
        .service(SERVICE, |it| it.retry(retry))
        .build();
    let mesh = mesh.unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client(SERVICE).unwrap();
    let first = async { client.send(get("/")).await?.into_body().text().await };
    let later = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.send(get("/")).await?.into_body().text().await
    };
    let (first, later) = tokio::join!(first, later);
    assert_eq!((first.unwrap(), later.unwrap()), ("blue".to_owned(), "green".to_owned()));
    // It was the last one: nothing of the cluster is left.
    let first = if by_another { "azure" } else { "blue" };
    let of_first =
        |it: &Event| matches!(it, Event::EndpointRemoved { cluster, .. } if &**cluster == first);
    events.until(of_first).await;
}

/// Publishes one endpoint, then another in its place.
struct Swap(Address, Address, Duration);

impl Discover for Swap {
    fn name(&self) -> String {
        "swap".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            publish.endpoints(USERS, vec![Endpoint::new(self.0)]).unwrap();
            publish.synced();
            tokio::time::sleep(self.2).await;
            publish.endpoints(USERS, vec![Endpoint::new(self.1)]).unwrap();
            std::future::pending::<()>().await;
        })
    }
}

#[tokio::test]
async fn a_call_in_flight_to_a_removed_endpoint_goes_on() {
    let old = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        reply("old")
    })
    .await;
    let new = Server::named("new").await;
    let swap = Swap(old.address(), new.address(), Duration::from_millis(100));
    let mesh = Mesh::builder().source(swap).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client(USERS).unwrap();
    let started = client.send(get("/"));
    let later = async {
        events.until(|event| matches!(event, Event::EndpointRemoved { .. })).await;
        client.send(get("/")).await.unwrap().into_body().text().await.unwrap()
    };
    let (first, second) = tokio::join!(started, later);
    assert_eq!(first.unwrap().into_body().text().await.unwrap(), "old");
    assert_eq!(second, "new");
}
