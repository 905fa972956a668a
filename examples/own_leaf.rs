//! Bring your own client: the mesh discovers, balances, retries and bounds in time, and a client
//! that you have already makes the connections. Here hyper-util's pooled one, then a function.
//!
//! ```text
//! cargo run --example own_leaf
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

#[path = "support/greeter.rs"]
mod greeter;
#[path = "support/replica.rs"]
mod replica;

use std::{collections::BTreeMap, io, net::SocketAddr};

use http::{Request, Response, Uri};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::service_fn;
use tower_mesh::{Body, BoxError, LeafEndpoint, Mesh, Retry};

use self::replica::{REPLICA, Replica};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    pooled_client().await?;
    in_process().await
}

/// hyper-util's client behind the mesh.
async fn pooled_client() -> Result<(), BoxError> {
    let replicas = [Replica::start("a").await?, Replica::start("b").await?];
    let dead = Replica::start("dead").await?;
    dead.kill();
    let addresses = replicas.iter().chain([&dead]).map(Replica::address);

    // One client for all endpoints: it pools connections by authority by itself.
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let mesh = Mesh::builder()
        .endpoints("users.prod", addresses)
        .service("users.prod", |s| s.retry(Retry::standard().attempts(3)))
        .leaf(move |endpoint: &LeafEndpoint| {
            println!("  a leaf for {}", endpoint.address());
            let (client, address) = (client.clone(), endpoint.address().to_string());
            service_fn(move |mut request: Request<Body>| {
                let (client, address) = (client.clone(), address.clone());
                async move {
                    // The request still names the service; this client wants the endpoint.
                    let mut parts = request.uri().clone().into_parts();
                    parts.scheme = Some(http::uri::Scheme::HTTP);
                    parts.authority = Some(address.parse()?);
                    *request.uri_mut() = Uri::from_parts(parts)?;
                    Ok::<_, BoxError>(client.request(request).await?)
                }
            })
        })
        .build()?;

    println!("hyper-util's client as the leaf; one of three endpoints is dead");
    let users = mesh.client("users.prod")?;
    let mut answers = BTreeMap::<String, u32>::new();
    for number in 0..200 {
        let request = Request::get(format!("/{number}")).body(Body::empty())?;
        let response = users.send(request).await?;
        let who = response.headers()[REPLICA].to_str()?.to_owned();
        response.into_body().bytes().await?;
        *answers.entry(who).or_default() += 1;
    }
    println!("  200 calls, 0 failed: {answers:?}\n");
    Ok(())
}

/// A leaf needs no network at all.
async fn in_process() -> Result<(), BoxError> {
    let addresses: [SocketAddr; 2] = ["10.0.0.1:80".parse()?, "10.0.0.2:80".parse()?];
    let mesh = Mesh::builder()
        .endpoints("echo.prod", addresses)
        .endpoints("broken.prod", [addresses[1]])
        .leaf(|endpoint: &LeafEndpoint| {
            let name = endpoint.address().to_string();
            service_fn(move |request: Request<Body>| {
                let name = name.clone();
                async move {
                    if name == "10.0.0.2:80" {
                        return Err(io::Error::other("this one never works"));
                    }
                    let text = format!("{name} answers {}", request.uri().path());
                    Ok(Response::new(Body::from(text)))
                }
            })
        })
        .build()?;
    println!("a function as the leaf; one of two endpoints fails, and the other answers");
    for path in ["/one", "/two", "/three"] {
        let request = Request::get(format!("http://echo.prod{path}")).body(Body::empty())?;
        println!("  {}", mesh.http().send(request).await?.into_body().text().await?);
    }

    println!("where every attempt fails, the error carries the leaf's own");
    let request = Request::get("http://broken.prod/").body(Body::empty())?;
    let error = mesh.http().send(request).await.expect_err("its only endpoint never works");
    println!("  {}", error.chain());
    Ok(())
}
