//! The stream of reports.

use std::{convert::Infallible, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tokio::time::Instant;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::super::{LoadReportLayer, OutOfBand, ServerLoad, stream::PATH};
use crate::{
    Body,
    balance::report::{Interval, Report, ReportRequest, message},
};

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

fn asking(interval: Duration) -> Request<Full<Bytes>> {
    let request = ReportRequest {
        report_interval: Some(Interval::new(interval)),
        ..ReportRequest::default()
    };
    post(PATH, framed(&request.encode_to_vec()))
}

fn post(path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::post(path).header("content-type", "application/grpc").body(Full::new(body)).unwrap()
}

async fn next(body: &mut Body) -> Report {
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame[0], 0);
    assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - 5);
    message(frame.slice(5..)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_report_at_once_and_one_per_interval() {
    let load = ServerLoad::builder().cpu_utilization(|| 0.5).build();
    for (least, asked, gets) in [(30, 5, 30), (1, 5, 5), (30, 0, 30)] {
        let (least, asked, gets) =
            (Duration::from_secs(least), Duration::from_secs(asked), Duration::from_secs(gets));
        let service = OutOfBand::new(load.clone()).min_interval(least);
        let response = service.oneshot(asking(asked)).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let (start, mut body) = (Instant::now(), response.into_body());
        assert_eq!(next(&mut body).await.cpu_utilization, 0.5);
        assert_eq!(start.elapsed(), Duration::ZERO);
        for round in 1..4 {
            next(&mut body).await;
            assert_eq!(start.elapsed(), gets * round);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_answers_it_beside_its_service() {
    let load = ServerLoad::builder().cpu_utilization(|| 0.5).build();
    let service = LoadReportLayer::new(load.clone()).out_of_band().layer(service_fn(
        async |_: Request<Full<Bytes>>| Ok::<_, Infallible>(Response::new(Body::from("hello"))),
    ));
    let response = service.clone().oneshot(asking(Duration::ZERO)).await.unwrap();
    let mut body = Body::new(response.into_body());
    assert_eq!(next(&mut body).await.cpu_utilization, 0.5);
    // It is no call in flight.
    assert_eq!(load.in_flight(), 0);
    let response = service.oneshot(post("/other", Bytes::new())).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_by_a_status() {
    let service = OutOfBand::new(ServerLoad::default());
    let long = vec![0; 20_000];
    for (request, code) in [
        (post("/xds.service.orca.v3.OpenRcaService/Other", Bytes::new()), "12"),
        (post(PATH, Bytes::new()), "3"),
        (post(PATH, Bytes::from_static(b"\0\0\0\0\x05ab")), "3"),
        (post(PATH, framed(b"\xff\xff\xff")), "3"),
        (post(PATH, Bytes::from_static(b"\x01\0\0\0\0")), "3"),
        (post(PATH, long.into()), "8"),
    ] {
        let body = service.clone().oneshot(request).await.unwrap().into_body();
        let body = body.collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], code);
    }
}

#[tokio::test(start_paused = true)]
async fn absurd_intervals() {
    let absurd = [(i64::MAX, i32::MAX), (i64::MIN, i32::MIN), (-1, 5), (0, -1)];
    for (seconds, nanos) in absurd {
        let request = ReportRequest {
            report_interval: Some(Interval { seconds, nanos }),
            ..ReportRequest::default()
        };
        let service = OutOfBand::new(ServerLoad::default()).min_interval(Duration::ZERO);
        let request = post(PATH, framed(&request.encode_to_vec()));
        let mut body = service.oneshot(request).await.unwrap().into_body();
        next(&mut body).await;
    }
}
