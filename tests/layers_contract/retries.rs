//! Retries on a mock: what is repeated, how often, and within which time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::Request;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_mesh::{
    Body, Call, config,
    resilience::{DeadlineLayer, RetryLayer},
};
use tower_test::mock;

use crate::{Mock, Server, Strict, get, post, retries, status};

#[tokio::test(start_paused = true)]
async fn a_post_is_not_repeated_but_for_safe_failures() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = retries().layer(mock);
    let call = tokio::spawn(service.clone().oneshot(post()));
    server.next_request().await.unwrap().1.send_response(status(503));
    assert_eq!(call.await.unwrap().unwrap().status(), 503);

    let call = tokio::spawn(service.clone().oneshot(post()));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    server.next_request().await.unwrap().1.send_error(refused);
    let (again, send) = server.next_request().await.unwrap();
    assert_eq!(again.into_body().bytes().await.unwrap(), "new");
    send.send_response(status(201));
    assert_eq!(call.await.unwrap().unwrap().status(), 201);

    // What the call declares goes over its method, and `no_retry` leaves the safe ones.
    let mut declared = post();
    declared.extensions_mut().insert(Call::new().idempotent(true));
    let call = tokio::spawn(service.clone().oneshot(declared));
    server.next_request().await.unwrap().1.send_response(status(503));
    server.next_request().await.unwrap().1.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);

    let mut once = get();
    once.extensions_mut().insert(Call::new().no_retry());
    let call = tokio::spawn(service.clone().oneshot(once));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    server.next_request().await.unwrap().1.send_error(refused);
    server.next_request().await.unwrap().1.send_response(status(503));
    assert_eq!(call.await.unwrap().unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn never_sent_can_be_told_for_a_foreign_error() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = retries().never_sent(|error| error.to_string() == "no route").layer(mock);
    let call = tokio::spawn(service.oneshot(post()));
    server.next_request().await.unwrap().1.send_error("no route");
    server.next_request().await.unwrap().1.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_retries_to_its_share_of_calls() {
    let strict = Strict::failing(u32::MAX);
    let calls = Arc::clone(&strict.calls);
    let budget = config::Budget::default().ratio(0.4).min_per_second(0);
    let layer = RetryLayer::new(&config::Retry::standard().budget(budget)).unwrap();
    for _ in 0..1_000 {
        let response = layer.layer(strict.clone()).oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 503);
    }
    // Tokens expire while the calls back off, so a few are never used.
    let retries = calls.load(Ordering::Relaxed) - 1_000;
    assert!((380..=400).contains(&retries), "{retries}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_is_retried_and_its_attempt_dropped() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ServiceBuilder::new()
        .layer(retries())
        .layer(DeadlineLayer::new(Duration::from_millis(100)))
        .service(mock);
    let call = tokio::spawn(service.oneshot(get()));
    let (_, hung) = server.next_request().await.unwrap();
    let (_, second) = server.next_request().await.unwrap();
    second.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn no_retry_is_begun_that_its_deadline_would_end() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(1)))
        .layer(retries())
        .service(mock);
    let call = tokio::spawn(service.oneshot(get()));
    let mut later = status(503);
    later.headers_mut().insert("retry-after", "2".parse().unwrap());
    server.next_request().await.unwrap().1.send_response(later);
    // The response comes back at once instead of a timeout after a second.
    let started = Instant::now();
    assert_eq!(call.await.unwrap().unwrap().status(), 503);
    assert!(started.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_tells_what_is_left() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(10)))
        .layer(retries())
        .service(mock);
    let call = tokio::spawn(service.oneshot(get()));
    let told = |request: &Request<Body>| -> u64 {
        request.headers()["x-envoy-expected-rq-timeout-ms"].to_str().unwrap().parse().unwrap()
    };
    let (first, send) = server.next_request().await.unwrap();
    let mut later = status(503);
    later.headers_mut().insert("retry-after", "2".parse().unwrap());
    assert!((9_999..=10_000).contains(&told(&first)));
    send.send_response(later);
    let (second, send) = server.next_request().await.unwrap();
    assert!((6_900..=8_000).contains(&told(&second)), "{}", told(&second));
    send.send_response(status(200));
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_tells_a_grpc_server_no_bound_that_ends_at_the_head() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let mut inbound = http::HeaderMap::new();
    inbound.insert("x-envoy-expected-rq-timeout-ms", "1000".parse().unwrap());
    let mut call = get();
    let head = call.headers_mut();
    head.insert("content-type", "application/grpc".parse().unwrap());
    head.insert("grpc-timeout", "9S".parse().unwrap());
    call.extensions_mut().insert(Call::new().idempotent(true).inherit(&inbound));
    let call = tokio::spawn(retries().layer(mock).oneshot(call));
    server.next_request().await.unwrap().1.send_response(status(503));
    let (second, send) = server.next_request().await.unwrap();
    let told = second.headers()["grpc-timeout"].to_str().unwrap().to_owned();
    let micros: u64 = told.strip_suffix('u').unwrap().parse().unwrap();
    assert!((8_900_000..=9_000_000).contains(&micros), "{told}");
    send.send_response(status(200));
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_deadline_outside_does_not_allow_is_the_callers_answer_at_once() {
    let seconds = Duration::from_secs;
    let declared = config::Retry::idempotent();
    // gRPC is told of a deadline only if it covers the trailers; plain HTTP of any.
    for (content, whole) in
        [("application/grpc", false), ("application/grpc", true), ("text/plain", false)]
    {
        let (mock, mut server): (Mock, Server) = mock::pair();
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(seconds(5)).whole_response(whole))
            // What an inner one allows besides lengthens nothing.
            .layer(DeadlineLayer::new(seconds(100)))
            .layer(RetryLayer::new(&declared).unwrap())
            .service(mock);
        let mut request = post();
        request.headers_mut().insert("content-type", content.parse().unwrap());
        let started = Instant::now();
        let call = tokio::spawn(service.oneshot(request));
        for pushback in ["2000", "60000"] {
            let (sent, send) = server.next_request().await.unwrap();
            assert_eq!(sent.headers().contains_key("grpc-timeout"), whole);
            let rpc = content != "text/plain";
            let mut answer = status(if rpc { 200 } else { 503 });
            if rpc {
                answer.headers_mut().insert("grpc-status", "14".parse().unwrap());
            }
            answer.headers_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            send.send_response(answer);
        }
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.headers()["grpc-retry-pushback-ms"], "60000", "{content} {whole}");
        assert_eq!(started.elapsed(), seconds(2), "{content} {whole}");
    }
}
