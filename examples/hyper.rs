//! `http` requests through `mesh.http()`: one client for many services. Bodies of hyper, bodies
//! that stream, a call's own settings, and what the errors say.
//!
//! ```text
//! cargo run --example hyper
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

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower_mesh::{Body, BoxError, Call, Mesh};

use self::replica::Replica;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let users = [Replica::start("users-1").await?, Replica::start("users-2").await?];
    let orders = Replica::start("orders-1").await?;
    let gone = Replica::start("gone").await?;
    gone.kill();
    let mesh = Mesh::builder()
        .endpoints("users.prod", users.iter().map(Replica::address))
        .endpoints("orders.prod", [orders.address()])
        .endpoints("gone.prod", [gone.address()])
        .service("users.prod", |s| s.timeout(Duration::from_secs(10)))
        .service("gone.prod", |s| s.timeout(Duration::from_millis(300)))
        .build()?;
    mesh.ready().await?;
    let http = mesh.http();

    println!("the authority of a request names its service");
    for uri in ["http://users.prod/1", "http://users.prod/2", "http://orders.prod/7"] {
        let response = http.send(Request::get(uri).body(Body::empty())?).await?;
        println!("  {uri}: {}, {}", response.status(), response.into_body().text().await?);
    }

    println!("the same over HTTP/2, which the request asks for");
    let request = Request::get("http://users.prod/h2").version(Version::HTTP_2);
    let response = http.send(request.body(Body::empty())?).await?;
    println!("  {:?}: {}", response.version(), response.into_body().text().await?);

    println!("any `http_body::Body` goes in: bytes, or a stream");
    let whole = Full::new(Bytes::from_static(b"order 7"));
    let response = http.send(Request::post("http://orders.prod/").body(whole)?).await?;
    println!("  {}", response.into_body().text().await?);
    let parts = (0..100).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 1024]))));
    let parts = StreamBody::new(stream::iter(parts));
    let response = http.send(Request::post("http://orders.prod/").body(parts)?).await?;
    println!("  {}", response.into_body().text().await?);

    println!("a response that streams");
    let request = Request::get("http://orders.prod/stream").body(Body::empty())?;
    let mut body = http.send(request).await?.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            println!("  {}", String::from_utf8_lossy(data));
        }
    }

    println!("a client of one service takes paths alone; one call asks for less time");
    users.iter().for_each(|replica| replica.delay(200));
    let mut request = Request::get("/slow").body(Body::empty())?;
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(50)));
    let error = mesh.client("users.prod")?.send(request).await.expect_err("50 ms for 200 ms");
    println!("  is_timeout: {}\n  {error}", error.is_timeout());

    println!("errors say what, where, why, and what to check");
    for uri in ["http://gone.prod/", "http://usres.prod/1", "/1"] {
        let error = http.send(Request::get(uri).body(Body::empty())?).await.expect_err(uri);
        println!("  GET {uri}: {:?}\n    {error}", error.kind());
    }
    Ok(())
}
