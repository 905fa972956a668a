//! What is still under way when the grace of a shutdown is over ends then, in whatever it waits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use futures_util::StreamExt;
use http::{Request, Response, Version};
use tower::{layer::layer_fn, service_fn};
use tower_mesh::{
    Body, BoxError, DisconnectReason, Error, ErrorKind, Event, Mesh, Next, Phase,
    config::{Fault, Queue, Retry},
    transport::{ConnectTarget, Connector, Io},
};

use crate::support::{
    GreeterClient, HelloReply, HelloRequest, Recorder, Server, VERSIONS, cluster, dead_address,
    fetch, get,
    greeter::Replies,
    greeters::counting,
    leaf::{Leaves, SERVICE, answer, ok},
    one_cluster, over, patience, post,
    server::body,
};

const GRACE: Duration = Duration::from_millis(100);

async fn silent() -> Server {
    Server::start(|_| std::future::pending()).await
}

fn ticking() -> Replies {
    futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok(HelloReply::default()), ()))
    })
    .boxed()
}

/// Begins this call, shuts the mesh down, and returns what the call met.
async fn cut(mesh: Mesh, request: Request<Body>) -> Error {
    let call = tokio::spawn(fetch(&mesh.client("users").unwrap(), request));
    tokio::time::sleep(Duration::from_millis(50)).await;
    patience(mesh.shutdown(GRACE)).await;
    patience(call).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn calls_that_no_answer_came_to_do_not_hang_after_shutdown() {
    for version in VERSIONS {
        for request in [get("/"), post("/", "x")] {
            let server = silent().await;
            let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
            let error = cut(mesh, over(version, request)).await;
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Shutdown | ErrorKind::Transport), "{error}");
        }
    }
}

#[tokio::test]
async fn calls_that_wait_for_a_connection_attempt_do_not_hang_after_shutdown() {
    for version in VERSIONS {
        let never = layer_fn(|_: Connector| {
            service_fn(|_: ConnectTarget| std::future::pending::<Result<Box<dyn Io>, BoxError>>())
        });
        let server = silent().await;
        let mut cluster = cluster([server.address()]);
        cluster.transport.connect_timeout = Some(Duration::from_secs(60));
        let mesh = one_cluster(cluster).connect_layer(never).build().unwrap();
        cut(mesh, over(version, get("/"))).await;
    }
}

