//! A control plane that speaks xDS drives HTTP and gRPC calls: a canary is shifted, an update that cannot
//! be used is refused, the plane goes away and comes back. No proxy, and no call fails.
//!
//! The plane of the example is the one of the test kit. Against a real one only the bootstrap
//! differs: `Xds::from_env()` reads the one that the platform has prepared.
//!
//! ```text
//! cargo run --example xds --features testing,xds
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example talks and keeps short")]

#[path = "support/greeter.rs"]
mod greeter;
#[path = "support/replica.rs"]
mod replica;

use std::{collections::BTreeMap, time::Duration};

use greeter::{GreeterClient, HelloRequest};
use http::Request;
use tower_mesh::{
    Body, BoxError, Client, Event, EventStream, Mesh,
    control::xds::{Bootstrap, Xds},
    testing::xds::{AdsServer, Resource},
};

use self::replica::{REPLICA, Replica};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (stable, canary) = (Replica::start("stable").await?, Replica::start("canary").await?);
    let plane = AdsServer::start().await?;
    plane.set([
        Resource::listener("users.prod", "users-routes"),
        Resource::routes("users-routes", [("users.prod", "stable")]),
        Resource::cluster("stable"),
        Resource::endpoints("stable", [stable.address()]),
        Resource::cluster("canary"),
        Resource::endpoints("canary", [canary.address()]),
    ]);

    // What `GRPC_XDS_BOOTSTRAP_CONFIG` holds on a machine that is prepared for gRPC.
    let bootstrap = format!(
        r#"{{"xds_servers": [{{"server_uri": "{}", "channel_creds": [{{"type": "insecure"}}]}}],
  "node": {{"id": "example-1"}}}}"#,
        plane.uri()
    );
    println!("the bootstrap\n  {bootstrap}\n");
    let mesh = Mesh::builder().source(Xds::new(Bootstrap::from_json(&bootstrap)?)).build()?;
    let mut events = mesh.events();

    // A name is looked up when it is first asked for; nothing is listed anywhere.
    let users = mesh.client("users.prod")?;
    mesh.ready().await?;
    println!("all to `stable`: {}", shares(&users).await?);

    plane.set([Resource::split("users-routes", "users.prod", [("stable", 3), ("canary", 1)])]);
    until(&mut events, "service users.prod").await?;
    println!("a quarter to `canary`: {}\n", shares(&users).await?);

    println!("an update that cannot be used");
    plane.set([Resource::routes("users-routes", [("users.prod", "")])]);
    until(&mut events, "").await?;
    println!("  the last good one stays: {}\n", shares(&users).await?);

    println!("the plane is gone");
    plane.stop();
    println!("  calls go on: {}\n", shares(&users).await?);

    println!("it is back, and has the canary take over");
    plane.set([Resource::routes("users-routes", [("users.prod", "canary")])]);
    plane.resume().await?;
    until(&mut events, "service users.prod").await?;
    println!("  {}\n", shares(&users).await?);

    // A generated gRPC client goes the same way.
    let mut greeter = GreeterClient::new(mesh.client("users.prod")?);
    let reply = greeter.say_hello(HelloRequest { name: "xDS".to_owned() }).await?;
    println!("gRPC: {:?}\n", reply.into_inner().message);
    print!("{}", mesh.describe());
    Ok(())
}

/// Who answers how many of 400 calls.
async fn shares(users: &Client) -> Result<String, BoxError> {
    let mut shares = BTreeMap::<_, u32>::new();
    for _ in 0..400 {
        let response = users.send(Request::get("/1").body(Body::empty())?).await?;
        assert!(response.status().is_success(), "{}", response.status());
        *shares.entry(response.headers()[REPLICA].to_str()?.to_owned()).or_default() += 1;
        response.into_body().bytes().await?;
    }
    Ok(shares.iter().map(|(name, calls)| format!("{name} {calls}")).collect::<Vec<_>>().join(", "))
}

/// Prints what happens to the configuration until this part is applied, or, of no part, one is refused.
async fn until(events: &mut EventStream, applied: &str) -> Result<(), BoxError> {
    let wait = async {
        while let Some(event) = events.recv().await {
            match &event {
                Event::ConfigApplied { part, .. } if &**part == applied => return Ok(()),
                Event::ConfigRefused { part, reason, .. } => {
                    println!("  refused: {part}\n    {reason}");
                    if applied.is_empty() {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        Err("the mesh has ended".into())
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await?
}
