//! Your own tower layers inside the mesh, at its four stages: per call, per attempt, per
//! endpoint, per connection.
//!
//! ```text
//! cargo run --example user_layers
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

use http::{HeaderValue, Request};
use tokio::time::Instant;
use tower::{
    Service, ServiceExt,
    layer::layer_fn,
    limit::ConcurrencyLimitLayer,
    util::{MapRequestLayer, MapResponseLayer},
};
use tower_mesh::{
    Body, BoxError, Mesh, Next,
    config::Balancer,
    transport::{ConnectTarget, Connector},
};

use self::replica::{REPLICA, Replica};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (ill, well) = (Replica::start("ill").await?, Replica::start("well").await?);
    ill.fail(true);

    // Once per call, around all of its attempts: a layer written as a function.
    let timing = layer_fn(|next: Next| {
        tower::service_fn(move |request: Request<Body>| {
            let next = next.clone();
            async move {
                let started = Instant::now();
                println!("  call      {} {}", request.method(), request.uri().path());
                let response = next.oneshot(request).await?;
                let elapsed = started.elapsed();
                println!("  call      {} after {elapsed:.1?}", response.status());
                Ok::<_, BoxError>(response)
            }
        })
    });
    // Once per attempt, before its endpoint is picked: tower's own layer.
    let token = MapRequestLayer::new(|mut request: Request<Body>| {
        println!("  attempt   gets a fresh token");
        request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer fresh"));
        request
    });
    // Around each endpoint, as long as it lives: here a limit that all its calls share.
    let (limit, told) = (
        ConcurrencyLimitLayer::new(10),
        MapResponseLayer::new(|response: http::Response<Body>| {
            let replica = response.headers()[REPLICA].to_str().unwrap_or("?");
            println!("  endpoint  `{replica}` answers {}", response.status());
            response
        }),
    );
    // Around the making of each connection: what it returns is spoken HTTP over.
    let dial = layer_fn(|connector: Connector| {
        tower::service_fn(move |target: ConnectTarget| {
            let mut connector = connector.clone();
            async move {
                let stream = connector.ready().await?.call(target).await?;
                println!("  connect   a connection is open");
                Ok::<_, BoxError>(stream)
            }
        })
    });

    let mesh = Mesh::builder()
        .endpoints("users.prod", [ill.address(), well.address()])
        .service("users.prod", |s| {
            s.timeout(Duration::from_secs(10)).balancer(Balancer::RoundRobin)
        })
        .call_layer(timing)
        .attempt_layer(token)
        .endpoint_layer(limit)
        .endpoint_layer(told)
        .connect_layer(dial)
        .build()?;
    mesh.ready().await?;

    for happens in ["`ill` answers 503, the call is retried on `well`", "`ill` is left alone"] {
        println!("{happens}");
        let request = Request::get("http://users.prod/1").body(Body::empty())?;
        mesh.http().send(request).await?.into_body().bytes().await?;
    }

    println!("\nwhere the layers stand");
    for (number, position) in mesh.describe().stack.iter().enumerate() {
        println!("  {:2} {position}", number + 1);
    }
    Ok(())
}
