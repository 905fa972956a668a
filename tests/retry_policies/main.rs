//! Retries in full: conditions by name, headers that ask or say when, what is avoided, and all forms of
//! the budget.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod avoided;
mod budgets;
mod conditions;

use std::time::Duration;

use http::{Request, Response};
use tower_mesh::{
    Body, Mesh, MeshBuilder, Retry,
    config::{Cluster, Endpoint},
    discover::Static,
};

use support::{Leaves, SERVICE, leaf::answer};

/// Back-offs of a millisecond.
fn fast(retry: Retry) -> Retry {
    retry.backoff(Duration::from_millis(1), Duration::from_millis(1))
}

fn with(status: u16, headers: &[(&'static str, &str)]) -> Response<Body> {
    let mut response = answer(status);
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// A mesh of three endpoints that all answer so, under this policy.
fn all(leaves: &Leaves, retry: Retry, answer: fn() -> Response<Body>) -> Mesh {
    let builder = leaves.mesh(move |_, _| async move { Ok(answer()) });
    builder.service(SERVICE, |s| s.retry(retry)).build().unwrap()
}

/// Attempts that a request gets which is answered so.
async fn attempts(retry: Retry, request: Request<Body>, answer: fn() -> Response<Body>) -> usize {
    let leaves = Leaves::new(3);
    let mesh = all(&leaves, retry, answer);
    let _answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    leaves.total()
}

/// A cluster of these endpoints, numbered as they are.
fn cluster(count: usize, edit: impl Fn(usize, &mut Endpoint)) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.endpoints = (0..count)
        .map(|number| {
            let mut endpoint = Endpoint::from(Leaves::address(number));
            edit(number, &mut endpoint);
            endpoint
        })
        .collect();
    cluster
}

fn of_cluster<F, Fut>(leaves: &Leaves, cluster: Cluster, answer: F) -> MeshBuilder
where
    F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, support::BoxError>> + Send + 'static,
{
    leaves.leaves(Mesh::builder().source(Static::default().cluster(SERVICE, cluster)), answer)
}
