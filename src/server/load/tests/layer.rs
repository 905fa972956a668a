//! Counting, and where the report goes.

use std::{convert::Infallible, future::pending, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use super::super::{LoadReportBody, LoadReportLayer, ReportFormat, ServerLoad};
use crate::{
    Body,
    balance::report::{LATENCY_US, RIF, Report, Signal, read, signal_of},
};

fn grpc() -> Request<Body> {
    let mut request = Request::post("/a/B").body(Body::empty()).unwrap();
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
}

fn plain() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

/// A gRPC response of one message, with this status.
fn message(status: &'static str) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\0")), Frame::trailers(trailers)];
    let frames = frames.into_iter().map(Ok::<_, Infallible>);
    Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))))
}

/// One call, to the end of its body: its head, its trailers.
async fn call(
    load: &ServerLoad,
    request: Request<Body>,
    answer: impl Fn() -> Response<Body> + Clone,
) -> (HeaderMap, HeaderMap) {
    let service = LoadReportLayer::new(load.clone()).layer(service_fn(move |_| {
        let response = answer();
        async move { Ok::<_, Infallible>(response) }
    }));
    let response = service.oneshot(request).await.unwrap();
    let head = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    (head, body.trailers().cloned().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn grpc_gets_the_report_in_its_trailers() {
    let load = ServerLoad::builder()
        .cpu_utilization(|| 0.5)
        .memory_utilization(|| 0.25)
        .application_utilization(|| f64::NAN)
        .named_metric("queue", || 7.0)
        .named_metric("broken", || f64::INFINITY)
        .build();
    let (head, trailers) = call(&load, grpc(), || message("0")).await;
    assert_eq!(read(&head), None);
    assert_eq!(trailers["grpc-status"], "0");
    let report = read(&trailers).unwrap();
    assert_eq!((report.cpu_utilization, report.mem_utilization), (0.5, 0.25));
    assert_eq!(report.application_utilization, 0.0);
    assert_eq!((report.named("queue"), report.named("broken")), (Some(7.0), None));
    assert_eq!(report.named(RIF), Some(0.0));
    assert!(report.named(LATENCY_US).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_throws_has_failed() {
    // `UNKNOWN`, and `UNIMPLEMENTED`: the method is nowhere, not here alone.
    for (code, failed) in [("2", true), ("12", false)] {
        let answer = || {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
            response
        };
        let (head, _) = call(&ServerLoad::default(), grpc(), answer).await;
        assert_eq!(read(&head).unwrap().eps > 0.0, failed, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_only_is_a_head() {
    let answer = || {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("14"));
        response
    };
    let load = ServerLoad::default();
    let (head, _) = call(&load, grpc(), answer).await;
    let report = read(&head).unwrap();
    assert!(head.contains_key("endpoint-load-metrics-bin"));
    assert!(report.eps > 0.0 && report.eps <= report.rps_fractional);
}

#[tokio::test(start_paused = true)]
async fn other_responses_get_it_in_a_header() {
    for (format, begins) in [(ReportFormat::Text, "TEXT "), (ReportFormat::Json, "JSON {")] {
        let load = ServerLoad::builder().cpu_utilization(|| 0.5).build();
        let layer = LoadReportLayer::new(load).format(format);
        let service = layer.layer(service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new(Body::from("hello")))
        }));
        let response = service.oneshot(plain()).await.unwrap();
        let value = response.headers()["endpoint-load-metrics"].to_str().unwrap();
        assert!(value.starts_with(begins), "{value}");
        assert_eq!(read(response.headers()).unwrap().cpu_utilization, 0.5);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_answered_with_the_report_and_counts_for_nothing() {
    let load = ServerLoad::default();
    let ask = |layer: LoadReportLayer, path: &str| {
        let service = layer.layer(service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new(Body::from("hello")))
        }));
        service.oneshot(Request::get(path).body(Body::empty()).unwrap())
    };
    // Two calls are in flight.
    let (_one, _other) = (load.begin(), load.begin());
    for (layer, path) in [
        (LoadReportLayer::new(load.clone()).probes(), "/.well-known/load-report"),
        (LoadReportLayer::new(load.clone()).probes_at("/load"), "/load?of=me"),
    ] {
        let response = ask(layer, path).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(signal_of(response.headers()).unwrap().in_flight, 2);
        assert!(http_body::Body::is_end_stream(response.body()));
        assert_eq!(load.in_flight(), 2);
    }
    assert_eq!(load.report(0).rps_fractional, 0.0);
    // Without being asked for, or elsewhere, it is a call as any other.
    for layer in
        [LoadReportLayer::new(load.clone()), LoadReportLayer::new(load.clone()).probes_at("/")]
    {
        let response = ask(layer, "/.well-known/load-report").await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_there_stays() {
    let answer = || {
        let mut response = Response::new(Body::empty());
        let own = HeaderValue::from_static("TEXT cpu_utilization:0.125");
        response.headers_mut().insert("endpoint-load-metrics", own);
        response
    };
    let (head, _) = call(&ServerLoad::default(), plain(), answer).await;
    let own = Report { cpu_utilization: 0.125, ..Report::default() };
    assert_eq!(read(&head), Some(own));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_counted_to_the_end_whatever_the_end_is() {
    let load = ServerLoad::default();
    let layer = LoadReportLayer::new(load.clone());
    let mut hung = layer.layer(service_fn(async |_: Request<Body>| {
        pending::<()>().await;
        Ok::<Response<Body>, Infallible>(Response::new(Body::empty()))
    }));
    // A handler whose future is dropped.
    let first = hung.call(plain());
    let mut second = Box::pin(hung.call(grpc()));
    assert_eq!(load.in_flight(), 2);
    assert!(futures_util::poll!(&mut second).is_pending());
    drop((first, second));
    assert_eq!(load.in_flight(), 0);
    // A body that is dropped, before its end and unread.
    let service =
        layer.layer(service_fn(async |_: Request<Body>| Ok::<_, Infallible>(message("0"))));
    let unread = service.clone().oneshot(grpc()).await.unwrap();
    assert_eq!(load.in_flight(), 1);
    let mut begun = service.oneshot(grpc()).await.unwrap().into_body();
    begun.frame().await.unwrap().unwrap();
    assert_eq!(load.in_flight(), 2);
    drop((unread, begun));
    assert_eq!(load.in_flight(), 0);
    // One that panics, and one that fails.
    let panics = layer.layer(service_fn(|_: Request<Body>| async {
        assert_eq!(1, 2, "a handler that panics");
        Ok::<Response<Body>, Infallible>(Response::new(Body::empty()))
    }));
    assert!(tokio::spawn(panics.oneshot(plain())).await.is_err());
    let fails = layer.layer(service_fn(async |_: Request<Body>| Err::<Response<Body>, _>("no")));
    fails.oneshot(plain()).await.unwrap_err();
    assert_eq!(load.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_one_that_is_answered_does_not_count() {
    let load = ServerLoad::default();
    let layer = LoadReportLayer::new(load.clone());
    let mut service = layer.layer(service_fn(async |request: Request<Body>| {
        let slow = request.uri().path() == "/slow";
        tokio::time::sleep(Duration::from_millis(if slow { 1_000 } else { 20 })).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let slow = || Request::get("/slow").body(Body::empty()).unwrap();
    let others = [service.call(slow()), service.call(slow()), service.call(slow())];
    let response = service.oneshot(plain()).await.unwrap();
    let signal = signal_of(response.headers()).unwrap();
    assert_eq!(signal, Signal { in_flight: 3, latency: 20_000 });
    drop(others);
    assert_eq!(load.latency(), Some(Duration::from_millis(20)));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_and_say_nothing_of_latency() {
    let load = ServerLoad::default();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        call(&load, grpc(), || message("0")).await;
    }
    let latency = load.latency();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        call(&load, grpc(), || message("14")).await;
        let failed = || {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        };
        call(&load, plain(), failed).await;
        call(&load, grpc(), || message("5")).await;
    }
    let report = load.report(0);
    // 60 responses in 4 s, 20 of them failed.
    assert!((report.rps_fractional - 15.0).abs() < 0.5, "{}", report.rps_fractional);
    assert!((report.eps - 5.0).abs() < 0.2, "{}", report.eps);
    assert_eq!(load.latency(), latency);
}

#[tokio::test(start_paused = true)]
async fn any_body_goes_through() {
    let layer = LoadReportLayer::new(ServerLoad::default());
    let service = layer.layer(service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    }));
    let response = service.oneshot(Request::new(Full::default())).await.unwrap();
    let body: LoadReportBody<Full<Bytes>> = response.into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(5));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
}
