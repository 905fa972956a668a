//! What is sent again, when, to whom, and what is never sent twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower_mesh::{Body, Call, ErrorKind, Mesh, MeshBuilder, Retry, config};

use crate::support::{
    BoxError, GreeterClient, HelloRequest, Leaves, RawServer, Recorder, SERVICE, Server, get,
    leaf::{answer, grpc, ok},
    patience, post, raw, reply,
    server::{body, status},
};

/// What the endpoints saw: number, headers and body of each attempt.
type Seen = Arc<Mutex<Vec<(usize, HeaderMap, Bytes)>>>;

/// Endpoints that answer by `script(attempt)`, attempts counted from 0.
fn scripted(
    leaves: &Leaves,
    retry: Retry,
    script: fn(usize) -> Response<Body>,
) -> (MeshBuilder, Seen) {
    let seen: Seen = Arc::default();
    let sink = Arc::clone(&seen);
    let builder = leaves.mesh(move |number, request: Request<Body>| {
        let sink = Arc::clone(&sink);
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let mut seen = sink.lock().unwrap();
            seen.push((number, head.headers, bytes));
            Ok(script(seen.len() - 1))
        }
    });
    (builder.service(SERVICE, move |s| s.retry(retry)), seen)
}

fn fast(retry: Retry) -> Retry {
    retry.backoff(Duration::from_millis(1), Duration::from_millis(1))
}

fn fail_once(attempt: usize) -> Response<Body> {
    if attempt == 0 { answer(503) } else { ok("hello") }
}

fn fail_twice(attempt: usize) -> Response<Body> {
    if attempt < 2 { answer(503) } else { ok("hello") }
}

fn streamed(parts: &'static [&'static str]) -> Body {
    let frames = parts.iter().map(|part| Ok::<_, BoxError>(Frame::data(Bytes::from(*part))));
    Body::new(StreamBody::new(stream::iter(frames)))
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_replayed_from_its_first_byte() {
    let leaves = Leaves::new(3);
    let (builder, seen) = scripted(&leaves, fast(Retry::standard()), fail_twice);
    let mesh = builder.build().unwrap();
    let request = Request::put("/").body(streamed(&["one ", "two ", "three"])).unwrap();
    let answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let bodies: Vec<_> = seen.lock().unwrap().iter().map(|(_, _, body)| body.clone()).collect();
    assert_eq!(bodies, ["one two three"; 3]);
}

#[tokio::test(start_paused = true)]
async fn over_the_cap_the_first_attempt_goes_on_and_the_retry_is_refused() {
    let leaves = Leaves::new(3);
    let retry = fast(Retry::standard()).max_body_bytes(8);
    let (builder, seen) = scripted(&leaves, retry, fail_twice);
    let mesh = builder.build().unwrap();
    let mut events = Recorder::of(&mesh);
    let request = Request::put("/").body(streamed(&["one ", "two ", "three"])).unwrap();
    let answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    assert_eq!(answer.status(), 503, "the answer of the only attempt");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].2, "one two three", "sent whole all the same");
    assert_eq!(events.refusals(), ["body too large"]);
}

