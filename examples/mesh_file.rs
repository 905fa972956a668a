//! A mesh file followed while it is edited: an edit takes effect, a bad one is refused and
//! reported while everything else goes on, and `describe()` says where each setting comes from.
//!
//! ```text
//! cargo run --example mesh_file
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

use std::{fs, path::Path, time::Duration};

use http::Request;
use tower_mesh::{Body, BoxError, Client, Event, EventStream, Mesh};

use self::replica::{REPLICA, Replica};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (old, new) = (Replica::start("old").await?, Replica::start("new").await?);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mesh.yaml");
    let file = |timeout: &str, replica: &Replica| {
        format!(
            "services:
  users.prod:
    policy: {{ timeout: {timeout}, retry: {{ attempts: 2 }} }}
clusters:
  users.prod:
    balancer: round_robin
    endpoints:
      - address: {}
",
            replica.address()
        )
    };
    fs::write(&path, file("2s", &old))?;

    let mesh = Mesh::builder()
        .config_file(&path)
        .service("users.prod", |s| s.attempt_timeout(Duration::from_millis(500)))
        .build()?;
    mesh.ready().await?;
    let users = mesh.client("users.prod")?;
    let mut events = mesh.events();
    println!("the file names `old`: {} answers\n", ask(&users).await?);

    println!("the file is replaced, as editors and Kubernetes do");
    replace(&path, &file("2s", &new))?;
    until(&mut events, |event| matches!(event, Event::ConfigApplied { .. })).await?;
    println!("  {} answers\n", ask(&users).await?);

    println!("an edit that cannot be used, in one part of two; the other takes effect");
    replace(&path, &file("soon", &old))?;
    until(&mut events, |event| matches!(event, Event::ConfigRefused { .. })).await?;
    println!("  {} answers\n", ask(&users).await?);

    println!("an edit that is no YAML: the whole file is refused, nothing changes");
    replace(&path, "services: [\n")?;
    until(&mut events, |event| matches!(event, Event::ConfigRefused { .. })).await?;
    println!("  {} answers\n", ask(&users).await?);

    println!("what the mesh is made of now, and where each setting comes from\n");
    print!("{}", mesh.describe());

    println!("\nmended");
    replace(&path, &file("2s", &new))?;
    until(&mut events, |event| matches!(event, Event::ConfigApplied { .. })).await?;
    println!("  {} answers, {} parts refused", ask(&users).await?, mesh.describe().refused.len());
    Ok(())
}

/// Who answers.
async fn ask(users: &Client) -> Result<String, BoxError> {
    let response = users.send(Request::get("/1").body(Body::empty())?).await?;
    let replica = response.headers()[REPLICA].to_str()?.to_owned();
    response.into_body().bytes().await?;
    Ok(replica)
}

/// Writes beside the file and renames over it: a reader never sees half of it.
fn replace(path: &Path, text: &str) -> Result<(), BoxError> {
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(next, path)?)
}

/// Prints what happens to the configuration until an event is such.
async fn until(events: &mut EventStream, such: impl Fn(&Event) -> bool) -> Result<(), BoxError> {
    let wait = async {
        while let Some(event) = events.recv().await {
            match &event {
                Event::ConfigApplied { part, .. } => println!("  applied: {part}"),
                Event::ConfigRefused { part, reason, .. } => {
                    println!("  refused: {part}\n    {reason}");
                }
                Event::EndpointAdded { endpoint, .. } => println!("  joined: {endpoint}"),
                Event::EndpointRemoved { endpoint, .. } => println!("  left: {endpoint}"),
                _ => {}
            }
            if such(&event) {
                return Ok(());
            }
        }
        Err("the mesh has ended".into())
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await?
}
