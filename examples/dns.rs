//! Endpoints by DNS: SRV records with a TTL of one second that change, vanish and come back, from a
//! DNS server inside of this process.
//!
//! ```text
//! cargo run --example dns
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
#[path = "support/zone.rs"]
mod zone;

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream};
use http::Request;
use tower_mesh::{Body, BoxError, Event, EventStream, Mesh, discover::dns::Dns};

use self::{
    replica::{REPLICA, Replica},
    zone::Zone,
};

const NAME: &str = "_http._tcp.users.test.";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut replicas = Vec::new();
    for name in ["a", "b", "c"] {
        replicas.push(Replica::start(name).await?);
    }
    let [a, b, c] = &replicas[..] else { return Err("there are three".into()) };
    let zone = Zone::serve("users.test.").await;
    zone.set("host.users.test.", "A", 1, &["127.0.0.1"]).await;
    list(&zone, &[(a, 30), (b, 10)]).await;

    let dns = Dns::servers([zone.address])
        .stale_limit(Duration::from_secs(2))
        .service("users.prod", format!("dns:///{NAME}"));
    let mesh = Mesh::builder().source(dns).build()?;
    mesh.ready().await?;
    println!("the zone says: a with weight 30, b with weight 10\n  {:?}", calls(&mesh).await);

    let mut events = mesh.events();
    list(&zone, &[(b, 10), (c, 10)]).await;
    changes(&mut events, 2).await;
    println!("the zone says: b and c, seen within the TTL of a second\n  {:?}", calls(&mesh).await);

    zone.set(NAME, "SRV", 1, &[]).await;
    refused(&mut events).await;
    println!("the zone says nothing: the last good answer stays\n  {:?}", calls(&mesh).await);
    let description = mesh.describe().to_string();
    for line in description.lines().filter(|line| {
        ["dns.name", "dns.stale_limit", "answer:"].iter().any(|part| line.contains(part))
    }) {
        println!("    {}", line.trim());
    }
    changes(&mut events, 2).await;
    println!("two seconds after its TTL it is believed\n  {:?}", calls(&mesh).await);

    list(&zone, &[(a, 10), (b, 10), (c, 10)]).await;
    changes(&mut events, 3).await;
    println!("the zone says: a, b and c\n  {:?}", calls(&mesh).await);
    Ok(())
}

/// Replaces the SRV records: replicas with their weights.
async fn list(zone: &Zone, replicas: &[(&Replica, u16)]) {
    let records: Vec<String> = replicas
        .iter()
        .map(|(it, weight)| format!("0 {weight} {} host.users.test.", it.address().port()))
        .collect();
    zone.set(NAME, "SRV", 1, &records.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// Prints who joins and leaves, until so many did.
async fn changes(events: &mut EventStream, mut count: u32) {
    while count > 0 {
        match events.recv().await {
            Some(Event::EndpointAdded { endpoint, .. }) => println!("joined: {endpoint}"),
            Some(Event::EndpointRemoved { endpoint, .. }) => println!("left: {endpoint}"),
            Some(_) => continue,
            None => return,
        }
        count -= 1;
    }
    // The event comes a moment before the calls see it.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Prints the next report.
async fn refused(events: &mut EventStream) {
    while let Some(event) = events.recv().await {
        if let Event::ConfigRefused { part, reason, .. } = event {
            println!("reported: {part}: {reason}");
            return;
        }
    }
}

/// Who answers 200 calls, eight at a time; or why they fail.
async fn calls(mesh: &Mesh) -> BTreeMap<String, u32> {
    let call = |_| async {
        let request = Request::get("http://users.prod/").body(Body::empty())?;
        let response = match mesh.http().send(request).await {
            Ok(response) => response,
            Err(error) => return Ok(format!("failed: {:?}", error.kind())),
        };
        let who = response.headers()[REPLICA].to_str()?.to_owned();
        response.into_body().bytes().await?;
        Ok::<_, BoxError>(who)
    };
    let mut calls = stream::iter((0..200).map(call)).buffer_unordered(8);
    let mut answers = BTreeMap::new();
    while let Some(who) = calls.next().await {
        *answers.entry(who.unwrap_or_else(|error| error.to_string())).or_default() += 1;
    }
    answers
}
