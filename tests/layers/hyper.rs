//! The layers around hyper-util's client, against loopback servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::Instant};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_mesh::{
    Body, Call, Error, config,
    resilience::{ConcurrencyLimitLayer, DeadlineLayer, RetryLayer},
};

type Reply = Response<BoxBody<Bytes, Infallible>>;

fn reply(status: u16, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(text.into()).boxed());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

/// Answers HTTP/1.1 and HTTP/2 by `answer`, which gets the request's number from 1.
async fn serve<F>(
    answer: impl Fn(u32, Request<Incoming>) -> F + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    let count = Arc::new(AtomicU32::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                    let reply = answer(number, request);
                    async move { Ok::<_, Infallible>(reply.await) }
                });
                let io = TokioIo::new(stream);
                let _closed =
                    auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
            });
        }
    });
    address
}

/// An address that nobody listens at.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn h2_client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

fn retries() -> RetryLayer {
    RetryLayer::new(&config::Retry::standard()).unwrap()
}

fn get(address: SocketAddr) -> Request<Body> {
    Request::get(format!("http://{address}/")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_flaky_server_is_tried_again() {
    for client in [client(), h2_client()] {
        let address = serve(async |number, request| {
            let attempt = request.headers().get("x-mesh-attempt").cloned();
            if number < 3 {
                return reply(503, "busy");
            }
            reply(200, format!("after {:?}", attempt.unwrap()))
        })
        .await;
        let service = retries().layer(client);
        let response = service.oneshot(get(address)).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "after \"2\"");
    }
}

#[tokio::test]
async fn a_streamed_upload_is_sent_again_from_its_first_byte() {
    let address = serve(async |number, request: Request<Incoming>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if number == 1 { reply(502, "") } else { reply(200, body) }
    })
    .await;
    let parts = ["one ", "two ", "three"]
        .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
    let stream = StreamBody::new(futures_util::stream::iter(parts));
    let upload = Request::put(format!("http://{address}/")).body(stream).unwrap();
    let response = retries().layer(client()).oneshot(upload).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "one two three");
}

#[tokio::test]
async fn an_upload_over_the_cap_is_sent_once() {
    let address = serve(async |number, request: Request<Incoming>| {
        let _read = request.into_body().collect().await;
        reply(if number == 1 { 503 } else { 200 }, "")
    })
    .await;
    let parts = [Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 100])))];
    let stream = StreamBody::new(futures_util::stream::iter(parts));
    let upload = Request::put(format!("http://{address}/")).body(stream).unwrap();
    let layer = RetryLayer::new(&config::Retry::standard().max_body_bytes(99)).unwrap();
    assert_eq!(layer.layer(client()).oneshot(upload).await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_post_to_nobody_is_tried_again_since_it_was_never_sent() {
    let address = nobody().await;
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let service = ServiceBuilder::new()
        .layer(retries())
        .map_request(move |request: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(client());
    let request = Request::post(format!("http://{address}/")).body(Body::from("new")).unwrap();
    let error = service.oneshot(request).await.unwrap_err();
    assert!(error.downcast_ref::<legacy::Error>().unwrap().is_connect());
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_is_lost_is_a_reason_for_a_get_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            // Read the request, then hang up.
            let mut buffer = [0; 1024];
            let _read = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await;
        }
    });
    let service = retries().layer(client());
    assert!(service.clone().oneshot(get(address)).await.is_err());
    assert_eq!(accepted.swap(0, Ordering::SeqCst), 3);
    let post = Request::post(format!("http://{address}/")).body(Body::from("new")).unwrap();
    assert!(service.oneshot(post).await.is_err());
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn refused_and_reset_streams_of_http2() {
    for (reason, safe) in [(h2::Reason::REFUSED_STREAM, true), (h2::Reason::INTERNAL_ERROR, false)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut first = true;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    if std::mem::take(&mut first) {
                        respond.send_reset(reason);
                    } else {
                        respond.send_response(Response::new(()), true).unwrap();
                    }
                }
            }
        });
        let post = Request::post(format!("http://{address}/")).body(Body::from("new")).unwrap();
        let result = retries().layer(h2_client()).oneshot(post).await;
        assert_eq!(result.is_ok(), safe, "{reason:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_stream_above_goaways_last_one_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // By hand: settings, then GOAWAY with last stream 0 when the request has come.
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut buffer = [0; 4096];
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut seen = Vec::new();
        // The preface is 24 bytes; a HEADERS frame is type 1.
        while !has_headers(&seen) {
            let read = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let post = Request::post(format!("http://{address}/")).body(Body::from("new")).unwrap();
    let response = retries().layer(h2_client()).oneshot(post).await.unwrap();
    assert_eq!(response.status(), 200);
}

fn has_headers(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let [a, b, c, kind, ..] = rest {
        if *kind == 1 {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    false
}

#[tokio::test]
async fn a_slow_head_meets_its_deadline_and_the_server_was_told() {
    let address = serve(async |_, request| {
        let told = request.headers()["x-envoy-expected-rq-timeout-ms"].clone();
        assert!((1..=100).contains(&told.to_str().unwrap().parse::<u32>().unwrap()));
        std::future::pending().await
    })
    .await;
    let service = DeadlineLayer::new(Duration::from_millis(100)).layer(client());
    let started = Instant::now();
    let error = service.oneshot(get(address)).await.unwrap_err();
    assert!(error.downcast_ref::<Error>().unwrap().is_timeout());
    assert!((100..1_000).contains(&started.elapsed().as_millis()));
}

#[tokio::test]
async fn an_explicit_deadline_ends_a_body_that_stalls() {
    let address = serve(async |_, _| {
        use futures_util::{StreamExt, stream};
        let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"begun")))]);
        Response::new(BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))))
    })
    .await;
    let mut request = get(address);
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(200)));
    let service = DeadlineLayer::explicit().layer(client());
    let mut body = service.oneshot(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.downcast_ref::<Error>().unwrap().is_timeout());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_call_keeps_its_place_until_its_body_has_been_read() {
    let address = serve(async |_, _| reply(200, "hello")).await;
    let service = ConcurrencyLimitLayer::new(1).layer(client());
    let first = service.clone().oneshot(get(address)).await.unwrap();
    let error = service.clone().oneshot(get(address)).await.unwrap_err();
    assert!(error.downcast_ref::<Error>().unwrap().is_overload());
    assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert!(service.oneshot(get(address)).await.is_ok());
}