#[tokio::test(start_paused = true)]
async fn another_endpoint_than_those_tried() {
    for seed in 0..20 {
        let leaves = Leaves::new(3);
        let (builder, seen) = scripted(&leaves, fast(Retry::standard().attempts(3)), fail_twice);
        let mesh = builder.seed(seed).build().unwrap();
        mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
        let met: HashSet<_> = seen.lock().unwrap().iter().map(|(number, ..)| *number).collect();
        assert_eq!(met.len(), 3, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_endpoint_is_tried_again() {
    let leaves = Leaves::new(1);
    let (builder, _) = scripted(&leaves, fast(Retry::standard()), fail_once);
    let mesh = builder.build().unwrap();
    assert_eq!(mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap().status(), 200);
    assert_eq!(leaves.total(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_is_not_repeated_unless_it_is_idempotent() {
    let attempts = async |retry: Retry, request: Request<Body>| {
        let leaves = Leaves::new(3);
        let (builder, _) = scripted(&leaves, fast(retry), fail_twice);
        let mesh = builder.build().unwrap();
        mesh.client(SERVICE).unwrap().send(request).await.unwrap();
        leaves.total()
    };
    let standard = || Retry::standard().attempts(3);
    assert_eq!(attempts(standard(), get("/")).await, 3);
    assert_eq!(attempts(standard(), Request::put("/").body(Body::empty()).unwrap()).await, 3);
    assert_eq!(attempts(standard(), Request::delete("/").body(Body::empty()).unwrap()).await, 3);
    assert_eq!(attempts(standard(), post("/", "x")).await, 1);
    assert_eq!(attempts(standard(), Request::patch("/").body(Body::empty()).unwrap()).await, 1);
    assert_eq!(attempts(Retry::idempotent().attempts(3), post("/", "x")).await, 3);
    assert_eq!(attempts(Retry::safe_only(), get("/")).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_comes_back_when_attempts_run_out() {
    let leaves = Leaves::new(3);
    let (builder, _) = scripted(&leaves, fast(Retry::standard().attempts(2)), |_| answer(503));
    let mesh = builder.build().unwrap();
    let mut events = Recorder::of(&mesh);
    assert_eq!(mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap().status(), 503);
    assert_eq!(leaves.total(), 2);
    assert_eq!(events.retries().len(), 1);
    assert_eq!(events.refusals(), ["attempts"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_listed_statuses_are_retried() {
    for (code, attempts) in [(500, 1), (501, 1), (429, 1), (404, 1), (502, 2), (503, 2), (504, 2)] {
        let leaves = Leaves::new(3);
        let mesh = leaves
            .mesh(move |_, _| async move { Ok(answer(code)) })
            .service(SERVICE, |s| s.retry(fast(Retry::standard().attempts(2))))
            .build()
            .unwrap();
        mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
        assert_eq!(leaves.total(), attempts, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    let leaves = Leaves::new(3);
    let (builder, _) = scripted(&leaves, fast(Retry::standard()), |attempt| {
        let mut answer = fail_once(attempt);
        answer.headers_mut().insert("retry-after", HeaderValue::from_static("2"));
        answer
    });
    let mesh = builder.build().unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap().status(), 200);
    assert!((2000..3100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_deadline_is_not_waited_for() {
    let leaves = Leaves::new(3);
    let (builder, _) = scripted(&leaves, fast(Retry::standard()), |attempt| {
        let mut answer = fail_once(attempt);
        answer.headers_mut().insert("retry-after", HeaderValue::from_static("10"));
        answer
    });
    let mesh = builder.build().unwrap();
    let mut events = Recorder::of(&mesh);
    let start = tokio::time::Instant::now();
    let mut request = get("/");
    request.extensions_mut().insert(Call::new().timeout(Duration::from_secs(5)));
    let answer = mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(events.refusals(), ["deadline"]);
}

fn pushed_back(attempt: usize, value: &'static str) -> Response<Body> {
    let mut answer = grpc(if attempt == 0 { 14 } else { 0 });
    if attempt == 0 {
        answer.headers_mut().insert("grpc-retry-pushback-ms", HeaderValue::from_static(value));
    }
    answer
}

fn grpc_request() -> Request<Body> {
    let mut request = post("/helloworld.Greeter/SayHello", "");
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request
}

#[tokio::test(start_paused = true)]
async fn grpc_pushback_is_waited_for() {
    let leaves = Leaves::new(3);
    let (builder, _) =
        scripted(&leaves, fast(Retry::idempotent()), |attempt| pushed_back(attempt, "700"));
    let mesh = builder.build().unwrap();
    let start = tokio::time::Instant::now();
    let answer = mesh.client(SERVICE).unwrap().send(grpc_request()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "0");
    assert_eq!(leaves.total(), 2);
    assert!((700..=1051).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_negative_grpc_pushback_stops_retries() {
    let leaves = Leaves::new(3);
    let (builder, _) =
        scripted(&leaves, fast(Retry::idempotent()), |attempt| pushed_back(attempt, "-1"));
    let mesh = builder.build().unwrap();
    let mut events = Recorder::of(&mesh);
    let answer = mesh.client(SERVICE).unwrap().send(grpc_request()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!(leaves.total(), 1);
    assert_eq!(events.refusals(), ["pushback"]);
}

#[tokio::test(start_paused = true)]
async fn grpc_codes_that_are_no_failure_of_the_endpoint_are_not_retried() {
    for (code, attempts) in [(14, 2), (3, 1), (5, 1), (7, 1), (16, 1)] {
        let leaves = Leaves::new(3);
        let mesh = leaves
            .mesh(move |_, _| async move { Ok(grpc(code)) })
            .service(SERVICE, |s| s.retry(fast(Retry::idempotent().attempts(2))))
            .build()
            .unwrap();
        mesh.client(SERVICE).unwrap().send(grpc_request()).await.unwrap();
        assert_eq!(leaves.total(), attempts, "grpc-status {code}");
    }
}

#[tokio::test]
async fn a_grpc_status_in_trailers_without_a_message_is_retried() {
    let failing = |_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        let frames = stream::iter([Ok::<_, BoxError>(Frame::<Bytes>::trailers(trailers))]);
        let mut answer = Response::new(body(StreamBody::new(frames)));
        let grpc = HeaderValue::from_static("application/grpc");
        answer.headers_mut().insert("content-type", grpc);
        answer
    };
    let (first, second) = (Server::start(failing).await, Server::start(failing).await);
    let mesh = Mesh::builder()
        .endpoints("greeter.prod", [first.address(), second.address()])
        .service("greeter.prod", |s| s.retry(fast(Retry::idempotent().attempts(2))))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client("greeter.prod").unwrap());
    let status = client.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!((first.requests(), second.requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_marked_and_not_multiplied_downstream() {
    let leaves = Leaves::new(3);
    let (builder, seen) = scripted(&leaves, fast(Retry::idempotent()), fail_once);
    let mesh = builder.build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    client.send(get("/")).await.unwrap();
    let second = {
        let seen = seen.lock().unwrap();
        assert_eq!(seen[0].1.get("x-mesh-attempt"), None);
        assert_eq!(seen[1].1["x-mesh-attempt"], "1");
        seen[1].1.clone()
    };
    // The server that met the retry calls on: its own call is not retried.
    let other = Leaves::new(3);
    let (builder, _) = scripted(&other, fast(Retry::idempotent()), |_| answer(503));
    let mesh = builder.build().unwrap();
    let mut request = get("/");
    request.extensions_mut().insert(Call::new().inherit(&second));
    mesh.client(SERVICE).unwrap().send(request).await.unwrap();
    assert_eq!(other.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_retry_is_marked_in_grpcs_way() {
    let leaves = Leaves::new(3);
    let (builder, seen) = scripted(&leaves, fast(Retry::idempotent()), |attempt| {
        grpc(if attempt < 2 { 14 } else { 0 })
    });
    let mesh = builder.build().unwrap();
    mesh.client(SERVICE).unwrap().send(grpc_request()).await.unwrap();
    let seen = seen.lock().unwrap();
    let marks: Vec<_> =
        seen.iter().map(|(_, headers, _)| headers.get("grpc-previous-rpc-attempts")).collect();
    assert_eq!(marks[0], None);
    assert_eq!(marks[1].unwrap(), "1");
    assert_eq!(marks[2].unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn backoff_is_drawn_from_the_whole_interval() {
    let mut waits = Vec::new();
    for seed in 0..40 {
        let leaves = Leaves::new(3);
        let (builder, _) = scripted(
            &leaves,
            Retry::standard().backoff(Duration::from_millis(100), Duration::from_secs(1)),
            fail_once,
        );
        let mesh = builder.seed(seed).build().unwrap();
        let start = tokio::time::Instant::now();
        mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
        waits.push(start.elapsed().as_millis());
    }
    assert!(waits.iter().all(|&wait| wait <= 102), "{waits:?}");
    assert!(
        waits.iter().any(|&wait| wait < 30) && waits.iter().any(|&wait| wait > 70),
        "{waits:?}"
    );
}

/// Closes the first connection once it has read a request; answers on all others.
async fn hangs_up_once() -> RawServer {
    RawServer::start(|mut stream, number| async move {
        while raw::read_head(&mut stream).await {
            if number == 0 {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_lost_connection_is_retried_for_a_get_and_not_for_a_post() {
    let server = hangs_up_once().await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .service("users.prod", |s| s.retry(Retry::standard()))
        .build()
        .unwrap();
    let mut events = Recorder::of(&mesh);
    let answer = patience(mesh.client("users.prod").unwrap().send(get("/"))).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "hello");
    assert_eq!(events.retries(), ["connection lost"]);

    let server = hangs_up_once().await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .service("users.prod", |s| s.retry(Retry::standard()))
        .build()
        .unwrap();
    let error =
        patience(mesh.client("users.prod").unwrap().send(post("/", "x"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn refused_streams_are_sent_again() {
    // An HTTP/2 server that refuses the first stream of each connection.
    let server = RawServer::start(|stream, _| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let mut first = true;
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            if std::mem::take(&mut first) {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                let _sent = respond.send_response(Response::new(()), true);
            }
        }
    })
    .await;
    let ask = async |request: Request<Body>, retry: Retry| {
        let mesh = Mesh::builder()
            .endpoints("users.prod", [server.address()])
            .service("users.prod", |s| s.retry(retry).protocol(config::Protocol::Http2))
            .build()
            .unwrap();
        patience(mesh.client("users.prod").unwrap().send(request)).await
    };
    assert_eq!(ask(get("/"), Retry::standard()).await.unwrap().status(), 200);
    assert_eq!(ask(post("/", "x"), Retry::idempotent()).await.unwrap().status(), 200);
    // Nobody has said that it may be repeated; but it has not been worked on.
    assert_eq!(ask(post("/", "x"), Retry::standard()).await.unwrap().status(), 200);
    // Without further attempts no copy is kept: its caller learns that another call is safe.
    let error = ask(post("/", "x"), Retry::standard().attempts(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_graceful_end_of_connections_costs_no_call() {
    // Every connection says goodbye (GOAWAY) after its third request.
    let server = RawServer::start(|stream, _| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let mut count = 0;
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            count += 1;
            if count == 3 {
                connection.graceful_shutdown();
            }
            let _sent = respond.send_response(Response::new(()), true);
        }
    })
    .await;
    let mesh = Mesh::builder().endpoints("users.prod", [server.address()]).build().unwrap();
    let client = mesh.client("users.prod").unwrap();
    for _ in 0..50 {
        let mut request = post("/", "x");
        *request.version_mut() = http::Version::HTTP_2;
        assert_eq!(patience(client.send(request)).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_server_that_closes_every_kept_connection_costs_no_call() {
    // Answers with keep-alive, then closes: the reuse race of HTTP/1.1.
    let server = RawServer::start(|mut stream, _| async move {
        if raw::read_head(&mut stream).await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        }
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [server.address()])
        .service("users.prod", |s| s.retry(Retry::standard()))
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    for _ in 0..200 {
        let answer = patience(client.send(get("/"))).await.unwrap();
        assert_eq!(answer.into_body().text().await.unwrap(), "hello");
    }
}

#[tokio::test]
async fn errors_tell_what_each_attempt_met() {
    let (first, _a) = crate::support::dead_address();
    let (second, _b) = crate::support::dead_address();
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.clone(), second.clone()])
        .service("users.prod", |s| s.timeout(Duration::from_secs(2)))
        .build()
        .unwrap();
    let error = patience(mesh.client("users.prod").unwrap().send(get("/"))).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    let met: HashSet<_> =
        error.attempts().iter().map(|attempt| attempt.endpoint.to_string()).collect();
    assert_eq!(met, HashSet::from([first.to_string(), second.to_string()]), "{error}");
    let text = error.to_string();
    assert!(text.contains("users.prod") && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_drained_server_costs_no_idempotent_call() {
    let first = Server::start(|_| async { reply("first") }).await;
    let second = Server::start(|_| async { status(http::StatusCode::OK) }).await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address(), second.address()])
        .build()
        .unwrap();
    let client = mesh.client("users.prod").unwrap();
    let calls = crate::support::storm(4, 600, |n| {
        let mut request = get("/");
        if n % 2 == 0 {
            *request.version_mut() = http::Version::HTTP_2;
        }
        crate::support::fetch(&client, request)
    });
    let close = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        patience(first.close()).await;
    };
    let (answers, ()) = tokio::join!(calls, close);
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0].chain());
}
