//! The peer's limit of HTTP/2 streams: a call beyond it gets another connection, and never waits
//! behind a stream that does not end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::Service;
use tower_mesh::{
    Call, ErrorKind, Event, Mesh, Retry,
    transport::{ConnectTarget, Connector},
};

use crate::support::{
    GreeterClient, HelloReply, HelloRequest, RawServer, Recorder, Server, cluster, failures, fetch,
    frame,
    frames::{greeting, head, next_request},
    get,
    greeters::counting,
    h2, h2_server, one_cluster, patience, storm,
};

/// Answers at once, and holds the streams of `/held` for ever.
async fn holding(streams: u32) -> RawServer {
    h2_server(streams, |request, mut respond| async move {
        let mut body = respond.send_response(head(), false).unwrap();
        if request.uri().path() == "/held" {
            std::future::pending::<()>().await;
        }
        drop(body.send_data("hello".into(), true));
    })
    .await
}

/// Answers after this time.
async fn slow(streams: u32, time: Duration) -> RawServer {
    h2_server(streams, move |_, mut respond| async move {
        tokio::time::sleep(time).await;
        let mut body = respond.send_response(head(), false).unwrap();
        drop(body.send_data("hello".into(), true));
    })
    .await
}

#[tokio::test]
async fn a_call_beyond_the_peers_limit_does_not_wait_behind_a_held_stream() {
    let server = holding(1).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let _held = patience(client.send(h2("/held"))).await.unwrap();
    assert_eq!(patience(fetch(&client, h2("/"))).await.unwrap().body(), "hello");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn held_streams_fill_as_many_connections_as_they_need() {
    let server = holding(10).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(patience(client.send(h2("/held"))).await.unwrap());
    }
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn a_cold_burst_beyond_the_peers_limit_is_answered() {
    let server = slow(1, Duration::from_millis(50)).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(8, 8, |_| fetch(&client, h2("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
}

/// Takes four streams a connection at a time, refuses more, and counts each for a moment longer than
/// its client.
async fn refusing() -> RawServer {
    RawServer::start(|stream, _| async move {
        let taken = Arc::new(AtomicUsize::new(0));
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            if taken.fetch_add(1, Ordering::SeqCst) >= 4 {
                taken.fetch_sub(1, Ordering::SeqCst);
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            let taken = Arc::clone(&taken);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(respond.send_response(head(), true));
                tokio::time::sleep(Duration::from_millis(5)).await;
                taken.fetch_sub(1, Ordering::SeqCst);
            });
        }
    })
    .await
}

#[tokio::test]
async fn a_server_that_counts_streams_for_longer_than_we_do_costs_no_call() {
    let server = refusing().await;
    let mesh = Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |s| s.retry(Retry::safe_only()))
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(24, 1000, |_| fetch(&client, h2("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
    let resent = events.count(|event| matches!(event, Event::Retry { .. }));
    assert!(resent < 400, "{resent} streams of 1000 calls were refused");
}

#[tokio::test]
async fn grpc_streams_beyond_a_servers_default_limit_are_all_live() {
    // One message, then silence; the server allows 200 streams a connection.
    let stream = || {
        let first = futures_util::stream::once(async { Ok(HelloReply::default()) });
        first.chain(futures_util::stream::pending()).boxed()
    };
    let server = Server::grpc(counting(stream)).await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    let mut live = Vec::new();
    for _ in 0..250 {
        live.push(patience(greeter.count(HelloRequest::default())).await.unwrap());
    }
    assert!(server.connections() >= 2, "250 streams on {} connection", server.connections());
}

#[tokio::test]
async fn a_full_connection_whose_sibling_cannot_connect_keeps_its_backoff() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let mut connection = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                drop(respond.send_response(head(), true));
            });
        }
    });
    let mesh = Mesh::builder().endpoints("users", [address]).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    fetch(&client, h2("/")).await.unwrap();
    patience(storm(3, 100, |_| fetch(&client, h2("/")))).await;
    let failed = events.count(|event| matches!(event, Event::ConnectFailed { .. }));
    assert!(failed < 25, "{failed} connection attempts of 100 calls failed");
}

