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
use tower_mesh::{Body, BoxError, Discover, Event, Mesh, Publisher, config::Address};

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
                let text = tokio::fs::read_to_string(&self.0).await.unwrap_or_default();
                match text.lines().map(str::parse).collect::<Result<Vec<Address>, _>>() {
                    Ok(addresses) => drop(publish.endpoints("users.prod", addresses)),
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

    std::fs::write(&path, "10.0.0.1\n")?;
    while let Some(event) = events.recv().await {
        if let Event::ConfigRefused { part, reason, .. } = event {
            println!("refused: {part}: {reason}");
            break;
        }
    }
    println!("its last good list stays\n  {:?}", calls(&mesh).await?);
    Ok(())
}

fn write(path: &Path, replicas: &[Replica]) -> std::io::Result<()> {
    let lines: Vec<_> = replicas.iter().map(|replica| replica.address().to_string()).collect();
    std::fs::write(path, lines.join("\n"))
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
