//! How an application tests its own calls: endpoints in memory with scripted faults, paused time,
//! seeded choices, and the events of the mesh. No socket is opened and no second passes.
//!
//! ```text
//! cargo run --example testing_kit --features testing
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

use std::time::Duration;

use http::{Request, StatusCode};
use tokio::time::Instant;
use tower_mesh::{
    Body, BoxError, Client, Event, Mesh, Retry,
    testing::{EventLog, Fault, Network},
};

/// What the application has: some code that takes a client of the mesh.
async fn user_name(users: &Client, id: u32) -> Result<String, tower_mesh::Error> {
    let request = Request::get(format!("/users/{id}")).body(Body::empty()).unwrap();
    users.send(request).await?.into_body().text().await
}

/// In a test crate this is `#[tokio::test(start_paused = true)]`.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let network = Network::new();
    let first = network.endpoint("10.0.0.1:80").body("Ada");
    let second = network.endpoint("10.0.0.2:80").body("Ada");
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address(), second.address()])
        .service("users.prod", |s| {
            s.timeout(Duration::from_secs(3))
                .attempt_timeout(Duration::from_secs(1))
                .retry(Retry::standard())
        })
        .connect_layer(network)
        .seed(7)
        .build()?;
    mesh.ready().await?;
    let users = mesh.client("users.prod")?;
    let mut log = EventLog::of(&mesh);

    println!("each endpoint fails once: the caller does not see it");
    let fails_once = [Some(Fault::Status(StatusCode::SERVICE_UNAVAILABLE))];
    let (first, second) = (first.script(fails_once.clone()), second.script(fails_once));
    assert_eq!(user_name(&users, 1).await?, "Ada");
    assert_eq!(log.retries(), 2);
    println!("  answered after {} retries", log.retries());

    println!("each endpoint hangs once: that costs two attempt timeouts, of paused time");
    let (first, second) = (first.script([Some(Fault::Hang)]), second.script([Some(Fault::Hang)]));
    let started = Instant::now();
    assert_eq!(user_name(&users, 2).await?, "Ada");
    assert!(started.elapsed() >= Duration::from_secs(2));
    println!("  answered after {:.2?}", started.elapsed());

    println!("when all hang, the call ends with its deadline");
    first.set_fault(Some(Fault::Hang));
    second.set_fault(Some(Fault::Hang));
    let started = Instant::now();
    let error = user_name(&users, 3).await.expect_err("nobody answers");
    assert!(error.is_timeout());
    println!("  after {:.1?}: {error}", started.elapsed());
    first.set_fault(None);
    second.set_fault(None);

    println!("what an endpoint has received");
    let last = first.received().pop().expect("it was called");
    println!("  {} {}", last.method, last.uri.path());
    for name in ["x-mesh-attempt", "x-envoy-expected-rq-timeout-ms"] {
        let value = last.headers.get(name).and_then(|value| value.to_str().ok());
        println!("    {name}: {}", value.unwrap_or("-"));
    }

    println!("what the mesh has told");
    for event in log.all() {
        match event {
            Event::AttemptEnded { endpoint, number, status, elapsed, .. } => {
                let met = status.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
                println!("  attempt {number} on {endpoint}: {met} in {elapsed:.0?}");
            }
            Event::Retry { reason, backoff, .. } => println!("  retry: {reason}, in {backoff:.0?}"),
            _ => {}
        }
    }
    Ok(())
}
