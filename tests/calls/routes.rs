//! Routes of a service: by path, method and header, split by weight, each with its own policy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use http::{HeaderValue, Request};
use tower_mesh::{Body, Mesh};

use crate::support::{Server, get};

struct World {
    mesh: Mesh,
    _dir: tempfile::TempDir,
    _servers: Vec<Server>,
}

async fn world(routes: &str) -> World {
    let mut servers = Vec::new();
    let mut text = format!("services:\n  shop:\n    routes:\n{routes}clusters:\n");
    for name in ["old", "new", "admin"] {
        let server = Server::start(move |_| async move {
            if name == "admin" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            crate::support::reply(name)
        })
        .await;
        text += &format!("  {name}: {{endpoints: [{{address: \"{}\"}}]}}\n", server.address());
        servers.push(server);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, &text).unwrap();
    let mesh = Mesh::builder().config_file(&path).seed(5).build().unwrap();
    World { mesh, _dir: dir, _servers: servers }
}

impl World {
    async fn said(&self, request: Request<Body>) -> String {
        let answer = self.mesh.client("shop").unwrap().send(request).await.unwrap();
        answer.into_body().text().await.unwrap()
    }
}

#[tokio::test]
async fn the_first_route_that_matches_wins() {
    let world = world(
        "      - {matches: [{path: {exact: /v2/exact}}], clusters: [{name: new}]}\n\
        \x20     - {matches: [{path: {prefix: /admin}}], clusters: [{name: admin}]}\n\
        \x20     - {matches: [{headers: [{name: x-canary, matcher: {exact: \"yes\"}}]}, {method: PUT}], clusters: [{name: new}]}\n\
        \x20     - {clusters: [{name: old}]}\n",
    )
    .await;
    assert_eq!(world.said(get("/v2/exact")).await, "new");
    assert_eq!(world.said(get("/v2/exact?query=1")).await, "new");
    assert_eq!(world.said(get("/v2/exact/more")).await, "old");
    assert_eq!(world.said(get("/admin")).await, "admin");
    assert_eq!(world.said(get("/admin/page")).await, "admin");
    assert_eq!(world.said(get("/administrator")).await, "old", "a prefix ends with its segment");
    let mut canary = get("/");
    canary.headers_mut().insert("x-canary", HeaderValue::from_static("yes"));
    assert_eq!(world.said(canary).await, "new");
    assert_eq!(world.said(Request::put("/").body(Body::empty()).unwrap()).await, "new");
    assert_eq!(world.said(get("/")).await, "old");
}

#[tokio::test]
async fn weights_split_the_calls() {
    let world =
        world("      - {clusters: [{name: old, weight: 9}, {name: new, weight: 1}]}\n").await;
    let mut new = 0;
    for _ in 0..2000 {
        new += usize::from(world.said(get("/")).await == "new");
    }
    assert!((130..=270).contains(&new), "{new} of 2000, 200 expected");
}

#[tokio::test]
async fn a_route_has_a_policy_of_its_own() {
    let world = world(
        "      - {matches: [{path: {prefix: /admin}}], clusters: [{name: admin}], policy: {timeout: 50ms}}\n\
        \x20     - {clusters: [{name: admin}]}\n",
    )
    .await;
    let client = world.mesh.client("shop").unwrap();
    assert!(client.send(get("/admin")).await.unwrap_err().is_timeout());
    assert!(client.send(get("/else")).await.is_ok());
}

#[tokio::test]
async fn no_route_is_an_error_of_the_call() {
    let world =
        world("      - {matches: [{path: {prefix: /v1}}], clusters: [{name: old}]}\n").await;
    let client = world.mesh.client("shop").unwrap();
    let error = client.send(get("/v3")).await.unwrap_err();
    assert_eq!(error.kind(), tower_mesh::ErrorKind::NoRoute, "{error}");
}
