//! Further attempts that are not made: they cost nothing, and the failure says why.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_mesh::{
    Body, BoxError, Call, ErrorKind, Hedge, config,
    resilience::{DeadlineLayer, HedgeLayer, RetryLayer},
};
use tower_test::mock;

use crate::{Mock, Server, get, mesh_error, post, readied, retries, status};

const CAP: u64 = 99;

/// An upload in frames of unknown length, which ends well or fails.
fn upload(frames: &[usize], fails: bool) -> Request<Body> {
    let mut frames: Vec<Result<_, BoxError>> =
        frames.iter().map(|bytes| Ok(Frame::data(Bytes::from(vec![0; *bytes])))).collect();
    if fails {
        frames.push(Err("the disk is gone".into()));
    }
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    Request::put("http://users.prod/1").body(body).unwrap()
}

/// Half a further attempt per call, and no reserve.
fn poor() -> config::Retry {
    let budget = config::Budget::default().ratio(0.5).min_per_second(0);
    config::Retry::standard().max_body_bytes(CAP).budget(budget)
}

fn lost() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Reads the request's body and answers with this status, or loses the connection.
async fn answer(server: &mut Server, with: Option<u16>) {
    let next = tokio::time::timeout(Duration::from_secs(60), server.next_request()).await;
    let (request, send) = next.unwrap().unwrap();
    let _read = request.into_body().bytes().await;
    match with {
        Some(code) => send.send_response(status(code)),
        None => send.send_error(lost()),
    }
}

