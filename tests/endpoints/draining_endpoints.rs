//! Endpoints that are marked as draining: no call goes to them, and none waits busily for them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{future::Future, pin::Pin, sync::mpsc, thread, time::Duration};

use tower_mesh::{
    Discover, ErrorKind, Mesh, Publisher,
    config::{Address, Endpoint, Health},
};

use crate::support::{dead_address, fetch, get, patience};

fn draining(address: Address) -> Endpoint {
    let mut endpoint = Endpoint::from(address);
    endpoint.health = Health::Draining;
    endpoint
}

/// A source that has nothing to say, and says so late.
struct Late;

impl Discover for Late {
    fn name(&self) -> String {
        "late".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            publish.synced();
        })
    }
}

/// A call to an endpoint that drains, while another source may still name a better one.
async fn call_before_every_source_has_spoken() -> ErrorKind {
    let address: Address = "10.0.0.1:80".parse().unwrap();
    let mesh =
        Mesh::builder().endpoints("users", [draining(address)]).source(Late).build().unwrap();
    // The endpoint is known by now.
    tokio::time::sleep(Duration::from_millis(50)).await;
    fetch(&mesh.client("users").unwrap(), get("/")).await.unwrap_err().kind()
}

#[test]
fn a_call_that_finds_only_draining_endpoints_does_not_spin_until_the_last_source_has_spoken() {
    let (sender, receiver) = mpsc::channel();
    // A thread of its own: one that spins cannot be ended by a timeout.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        sender.send(runtime.block_on(call_before_every_source_has_spoken())).unwrap();
    });
    let kind = receiver.recv_timeout(Duration::from_secs(10)).expect("the call spins");
    assert_eq!(kind, ErrorKind::NoEndpoints);
}

#[tokio::test]
async fn a_call_to_a_dead_endpoint_beside_a_draining_one_makes_few_attempts() {
    let ((dead, _one), (left, _two)) = (dead_address(), dead_address());
    let mesh =
        Mesh::builder().endpoints("users", [Endpoint::from(dead), draining(left)]).build().unwrap();
    let call = fetch(&mesh.client("users").unwrap(), get("/"));
    let error = patience(call).await.unwrap_err();
    assert!(error.attempts().len() < 5, "{} attempts", error.attempts().len());
}
