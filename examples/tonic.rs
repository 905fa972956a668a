//! Generated tonic clients over the mesh: `new`, `with_interceptor`, a stream, a call's own
//! settings, and what a failure inside the mesh looks like to a gRPC caller.
//!
//! ```text
//! cargo run --example tonic
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

use std::time::Duration;

use tower_mesh::{BoxError, Call, Event, Mesh, Retry, config::Balancer};

use self::{
    greeter::{GreeterClient, HelloRequest},
    replica::Replica,
};

fn hello(name: &str) -> HelloRequest {
    HelloRequest { name: name.to_owned() }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (first, second) = (Replica::start("first").await?, Replica::start("second").await?);
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [first.address(), second.address()])
        // The mesh cannot see whether a gRPC method may be repeated: its owner says so.
        .service("greeter.prod", |s| {
            s.timeout(Duration::from_secs(10))
                .retry(Retry::idempotent())
                // In turns, to see both answer; the default goes by latency and load.
                .balancer(Balancer::RoundRobin)
        })
        // A service without a single endpoint, to see it fail.
        .endpoints("empty.prod", [] as [std::net::SocketAddr; 0])
        .build()?;
    mesh.ready().await?;

    println!("a generated client, unchanged");
    let mut client = GreeterClient::new(mesh.client("greeter.prod")?);
    for _ in 0..4 {
        println!("  {}", client.say_hello(hello("tonic")).await?.into_inner().message);
    }

    println!("with an interceptor");
    let mut tagged = GreeterClient::with_interceptor(
        mesh.client("greeter.prod")?,
        |mut request: tonic::Request<()>| {
            request.metadata_mut().insert("x-tenant", "blue".parse().unwrap());
            Ok(request)
        },
    );
    println!("  {}", tagged.say_hello(hello("interceptor")).await?.into_inner().message);

    println!("a stream of replies");
    let mut replies = client.count(hello("stream")).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        println!("  {}", reply.message);
    }

    println!("`first` fails every request: the caller does not see it");
    first.fail(true);
    let mut events = mesh.events();
    for _ in 0..20 {
        client.say_hello(hello("retry")).await?;
    }
    let mut retries = 0;
    while let Some(event) = events.try_recv() {
        retries += u32::from(matches!(event, Event::Retry { .. }));
    }
    println!("  20 calls, 20 answers, {retries} retries");
    first.fail(false);

    println!("one call asks for something else than the service's policy");
    first.delay(200);
    second.delay(200);
    let mut request = tonic::Request::new(hello("override"));
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(50)).no_retry());
    let status = client.say_hello(request).await.expect_err("the answer takes 200 ms");
    println!("  {:?}: {}", status.code(), status.message());

    println!("a failure inside the mesh is a gRPC status, never `Unknown`");
    let mut nobody = GreeterClient::new(mesh.client("empty.prod")?);
    let status = nobody.say_hello(hello("nobody")).await.expect_err("there is no endpoint");
    println!("  {:?}: {}", status.code(), status.message());
    Ok(())
}
