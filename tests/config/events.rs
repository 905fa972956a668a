//! The event stream tells a call's story, and costs nothing when nobody listens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tower_mesh::{DisconnectReason, ErrorKind, Event, Mesh, Retry, config::Protocol};

use crate::support::{
    GreeterClient, HelloReply, HelloRequest, Leaves, RawServer, Recorder, SERVICE, Server,
    dead_address, get,
    greeters::counting,
    leaf::{answer, ok},
    patience,
    source::{cluster, one_cluster},
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

/// So many calls and attempts were begun, and so many ended.
fn balance(events: &mut Recorder) -> [usize; 4] {
    [
        events.count(|event| matches!(event, Event::CallStarted { .. })),
        events.count(|event| matches!(event, Event::CallEnded { .. })),
        events.count(|event| matches!(event, Event::AttemptStarted { .. })),
        events.count(|event| matches!(event, Event::AttemptEnded { .. })),
    ]
}

/// The name of the event.
fn kind(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split(' ').next().unwrap().to_owned()
}

/// The number of the call that the event is of.
fn number(event: &Event) -> Option<u64> {
    match event {
        Event::CallStarted { call, .. }
        | Event::CallEnded { call, .. }
        | Event::AttemptStarted { call, .. }
        | Event::AttemptEnded { call, .. }
        | Event::Retry { call, .. }
        | Event::RetryRefused { call, .. } => Some(*call),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_events_of_calls_at_the_same_time_are_told_apart() {
    for is_layered in [false, true] {
        let leaves = Leaves::new(3);
        let mut builder = leaves
            .mesh(|_, _| async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(answer(503))
            })
            .service(SERVICE, |s| s.retry(Retry::standard().attempts(3)));
        if is_layered {
            builder = builder
                .call_layer(tower::layer::util::Identity::new())
                .attempt_layer(tower::layer::util::Identity::new())
                .endpoint_layer(tower::layer::util::Identity::new());
        }
        let mesh = builder.build().unwrap();
        mesh.ready().await.unwrap();
        let client = mesh.client(SERVICE).unwrap();
        let unheard = tokio::spawn(client.send(get("/")));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut events = Recorder::of(&mesh);
        let calls = futures_util::future::join_all((0..8).map(|_| client.send(get("/")))).await;
        assert!(calls.iter().all(|call| call.as_ref().unwrap().status() == 503));
        drop(unheard.await.unwrap());
        let seen = events.events();
        for call in 1..=8 {
            let of_call = |event: &&Event| number(event) == Some(call);
            let own: Vec<_> = seen.iter().filter(of_call).map(kind).collect();
            let attempt = ["AttemptStarted", "AttemptEnded"];
            let expected = [
                &["CallStarted"][..],
                &attempt,
                &["Retry"],
                &attempt,
                &["Retry"],
                &attempt,
                &["RetryRefused", "CallEnded"],
            ];
            assert_eq!(own, expected.concat(), "call {call}, layers: {is_layered}");
        }
        // What began before anybody listened has no number.
        let others = |event: &&Event| number(event).is_some_and(|call| !(1..=8).contains(&call));
        assert!(seen.iter().filter(others).all(|event| number(event) == Some(0)));
        assert_eq!(seen.iter().filter(others).filter(|it| kind(it) == "CallEnded").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_caller_leaves_has_its_ends() {
    let leaves = Leaves::new(1);
    let mesh = leaves.mesh(|_, _| std::future::pending()).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let call = mesh.client(SERVICE).unwrap().send(get("/"));
    tokio::time::timeout(Duration::from_secs(1), call).await.unwrap_err();
    assert_eq!(balance(&mut events), [1, 1, 1, 1]);
    let nothing = |event: &Event| {
        matches!(event, Event::CallEnded { status: None, error: None, attempts: 1, .. })
    };
    assert_eq!(events.count(nothing), 1, "neither a status nor a failure");
}

#[tokio::test]
async fn an_attempt_whose_first_frame_is_waited_for_ends_once() {
    let late = || {
        futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(HelloReply::default())
        })
        .boxed()
    };
    let server = Server::grpc(counting(late)).await;
    let mesh = Mesh::builder()
        .endpoints("greeter", [server.address()])
        .service("greeter", |s| s.timeout(Duration::from_millis(200)).retry(Retry::idempotent()))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    drop(greeter.count(HelloRequest::default()).await);
    assert_eq!(balance(&mut events), [1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn behind_a_call_layer_a_timeout_ends_the_call_and_keeps_its_story() {
    let leaves = Leaves::new(1);
    let mesh = leaves
        .mesh(|_, _| std::future::pending())
        .service(SERVICE, |s| s.timeout(Duration::from_secs(1)))
        .call_layer(tower::layer::util::Identity::new())
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let error = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(error.endpoint().is_some() && error.elapsed().is_some(), "{error:?}");
    assert_eq!(balance(&mut events), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_connection_whose_pings_are_not_answered_says_so() {
    // It sends SETTINGS, and nothing after that.
    let server = RawServer::start(|mut stream, _| async move {
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut cluster = cluster([server.address()]);
    cluster.protocol = Some(Protocol::Http2);
    cluster.transport.http2_ping_interval = Some(Duration::from_millis(100));
    cluster.transport.http2_ping_timeout = Some(Duration::from_millis(100));
    let mesh = one_cluster(cluster).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = mesh.events();
    let call = patience(mesh.client("users").unwrap().send(get("/"))).await;
    assert_eq!(call.unwrap_err().kind(), ErrorKind::Transport);
    let reason = patience(async {
        loop {
            if let Some(Event::Disconnected { reason, .. }) = events.recv().await {
                break reason;
            }
        }
    });
    assert_eq!(reason.await, DisconnectReason::Keepalive);
}
