//! Control planes that die, come back empty or stale, flap, disagree, and meshes that ask for much at once
//! and give up much at once: with calls under way, none of which fails. Over real streams and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinHandle};
use tower_mesh::{
    Client, ErrorKind, Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::support::{Server, fetch, get};

const ALL: [&str; 4] = [LDS, RDS, CDS, EDS];
const MODES: [bool; 2] = [false, true];

/// Much is asked for and told here, on machines that do other things, too.
async fn patience<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("hung for 60 s")
}

fn bootstrap(planes: &[&AdsServer], node: &str, delta: bool) -> Bootstrap {
    let mut bootstrap = Bootstrap::builder().node_id(node);
    for plane in planes {
        bootstrap = bootstrap.server(Plane::insecure(plane.uri()).delta(delta));
    }
    bootstrap.build().unwrap()
}

fn mesh(planes: &[&AdsServer], node: &str, delta: bool) -> Mesh {
    Mesh::builder().source(Xds::new(bootstrap(planes, node, delta))).build().unwrap()
}

async fn body(client: &Client) -> Result<String, tower_mesh::Error> {
    let response = patience(fetch(client, get("/"))).await?;
    Ok(String::from_utf8_lossy(response.body().as_ref()).into_owned())
}

async fn until_it_answers(client: &Client, wanted: &str) {
    patience(async {
        while body(client).await.unwrap() != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// The names of a service's chain, each of its type.
fn chain(name: &str) -> [String; 4] {
    let of = |what: &str| format!("{name}-{what}");
    [name.to_owned(), of("routes"), of("cluster"), of("cluster")]
}

/// What all streams together ask for of a type.
fn asked(plane: &AdsServer, kind: &str) -> BTreeSet<String> {
    plane.subscriptions(kind).into_iter().flatten().collect()
}

/// Whether one stream asks for the chains of these names and for nothing else.
fn asks_for(plane: &AdsServer, names: &[&str]) -> bool {
    plane.streams() == 1
        && ALL.iter().enumerate().all(|(at, kind)| {
            asked(plane, kind) == names.iter().map(|name| chain(name)[at].clone()).collect()
        })
}

/// Whether one stream asks for the listener and the routes of `users`, for these clusters with their
/// endpoints, and for nothing else but what may linger.
fn asks_for_chain_to(plane: &AdsServer, clusters: &[&str], lingering: &[&str]) -> bool {
    let is = |kind, name: &str| asked(plane, kind) == BTreeSet::from([name.to_owned()]);
    let leads = |kind| {
        let asked = asked(plane, kind);
        clusters.iter().all(|name| asked.contains(*name))
            && asked
                .iter()
                .all(|name| clusters.contains(&name.as_str()) || lingering.contains(&name.as_str()))
    };
    plane.streams() == 1
        && is(LDS, "users")
        && is(RDS, "users-routes")
        && [CDS, EDS].into_iter().all(leads)
}

/// Calls without end, one after the other in several places.
struct Calls {
    over: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Calls {
    fn to(client: &Client) -> Self {
        let (over, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let task = |_| {
            let (client, over, made) = (client.clone(), Arc::clone(&over), Arc::clone(&made));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    if let Err(error) = fetch(&client, get("/")).await {
                        failed.push(error.to_string());
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                failed
            })
        };
        let tasks = (0..4).map(task).collect();
        Self { over, made, tasks }
    }

    /// Goes on for at least so many more.
    async fn more(&self, count: usize) {
        let until = self.made.load(Ordering::Relaxed) + count;
        patience(async {
            while self.made.load(Ordering::Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// None has failed.
    async fn end(self) {
        self.more(20).await;
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            assert_eq!(task.await.unwrap(), Vec::<String>::new());
        }
    }
}

/// What there was before, to be there again.
struct Tasks(usize);

impl Tasks {
    fn now() -> Self {
        Self(Handle::current().metrics().num_alive_tasks())
    }

    /// Nothing is left of a mesh that has ended: no stream, connection or task.
    async fn are_back(&self, planes: &[&AdsServer]) {
        for plane in planes {
            patience(plane.until(|plane| plane.streams() == 0 && plane.connections() == 0)).await;
        }
        let left = || Handle::current().metrics().num_alive_tasks();
        let back = tokio::time::timeout(Duration::from_secs(10), async {
            while left() > self.0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(back.await.is_ok(), "{} tasks, and {} before", left(), self.0);
    }
}

#[tokio::test]
async fn one_that_is_killed_and_started_again_loses_no_call() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        plane.set(Resource::chain("users", [a.socket()]));
        let mesh = mesh(&[&plane], "killed", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        let calls = Calls::to(&client);
        for end in ["stop", "drop", "cut"] {
            match end {
                "stop" => plane.stop(),
                "drop" => plane.drop_connections(),
                _ => plane.cut(14, "shutting down"),
            }
            calls.more(50).await;
            if end == "stop" {
                plane.resume().await.unwrap();
            }
            plane.set([Resource::endpoints("users-cluster", [a.socket()])]);
            patience(plane.until(|plane| asks_for(plane, &["users"]))).await;
            calls.more(50).await;
        }
        plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
        until_it_answers(&client, "b").await;
        calls.end().await;
        drop((mesh, client));
        drop((a, b));
        tasks.are_back(&[&plane]).await;
    }
}

#[tokio::test]
async fn one_that_comes_back_empty_takes_nothing_away() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        let empty = plane.snapshot();
        plane.set(Resource::chain("users", [a.socket()]));
        let mesh = mesh(&[&plane], "emptied", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        let calls = Calls::to(&client);
        plane.stop();
        plane.restore(empty);
        plane.resume().await.unwrap();
        patience(plane.until(|plane| asks_for(plane, &["users"]))).await;
        calls.more(200).await;
        plane.set(Resource::chain("users", [b.socket()]));
        until_it_answers(&client, "b").await;
        patience(plane.until(|plane| asks_for(plane, &["users"]))).await;
        calls.end().await;
        drop((mesh, client));
        drop((a, b));
        tasks.are_back(&[&plane]).await;
    }
}

#[tokio::test]
async fn one_that_comes_back_stale_is_followed_and_loses_no_call() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        plane.set(Resource::chain("users", [a.socket()]));
        let stale = plane.snapshot();
        let mesh = mesh(&[&plane], "stale", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        let calls = Calls::to(&client);
        // Another cluster, which the stale one has never heard of.
        plane.set([
            Resource::endpoints("green", [b.socket()]),
            Resource::cluster("green"),
            Resource::routes("users-routes", [("*", "green")]),
        ]);
        until_it_answers(&client, "b").await;
        plane.stop();
        plane.restore(stale);
        plane.resume().await.unwrap();
        until_it_answers(&client, "a").await;
        // What it has never heard of may linger, and is all that is asked for beside the chain.
        patience(plane.until(|plane| asks_for_chain_to(plane, &["users-cluster"], &["green"])))
            .await;
        plane.set([
            Resource::endpoints("green", [b.socket()]),
            Resource::cluster("green"),
            Resource::routes("users-routes", [("*", "green")]),
        ]);
        until_it_answers(&client, "b").await;
        patience(plane.until(|plane| asks_for_chain_to(plane, &["green"], &["users-cluster"])))
            .await;
        calls.end().await;
        // A minute later nothing lingers.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        patience(plane.until(|plane| asks_for_chain_to(plane, &["green"], &[]))).await;
        assert_eq!(body(&client).await.unwrap(), "b");
        drop((mesh, client));
        drop((a, b));
        tasks.are_back(&[&plane]).await;
    }
}

#[tokio::test]
async fn one_that_flaps_loses_no_call_and_is_followed_in_the_end() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        plane.set(Resource::chain("users", [a.socket()]));
        let mesh = mesh(&[&plane], "flaps", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        let calls = Calls::to(&client);
        for round in 0..30_u64 {
            let to = if round % 2 == 0 { b.socket() } else { a.socket() };
            plane.set([Resource::endpoints("users-cluster", [to])]);
            match round % 5 {
                0 => plane.stop(),
                1 => plane.resume().await.unwrap(),
                2 => plane.drop_connections(),
                3 => plane.cut(14, "again"),
                _ => plane.refuse((round % 2 == 0).then_some((8, "too many"))),
            }
            tokio::time::sleep(Duration::from_millis(round * 13 % 70)).await;
        }
        plane.refuse(None);
        plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
        until_it_answers(&client, "b").await;
        patience(plane.until(|plane| asks_for(plane, &["users"]))).await;
        calls.end().await;
        drop((mesh, client));
        drop((a, b));
        tasks.are_back(&[&plane]).await;
    }
}

#[tokio::test]
async fn of_two_that_disagree_the_first_that_lives_counts_and_no_call_is_lost() {
    for delta in MODES {
        let (first, second) =
            (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
        let tasks = Tasks::now();
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        for (plane, server) in [(&first, &a), (&second, &b)] {
            plane.set(Resource::chain("users", [server.socket()]));
            plane.set(Resource::chain("orders", [server.socket()]));
        }
        let mesh = mesh(&[&first, &second], "disagree", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        assert_eq!(second.connections(), 0);
        let calls = Calls::to(&client);
        {
            // Away, and nothing is missing: the other is not asked.
            first.stop();
            calls.more(100).await;
            assert_eq!((body(&client).await.unwrap(), second.streams()), ("a".to_owned(), 0));
            // Something is: the other is asked for all, and its word counts.
            let orders = mesh.client("orders").unwrap();
            until_it_answers(&orders, "b").await;
            until_it_answers(&client, "b").await;
            patience(second.until(|plane| asks_for(plane, &["users", "orders"]))).await;
            // The first is back: its word counts again, and the other is left.
            first.resume().await.unwrap();
            until_it_answers(&client, "a").await;
            until_it_answers(&orders, "a").await;
            patience(first.until(|plane| asks_for(plane, &["users", "orders"]))).await;
            patience(second.until(|plane| plane.streams() == 0 && plane.connections() == 0)).await;
        }
        calls.end().await;
        drop((mesh, client));
        drop((a, b));
        tasks.are_back(&[&first, &second]).await;
    }
}

/// A service that leads to many clusters.
fn many(clusters: usize, socket: SocketAddr) -> Vec<Resource> {
    let name = |at: usize| format!("many-{at}");
    let split = Resource::split("r", "*", (0..clusters).map(|at| (name(at), 1)));
    let each = |at| [Resource::cluster(name(at)), Resource::endpoints(name(at), [socket])];
    [Resource::listener("users", "r"), split]
        .into_iter()
        .chain((0..clusters).flat_map(each))
        .collect()
}

#[tokio::test]
async fn many_clusters_at_once_are_asked_for_exactly() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let server = Server::named("a").await;
        plane.set(Resource::chain("users", [server.socket()]));
        let mesh = mesh(&[&plane], "many", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        let calls = Calls::to(&client);
        // None of them is known yet, and 150 are asked for in one breath.
        plane.set(many(150, server.socket()));
        let names: BTreeSet<String> = (0..150).map(|at| format!("many-{at}")).collect();
        patience(
            plane.until(|plane| {
                [CDS, EDS].iter().all(|kind| asked(plane, kind).is_superset(&names))
            }),
        )
        .await;
        calls.more(200).await;
        // As few requests as that takes.
        let requests = plane.requests_of(CDS).len() + plane.requests_of(EDS).len();
        assert!(requests < 50, "{requests}");
        assert!(ALL.iter().all(|kind| plane.nacks(kind).is_empty()));
        calls.end().await;
        drop((mesh, client));
        drop(server);
        tasks.are_back(&[&plane]).await;
    }
}

#[tokio::test]
async fn five_hundred_names_given_up_at_once_are_given_up() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let server = Server::named("a").await;
        let names: Vec<String> = (0..500).map(|at| format!("svc-{at}")).collect();
        plane.set(names.iter().flat_map(|name| Resource::chain(name, [server.socket()])));
        plane.set(Resource::chain("users", [server.socket()]));
        // Both share one stream; one of them ends.
        let stays = mesh(&[&plane], "given-up", delta);
        let client = stays.client("users").unwrap();
        until_it_answers(&client, "a").await;
        let goes = mesh(&[&plane], "given-up", delta);
        let clients: Vec<Client> = names.iter().map(|name| goes.client(name).unwrap()).collect();
        patience(goes.ready()).await.unwrap();
        patience(plane.until(|plane| ALL.iter().all(|kind| asked(plane, kind).len() == 501))).await;
        let calls = Calls::to(&client);
        assert_eq!((plane.streams(), plane.connections()), (1, 1));
        drop((goes, clients));
        // Some linger, the others are given up at once.
        let count =
            |plane: &AdsServer| ALL.iter().map(|kind| asked(plane, kind).len()).sum::<usize>();
        patience(plane.until(|plane| count(plane) <= 4 + 256)).await;
        calls.more(50).await;
        calls.end().await;
        // A minute later none does.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        patience(plane.until(|plane| asks_for(plane, &["users"]))).await;
        assert_eq!(body(&client).await.unwrap(), "a");
        assert_eq!((plane.streams(), plane.connections()), (1, 1));
        drop((stays, client));
        drop(server);
        tasks.are_back(&[&plane]).await;
    }
}

#[tokio::test]
async fn updates_without_end_are_followed_and_nothing_piles_up() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let (a, b) = (Server::named("a").await, Server::named("b").await);
        plane.set(Resource::chain("users", [a.socket()]));
        let mesh = mesh(&[&plane], "endless", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        let calls = Calls::to(&client);
        for round in 0..400 {
            let to = if round % 2 == 0 { b.socket() } else { a.socket() };
            plane.set([Resource::endpoints("users-cluster", [to])]);
            if round % 20 == 0 {
                // What cannot be used, amid it.
                plane.set([Resource::split("users-routes", "*", [("users-cluster", 0)])]);
                tokio::task::yield_now().await;
            }
        }
        plane.set([
            Resource::endpoints("users-cluster", [b.socket()]),
            Resource::routes("users-routes", [("*", "users-cluster")]),
        ]);
        until_it_answers(&client, "b").await;
        let nacks = plane.nacks(RDS).len();
        assert!(nacks <= 20, "{nacks} refusals of the same");
        calls.end().await;
        drop((mesh, client));
        drop((a, b));
        tasks.are_back(&[&plane]).await;
    }
}

/// The defects that were measured in other clients, as far as they are of streams.
#[tokio::test]
async fn t1_the_stream_the_connection_and_the_tasks_end_with_the_mesh() {
    for delta in MODES {
        let plane = AdsServer::start().await.unwrap();
        let tasks = Tasks::now();
        let server = Server::named("a").await;
        plane.set(Resource::chain("users", [server.socket()]));
        for round in 0..5 {
            let mesh = mesh(&[&plane], "t1", delta);
            let client = mesh.client("users").unwrap();
            until_it_answers(&client, "a").await;
            if round % 2 == 0 {
                // While it is away, and while it is silent.
                plane.stop();
                drop((mesh, client));
                plane.resume().await.unwrap();
            } else {
                drop((mesh, client));
            }
            patience(plane.until(|plane| plane.streams() == 0 && plane.connections() == 0)).await;
        }
        drop(server);
        tasks.are_back(&[&plane]).await;
    }
}

#[tokio::test]
async fn t2_a_server_that_begins_no_response_hears_all_that_is_asked() {
    for delta in MODES {
        let server = Server::named("a").await;
        let plane = AdsServer::start().await.unwrap();
        plane.hold_headers(true);
        plane.quiet_about_missing(true);
        let mesh = mesh(&[&plane], "t2", delta);
        // It has nothing to say of the first, and so begins no response.
        let _nobody = mesh.client("nobody").unwrap();
        patience(plane.until(|plane| asked(plane, LDS).contains("nobody"))).await;
        let client = mesh.client("users").unwrap();
        plane.set(Resource::chain("users", [server.socket()]));
        patience(plane.until(|plane| asked(plane, LDS).contains("users"))).await;
        if delta {
            until_it_answers(&client, "a").await;
        } else {
            // Of the state of the world it answers when it has all.
            plane.set(Resource::chain("nobody", [server.socket()]));
            until_it_answers(&client, "a").await;
        }
    }
}

#[tokio::test]
async fn t3_and_t4_a_refused_update_keeps_the_good_one_and_what_was_given_up_is_asked_anew() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let one = mesh(&[&plane], "t3", true);
    let client = one.client("users").unwrap();
    until_it_answers(&client, "a").await;
    plane.set([Resource::split("users-routes", "*", [("users-cluster", 0)])]);
    patience(plane.until(|plane| !plane.nacks(RDS).is_empty())).await;
    // Who comes later gets the good one, too.
    let other = mesh(&[&plane], "t3", true);
    until_it_answers(&other.client("users").unwrap(), "a").await;
    drop((one, client, other));
    patience(plane.until(|plane| plane.connections() == 0)).await;
    plane.set([
        Resource::routes("users-routes", [("*", "users-cluster")]),
        Resource::endpoints("users-cluster", [b.socket()]),
    ]);
    let again = mesh(&[&plane], "t3", true);
    assert_eq!(body(&again.client("users").unwrap()).await.unwrap(), "b");
}

#[tokio::test]
async fn t5_an_outage_longer_than_the_timer_declares_nothing_absent() {
    for delta in MODES {
        let server = Server::named("a").await;
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("users", [server.socket()]));
        plane.set(Resource::chain("orders", [server.socket()]));
        let mesh = mesh(&[&plane], "t5", delta);
        let client = mesh.client("users").unwrap();
        until_it_answers(&client, "a").await;
        plane.stop();
        // What is asked for meanwhile waits; what is known stays.
        let error = patience(async {
            match mesh.client("orders") {
                Ok(orders) => body(&orders).await.expect_err("nobody is there"),
                Err(error) => error,
            }
        })
        .await;
        assert_ne!(error.kind(), ErrorKind::UnknownService, "{error}");
        assert!(error.to_string().contains("cannot be reached"), "{error}");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(40)).await;
        tokio::time::resume();
        plane.resume().await.unwrap();
        assert_eq!(body(&client).await.unwrap(), "a");
        let orders = patience(async {
            loop {
                if let Ok(orders) = mesh.client("orders")
                    && body(&orders).await.is_ok()
                {
                    return orders;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert_eq!(body(&orders).await.unwrap(), "a");
        assert!(!mesh.describe().to_string().contains("does not exist"));
    }
}
