//! A shutdown lets every call that has begun end within its grace, whatever it waits for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{Request, Version};
use http_body::Frame;
use http_body_util::StreamBody;
use tower::{Service, ServiceExt, layer::layer_fn, service_fn};
use tower_mesh::{
    Body, BoxError, Client, DisconnectReason, Error, ErrorKind, Event, Mesh, Next, Publisher,
    config::{Queue, Retry},
    transport::{ConnectTarget, Connector},
};

use crate::support::{
    RawServer, Recorder, Server, VERSIONS, cluster, dead_address, fetch, get, h2,
    leaf::{Leaves, SERVICE, answer, ok},
    one_cluster, over, patience, post, published, reply,
};

const GRACE: Duration = Duration::from_secs(30);

/// Begins the call, waits a moment, shuts the mesh down, and returns what the call came to: by then.
async fn drained(mesh: &Mesh, request: Request<Body>, service: &str) -> Result<Bytes, Error> {
    let call = tokio::spawn(fetch(&mesh.client(service).unwrap(), request));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!call.is_finished(), "it was to be under way");
    let began = tokio::time::Instant::now();
    mesh.shutdown(GRACE).await;
    assert!(began.elapsed() < Duration::from_secs(5), "no longer than it takes");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(call.is_finished(), "the shutdown did not wait for it");
    call.await.unwrap().map(http::Response::into_body)
}

fn is_shut(client: &Client) -> impl Future<Output = ()> {
    let call = fetch(client, get("/"));
    async move {
        let error = call.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
    }
}

async fn slowly() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

fn ticking(frames: usize) -> Body {
    Body::new(StreamBody::new(futures_util::stream::unfold(0, move |n| async move {
        slowly().await;
        let frame = Frame::data(Bytes::from_static(b"tick"));
        (n < frames).then_some((Ok::<_, BoxError>(frame), n + 1))
    })))
}

