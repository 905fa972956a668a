use bytes::Bytes;
use prost::Message as _;

use super::*;
use crate::resilience::global_rate_limit::message::{
    Code, HeaderValue as Header, RateLimitResponse,
};

fn framed(response: &RateLimitResponse) -> Bytes {
    let message = response.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    framed.into()
}

fn over() -> RateLimitResponse {
    let mut response = RateLimitResponse::default();
    response.overall_code = Code::OverLimit as i32;
    response.raw_body = "slow down".into();
    response.response_headers_to_add =
        vec![Header { key: "x-why".into(), value: "too fast".into(), raw_value: Vec::new() }];
    response
}

/// A response whose trailers are in its head, as in a test they may be.
fn answered(status: Option<i32>, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    if let Some(status) = status {
        response.headers_mut().insert(grpc::GRPC_STATUS, HeaderValue::from(status));
    }
    response
}

fn asker(edit: impl FnOnce(&mut config::GlobalRateLimit)) -> Asker {
    let mut limit = config::GlobalRateLimit::new("limits", "shop");
    edit(&mut limit);
    Asker::new(&limit)
}

fn refused(said: Said) -> Error {
    match said {
        Said::Refused(error) => error,
        Said::On(_) => panic!("it goes on"),
    }
}

#[tokio::test]
async fn only_a_whole_answer_of_status_0_is_one() {
    let good = framed(&over());
    assert!(read(answered(Some(0), good.clone())).await.unwrap().is_over);
    let mut long = vec![0, 0, 1, 17, 112];
    long.resize(LONGEST + 1, 0);
    for (response, expected) in [
        (answered(None, good.clone()), "without a gRPC status"),
        (answered(Some(14), Bytes::new()), "gRPC status UNAVAILABLE"),
        (answered(Some(0), Bytes::new()), "cannot be read"),
        (answered(Some(0), good.slice(..good.len() - 1)), "cannot be read"),
        (answered(Some(0), [&[1], &good[1..]].concat().into()), "cannot be read"),
        (answered(Some(0), framed(&RateLimitResponse::default())), "does not know"),
        (answered(Some(0), long.into()), "too long"),
    ] {
        let failure = read(response).await.unwrap_err();
        assert!(failure.what.contains(expected), "{failure:?} {expected}");
    }
    let mut response = answered(Some(0), good);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(read(response).await.unwrap_err().what, "answers with status 503");
}

#[test]
fn a_refusal_says_what_the_service_says() {
    let asker = asker(|limit| limit.status = Some(503));
    let answer = Answer::read(&over().encode_to_vec()).unwrap();
    let edit = |headers: &mut HeaderMap| {
        headers.insert("x-ours", HeaderValue::from_static("1"));
    };
    let error = refused(asker.decide(&[], Ok(answer), edit));
    assert_eq!(
        (error.kind(), error.refusal()),
        (ErrorKind::Overloaded, Some(Refusal::GlobalRateLimited))
    );
    assert_eq!(
        (error.http_status().as_u16(), error.response_flag(), error.grpc_code()),
        (503, "RL", 8)
    );
    let headers = error.headers().unwrap();
    assert_eq!(headers["x-envoy-ratelimited"], "true");
    assert_eq!(
        (&headers["x-why"], &headers["x-ours"]),
        (&"too fast".parse().unwrap(), &"1".parse().unwrap())
    );
    assert!(error.to_string().contains("domain `shop`"), "{error}");
}

#[test]
fn without_an_answer_a_call_goes_on_unless_that_is_closed() {
    let open = asker(|_| {});
    let said = open.decide(&[], Err(Failure::late(open.waits)), |_| {});
    assert!(matches!(said, Said::On(None)), "{said:?}");
    let closed = asker(|limit| limit.fail_closed = Some(true));
    let error = refused(closed.decide(&[], Err(Failure::late(closed.waits)), |_| {}));
    assert_eq!(error.refusal(), Some(Refusal::RateLimitUnavailable));
    assert_eq!(
        (error.http_status().as_u16(), error.response_flag(), error.grpc_code()),
        (500, "RLSE", 14)
    );
    assert!(error.to_string().contains("has not answered within 20ms"), "{error}");
}

#[test]
fn internal_requests_are_told_by_their_header() {
    let mut internal = HeaderMap::new();
    internal.insert(INTERNAL, HeaderValue::from_static("true"));
    let external = HeaderMap::new();
    for (of, expected) in [
        (RateRequestType::Both, [true, true]),
        (RateRequestType::Internal, [true, false]),
        (RateRequestType::External, [false, true]),
    ] {
        let asker = asker(|limit| limit.request_type = Some(of));
        assert_eq!([asker.asks_about(&internal), asker.asks_about(&external)], expected, "{of:?}");
    }
}
