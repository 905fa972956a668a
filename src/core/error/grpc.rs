//! gRPC's part of the HTTP mapping: statuses in headers, deadlines and attempts on the wire.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Error;
use crate::core::Body;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(crate) const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
pub(crate) const GRPC_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
/// The remaining time of a plain HTTP call in milliseconds, Envoy's name for it.
pub(crate) const HTTP_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// The number of earlier attempts of a plain HTTP call.
pub(crate) const HTTP_ATTEMPTS: HeaderName = HeaderName::from_static("x-mesh-attempt");

//= gRPC over HTTP/2 §"Responses": Status-Message is percent-encoded outside %x20-24 / %x26-7E
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// The names of gRPC's codes.
//= gRPC `statuscodes.md`; OTel gRPC spans: `rpc.response.status_code` is its string representation
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a gRPC code; nothing for a number that is none.
pub(crate) fn name(code: i32) -> Option<&'static str> {
    CODES.get(usize::try_from(code).ok()?).copied()
}

/// Whether a message with these headers speaks gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    //= gRPC over HTTP/2 §"Requests": "application/grpc" [("+proto" / "+json" / {custom})]
    let rest = value.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// The `grpc-status` of a response head or of trailers.
pub(crate) fn status_of(headers: &HeaderMap) -> Option<i32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

fn status_headers(error: &Error, headers: &mut HeaderMap) {
    headers.insert(GRPC_STATUS, HeaderValue::from(error.grpc_code()));
    let message = utf8_percent_encode(&error.to_string(), MESSAGE).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// A failure as a trailers-only response, the typed error in its extensions.
pub(crate) fn response(error: Error) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.version_mut() = http::Version::HTTP_2;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for (name, value) in error.headers().into_iter().flatten() {
        // What says how the call went is not for a header to say.
        if name != CONTENT_TYPE && !name.as_str().starts_with("grpc-") {
            response.headers_mut().append(name, value.clone());
        }
    }
    status_headers(&error, response.headers_mut());
    response.extensions_mut().insert(error);
    response
}

/// An answer that is a status alone.
pub(crate) fn answer(code: i32, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.version_mut() = http::Version::HTTP_2;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    let message = utf8_percent_encode(message, MESSAGE).to_string();
    if let Some(message) = HeaderValue::try_from(message).ok().filter(|text| !text.is_empty()) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// The code of an HTTP status that has none.
//= gRPC http-grpc-status-mapping.md
pub(crate) fn of_http(status: u16) -> i32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// A failure in the middle of a body as the trailers that end it.
pub(crate) fn trailers(error: &Error) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    status_headers(error, &mut headers);
    headers
}

/// The remaining time that an inbound request states.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    if let Some(value) = headers.get(GRPC_TIMEOUT) {
        return parse_timeout(value.as_bytes());
    }
    millis_of(headers.get(HTTP_TIMEOUT)?)
}

/// The remaining time that a plain HTTP request states.
pub(crate) fn millis_of(value: &HeaderValue) -> Option<Duration> {
    Some(Duration::from_millis(value.to_str().ok()?.parse().ok()?))
}

/// Whether an inbound request is itself a retry.
pub(crate) fn is_retry(headers: &HeaderMap) -> bool {
    [GRPC_ATTEMPTS, HTTP_ATTEMPTS]
        .iter()
        .any(|name| headers.get(name).is_some_and(|value| !matches!(value.as_bytes(), b"" | b"0")))
}

//= gRPC over HTTP/2 §"Requests": Timeout → TimeoutValue (at most 8 digits) TimeoutUnit
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (&unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes the remaining time as a `grpc-timeout` value, never more than what is left.
///
/// The value differs from call to call, so it is marked sensitive: HTTP/2 then keeps it out of
/// the header table that the stable headers live in.
pub(crate) fn timeout_value(left: Duration) -> HeaderValue {
    let micros = left.as_micros();
    let (number, unit) = if micros <= 99_999_999 {
        (micros, b'u')
    } else if left.as_millis() <= 99_999_999 {
        (left.as_millis(), b'm')
    } else {
        (u128::from(left.as_secs()).min(99_999_999), b'S')
    };
    digits(number, Some(unit))
}

/// Writes the remaining time in whole milliseconds, at least 1.
pub(crate) fn millis_value(left: Duration) -> HeaderValue {
    digits(left.as_millis().clamp(1, 99_999_999_999), None)
}

fn digits(number: u128, unit: Option<u8>) -> HeaderValue {
    let mut number = u64::try_from(number).unwrap_or(u64::MAX);
    let mut text = [0_u8; 24];
    let mut at = text.len();
    if let Some(unit) = unit {
        at -= 1;
        text[at] = unit;
    }
    loop {
        at -= 1;
        text[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let mut value =
        HeaderValue::from_bytes(&text[at..]).unwrap_or_else(|_| HeaderValue::from_static("1m"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{ErrorKind, Phase};

    #[test]
    fn timeouts_survive_the_wire() {
        for (left, wire) in [
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::ZERO, "0u"),
        ] {
            let value = timeout_value(left);
            assert_eq!(value.as_bytes(), wire.as_bytes());
            assert!(value.is_sensitive());
            assert_eq!(parse_timeout(value.as_bytes()), Some(left));
        }
    }

    #[test]
    fn malformed_timeouts_are_not_read() {
        for wire in ["", "m", "5", "5x", "123456789m", "-1m", "1 m", "1.5S"] {
            assert_eq!(parse_timeout(wire.as_bytes()), None, "{wire}");
        }
    }

    #[test]
    fn a_message_with_percent_and_newline_is_escaped() {
        let error = Error::new(ErrorKind::Timeout, Phase::Headers).detail("50 %\nlost");
        let trailers = trailers(&error);
        let text = trailers[GRPC_MESSAGE].to_str().unwrap();
        assert!(text.contains("50 %25%0Alost"), "{text}");
        assert_eq!(status_of(&trailers), Some(4));
    }
}
