//! A cluster whose attempts wait for an available endpoint, and fail fast when there has been none for
//! too long. Over real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "numbers of metrics are whole"
)]

use std::time::Duration;

use tokio::time::Instant;
use tower_mesh::{
    Body, Call, Client, Error, ErrorKind, Mesh, Phase, Refusal,
    config::{Cluster, Endpoint, Failover, Health, Queue, Session},
};

use crate::support::{
    Recorder, Server, dead_address, failures, fetch, get, one_cluster, patience, published, reply,
    storm,
};

fn cluster(endpoint: impl Into<Endpoint>, capacity: u32, timeout: Duration) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![endpoint.into()];
    cluster.transport.connect_backoff_max = Some(Duration::from_millis(100));
    let mut queue = Queue::default();
    (queue.capacity, queue.failfast_timeout) = (Some(capacity), Some(timeout));
    cluster.queue = Some(queue);
    cluster
}

async fn mesh(cluster: Cluster) -> (Mesh, Client) {
    let source = tower_mesh::discover::Static::default().cluster("users", cluster);
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

fn length(mesh: &Mesh) -> usize {
    mesh.metrics().total("mesh.client.queue.length", &[("mesh.cluster", "users")]) as usize
}

async fn until(what: impl Fn() -> bool) {
    patience(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn is_refused(error: &Error) {
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::Queue), "UO"), "{error}");
}

/// A POST, which no retry policy repeats.
fn post() -> http::Request<Body> {
    http::Request::post("/").body(Body::from("once")).unwrap()
}

#[tokio::test]
async fn attempts_wait_for_an_endpoint_that_returns_and_none_fails() {
    let (address, socket) = dead_address();
    let at = socket.local_addr().unwrap();
    let (mesh, client) = mesh(cluster(address, 1_000, Duration::from_secs(8))).await;
    let calls = tokio::spawn(async move { storm(50, 50, |_| fetch(&client, post())).await });
    until(|| length(&mesh) == 50).await;
    drop(socket);
    let server = Server::start_at(at, |_| async { reply("back") }).await;
    let answers = patience(calls).await.unwrap();
    assert_eq!(failures(&answers), Vec::<String>::new());
    assert_eq!((server.requests(), length(&mesh)), (50, 0));
}

#[tokio::test]
async fn after_the_timeout_all_fail_at_once_until_an_endpoint_is_back() {
    let (address, socket) = dead_address();
    let at = socket.local_addr().unwrap();
    let timeout = Duration::from_millis(400);
    let (mesh, client) = mesh(cluster(address, 1_000, timeout)).await;
    let mut recorded = Recorder::of(&mesh);
    let began = Instant::now();
    let answers = patience(storm(20, 20, |_| fetch(&client, post()))).await;
    let took = began.elapsed();
    assert!(took >= timeout && took < 20 * timeout, "{took:?}");
    let mut refused = 0;
    for answer in answers {
        let error = answer.unwrap_err();
        // Who tried it each time that it might be back, and used its attempts up, says that.
        if error.is_connect() {
            continue;
        }
        is_refused(&error);
        assert_eq!(error.kind(), ErrorKind::NoEndpoints);
        let said = error.to_string();
        assert!(said.contains("has been available for 400ms"), "{said}");
        refused += 1;
    }
    assert!(refused >= 19, "{refused}");
    // No time is left to those that come now; but one of them may find out whether it is back.
    let began = Instant::now();
    let answers = patience(storm(20, 200, |_| fetch(&client, post()))).await;
    assert!(began.elapsed() < 5 * timeout, "{:?}", began.elapsed());
    let at_once = answers.iter().filter_map(|it| it.as_ref().err());
    let at_once = at_once.filter(|it| it.refusal() == Some(Refusal::Queue)).count();
    assert!(at_once > 150, "{at_once}");
    let explained = mesh.explain(&get("http://users/")).unwrap().to_string();
    assert!(explained.contains("`queue.failfast_timeout`"), "{explained}");
    let refused = [("mesh.refusal", "queue")];
    assert!(mesh.metrics().total("mesh.client.attempts.refused", &refused) > 160.0);
    assert!(!recorded.refusals().contains(&"budget"));
    // It returns.
    drop(socket);
    let _server = Server::start_at(at, |_| async { reply("back") }).await;
    patience(async {
        while fetch(&client, post()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let answers = patience(storm(20, 200, |_| fetch(&client, post()))).await;
    assert_eq!(failures(&answers), Vec::<String>::new());
}

/// An endpoint that takes no new calls, whatever comes.
fn draining() -> (Endpoint, tokio::net::TcpSocket) {
    let (address, socket) = dead_address();
    let mut endpoint = Endpoint::from(address);
    endpoint.health = Health::Draining;
    (endpoint, socket)
}

#[tokio::test]
async fn no_more_attempts_wait_than_there_is_room_for() {
    let (endpoint, _socket) = draining();
    let (mesh, client) = mesh(cluster(endpoint, 2, Duration::from_secs(60))).await;
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(fetch(&client, post()))).collect();
    until(|| length(&mesh) == 2).await;
    let error = patience(fetch(&client, post())).await.unwrap_err();
    is_refused(&error);
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains("2 attempts wait for one"), "{error}");
    // Who leaves leaves the queue.
    for call in waiting {
        call.abort();
    }
    until(|| length(&mesh) == 0).await;
}

#[tokio::test]
async fn a_deadline_ends_the_wait() {
    let (endpoint, _socket) = draining();
    let (mesh, client) = mesh(cluster(endpoint, 9, Duration::from_secs(60))).await;
    let mut request = post();
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(300)));
    let began = Instant::now();
    let error = patience(fetch(&client, request)).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Pick), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
    until(|| length(&mesh) == 0).await;
}

