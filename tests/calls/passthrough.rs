//! What is no plain request and answer passes through untouched, or is refused with its reason.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use crate::support::{BoxError, RawServer, Server, VERSIONS, over, reply, server::body};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, UPGRADE},
};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_mesh::{Body, DisconnectReason, ErrorKind, Event, Mesh, config::Address};

fn mesh(address: Address) -> Mesh {
    Mesh::builder().endpoints("users", [address]).build().unwrap()
}

#[tokio::test]
async fn the_answer_to_head_keeps_its_length_and_has_no_body() {
    let server = Server::start(|request| async move {
        assert_eq!(request.method(), Method::HEAD);
        let mut answer = reply(Bytes::new());
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("4711"));
        answer
    })
    .await;
    let mesh = mesh(server.address());
    for version in VERSIONS {
        for _ in 0..3 {
            let head = Request::head("http://users/").body(Body::empty()).unwrap();
            let answer = mesh.http().send(over(version, head)).await.unwrap();
            assert_eq!(answer.headers()[CONTENT_LENGTH], "4711", "{version:?}");
            let whole = answer.into_body().collect().await.unwrap();
            assert!(whole.to_bytes().is_empty(), "{version:?}");
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let server = Server::start(|request| async move {
        let whole = request.into_body().collect().await.unwrap();
        let said = whole.trailers().and_then(|it| it.get("x-sum")).cloned();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", said.unwrap_or(HeaderValue::from_static("none")));
        let frames = [
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"it"))),
            Ok(Frame::trailers(trailers)),
        ];
        let mut answer = Response::new(body(StreamBody::new(stream::iter(frames))));
        answer.headers_mut().insert(TRAILER, HeaderValue::from_static("x-sum"));
        answer
    })
    .await;
    let mesh = mesh(server.address());
    for version in VERSIONS {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let frames = [
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"up"))),
            Ok(Frame::trailers(trailers)),
        ];
        let request = Request::post("http://users/")
            .header(TRAILER, "x-sum")
            .header(TE, "trailers")
            .body(Body::new(StreamBody::new(stream::iter(frames))))
            .unwrap();
        let answer = mesh.http().send(over(version, request)).await.unwrap();
        let whole = answer.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["x-sum"], "42", "{version:?}");
        assert_eq!(whole.to_bytes(), "it", "{version:?}");
    }
}

