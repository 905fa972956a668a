//! Settings that the code gives to the cluster of a service's name, where the service leads to others:
//! they are never lost without a word, and nothing that was to be secured goes out in clear.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, net::SocketAddr};

use tempfile::TempDir;
use tower_mesh::{
    ErrorKind, Mesh, MeshBuilder, ServiceSettings, config::Balancer, security::Trust,
};

use crate::support::{Ca, Server, Tls, fetch, get, patience};

/// `greeter` leads to `v1` and, a copy of each call, to `v2`; `plain` has a cluster of its own.
fn builder(v1: SocketAddr, v2: SocketAddr) -> (MeshBuilder, TempDir) {
    let text = format!(
        "
services:
  greeter:
    routes:
      - clusters: [{{ name: v1 }}]
        filters: [{{ mirror: {{ cluster: v2 }} }}]
  shop:
    cluster: v1
clusters:
  v1: {{ endpoints: [{{ address: '{v1}' }}] }}
  v2: {{ endpoints: [{{ address: '{v2}' }}] }}
  plain: {{ endpoints: [{{ address: '{v1}' }}] }}
"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    (Mesh::builder().config_file(path), dir)
}

#[tokio::test]
async fn tls_of_a_service_never_leaves_the_clusters_of_its_routes_in_clear() {
    let server = Server::named("a").await;
    let at = server.socket();
    let (builder, _dir) = builder(at, at);
    let mesh = builder.service("greeter", |it| it.tls()).build().unwrap();
    let client = mesh.client("greeter").unwrap();
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let told = "the code says how cluster `greeter` is secured, and nothing of `v1`, `v2`";
    assert!(error.to_string().contains(told), "{error}");
    assert_eq!(server.connections(), 0);
    let error = mesh.ready().await.unwrap_err();
    assert!(error.to_string().contains(told), "{error}");
    // Others are not touched.
    let plain = mesh.client("plain").unwrap();
    assert_eq!(patience(fetch(&plain, get("/"))).await.unwrap().body(), "a");
}

#[tokio::test]
async fn clusters_of_which_the_code_says_it_are_called_as_it_says() {
    let (ca, plain) = (Ca::new("ca"), Server::named("b").await);
    let secured = Tls::new(ca.issue(&["users.example"])).named("a").start().await;
    let (builder, _dir) = builder(secured.socket(), plain.socket());
    let mesh = builder
        .trust(Trust::pem(ca.pem()))
        .service("greeter", |it| it.tls())
        .service("v1", |it| it.tls().server_identity("users.example"))
        .service("v2", |it| it.plaintext())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("greeter").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
}

#[tokio::test]
async fn plaintext_of_a_service_asks_nothing_of_others() {
    let server = Server::named("a").await;
    let at = server.socket();
    let (builder, _dir) = builder(at, at);
    let mesh = builder.service("greeter", |it| it.plaintext()).build().unwrap();
    let client = mesh.client("greeter").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
}

#[tokio::test]
async fn settings_of_a_cluster_that_is_not_there_are_reported() {
    let server = Server::named("a").await;
    let at = server.socket();
    let ready = async |name: &'static str| {
        let (builder, _dir) = builder(at, at);
        let round_robin = |it: ServiceSettings| it.balancer(Balancer::RoundRobin);
        let mesh = builder.service(name, round_robin).build().unwrap();
        let client = mesh.client("shop").unwrap();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
        mesh.ready().await.map_err(|error| error.to_string())
    };
    let error = ready("shop").await.unwrap_err();
    let told = "service shop: the code gives settings to cluster `shop`, which no source defines; its \
                routes lead to `v1`: give them to these, by `.service(cluster, …)`";
    assert!(error.contains(told), "{error}");
    for name in ["v1", "plain"] {
        ready(name).await.unwrap();
    }
}
