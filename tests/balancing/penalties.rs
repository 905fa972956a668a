//! What peak EWMA reckons with though nobody has measured it, from the mesh file and from code: a server
//! that asks to be left alone is, and failures count as slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use http::{HeaderValue, Response};
use tower_mesh::{Body, Mesh, config::Balancer};

use crate::support::{
    BoxError, Leaves, SERVICE, fetch, get,
    leaf::{answer, ok},
    storm,
};

const CALLS: usize = 600;

/// The first of three asks each caller to come again in a minute.
fn asking(number: usize) -> Response<Body> {
    if number > 0 {
        return ok("hello");
    }
    let mut asks = answer(429);
    asks.headers_mut().insert("retry-after", HeaderValue::from_static("60"));
    asks
}

async fn by_file(peak_ewma: &str) -> (Leaves, Mesh) {
    let leaves = Leaves::new(3);
    let addresses: Vec<_> = leaves.addresses().iter().map(ToString::to_string).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    let endpoints: String =
        addresses.iter().map(|address| format!("      - address: {address}\n")).collect();
    fs::write(
        &path,
        format!(
            "clusters:\n  {SERVICE}:\n    balancer:\n      peak_ewma: {peak_ewma}\n    endpoints:\n{endpoints}"
        ),
    )
    .unwrap();
    let builder = Mesh::builder().config_file(&path).seed(7);
    let mesh = leaves
        .leaves(builder, |number, _| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, BoxError>(asking(number))
        })
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    (leaves, mesh)
}

async fn share_of_who_asks(peak_ewma: &str) -> usize {
    let (leaves, mesh) = by_file(peak_ewma).await;
    let client = mesh.client(SERVICE).unwrap();
    // A machine that is late makes whoever it meets look slow.
    tokio::time::pause();
    storm(4, CALLS, |_| fetch(&client, get("/"))).await;
    tokio::time::resume();
    assert_eq!(leaves.total(), CALLS);
    leaves.hits(0)
}

#[tokio::test]
async fn who_says_retry_after_is_left_alone_where_that_counts_as_latency() {
    let unheard = share_of_who_asks("{ decay: 10s }").await;
    assert!(unheard > CALLS / 5, "{unheard} of {CALLS}");
    let heard = share_of_who_asks("{ decay: 10s, max_retry_after: 30s }").await;
    assert!(heard <= CALLS / 50, "{heard} of {CALLS}");
    let penalised = share_of_who_asks("{ penalty: 5s }").await;
    assert!(penalised <= CALLS / 50, "{penalised} of {CALLS}");
}

#[tokio::test]
async fn they_are_told_with_their_origin() {
    let (_leaves, mesh) =
        by_file("{ default_rtt: 30ms, penalty: 5s, max_retry_after: 300s }").await;
    let told = mesh.describe().to_string();
    for (setting, value) in
        [("default_rtt", "30ms"), ("penalty", "5s"), ("max_retry_after", "300s")]
    {
        let setting = format!("balancer.peak_ewma.{setting}");
        let line = told.lines().find(|line| line.contains(&setting));
        assert!(line.is_some_and(|line| line.contains(value)), "{setting} in\n{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn code_says_them_too() {
    let leaves = Leaves::new(3);
    let second = Duration::from_secs(1);
    let balancer =
        Balancer::peak_ewma(10 * second).penalty(5 * second).max_retry_after(30 * second);
    let mesh = leaves
        .mesh(|number, _| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(asking(number))
        })
        .service(SERVICE, |s| s.balancer(balancer.default_rtt(Duration::from_millis(30))))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    storm(4, CALLS, |_| fetch(&client, get("/"))).await;
    assert!(leaves.hits(0) <= CALLS / 50, "{:?}", leaves.all_hits());
}
