//! Layers at connecting: their order, and what becomes of calls when one panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower::Service;
use tower_mesh::transport::{ConnectTarget, Connector};

use crate::support::{Server, VERSIONS, cluster, fetch, get, one_cluster, over, patience};

#[tokio::test]
async fn a_layer_that_panics_once_does_not_hang_the_later_calls() {
    for in_its_future in [false, true] {
        for version in VERSIONS {
            let server = Server::named("hello").await;
            let calls = Arc::new(AtomicUsize::new(0));
            let panics = tower::layer::layer_fn(move |connect: Connector| {
                let calls = Arc::clone(&calls);
                tower::service_fn(move |target: ConnectTarget| {
                    let mut connect = connect.clone();
                    let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                    assert!(!first || in_its_future, "a layer's bug");
                    async move {
                        assert!(!first, "a layer's bug");
                        connect.call(target).await
                    }
                })
            });
            // One connection, whose place is to be given back.
            let mut cluster = cluster([server.address()]);
            cluster.transport.http1_max_connections = Some(1);
            let mesh = one_cluster(cluster).connect_layer(panics).build().unwrap();
            let client = mesh.client("users").unwrap();
            drop(patience(tokio::spawn(fetch(&client, over(version, get("/"))))).await);
            // The back-off after it is short.
            let again = async {
                loop {
                    match tokio::spawn(fetch(&client, over(version, get("/")))).await.unwrap() {
                        Ok(answer) => return answer,
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            };
            assert_eq!(patience(again).await.body(), "hello", "{version:?}");
        }
    }
}

#[tokio::test]
async fn the_layer_added_first_is_the_outermost() {
    let met = Arc::new(Mutex::new(Vec::new()));
    let named = |name: &'static str| {
        let met = Arc::clone(&met);
        tower::util::MapRequestLayer::new(move |target: ConnectTarget| {
            met.lock().unwrap().push(name);
            target
        })
    };
    let server = Server::named("hello").await;
    let mesh = one_cluster(cluster([server.address()]))
        .connect_layer(named("first"))
        .connect_layer(named("second"))
        .connect_layer(named("third"))
        .build()
        .unwrap();
    fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap();
    assert_eq!(*met.lock().unwrap(), ["first", "second", "third"]);
}