#[tokio::test]
async fn a_second_connection_that_fails_costs_no_call_of_the_first() {
    let server = slow(100, Duration::from_millis(100)).await;
    let dials = Arc::new(AtomicUsize::new(0));
    let once = tower::layer::layer_fn(move |connect: Connector| {
        let dials = Arc::clone(&dials);
        tower::service_fn(move |target: ConnectTarget| {
            let mut connect = connect.clone();
            let first = dials.fetch_add(1, Ordering::SeqCst) == 0;
            async move { if first { connect.call(target).await } else { Err("no more".into()) } }
        })
    });
    let mut cluster = cluster([server.address()]);
    cluster.transport.http2_streams_per_connection = Some(2);
    let mesh = one_cluster(cluster).connect_layer(once).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(6, 6, |_| fetch(&client, h2("/")))).await;
    assert_eq!(failures(&answers), [""; 0]);
}

#[tokio::test]
async fn one_http1_connection_serves_callers_who_give_up_and_those_who_wait() {
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        crate::support::reply("hello")
    })
    .await;
    let mut cluster = cluster([server.address()]);
    cluster.transport.http1_max_connections = Some(1);
    let mesh = one_cluster(cluster).build().unwrap();
    let client = mesh.client("users").unwrap();
    let answers = patience(storm(20, 300, |n| {
        let call = fetch(&client, get("/"));
        let patient = Duration::from_millis(if n % 3 == 0 { n as u64 % 7 } else { 60_000 });
        async move { tokio::time::timeout(patient, call).await }
    }))
    .await;
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(failures(&answers), [""; 0]);
    assert!(answers.len() >= 200, "{} of those who waited were answered", answers.len());
    patience(fetch(&client, get("/"))).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_lets_no_stream_begin_holds_no_call_beside_one_that_does() {
    let (none, well) = (holding(0).await, holding(100).await);
    let mut cluster = cluster([none.address(), well.address()]);
    cluster.transport.connect_backoff_base = Some(Duration::from_secs(1));
    let mesh = one_cluster(cluster).build().unwrap();
    let client = mesh.client("users").unwrap();
    for post in [false, true] {
        let answers = patience(storm(8, 200, |_| {
            let mut request = h2("/");
            if post {
                // Which is sent once, if it may have been worked on.
                *request.method_mut() = http::Method::POST;
            }
            fetch(&client, request)
        }))
        .await;
        assert_eq!(failures(&answers), [""; 0]);
    }
    assert!(none.connections() <= 12, "{} connections that are no use", none.connections());
}

#[tokio::test]
async fn a_call_whose_only_endpoint_lets_no_stream_begin_fails_and_says_so() {
    let server = holding(0).await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let error = patience(fetch(&mesh.client("users").unwrap(), h2("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.chain().contains("lets no stream begin"), "{}", error.chain());
}

#[tokio::test]
async fn calls_leave_an_endpoint_that_lets_no_more_streams_begin_and_come_back() {
    let limit = |streams: u32| frame(4, 0, 0, &[&[0, 3], &streams.to_be_bytes()[..]].concat());
    let (say, said) = tokio::sync::watch::channel(100);
    let server = RawServer::start(move |mut stream, number| {
        let mut said = said.clone();
        async move {
            let mut preface = [0; 24];
            drop(stream.read_exact(&mut preface).await);
            if number > 0 {
                drop(stream.write_all(&limit(0)).await);
                return std::future::pending().await;
            }
            drop(stream.write_all(&greeting()).await);
            loop {
                tokio::select! {
                    request = next_request(&mut stream) => {
                        // `:status 200`, and its end.
                        let answer = frame(1, 5, request, &[0x88]);
                        if request == 0 || stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                    _ = said.changed() => {
                        let streams = *said.borrow_and_update();
                        drop(stream.write_all(&limit(streams)).await);
                    }
                }
            }
        }
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    patience(fetch(&client, h2("/"))).await.unwrap();
    say.send(0).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = patience(fetch(&client, h2("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    say.send(100).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    patience(fetch(&client, h2("/"))).await.unwrap();
}

#[tokio::test]
async fn a_body_that_our_deadline_ends_is_given_up_although_its_caller_keeps_it() {
    let (tell, mut reset) = tokio::sync::mpsc::unbounded_channel();
    let server = h2_server(1, move |_, mut respond| {
        let tell = tell.clone();
        async move {
            let mut body = respond.send_response(head(), false).unwrap();
            tell.send(std::future::poll_fn(|cx| body.poll_reset(cx)).await).ok();
        }
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let client = mesh.client("users").unwrap();
    let mut request = h2("/");
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(100)));
    let mut kept = patience(client.send(request)).await.unwrap().into_body();
    let ended = patience(kept.frame()).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(kept.is_end_stream());
    let reason = patience(reset.recv()).await.unwrap().unwrap();
    assert_eq!(reason, h2::Reason::CANCEL, "the endpoint is told");
    assert!(patience(kept.frame()).await.is_none());
}
