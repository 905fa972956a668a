//! A service that calls another one while it answers, and inherits what its own caller has left:
//! two meshes and two servers, in memory, under paused time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Response, Version};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::Instant;
use tower_mesh::{Body, Call, Client, ErrorKind, Mesh, Phase};

use crate::support::{
    BoxError, Leaves, Pipes, VERSIONS, cluster, get, one_cluster, over,
    server::{Reply, body},
    status,
};

const SECOND: Duration = Duration::from_secs(1);
const HTTP: &str = "x-envoy-expected-rq-timeout-ms";
const GRPC: &str = "grpc-timeout";

/// When the last server's body was left, if it was before its end.
type Left = Arc<Mutex<Option<Instant>>>;

/// Notes the moment of its drop.
struct Note(Left);

impl Drop for Note {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(Instant::now());
    }
}

/// A head at once, then six frames, one every ten seconds.
fn streaming(left: &Left) -> Reply {
    let note = Note(Arc::clone(left));
    let frames = stream::iter(0..6).then(move |n| {
        let _kept = &note;
        async move {
            tokio::time::sleep(10 * SECOND).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from(format!("{n},"))))
        }
    });
    Response::new(body(StreamBody::new(Box::pin(frames))))
}

fn mesh(pipes: Pipes) -> Mesh {
    one_cluster(cluster([Leaves::address(0)])).connect_layer(pipes).build().unwrap()
}

/// What the server in the middle was told, and what its own call met.
#[derive(Default)]
struct Middle {
    told: Mutex<Vec<HeaderMap>>,
    met: Mutex<Vec<(ErrorKind, Phase, Instant)>>,
}

/// A server that answers with what the last one answers, for as long as its caller waits.
fn between(version: Version, last: Pipes, middle: &Arc<Middle>) -> Pipes {
    let (client, middle) = (mesh(last).client("users").unwrap(), Arc::clone(middle));
    Pipes::http(move |_, request| {
        let (client, middle) = (client.clone(), Arc::clone(&middle));
        async move {
            middle.told.lock().unwrap().push(request.headers().clone());
            let mut call = over(version, get("/"));
            call.extensions_mut().insert(Call::new().inherit(request.headers()));
            match client.send(call).await {
                Ok(answer) => answer.map(body),
                Err(error) => {
                    let met = (error.kind(), error.phase(), Instant::now());
                    middle.met.lock().unwrap().push(met);
                    status(error.http_status())
                }
            }
        }
    })
}

/// A client of the server in the middle, behind which the last one streams.
fn streamed(version: Version, left: &Left, middle: &Arc<Middle>, timeout: Duration) -> Client {
    let left = Arc::clone(left);
    let last = Pipes::http(move |_, _| std::future::ready(streaming(&left)));
    let mesh = one_cluster(cluster([Leaves::address(0)]))
        .connect_layer(between(version, last, middle))
        .service("users", |s| s.timeout(timeout).attempt_timeout(timeout))
        .build()
        .unwrap();
    mesh.client("users").unwrap()
}

async fn text(client: &Client, call: http::Request<Body>) -> Result<String, tower_mesh::Error> {
    client.send(call).await?.into_body().text().await
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_two_hops_outlives_the_timeout_of_its_head() {
    for version in VERSIONS {
        let (left, middle) = (Left::default(), Arc::new(Middle::default()));
        let client = streamed(version, &left, &middle, SECOND);
        let text = text(&client, over(version, get("/"))).await.unwrap();
        assert_eq!(text, "0,1,2,3,4,5,", "{version:?}");
        assert_eq!(middle.told.lock().unwrap()[0][HTTP], "1000", "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_deadline_ends_the_stream_on_both_hops() {
    for version in VERSIONS {
        let (left, middle) = (Left::default(), Arc::new(Middle::default()));
        let client = streamed(version, &left, &middle, 60 * SECOND);
        let began = Instant::now();
        let mut call = over(version, get("/"));
        call.extensions_mut().insert(Call::new().timeout(25 * SECOND));
        let error = text(&client, call).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body), "{error}");
        assert_eq!(middle.told.lock().unwrap()[0][HTTP], "25000", "{version:?}");
        // The end of its caller's stream reaches the last server by the ends of connections.
        tokio::time::sleep(SECOND).await;
        let left = left.lock().unwrap().expect("the last server streams to nobody");
        assert_eq!((left - began).as_secs(), 25, "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_has_left_bounds_the_wait_for_the_head_on_the_next_hop() {
    for version in VERSIONS {
        let middle = Arc::new(Middle::default());
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let silent = Pipes::http(move |_, request| {
            sink.lock().unwrap().push(request.headers().clone());
            std::future::pending()
        });
        let client = mesh(between(version, silent, &middle)).client("users").unwrap();
        let began = Instant::now();
        let mut call = over(version, get("/"));
        call.headers_mut().insert(HTTP, "300".parse().unwrap());
        assert_eq!(client.send(call).await.unwrap().status(), 504, "{version:?}");
        let (kind, phase, at) = middle.met.lock().unwrap()[0];
        assert_eq!((kind, phase), (ErrorKind::Timeout, Phase::Headers), "{version:?}");
        assert_eq!((at - began).as_millis(), 300, "{version:?}");
        assert_eq!(told.lock().unwrap()[0][HTTP], "300", "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inherited_grpc_timeout_ends_the_stream_of_the_next_hop() {
    for version in VERSIONS {
        let (left, middle) = (Left::default(), Arc::new(Middle::default()));
        let client = streamed(version, &left, &middle, 60 * SECOND);
        let began = Instant::now();
        let mut call = over(version, get("/"));
        // As its gRPC caller says it; nothing here ends the first hop.
        call.headers_mut().insert(GRPC, "25S".parse().unwrap());
        assert!(text(&client, call).await.is_err(), "{version:?}");
        tokio::time::sleep(SECOND).await;
        let left = left.lock().unwrap().expect("the last server streams to nobody");
        assert_eq!((left - began).as_secs(), 25, "{version:?}");
    }
}