#[tokio::test]
async fn informational_answers_reach_who_asks_for_them() {
    let server = RawServer::start(|mut stream, _| async move {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {
            let answer = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
                          HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mesh = mesh(server.address());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hints = Arc::clone(&seen);
    let mut request = Request::get("http://users/").body(Body::empty()).unwrap();
    hyper::ext::on_informational(&mut request, move |answer| {
        let link = answer.headers()["link"].to_str().unwrap().to_owned();
        hints.lock().unwrap().push((answer.status().as_u16(), link));
    });
    let answer = mesh.http().send(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    assert_eq!(*seen.lock().unwrap(), [(103, "</a.css>".to_owned())]);
    // Who does not ask sees the answer alone.
    let plain = mesh.http().send(crate::support::get("http://users/")).await.unwrap();
    assert_eq!(plain.status(), 200);
}

/// hyper hands none of HTTP/2 on. The table of what passes through says so; it is wrong once this fails.
#[tokio::test]
async fn informational_answers_over_http2_are_left_out_and_their_answers_are_whole() {
    let server = crate::support::h2_server(8, |_, mut respond| async move {
        for status in [StatusCode::CONTINUE, StatusCode::PROCESSING, StatusCode::EARLY_HINTS] {
            let mut hint = Response::new(());
            *hint.status_mut() = status;
            hint.headers_mut().insert("link", HeaderValue::from_static("</a.css>"));
            respond.send_informational(hint).unwrap();
            tokio::task::yield_now().await;
        }
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"ok"), true).unwrap();
    })
    .await;
    let mesh = mesh(server.address());
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let hints = Arc::clone(&seen);
        let mut request = crate::support::h2("http://users/");
        hyper::ext::on_informational(&mut request, move |answer| {
            hints.lock().unwrap().push(answer.status());
        });
        let answer = mesh.http().send(request).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        assert!(!answer.headers().contains_key("link"), "{:?}", answer.headers());
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    assert!(seen.lock().unwrap().is_empty(), "they pass now: {seen:?}");
}

#[tokio::test]
async fn an_expectation_passes_and_is_met() {
    let server = Server::start(|request| async move {
        let expects = request.headers().get(EXPECT).is_some_and(|it| it == "100-continue");
        let whole = request.into_body().collect().await.unwrap().to_bytes();
        reply(format!("{expects} {}", whole.len()))
    })
    .await;
    let mesh = mesh(server.address());
    let request = Request::put("http://users/")
        .header(EXPECT, "100-continue")
        .body(Body::from("twelve bytes"))
        .unwrap();
    let answer = mesh.http().send(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "true 12");
}

/// A server that agrees to another protocol, and says everything twice from then on.
async fn upgrading() -> Address {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|mut request: Request<hyper::body::Incoming>| async move {
                let Some(asked) = request.headers().get(UPGRADE).cloned() else {
                    return Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()));
                };
                tokio::spawn(async move {
                    let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                    let mut io = TokioIo::new(upgraded);
                    let mut buffer = [0; 64];
                    while let Ok(read @ 1..) = io.read(&mut buffer).await {
                        io.write_all(&buffer[..read].repeat(2)).await.unwrap();
                    }
                });
                let mut answer = Response::new(Empty::new());
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                answer.headers_mut().insert(UPGRADE, asked);
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
                Ok(answer)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    address.into()
}

fn upgrade() -> Request<Body> {
    Request::get("http://users/socket")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "echo")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn an_upgraded_connection_is_the_callers() {
    let mesh = mesh(upgrading().await);
    let mut recorder = crate::support::Recorder::of(&mesh);
    for _ in 0..3 {
        let mut answer = mesh.http().send(upgrade()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.headers()[UPGRADE], "echo");
        let mut io = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
        for word in ["one", "two"] {
            io.write_all(word.as_bytes()).await.unwrap();
            let mut said = [0; 6];
            io.read_exact(&mut said).await.unwrap();
            assert_eq!(said, word.repeat(2).as_bytes());
        }
    }
    // Nobody else gets such a connection: plain calls go on beside it.
    let answer = mesh.http().send(crate::support::get("http://users/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let failed = recorder
        .count(|it| matches!(it, Event::Disconnected { reason: DisconnectReason::Error, .. }));
    assert_eq!(failed, 0, "{:?}", recorder.disconnects());
}

#[tokio::test]
async fn an_upgrade_that_is_not_agreed_to_is_an_answer() {
    let server = Server::named("plain").await;
    let mesh = mesh(server.address());
    for _ in 0..2 {
        let answer = mesh.http().send(upgrade()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "plain");
    }
    assert_eq!(server.connections(), 1, "its connection is kept");
}

#[tokio::test]
async fn an_upgrade_over_http2_is_refused_with_its_reason_and_its_endpoint_not_blamed() {
    let server = Server::named("plain").await;
    let mesh = mesh(server.address());
    for _ in 0..10 {
        let error = mesh.http().send(over(Version::HTTP_2, upgrade())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        let text = error.to_string();
        assert!(text.contains("HTTP/2, which has none") && text.contains("http1"), "{text}");
    }
    assert_eq!(server.requests(), 0);
    let answer = mesh.http().send(crate::support::h2("http://users/")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_upgrade_over_http2_behind_an_endpoint_layer_is_refused_as_well() {
    let server = Server::named("plain").await;
    let builder = Mesh::builder().endpoints("users", [server.address()]);
    let mesh = builder.endpoint_layer(tower::layer::util::Identity::new()).build().unwrap();
    for _ in 0..10 {
        let error = mesh.http().send(over(Version::HTTP_2, upgrade())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains("HTTP/2, which has none"), "{error}");
    }
    assert_eq!(server.requests(), 0);
    let answer = mesh.http().send(crate::support::h2("http://users/")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn connect_is_refused_with_its_reason() {
    let server = Server::named("plain").await;
    let mesh = mesh(server.address());
    for version in VERSIONS {
        let request = Request::connect("users").body(Body::empty()).unwrap();
        let error = mesh.client("users").unwrap().send(over(version, request)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains("CONNECT asks for a tunnel"), "{error}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn large_bodies_stream_both_ways_at_once() {
    // What comes up goes down again while more comes.
    let server =
        Server::start(|request| async move { Response::new(body(request.into_body())) }).await;
    let mesh = mesh(server.address());
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: usize = 2048;
    for version in VERSIONS {
        let (sent, received) = (Arc::new(Mutex::new(0)), Mutex::new(0));
        let counted = Arc::clone(&sent);
        let chunk = Bytes::from(vec![7; CHUNK]);
        let chunks = stream::iter(0..CHUNKS).map(move |_| {
            *counted.lock().unwrap() += CHUNK;
            Ok::<_, BoxError>(Frame::data(chunk.clone()))
        });
        let request =
            Request::post("http://users/").body(Body::new(StreamBody::new(chunks))).unwrap();
        let answer = mesh.http().send(over(version, request)).await.unwrap();
        let mut body = answer.into_body();
        let mut most_ahead = 0;
        while let Some(frame) = body.frame().await {
            let mut received = received.lock().unwrap();
            *received += frame.unwrap().into_data().unwrap().len();
            most_ahead = most_ahead.max(*sent.lock().unwrap() - *received);
        }
        assert_eq!(*received.lock().unwrap(), CHUNK * CHUNKS, "{version:?}");
        // Windows and socket buffers hold some of the 128 MiB; the mesh holds none.
        assert!(most_ahead < CHUNK * CHUNKS / 2, "{version:?}: {most_ahead} bytes on the way");
    }
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn an_upload_that_outlives_its_attempt_is_sent_whole_to_the_next() {
    use std::time::Duration;

    use tower_mesh::{config::Retry, testing::Network};

    for version in VERSIONS {
        let network = Network::new();
        // It answers when it has read all, for which an attempt's time is too short from the start on.
        let server = network.endpoint("10.0.0.1:80");
        let mesh = Mesh::builder()
            .endpoints("users", [server.address()])
            .service("users", |it| {
                it.attempt_timeout(Duration::from_millis(100))
                    .retry(Retry::idempotent().attempts(2))
            })
            .connect_layer(network)
            .seed(7)
            .build()
            .unwrap();
        let mut events = crate::support::Recorder::of(&mesh);
        // A part of it, and its end, come only after the first attempt is over.
        let parts = stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let part = Frame::data(Bytes::from(format!("part {n};")));
            (n < 4).then(|| (Ok::<_, BoxError>(part), n + 1))
        });
        let request =
            Request::put("http://users/").body(Body::new(StreamBody::new(parts))).unwrap();
        let answer = mesh.http().send(over(version, request)).await.unwrap();
        assert_eq!(answer.status(), 200, "{version:?}");
        let received = server.received();
        let whole = "part 0;part 1;part 2;part 3;";
        assert_eq!(received.last().unwrap().body, whole, "{version:?}");
        let made = events.count(|it| matches!(it, Event::AttemptStarted { .. }));
        assert_eq!((made, events.retries().len()), (2, 1), "{version:?}: {:?}", events.retries());
    }
}
