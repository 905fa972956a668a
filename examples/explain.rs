//! Where a call would go, and why nowhere else: reads a mesh file and a request, prints the explanation.
//! Nothing is sent, and nothing needs to run; the exit code says whether all is as expected, for CI.
//!
//! ```text
//! cargo run --example explain
//! cargo run --example explain -- examples/mesh/canary.yaml -H 'x-canary: yes' http://shop/cart
//! cargo run --example explain -- mesh.yaml -X POST http://shop/cart --expect cluster=shop-v1
//! cargo run --example explain -- mesh.yaml --service shop http://www.example.com/cart
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

#[path = "support/dry_run.rs"]
mod dry_run;

use std::{fs, process::ExitCode};

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
async fn main() -> Result<ExitCode, BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        let (said, code) = dry_run::run(&arguments).await;
        print!("{said}");
        return Ok(code.into());
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mesh.yaml");
    fs::write(&path, SAMPLE)?;
    let mesh = Mesh::builder().config_file(&path).dry_run().build()?;
    mesh.ready().await?;
    explain(&mesh, "http://users.prod/carts/1", Some("7"))?;
    explain(&mesh, "http://users.prod/1", None)?;
    Ok(ExitCode::SUCCESS)
}

fn explain(mesh: &Mesh, uri: &str, user: Option<&str>) -> Result<(), BoxError> {
    let mut request = Request::get(uri);
    if let Some(user) = user {
        request = request.header("x-user", user);
    }
    let explanation = mesh.explain(&request.body(())?)?;
    println!("{explanation}");
    // The same as data.
    if let Choice::Endpoint { address, .. } = &explanation.clusters[0].pick.choice {
        println!("so it goes to {address}\n");
    }
    Ok(())
}
