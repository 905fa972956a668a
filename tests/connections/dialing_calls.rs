//! Calls while connections are made: a connection that comes free serves who waits for a new one, and
//! an attempt that has failed is no failure of those who have made none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower::Service;
use tower_mesh::{
    BoxError, Event, MeshBuilder,
    config::{Cluster, OutlierDetection},
    transport::{ConnectTarget, Connector},
};

use crate::support::{
    Recorder, Server, cluster, failures, fetch, get, one_cluster, patience, reply, storm,
};

/// What a connection attempt meets.
#[derive(Clone, Copy)]
enum Fate {
    Made,
    MadeAfter(Duration),
    Refused,
    Unanswered,
}

/// Connection attempts meet what `fate` says of their number, from 0.
fn fated(builder: MeshBuilder, dials: &Arc<AtomicUsize>, fate: fn(usize) -> Fate) -> MeshBuilder {
    let dials = Arc::clone(dials);
    builder.connect_layer(tower::layer::layer_fn(move |connect: Connector| {
        let dials = Arc::clone(&dials);
        tower::service_fn(move |target: ConnectTarget| {
            let mut connect = connect.clone();
            let fate = fate(dials.fetch_add(1, Ordering::SeqCst));
            async move {
                match fate {
                    Fate::Made => {}
                    Fate::MadeAfter(time) => tokio::time::sleep(time).await,
                    Fate::Refused => return Err(BoxError::from("no more")),
                    Fate::Unanswered => std::future::pending().await,
                }
                connect.call(target).await
            }
        })
    }))
}

/// Answers after a while.
async fn unhurried() -> Server {
    Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        reply("hello")
    })
    .await
}

fn once(number: usize, then: Fate) -> Fate {
    if number == 0 { Fate::Made } else { then }
}

/// Its back-off is longer than any test.
fn patient(server: &Server) -> Cluster {
    let mut cluster = cluster([server.address()]);
    cluster.transport.connect_backoff_base = Some(Duration::from_secs(25));
    cluster.transport.connect_timeout = Some(Duration::from_secs(60));
    cluster
}

#[tokio::test]
async fn http1_calls_in_a_back_off_wait_for_the_connections_that_there_are() {
    let server = unhurried().await;
    let dials = Arc::default();
    let mesh = one_cluster(patient(&server));
    let mesh = fated(mesh, &dials, |number| once(number, Fate::Refused)).build().unwrap();
    let client = mesh.client("users").unwrap();
    // One holds the connection; the next ones meet the refusals that begin the back-off.
    let held = tokio::spawn(fetch(&client, get("/")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let met = tokio::spawn(fetch(&client, get("/")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(dials.load(Ordering::SeqCst) > 1, "no further connection was tried");
    let before = dials.load(Ordering::SeqCst);
    let answers = patience(storm(5, 5, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
    patience(held).await.unwrap().unwrap();
    assert_eq!(dials.load(Ordering::SeqCst), before, "the back-off lasts");
    drop(patience(met).await);
}

#[tokio::test]
async fn an_http1_call_that_dials_takes_a_connection_that_comes_free() {
    let server = unhurried().await;
    let dials = Arc::default();
    let mesh = one_cluster(patient(&server));
    let mesh = fated(mesh, &dials, |number| once(number, Fate::Unanswered)).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(4, 4, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
    assert!(dials.load(Ordering::SeqCst) > 1);
    assert_eq!(server.connections(), 1);
}

/// With one who waits for room, and others who dial: each gets what comes free, in turn.
#[tokio::test]
async fn http1_calls_that_dial_pass_on_what_those_who_wait_were_woken_for() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut answer = reply("once");
        answer.headers_mut().insert("connection", "close".parse().unwrap());
        answer
    })
    .await;
    let mut cluster = patient(&server);
    cluster.transport.http1_max_connections = Some(3);
    let dials = Arc::default();
    let after = |_| Fate::MadeAfter(Duration::from_millis(3));
    let mesh = fated(one_cluster(cluster), &dials, after).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(30, 300, |_| fetch(&client, get("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
}

/// Callers who are told of another's failure are no failures of their endpoint.
#[tokio::test]
async fn one_refused_connection_is_one_failure_however_many_callers_hear_of_it() {
    let server = Server::named("hello").await;
    let mut cluster = patient(&server);
    let mut outliers = OutlierDetection::default();
    outliers.consecutive_local_origin_failure = Some(5);
    outliers.max_ejection_percent = Some(100.0);
    cluster.outlier_detection = Some(outliers);
    let dials = Arc::default();
    let mesh = fated(one_cluster(cluster), &dials, |_| Fate::Refused).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        assert!(patience(fetch(&client, get("/"))).await.is_err());
    }
    assert!(dials.load(Ordering::SeqCst) < 5, "{dials:?}");
    assert_eq!(events.count(|event| matches!(event, Event::EndpointEjected { .. })), 0);
}
