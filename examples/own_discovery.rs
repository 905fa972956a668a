//! A source of endpoints of your own: here an inventory in a text file, asked every 100 ms.
//!
//! ```text
//! cargo run --example own_discovery
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

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use http::Request;
use tower_mesh::{Body, BoxError, Discover, Event, EventStream, Mesh, Publisher, config::Address};

use self::replica::{REPLICA, Replica};

/// The whole source: one address per line.
struct Inventory(PathBuf);

impl Discover for Inventory {
    fn name(&self) -> String {
        format!("inventory {}", self.0.display())
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            loop {
                match self.read().await {
                    Ok(addresses) => drop(publish.endpoints("users.prod", addresses)),
                    // Never an empty list where nothing is known: that would end every call.
                    Err(error) => {
                        publish.refused("endpoints of cluster users.prod", error.to_string());
                    }
                }
                publish.synced(); // the first time: `mesh.ready()` waits for it
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    }
}

impl Inventory {
    async fn read(&self) -> Result<Vec<Address>, BoxError> {
        let text = tokio::fs::read_to_string(&self.0).await?;
        Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut replicas = Vec::new();
    for name in ["a", "b", "c"] {
        replicas.push(Replica::start(name).await?);
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("inventory.txt");
    write(&path, &replicas[..2])?;

    let mesh = Mesh::builder().source(Inventory(path.clone())).build()?;
    mesh.ready().await?;
    println!("the inventory lists a and b\n  {:?}", calls(&mesh).await?);

    let mut events = mesh.events();
    write(&path, &replicas[1..])?;
    while let Some(event) = events.recv().await {
        match event {
            Event::EndpointAdded { endpoint, .. } => println!("joined: {endpoint}"),
            Event::EndpointRemoved { endpoint, .. } => {
                println!("left: {endpoint}");
                break;
            }
            _ => {}
        }
    }
    println!("the inventory lists b and c\n  {:?}", calls(&mesh).await?);

    replace(&path, "10.0.0.1\n")?;
    let bad = refused(&mut events, "").await;
    println!("refused: {bad}");
    println!("its last good list stays\n  {:?}", calls(&mesh).await?);

    std::fs::remove_file(&path)?;
    println!("refused: {}", refused(&mut events, &bad).await);
    println!("the inventory is gone, its last good list stays\n  {:?}", calls(&mesh).await?);
    Ok(())
}

/// The next report of what cannot be used that is not this one: it comes with each reading.
async fn refused(events: &mut EventStream, known: &str) -> String {
    while let Some(event) = events.recv().await {
        if let Event::ConfigRefused { part, reason, .. } = event {
            let report = format!("{part}: {reason}");
            if report != known {
                return report;
            }
        }
    }
    "nothing".to_owned()
}

fn write(path: &Path, replicas: &[Replica]) -> std::io::Result<()> {
    let lines: Vec<_> = replicas.iter().map(|replica| replica.address().to_string()).collect();
    replace(path, &lines.join("\n"))
}

/// Nobody reads a list that is written only in part.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, text)?;
    std::fs::rename(next, path)
}

/// Who answers 200 calls, eight at a time.
async fn calls(mesh: &Mesh) -> Result<BTreeMap<String, u32>, BoxError> {
    let call = |_| async {
        let request = Request::get("http://users.prod/").body(Body::empty())?;
        let response = mesh.http().send(request).await?;
        let who = response.headers()[REPLICA].to_str()?.to_owned();
        response.into_body().bytes().await?;
        Ok::<_, BoxError>(who)
    };
    let mut calls = stream::iter((0..200).map(call)).buffer_unordered(8);
    let mut answers = BTreeMap::new();
    while let Some(who) = calls.next().await {
        *answers.entry(who?).or_default() += 1;
    }
    Ok(answers)
}
