use proptest::prelude::*;

use super::*;
use crate::resilience::global_rate_limit::message::{RateLimit, RateLimitResponse};

fn status(code: Code, limit: Option<(u32, Unit, &str)>, left: u32, reset: i64) -> DescriptorStatus {
    DescriptorStatus {
        code: code as i32,
        current_limit: limit.map(|(requests_per_unit, unit, name)| RateLimit {
            requests_per_unit,
            unit: unit as i32,
            name: name.into(),
        }),
        limit_remaining: left,
        duration_until_reset: Some(Span { seconds: reset, nanos: 0 }),
        quota: None,
    }
}

fn response(code: Code) -> RateLimitResponse {
    RateLimitResponse { overall_code: code as i32, ..RateLimitResponse::default() }
}

fn read(response: &RateLimitResponse) -> Answer {
    Answer::read(&response.encode_to_vec()).unwrap()
}

#[test]
fn the_question_is_the_message_behind_its_length() {
    let descriptors = [
        Descriptor::new().entry("source_cluster", "front").entry("user", "ann"),
        Descriptor::new().entry("user", "ann").hits(7),
    ];
    let framed = question("shop", &descriptors);
    assert_eq!(framed[0], 0);
    assert_eq!(u32::from_be_bytes(framed[1..5].try_into().unwrap()) as usize, framed.len() - 5);
    let said = RateLimitRequest::decode(&framed[5..]).unwrap();
    assert_eq!((said.domain.as_str(), said.hits_addend), ("shop", 0));
    assert_eq!(said.descriptors[0].entries[1].value, "ann");
    assert_eq!(said.descriptors[0].hits_addend, None);
    assert_eq!(said.descriptors[1].hits_addend, Some(UInt64Value { value: 7 }));
}

#[test]
fn the_code_decides_and_an_unknown_one_is_no_answer() {
    assert!(!read(&response(Code::Ok)).is_over);
    assert!(read(&response(Code::OverLimit)).is_over);
    let unknown = response(Code::Unknown).encode_to_vec();
    assert_eq!(Answer::read(&unknown), Err(Unreadable::Unknown));
    let mut other = response(Code::Ok);
    other.overall_code = 77;
    assert_eq!(Answer::read(&other.encode_to_vec()), Err(Unreadable::Unknown));
    assert_eq!(Answer::read(&[0xff; 9]), Err(Unreadable::Message));
    assert_eq!(Answer::read(&[]), Err(Unreadable::Unknown));
}

//= Envoy ratelimit_headers_test.cc, XRateLimitHeaderUtils::create
#[test]
fn the_limit_headers_are_those_that_envoy_writes() {
    let mut it = response(Code::Ok);
    assert_eq!(read(&it).limits, None);
    it.statuses = vec![
        status(Code::Ok, Some((1, Unit::Minute, "first")), 2, 3),
        status(Code::Ok, Some((4, Unit::Hour, "second")), 5, 6),
    ];
    let limits = read(&it).limits.unwrap();
    assert_eq!(limits.limit, "1, 1;w=60;name=\"first\", 4;w=3600;name=\"second\"");
    assert_eq!((limits.remaining, limits.reset), (2, 3));
    it.statuses = vec![
        status(Code::Ok, None, 0, 9),
        status(Code::Ok, Some((10, Unit::Unknown, "")), 1, 2),
        status(Code::Ok, Some((20, Unit::Year, "")), 3, 4),
    ];
    let limits = read(&it).limits.unwrap();
    assert_eq!(limits.limit, "10, 20;w=31536000");
    assert_eq!((limits.remaining, limits.reset), (1, 2));
    let mut headers = HeaderMap::new();
    limits.write(&mut headers);
    assert_eq!(headers["x-ratelimit-limit"], "10, 20;w=31536000");
    assert_eq!(
        (&headers["x-ratelimit-remaining"], &headers["x-ratelimit-reset"]),
        (&"1".parse().unwrap(), &"2".parse().unwrap())
    );
}

#[test]
fn a_refusal_lasts_as_long_as_the_last_limit_that_is_reached() {
    let mut it = response(Code::OverLimit);
    it.statuses = vec![
        status(Code::Ok, None, 5, 3_600),
        status(Code::OverLimit, None, 0, 5),
        status(Code::OverLimit, None, 0, 30),
        status(Code::OverLimit, None, 0, -7),
    ];
    assert_eq!(read(&it).retry_after, Some(Duration::from_secs(30)));
    it.overall_code = Code::Ok as i32;
    assert_eq!(read(&it).retry_after, None);
}

#[test]
fn headers_that_may_not_be_added_are_left_out() {
    let header = |key: &str, value: &str, raw: &[u8]| Header {
        key: key.into(),
        value: value.into(),
        raw_value: raw.into(),
    };
    let mut it = response(Code::Ok);
    it.request_headers_to_add = vec![
        header("X-Tenant", "a", b""),
        header("x-raw", "", b"\xe9"),
        header(":path", "/other", b""),
        header("host", "other", b""),
        header("content-length", "7", b""),
        header("x-split", "a\r\nb: c", b""),
        header("grpc-timeout", "1n", b""),
        header("", "a", b""),
    ];
    let names: Vec<_> =
        read(&it).request_headers.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["x-tenant", "x-raw"]);
}

#[test]
fn a_quota_is_that_of_all_or_the_smallest_of_each() {
    let quota =
        |requests, seconds| Quota { requests, valid_until: Some(Span { seconds, nanos: 0 }) };
    let until = Duration::from_secs;
    let mut it = response(Code::Ok);
    assert_eq!(read(&it).quota, None);
    it.statuses = vec![status(Code::Ok, None, 1, 1), status(Code::Ok, None, 1, 1)];
    it.statuses[0].quota = Some(quota(9, 50));
    assert_eq!(read(&it).quota, None, "the other has to be asked about");
    it.statuses[1].quota = Some(quota(5, 60));
    assert_eq!(read(&it).quota, Some(Granted { requests: 5, until: until(50) }));
    it.quota = Some(quota(20, 70));
    assert_eq!(read(&it).quota, Some(Granted { requests: 20, until: until(70) }));
    it.quota = Some(quota(20, -70));
    assert_eq!(read(&it).quota, None);
    it.overall_code = Code::OverLimit as i32;
    it.quota = Some(quota(20, 70));
    assert_eq!(read(&it).quota, None);
}

proptest! {
    #[test]
    fn whatever_bytes_come_they_are_read_or_refused(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        known in any::<bool>(),
    ) {
        if known {
            // One that says something, with noise behind it.
            let mut it = response(Code::Ok);
            it.statuses = vec![status(Code::Ok, Some((7, Unit::Day, "a\nb")), 1, i64::MIN)];
            it.quota = Some(Quota { requests: 1, valid_until: Some(Span { seconds: -1, nanos: -1 }) });
            bytes = [it.encode_to_vec(), bytes].concat();
        }
        if let Ok(answer) = Answer::read(&bytes) {
            let names = answer.request_headers.iter().chain(&answer.response_headers);
            for (name, _) in names {
                prop_assert!(is_editable(name) && !name.as_str().starts_with("grpc-"));
            }
            if let Some(limits) = answer.limits {
                limits.write(&mut HeaderMap::new());
            }
        }
    }
}
