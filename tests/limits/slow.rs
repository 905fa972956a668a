//! A server whose answers wait, and clusters that are limited.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tower_mesh::{
    Client, Error, Mesh, Refusal,
    config::{Breakers, Cluster, Endpoint},
    discover::Static,
};

use crate::support::{Server, patience, reply};

/// A server whose answers wait for leave.
pub(crate) struct Slow {
    pub(crate) server: Server,
    pub(crate) leave: Arc<Semaphore>,
}

impl Slow {
    pub(crate) async fn start() -> Self {
        let leave = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&leave);
        let server = Server::start(move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                reply("slow")
            }
        });
        Self { server: server.await, leave }
    }
}

pub(crate) fn cluster<'a>(
    servers: impl IntoIterator<Item = &'a Server>,
    breakers: Breakers,
) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints =
        servers.into_iter().map(|server| Endpoint::from(server.address())).collect();
    cluster.breakers = Some(breakers);
    cluster
}

pub(crate) fn breakers(edit: impl FnOnce(&mut Breakers)) -> Breakers {
    let mut breakers = Breakers::default();
    edit(&mut breakers);
    breakers
}

/// Waits until it holds.
pub(crate) async fn until(what: impl Fn() -> bool) {
    patience(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) fn is_refused(error: &Error, why: Refusal, flag: &str) {
    assert_eq!((error.refusal(), error.response_flag()), (Some(why), flag), "{error}");
}

/// Of one service of this cluster.
pub(crate) async fn mesh(cluster: Cluster) -> (Mesh, Client) {
    let mesh = Mesh::builder().source(Static::default().cluster("users", cluster)).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}