#[tokio::test(start_paused = true)]
async fn a_call_in_an_own_leaf_is_answered() {
    let mesh = Leaves::new(2)
        .mesh(|_, _| async {
            slowly().await;
            Ok(ok("hello"))
        })
        .build()
        .unwrap();
    assert_eq!(drained(&mesh, get("/"), SERVICE).await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn the_body_of_an_own_leaf_is_read_to_its_end() {
    let mesh =
        Leaves::new(1).mesh(|_, _| async { Ok(ok("").map(|_| ticking(5))) }).build().unwrap();
    assert_eq!(drained(&mesh, get("/"), SERVICE).await.unwrap().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_an_own_leaf_that_is_dropped_holds_nothing() {
    let mesh =
        Leaves::new(1).mesh(|_, _| async { Ok(ok("").map(|_| ticking(5))) }).build().unwrap();
    drop(mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap());
    let began = tokio::time::Instant::now();
    mesh.shutdown(GRACE).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_retry_is_due_is_sent_again() {
    let retry = Retry::standard().backoff(Duration::from_secs(4), Duration::from_secs(4));
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let mesh = Leaves::new(2)
        .mesh(move |_, _| {
            let n = count.fetch_add(1, SeqCst);
            async move { Ok(if n == 0 { answer(503) } else { ok("hello") }) }
        })
        .service(SERVICE, |s| s.retry(retry))
        .build()
        .unwrap();
    assert_eq!(drained(&mesh, get("/"), SERVICE).await.unwrap(), "hello");
    assert_eq!(tries.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_a_layer_of_the_application_is_answered() {
    let slow = || {
        layer_fn(|next: Next| {
            service_fn(move |request: Request<Body>| {
                let next = next.clone();
                async move {
                    slowly().await;
                    next.oneshot(request).await
                }
            })
        })
    };
    let leaves = || Leaves::new(1).mesh(|_, _| async { Ok(ok("hello")) });
    let meshes = [
        leaves().call_layer(slow()),
        leaves().attempt_layer(slow()),
        leaves().endpoint_layer(slow()),
    ];
    for mesh in meshes {
        let mesh = mesh.build().unwrap();
        assert_eq!(drained(&mesh, get("/"), SERVICE).await.unwrap(), "hello");
        is_shut(&mesh.client(SERVICE).unwrap()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_refused_that_has_not_begun_and_one_that_has_is_not() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async {
            slowly().await;
            Ok(ok("hello"))
        })
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut begun = pin!(client.send(get("/")));
    assert!(poll_immediate(begun.as_mut()).await.is_none());
    let waiting = client.send(get("/"));
    let mut shutdown = pin!(mesh.shutdown(GRACE));
    assert!(poll_immediate(shutdown.as_mut()).await.is_none());
    let error = poll_immediate(waiting).await.expect("at once").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
    let (answer, ()) = tokio::join!(begun, shutdown);
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_call_that_waits_for_its_first_connection_is_answered() {
    for version in VERSIONS {
        let server = Server::named("hello").await;
        let slow = layer_fn(|connect: Connector| {
            service_fn(move |target: ConnectTarget| {
                let mut connect = connect.clone();
                async move {
                    slowly().await;
                    connect.call(target).await
                }
            })
        });
        let mesh = one_cluster(cluster([server.address()])).connect_layer(slow).build().unwrap();
        let answer = patience(drained(&mesh, over(version, get("/")), "users")).await;
        assert_eq!(answer.unwrap(), "hello", "{version:?}");
    }
}

#[tokio::test]
async fn calls_that_wait_for_the_one_connection_are_answered() {
    for version in VERSIONS {
        let server = RawServer::start(move |stream, _| async move {
            let service = hyper::service::service_fn(|_| async {
                slowly().await;
                Ok::<_, Infallible>(reply("hello"))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            if version == Version::HTTP_2 {
                let mut server =
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                drop(server.max_concurrent_streams(1).serve_connection(io, service).await);
            } else {
                let server = hyper::server::conn::http1::Builder::new();
                drop(server.serve_connection(io, service).await);
            }
        })
        .await;
        let mut cluster = cluster([server.address()]);
        cluster.transport.http1_max_connections = Some(1);
        cluster.transport.max_http2_connections = Some(1);
        let mesh = one_cluster(cluster).build().unwrap();
        let client = mesh.client("users").unwrap();
        let calls: Vec<_> =
            (0..3).map(|_| tokio::spawn(fetch(&client, over(version, post("/", "x"))))).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        patience(mesh.shutdown(GRACE)).await;
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().body(), "hello", "{version:?}");
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_call_whose_stream_is_refused_is_sent_again() {
    let server = RawServer::start(|stream, number| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                slowly().await;
                if number == 0 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    drop(respond.send_response(http::Response::new(()), true));
                }
            });
            if number == 0 {
                connection.graceful_shutdown();
            }
        }
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    patience(drained(&mesh, h2("/"), "users")).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_call_in_a_queue_is_answered_by_an_endpoint_that_comes() {
    let (dead, _socket) = dead_address();
    let mut first = cluster([dead]);
    let mut queue = Queue::default();
    (queue.capacity, queue.failfast_timeout) = (Some(10), Some(Duration::from_secs(60)));
    first.queue = Some(queue);
    let say = |publisher: &Publisher| publisher.cluster("users", first.clone()).unwrap();
    let (mesh, publisher) = published(Mesh::builder(), say).await;
    let server = Server::named("hello").await;
    let call = tokio::spawn(fetch(&mesh.client("users").unwrap(), get("/")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let shutdown = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.shutdown(GRACE).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.endpoints = vec![server.address().into()];
    publisher.cluster("users", first).unwrap();
    assert_eq!(patience(call).await.unwrap().unwrap().body(), "hello");
    patience(shutdown).await.unwrap();
    assert!(publisher.is_closed());
}

#[tokio::test]
async fn idle_connections_go_when_the_last_call_has_ended_though_nobody_waits_any_more() {
    let server = Server::start(|_| async {
        slowly().await;
        reply("hello")
    })
    .await;
    let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let client = mesh.client("users").unwrap();
    let call = tokio::spawn(fetch(&client, get("/")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let soon = Duration::from_millis(50);
    tokio::time::timeout(soon, mesh.shutdown(GRACE)).await.expect_err("the call is under way");
    is_shut(&client).await;
    assert_eq!(patience(call).await.unwrap().unwrap().body(), "hello");
    let gone = |event: &Event| {
        matches!(event, Event::Disconnected { reason: DisconnectReason::Draining, .. })
    };
    patience(events.until(gone)).await;
}
