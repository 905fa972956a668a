//! Where a call would go, and why nowhere else: reads a mesh file and a request, prints the explanation.
//!
//! ```text
//! cargo run --example explain
//! cargo run --example explain -- mesh.yaml GET http://users.prod/1 'x-user: 7'
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

use std::fs;

use http::Request;
use tower_mesh::{BoxError, Choice, Mesh};

/// What is explained when nobody says anything else.
const SAMPLE: &str = "
services:
  users.prod:
    routes:
      - name: sticky
        matches: [{path: {prefix: /carts}}]
        clusters: [{name: carts}]
      - name: rest
        clusters: [{name: users, weight: 9}, {name: users-next, subset: {version: v2}}]
clusters:
  carts:
    balancer: {ring_hash: {hash: [{on: {header: {name: x-user}}}]}}
    endpoints:
      - {address: \"10.0.0.1:80\"}
      - {address: \"10.0.0.2:80\"}
      - {address: \"10.0.0.3:80\", health: draining}
      - {address: \"10.0.0.4:80\"}
  users:
    localities:
      - {locality: {region: eu, zone: eu-1}, weight: 3}
      - {locality: {region: eu, zone: eu-2}, weight: 1}
    balancing: {locality: weighted}
    endpoints:
      - {address: \"10.0.1.1:80\", locality: {region: eu, zone: eu-1}}
      - {address: \"10.0.1.2:80\", locality: {region: eu, zone: eu-1}, health: unhealthy}
      - {address: \"10.0.1.3:80\", locality: {region: eu, zone: eu-2}}
      - {address: \"10.0.1.4:80\", locality: {region: eu, zone: eu-3}}
      - {address: \"10.0.1.5:80\", priority: 1}
  users-next:
    balancer: random
    subsets: {selectors: [{keys: [version]}]}
    endpoints:
      - {address: \"10.0.2.1:80\", labels: {version: v1}}
      - {address: \"10.0.2.2:80\", labels: {version: v2}, weight: 2}
      - {address: \"10.0.2.3:80\", labels: {version: v2}}
";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [path, method, uri, headers @ ..] = arguments.as_slice() {
        return explain(path, method, uri, headers).await;
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, SAMPLE)?;
    let path = path.to_string_lossy();
    explain(&path, "GET", "http://users.prod/carts/1", &["x-user: 7".to_owned()]).await?;
    explain(&path, "GET", "http://users.prod/1", &[]).await
}

async fn explain(path: &str, method: &str, uri: &str, headers: &[String]) -> Result<(), BoxError> {
    let mesh = Mesh::builder().config_file(path).build()?;
    mesh.ready().await?;
    let mut request = Request::builder().method(method).uri(uri);
    for header in headers {
        let (name, value) = header.split_once(':').ok_or("a header is `name: value`")?;
        request = request.header(name.trim(), value.trim());
    }
    let explanation = mesh.explain(&request.body(())?)?;
    println!("{explanation}");
    // The same as data.
    if let Choice::Endpoint { address, .. } = &explanation.clusters[0].pick.choice {
        println!("so it goes to {address}\n");
    }
    Ok(())
}
