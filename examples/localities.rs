//! Priorities and zones: a caller stays in its own zone, moves on when it dies, and comes back.
//!
//! ```text
//! cargo run --example localities
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

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use http::Request;
use tower_mesh::{
    Body, BoxError, Event, EventStream, Mesh,
    config::{Balancing, Endpoint, Health, Locality, LocalityScope},
};

use self::replica::{REPLICA, Replica};

/// An endpoint in a zone of one region.
fn in_zone(replica: &Replica, zone: &str, priority: u32) -> Endpoint {
    let mut endpoint = Endpoint::from(replica.address());
    endpoint.locality = Some(Box::new(Locality::new("eu", zone)));
    endpoint.priority = priority;
    endpoint
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut here = Vec::new();
    for name in ["here-1", "here-2"] {
        here.push(Replica::start(name).await?);
    }
    let (there, backup) = (Replica::start("there").await?, Replica::start("backup").await?);
    let mut endpoints: Vec<_> = here.iter().map(|replica| in_zone(replica, "eu-1", 0)).collect();
    endpoints.push(in_zone(&there, "eu-2", 0));
    endpoints.push(in_zone(&backup, "eu-1", 1));

    // Of one priority, the caller's zone comes before the rest of its region.
    let mut balancing = Balancing::default();
    balancing.prefer = vec![LocalityScope::Region, LocalityScope::Zone];
    let mesh = Mesh::builder()
        .endpoints("users.prod", endpoints.clone())
        .service("users.prod", |service| service.balancing(balancing))
        .locality(Locality::new("eu", "eu-1"))
        .build()?;
    mesh.ready().await?;
    let mut events = mesh.events();

    println!("the caller is in eu-1\n  {:?}", calls(&mesh).await?);
    places(&mesh);

    here[0].kill();
    calls(&mesh).await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await; // shares are counted once a second
    println!("one of the two here is killed: 70 % stay\n  {:?}", calls(&mesh).await?);
    told(&mut events);

    here[1].kill();
    calls(&mesh).await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    println!("both are killed\n  {:?}", calls(&mesh).await?);
    told(&mut events);
    places(&mesh);

    there.kill();
    println!("and the other zone, too\n  {:?}", calls(&mesh).await?);

    told(&mut events);

    // A second mesh: all that is said of the endpoints is that most are unhealthy.
    let replicas = [Replica::start("well").await?, Replica::start("ill-1").await?];
    let more = Replica::start("ill-2").await?;
    let endpoints = [
        Endpoint::from(replicas[0].address()),
        Endpoint::from(replicas[1].address()).health(Health::Unhealthy),
        Endpoint::from(more.address()).health(Health::Unhealthy),
    ];
    let mesh = Mesh::builder().endpoints("users.prod", endpoints).build()?;
    mesh.ready().await?;
    println!(
        "one of three is healthy, less than half: all are called\n  {:?}",
        calls(&mesh).await?
    );
    places(&mesh);
    mesh.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Two hundred calls, ten at a time: who answered how many. None may fail.
async fn calls(mesh: &Mesh) -> Result<BTreeMap<String, u32>, BoxError> {
    let client = mesh.http();
    let answers: Vec<_> = stream::iter(0..200)
        .map(|_| {
            let request = Request::get("http://users.prod/").body(Body::empty()).unwrap();
            client.send(request)
        })
        .buffer_unordered(10)
        .collect()
        .await;
    let mut who = BTreeMap::new();
    for answer in answers {
        let answer = answer?;
        let name = answer.headers()[REPLICA].to_str()?.to_owned();
        *who.entry(name).or_default() += 1;
    }
    Ok(who)
}

/// What was told of priorities since it was asked last.
fn told(events: &mut EventStream) {
    while let Some(event) = events.try_recv() {
        if let Event::PriorityShifted { priority, distance, percent, .. } = event {
            println!("  told: priority {priority}, distance {distance} gets {percent} %");
        }
    }
}

/// What each priority gets.
fn places(mesh: &Mesh) {
    for place in &mesh.describe().services[0].routes[0].clusters[0].places {
        println!("  {place}");
    }
}
