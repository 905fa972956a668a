//! Code that uses reqwest, over the mesh: the same builder and the same response, with balancing,
//! retries, deadlines and redirects of the mesh underneath.
//!
//! ```text
//! cargo run --example reqwest --features reqwest-013
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
use tower_mesh::{BoxError, Call, Event, EventStream, Mesh, adapt::reqwest::Client};

use self::replica::{REPLICA, Replica};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let users = [Replica::start("users-1").await?, Replica::start("users-2").await?];
    let orders = Replica::start("orders-1").await?;
    let elsewhere = Replica::start("elsewhere").await?;
    let mesh = Mesh::builder()
        .endpoints("users.prod", users.iter().map(Replica::address))
        .endpoints("orders.prod", [orders.address()])
        .service("users.prod", |s| s.timeout(Duration::from_secs(10)))
        .build()?;
    mesh.ready().await?;
    let mut events = mesh.events();

    // The wrapped client is for names that the mesh does not have, and only for these.
    let plain = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .resolve("api.example", elsewhere.address())
        .build()?;
    let http = mesh
        .reqwest(plain)
        .user_agent("example/1")
        .no_proxy()
        .no_gzip()
        .outside(|url| url.host_str() == Some("api.example"))
        .build()?;

    println!("the authority of a URL names its service; both replicas answer");
    let mut answers = BTreeMap::new();
    for number in 0..20 {
        let response = http.get(format!("http://users.prod/{number}")).send().await?;
        let replica = response.headers()[REPLICA].to_str()?.to_owned();
        *answers.entry(replica).or_insert(0) += 1;
    }
    println!("  {answers:?}");

    println!("one of them is killed and seen to be gone: no call fails, not even a POST");
    users[0].kill();
    // A POST of which nobody has said that it may be repeated is sent once: one that is under way on a connection when
    // it breaks is lost with it. A GET would be sent again.
    closed(&mut events, &users[0].address().to_string()).await;
    for _ in 0..20 {
        http.post("http://users.prod/").body("a user").send().await?.error_for_status()?;
    }
    println!("  20 of 20");

    println!("forms, JSON and multipart are reqwest's own");
    let form = BTreeMap::from([("name", "ada"), ("role", "admin")]);
    println!("  {}", text(http.post("http://orders.prod/").form(&form)).await?);
    println!("  {}", text(http.post("http://orders.prod/").json(&form)).await?);

    println!("bodies that stream, in both directions");
    let parts = stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 1024])));
    let upload = http.post("http://orders.prod/").body(reqwest::Body::wrap_stream(parts));
    println!("  {}", text(upload).await?);
    let mut lines = http.get("http://orders.prod/stream").send().await?.bytes_stream();
    while let Some(line) = lines.next().await {
        println!("  {}", String::from_utf8_lossy(&line?));
    }

    println!("a call's own bounds, and the one type of error");
    users[1].delay(200);
    let slow = http.get("http://users.prod/slow").timeout(Duration::from_millis(50));
    let error = slow.call(Call::new().no_retry()).send().await.expect_err("50 ms for 200 ms");
    println!("  is_timeout: {}\n  {error}", error.is_timeout());
    let json = fetch_json(&http).await.expect_err("it is no JSON");
    println!("  {}", json.chain());

    println!("a name outside of the mesh: allowed by its URL, or refused");
    let port = elsewhere.address().port();
    println!("  {}", text(http.get(format!("http://api.example:{port}/out"))).await?);
    let error = http.get("http://usres.prod/1").send().await.expect_err("nobody defines it");
    println!("  {:?}\n  {error}", error.kind());
    Ok(())
}

/// Waits until every connection to this endpoint has been seen to be closed.
async fn closed(events: &mut EventStream, address: &str) {
    let mut open = 0;
    loop {
        // What has happened already, and then what comes.
        let event = match events.try_recv() {
            None if open == 0 => return,
            None => events.recv().await,
            some => some,
        };
        match event {
            Some(Event::Connected { endpoint, .. }) if *endpoint == *address => open += 1,
            Some(Event::Disconnected { endpoint, .. }) if *endpoint == *address => open -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

async fn text(request: tower_mesh::adapt::reqwest::RequestBuilder) -> Result<String, BoxError> {
    Ok(request.send().await?.error_for_status()?.text().await?)
}

/// One `?` for what the mesh, a status and the content can be.
async fn fetch_json(http: &Client) -> Result<serde_json::Value, tower_mesh::Error> {
    let response = http.get("http://orders.prod/7").send().await?;
    Ok(response.error_for_status()?.json().await?)
}