#[tokio::test]
async fn an_update_wakes_those_who_wait_and_keeps_them() {
    let server = Server::named("a").await;
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    let (address, _socket) = dead_address();
    publisher.cluster("users", cluster(address, 9, Duration::from_secs(60))).unwrap();
    let client = mesh.client("users").unwrap();
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(fetch(&client, post()))).collect();
    until(|| length(&mesh) == 5).await;
    // Other settings: they wait on.
    let (address, _socket) = dead_address();
    publisher.cluster("users", cluster(address, 5, Duration::from_secs(50))).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    let mut endpoint = Endpoint::from(server.address());
    endpoint.health = Health::Draining;
    publisher.cluster("users", cluster(endpoint, 5, Duration::from_secs(50))).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    publisher
        .cluster("users", cluster(Endpoint::from(server.address()), 5, Duration::from_secs(50)))
        .unwrap();
    for call in calls {
        assert_eq!(patience(call).await.unwrap().unwrap().body(), "a");
    }
}

#[tokio::test]
async fn attempts_wait_behind_attempt_layers_and_it_is_known_who_has_answered() {
    let (address, socket) = dead_address();
    let at = socket.local_addr().unwrap();
    let cluster = cluster(address, 9, Duration::from_secs(60));
    let mut session = Session::default();
    session.header = Some("x-session".into());
    let layer = tower::util::MapRequestLayer::new(|request: http::Request<Body>| request);
    let mesh = one_cluster(cluster).service("users", |it| it.session(session));
    let mesh = mesh.attempt_layer(layer).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let call = tokio::spawn(fetch(&client, post()));
    until(|| length(&mesh) == 1).await;
    drop(socket);
    let _server = Server::start_at(at, |_| async { reply("back") }).await;
    let answer = patience(call).await.unwrap().unwrap();
    assert_eq!(answer.body(), "back");
    assert!(answer.headers().contains_key("x-session"));
}

#[tokio::test]
async fn nobody_waits_while_another_cluster_takes_over() {
    let (address, _socket) = dead_address();
    let mut first = cluster(address, 9, Duration::from_secs(60));
    let mut failover = Failover::default();
    failover.clusters = vec!["second".to_owned()];
    first.failover = Some(failover);
    let server = Server::named("second").await;
    let (mesh, publisher) = published(Mesh::builder(), |_| {}).await;
    publisher.cluster("second", crate::support::cluster([server.address()])).unwrap();
    publisher.cluster("users", first).unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        assert_eq!(patience(fetch(&client, post())).await.unwrap().body(), "second");
    }
    // When that is gone, too, they wait.
    drop(server);
    let call = tokio::spawn(fetch(&client, post()));
    until(|| length(&mesh) == 1).await;
    let back = Server::named("back").await;
    publisher.cluster("second", crate::support::cluster([back.address()])).unwrap();
    assert_eq!(patience(call).await.unwrap().unwrap().body(), "back");
}
