//! The event stream tells a call's story, and costs nothing when nobody listens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use tower_mesh::{Event, Mesh, Retry};

use support::{
    Leaves, Recorder, SERVICE, Server, dead_address, get,
    leaf::{answer, ok},
};

/// A short word for each event of a call.
fn word(event: &Event) -> Option<String> {
    Some(match event {
        Event::CallStarted { service, .. } => format!("call {service}"),
        Event::AttemptStarted { number, .. } => format!("attempt {number}"),
        Event::AttemptEnded { number, status, .. } => format!("attempt {number} met {status:?}"),
        Event::Retry { reason, .. } => format!("retry: {reason}"),
        Event::CallEnded { status, attempts, .. } => format!("ended {status:?} in {attempts}"),
        _ => return None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_retried_call_in_order() {
    let leaves = Leaves::new(2);
    let counter = leaves.clone();
    let mesh = leaves
        .mesh(move |_, _| {
            let first = counter.total() == 1;
            async move { Ok(if first { answer(503) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| s.retry(Retry::standard()))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let words: Vec<_> = events.events().iter().filter_map(word).collect();
    assert_eq!(
        words,
        [
            "call users.prod",
            "attempt 1",
            "attempt 1 met Some(503)",
            "retry: status 503",
            "attempt 2",
            "attempt 2 met Some(200)",
            "ended Some(200) in 2",
        ]
    );
}

#[tokio::test]
async fn connections_and_endpoints_are_told() {
    let server = Server::named("hello").await;
    let (dead, _socket) = dead_address();
    let mesh =
        Mesh::builder().endpoints("users", [server.address(), dead.clone()]).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        client.send(get("/")).await.unwrap().into_body().bytes().await.unwrap();
    }
    let alive = server.address().to_string();
    let dead = dead.to_string();
    assert_eq!(
        events.count(
            |event| matches!(event, Event::Connected { endpoint, .. } if **endpoint == *alive)
        ),
        1
    );
    let refused = |event: &Event| match event {
        Event::ConnectFailed { endpoint, cause, backoff, .. } => {
            **endpoint == *dead && cause.contains("refused") && *backoff > Duration::ZERO
        }
        _ => false,
    };
    assert!(events.count(refused) >= 1, "{:?}", events.events());
    server.kill().await;
    events.until(|event| matches!(event, Event::Disconnected { .. })).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_learns_what_it_missed() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    let mut stream = mesh.events();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..3000 {
        client.send(get("/")).await.unwrap();
    }
    let mut seen = 0;
    while stream.try_recv().is_some() {
        seen += 1;
    }
    assert!(seen <= 4096 && stream.missed() > 0, "{seen} seen, {} missed", stream.missed());
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_the_mesh() {
    let mesh = Leaves::new(1).mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    let mut stream = mesh.events();
    mesh.shutdown(Duration::from_secs(1)).await;
    drop(mesh);
    let end = async { while stream.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("the stream never ends");
}
