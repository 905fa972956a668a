//! The layers around `reqwest::Client`, against loopback servers.
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
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use reqwest::{Client, Method, Request, Url};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_mesh::{
    Error, config,
    resilience::{ConcurrencyLimitLayer, DeadlineLayer, RetryLayer},
};

type Reply = Response<BoxBody<Bytes, Infallible>>;

fn reply(status: u16, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(text.into()).boxed());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

async fn serve<F>(
    answer: impl Fn(u32, http::Request<Incoming>) -> F + Send + Sync + 'static,
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
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    address
}

fn request(method: Method, address: SocketAddr) -> Request {
    Request::new(method, Url::parse(&format!("http://{address}/users?id=1")).unwrap())
}

fn retries() -> RetryLayer {
    RetryLayer::new(&config::Retry::standard()).unwrap()
}

#[tokio::test]
async fn a_flaky_server_is_tried_again() {
    let address = serve(async |number, request| {
        assert_eq!(request.headers().contains_key("x-mesh-attempt"), number > 1);
        reply(if number < 3 { 503 } else { 200 }, "hello")
    })
    .await;
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(5)).whole_response(true))
        .layer(ConcurrencyLimitLayer::new(10))
        .layer(retries())
        .layer(DeadlineLayer::new(Duration::from_secs(1)))
        .service(Client::new());
    let response = service.oneshot(request(Method::GET, address)).await.unwrap();
    assert_eq!(response.status(), 200);
    // Wrapping the body keeps what belongs to reqwest.
    assert_eq!(response.url().query(), Some("id=1"));
    assert_eq!(response.remote_addr(), Some(address));
    assert_eq!(response.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn bodies_in_memory_and_streamed_are_sent_again() {
    let address = serve(async |number, request: http::Request<Incoming>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if number % 2 == 1 { reply(502, "") } else { reply(200, body) }
    })
    .await;
    let parts = ["one ", "two"]
        .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
    let stream = reqwest::Body::wrap(StreamBody::new(futures_util::stream::iter(parts)));
    for body in [reqwest::Body::from("one two"), stream] {
        let mut put = request(Method::PUT, address);
        *put.body_mut() = Some(body);
        let response = retries().layer(Client::new()).oneshot(put).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "one two");
    }
}

#[tokio::test]
async fn a_post_to_nobody_is_tried_again_since_it_was_never_sent() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let service = ServiceBuilder::new()
        .layer(retries())
        .map_request(move |request: Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(Client::new());
    let error = service.oneshot(request(Method::POST, address)).await.unwrap_err();
    assert!(error.downcast_ref::<reqwest::Error>().unwrap().is_connect());
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_post_that_was_answered_is_not() {
    let address = serve(async |number, _| reply(if number == 1 { 503 } else { 200 }, "")).await;
    let service = retries().layer(Client::new());
    let response = service.oneshot(request(Method::POST, address)).await.unwrap();
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn the_requests_own_timeout_is_told_to_the_server_and_bounds_the_body() {
    let address = serve(async |_, request| {
        use futures_util::{StreamExt, stream};
        let told = request.headers()["x-envoy-expected-rq-timeout-ms"].clone();
        let told = Bytes::copy_from_slice(told.as_bytes());
        let first = stream::iter([Ok(Frame::data(told))]);
        Response::new(BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))))
    })
    .await;
    let mut slow = request(Method::GET, address);
    *slow.timeout_mut() = Some(Duration::from_millis(300));
    let service = DeadlineLayer::explicit().layer(Client::new());
    let mut response = service.oneshot(slow).await.unwrap();
    let told = response.chunk().await.unwrap().unwrap();
    let told: u32 = std::str::from_utf8(&told).unwrap().parse().unwrap();
    assert!((200..=300).contains(&told), "{told}");
    assert!(response.chunk().await.is_err());
}

#[tokio::test]
async fn the_limit_holds_until_the_body_is_read() {
    let address = serve(async |_, _| reply(200, "hello")).await;
    let service = ConcurrencyLimitLayer::new(1).layer(Client::new());
    let first = service.clone().oneshot(request(Method::GET, address)).await.unwrap();
    let error = service.clone().oneshot(request(Method::GET, address)).await.unwrap_err();
    assert!(error.downcast_ref::<Error>().unwrap().is_overload());
    assert_eq!(first.text().await.unwrap(), "hello");
    assert!(service.oneshot(request(Method::GET, address)).await.is_ok());
}
