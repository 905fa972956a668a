//! Callers of a service that DNS fills, and who answers them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, time::Duration};

use tower_mesh::{Client, Mesh, MeshBuilder, config::Balancer};

use crate::support::{fetch, get, patience};

/// Each in turn, so that a few calls meet them all.
pub(crate) fn in_turn(builder: MeshBuilder) -> Mesh {
    builder.service("users", |s| s.balancer(Balancer::RoundRobin)).build().unwrap()
}

/// Who answers, in so many calls.
pub(crate) async fn who(client: &Client, calls: usize) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for _ in 0..calls {
        let answer = patience(fetch(client, get("/"))).await.unwrap();
        *count.entry(String::from_utf8_lossy(answer.body()).into_owned()).or_insert(0) += 1;
    }
    count
}

/// Waits until these and no others answer.
pub(crate) async fn until(client: &Client, names: &[&str]) {
    patience(async {
        loop {
            let answering = who(client, 40).await;
            if answering.keys().map(String::as_str).eq(names.iter().copied()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