/// What the call ends with whose only attempt loses its connection.
async fn lost_once(layer: &RetryLayer, request: Request<Body>) -> BoxError {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let call = tokio::spawn(layer.layer(mock).oneshot(request));
    answer(&mut server, None).await;
    call.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_refused_for_its_body_costs_no_token() {
    for fails in [false, true] {
        let (mock, mut server): (Mock, Server) = mock::pair();
        let service = RetryLayer::new(&poor()).unwrap().layer(mock);
        let frames: &[usize] = if fails { &[10] } else { &[60, 60] };
        for _ in 0..4 {
            let call = tokio::spawn(service.clone().oneshot(upload(frames, fails)));
            answer(&mut server, Some(503)).await;
            assert_eq!(call.await.unwrap().unwrap().status(), 503);
        }
        // Two tokens were earned, and two are there.
        for _ in 0..2 {
            let call = tokio::spawn(service.clone().oneshot(get()));
            answer(&mut server, Some(503)).await;
            answer(&mut server, Some(200)).await;
            assert_eq!(call.await.unwrap().unwrap().status(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_is_refused_for_its_body_costs_no_token() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let hedge = Hedge::after(Duration::from_millis(10));
    let mut service = HedgeLayer::new(&hedge, &poor()).unwrap().layer(mock);
    for _ in 0..2 {
        let call = readied(&mut service).await.call(upload(&[60, 60], false));
        let call = tokio::spawn(call);
        let (request, send) = server.next_request().await.unwrap();
        let _read = request.into_body().bytes().await;
        // The next one is due, and is not sent.
        tokio::time::sleep(Duration::from_millis(20)).await;
        send.send_response(status(200));
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    let call = tokio::spawn(readied(&mut service).await.call(get()));
    let (_slow, _never) = server.next_request().await.unwrap();
    let hedged = tokio::time::timeout(Duration::from_secs(1), server.next_request()).await;
    let (_, send) = hedged.expect("a token was earned").unwrap();
    send.send_response(status(200));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_why_it_was_not_retried_and_keeps_what_was_met() {
    let rich = RetryLayer::new(&config::Retry::standard().max_body_bytes(CAP)).unwrap();
    let broke = config::Budget::default().ratio(0.0).min_per_second(0);
    let broke = RetryLayer::new(&config::Retry::standard().budget(broke)).unwrap();
    for (layer, request, why) in [
        (&rich, upload(&[60, 60], false), "the body is larger than the 99 bytes that are kept"),
        (&rich, upload(&[10], true), "the request's own body failed"),
        (&broke, get(), "the retry budget is empty"),
    ] {
        let error = lost_once(layer, request).await;
        let told = mesh_error(&error);
        assert_eq!(told.kind(), ErrorKind::Transport, "{told}");
        assert!(told.to_string().contains(&format!("not retried: {why}")), "{told}");
        let source = std::error::Error::source(told).unwrap().downcast_ref::<io::Error>();
        assert_eq!(source.unwrap().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_ours_says_it_whatever_the_reason() {
    let mut once = get();
    once.extensions_mut().insert(Call::new().no_retry());
    for (request, attempts, why) in [
        (post(), 1, "not declared idempotent"),
        (once, 1, "the call asks for none"),
        (get(), 3, "all 3 attempts are used"),
    ] {
        let (mock, mut server): (Mock, Server) = mock::pair();
        let service = ServiceBuilder::new()
            .layer(retries())
            .layer(DeadlineLayer::new(Duration::from_millis(100)))
            .service(mock);
        let call = tokio::spawn(service.oneshot(request));
        let mut silent = Vec::new();
        for _ in 0..attempts {
            silent.push(server.next_request().await.unwrap());
        }
        let error = call.await.unwrap().unwrap_err();
        let told = mesh_error(&error);
        assert!(told.is_timeout(), "{told}");
        assert!(told.to_string().contains(&format!("not retried: {why}")), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_foreign_client_says_is_unchanged_where_no_retry_was_due() {
    let error = lost_once(&retries(), post()).await;
    assert!(error.downcast_ref::<io::Error>().is_some(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_a_hedge_was_to_replace_says_why_it_did_not() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let hedge = Hedge::after(Duration::from_secs(1));
    let mut service = HedgeLayer::new(&hedge, &poor()).unwrap().layer(mock);
    let call = tokio::spawn(readied(&mut service).await.call(upload(&[60, 60], false)));
    answer(&mut server, None).await;
    let error = call.await.unwrap().unwrap_err();
    let told = mesh_error(&error).to_string();
    assert!(told.contains("not retried: the body is larger than the 99 bytes"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_given_up_before_it_is_sent_costs_no_token() {
    let (mock, mut server): (Mock, Server) = mock::pair();
    let service = RetryLayer::new(&poor()).unwrap().layer(mock);
    for _ in 0..2 {
        let call = tokio::spawn(service.clone().oneshot(get()));
        answer(&mut server, Some(200)).await;
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    let call = tokio::spawn(service.clone().oneshot(get()));
    let mut later = status(503);
    later.headers_mut().insert("retry-after", "1".parse().unwrap());
    server.next_request().await.unwrap().1.send_response(later);
    tokio::time::sleep(Duration::from_millis(500)).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // Four calls earn two tokens, and this one has cost none.
    for _ in 0..2 {
        let call = tokio::spawn(service.clone().oneshot(get()));
        answer(&mut server, Some(503)).await;
        answer(&mut server, Some(200)).await;
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_attempt_that_may_have_been_worked_on_no_failure_is_retryable() {
    let rich = RetryLayer::new(&config::Retry::standard().max_body_bytes(CAP)).unwrap();
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    for worked_on in [false, true] {
        let (mock, mut server): (Mock, Server) = mock::pair();
        let call = tokio::spawn(rich.layer(mock).oneshot(upload(&[60, 60], false)));
        // None of its body is taken, so that another attempt has it all.
        let (first, send) = server.next_request().await.unwrap();
        if worked_on {
            send.send_response(status(503));
        } else {
            send.send_error(refused());
        }
        drop(first);
        let (second, send) = server.next_request().await.unwrap();
        let _read = second.into_body().bytes().await;
        send.send_error(refused());
        let error = call.await.unwrap().unwrap_err();
        let told = mesh_error(&error);
        assert_eq!(told.kind(), ErrorKind::Connect, "{told}");
        assert_eq!(told.is_retryable(), !worked_on, "{told}");
    }
}