#[tokio::test]
async fn calls_that_wait_for_the_one_connection_do_not_hang_after_shutdown() {
    let server = silent().await;
    let mut cluster = cluster([server.address()]);
    cluster.transport.http1_max_connections = Some(1);
    let mesh = one_cluster(cluster).build().unwrap();
    let first = tokio::spawn(fetch(&mesh.client("users").unwrap(), post("/", "x")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    cut(mesh, post("/", "x")).await;
    patience(first).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn live_http2_streams_end_with_the_grace() {
    let server = Server::grpc(counting(ticking)).await;
    let mesh = Mesh::builder().endpoints("greeter", [server.address()]).build().unwrap();
    let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
    let mut stream = greeter.count(HelloRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    patience(mesh.shutdown(GRACE)).await;
    // What had arrived before may still be read.
    let rest = async {
        let mut messages = 0;
        while let Ok(Some(_)) = stream.message().await {
            messages += 1;
        }
        messages
    };
    let messages = patience(rest).await;
    assert!(messages < 10, "{messages} more messages through a mesh that is shut down");
}

#[test]
fn no_task_is_left_after_shutdown_though_streams_are_never_read() {
    let outside = tokio::runtime::Runtime::new().unwrap();
    let inside =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let left = outside.block_on(async {
        let server = Server::grpc(counting(ticking)).await;
        let mut unread = Vec::new();
        for _ in 0..10 {
            let mesh = Mesh::builder()
                .endpoints("greeter", [server.address()])
                .runtime(inside.handle().clone())
                .build()
                .unwrap();
            mesh.ready().await.unwrap();
            let mut greeter = GreeterClient::new(mesh.client("greeter").unwrap());
            unread.push(greeter.count(HelloRequest::default()).await.unwrap());
            patience(mesh.shutdown(Duration::from_millis(10))).await;
        }
        let gone = async {
            while inside.metrics().num_alive_tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(5), gone).await);
        inside.metrics().num_alive_tasks()
    });
    inside.shutdown_background();
    assert_eq!(left, 0, "tasks of ten meshes that are shut down");
}

#[tokio::test]
async fn a_call_that_races_the_shutdown_ends_and_the_next_one_is_refused() {
    let server = Server::named("hello").await;
    for n in 0..50 {
        let version = if n % 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
        let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
        let client = mesh.client("users").unwrap();
        let both = async {
            tokio::join!(
                fetch(&client, over(version, get("/"))),
                mesh.shutdown(Duration::from_millis(500))
            )
        };
        drop(patience(both).await);
        let error = fetch(&client, get("/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_says_so() {
    for version in VERSIONS {
        let server = silent().await;
        let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
        let mut events = Recorder::of(&mesh);
        cut(mesh.clone(), over(version, get("/"))).await;
        let cut = |event: &Event| match event {
            Event::Disconnected { cluster, reason, .. } => {
                &**cluster == "users" && *reason == DisconnectReason::Shutdown
            }
            _ => false,
        };
        assert_eq!(events.count(cut), 1, "{version:?}: {:?}", events.events());
        assert_eq!(events.disconnects(), ["shutdown"]);
        let metrics = mesh.metrics();
        let shutdown = [("mesh.cluster", "users"), ("mesh.disconnect.reason", "shutdown")];
        let closed = metrics.total("mesh.client.connections.closed", &shutdown);
        assert_eq!(closed.to_string(), "1");
        assert_eq!(metrics.total("mesh.client.connections.open", &[]).to_string(), "0");
    }
}

/// The same where everything is in this process, under paused time: by then.
async fn ended(mesh: Mesh) -> Error {
    let call = tokio::spawn(fetch(&mesh.client(SERVICE).unwrap(), get("/")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!call.is_finished(), "it was to be under way");
    mesh.shutdown(GRACE).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(call.is_finished(), "it goes on after the grace");
    call.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_call_in_an_own_leaf_does_not_hang_after_shutdown() {
    let mesh = Leaves::new(1).mesh(|_, _| std::future::pending()).build().unwrap();
    let error = ended(mesh).await;
    assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_in_a_layer_of_the_application_does_not_hang_after_shutdown() {
    let stuck = || {
        layer_fn(|_: Next| {
            service_fn(|_: Request<Body>| {
                std::future::pending::<Result<Response<Body>, BoxError>>()
            })
        })
    };
    let leaves = || Leaves::new(1).mesh(|_, _| async { Ok(ok("hello")) });
    let meshes = [
        leaves().call_layer(stuck()),
        leaves().attempt_layer(stuck()),
        leaves().endpoint_layer(stuck()),
    ];
    for mesh in meshes {
        let error = ended(mesh.build().unwrap()).await;
        assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_retry_is_due_later_does_not_wait_for_it_after_shutdown() {
    let retry = Retry::standard().backoff(Duration::from_secs(60), Duration::from_secs(60));
    let mesh = Leaves::new(2)
        .mesh(|_, _| async { Ok(answer(503)) })
        .service(SERVICE, |s| s.retry(retry))
        .build()
        .unwrap();
    let error = ended(mesh).await;
    assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
    assert_eq!(error.attempts().len(), 1, "it tells what it has met: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_in_an_injected_delay_does_not_wait_for_it_after_shutdown() {
    let mesh = Leaves::new(1)
        .mesh(|_, _| async { Ok(ok("hello")) })
        .service(SERVICE, |s| s.fault(Fault::delay(Duration::from_secs(60))))
        .build()
        .unwrap();
    let error = ended(mesh).await;
    assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
}

#[tokio::test]
async fn a_call_in_a_queue_does_not_wait_in_it_after_shutdown() {
    let (dead, _socket) = dead_address();
    let mut cluster = cluster([dead]);
    let mut queue = Queue::default();
    (queue.capacity, queue.failfast_timeout) = (Some(10), Some(Duration::from_secs(60)));
    cluster.queue = Some(queue);
    let error = cut(one_cluster(cluster).build().unwrap(), get("/")).await;
    assert_eq!(error.kind(), ErrorKind::Shutdown, "{error}");
}

#[tokio::test]
async fn a_body_that_is_cut_says_that_the_mesh_is_shut_down() {
    for version in VERSIONS {
        let server = Server::start(|_| async {
            let first = futures_util::stream::once(async {
                Ok::<_, BoxError>(http_body::Frame::data(bytes::Bytes::from_static(b"first")))
            });
            let rest = futures_util::stream::pending();
            Response::new(body(http_body_util::StreamBody::new(first.chain(rest))))
        })
        .await;
        let mesh = Mesh::builder().endpoints("users", [server.address()]).build().unwrap();
        let error = cut(mesh, over(version, get("/"))).await;
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Shutdown, Phase::Body), "{error}");
    }
}
