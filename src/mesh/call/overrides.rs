//! What headers of a request ask of its timeouts and retries, where the policy allows it
//! (`caller_overrides`): Envoy's and Linkerd's.
//!
//! They are taken out of the request: who it is sent to is not asked. One that cannot be understood
//! says nothing.

use std::{str::FromStr, time::Duration};

use http::{HeaderMap, HeaderName};

use crate::config::{HeaderMatch, IntegerRange, Retry, RetryOn, StringMatch, is_time};

const TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
const ATTEMPT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
const RETRIES: HeaderName = HeaderName::from_static("x-envoy-max-retries");
const ON: HeaderName = HeaderName::from_static("x-envoy-retry-on");
const ON_GRPC: HeaderName = HeaderName::from_static("x-envoy-retry-grpc-on");
const ON_STATUSES: HeaderName = HeaderName::from_static("x-envoy-retriable-status-codes");
const ON_HEADERS: HeaderName = HeaderName::from_static("x-envoy-retriable-header-names");
const L5D_TIMEOUT: HeaderName = HeaderName::from_static("l5d-timeout");
const L5D_RESPONSE: HeaderName = HeaderName::from_static("l5d-response-timeout");
const L5D_ATTEMPT: HeaderName = HeaderName::from_static("l5d-retry-timeout");
const L5D_RETRIES: HeaderName = HeaderName::from_static("l5d-retry-limit");
const L5D_ON: HeaderName = HeaderName::from_static("l5d-retry-http");
const L5D_ON_GRPC: HeaderName = HeaderName::from_static("l5d-retry-grpc");

/// No request is sent oftener than a policy may say.
const MOST_ATTEMPTS: u32 = 100;

/// A bound that is asked for, or that there is to be none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bound(pub(crate) Option<Duration>);

/// What a request asks for. A bound of nothing takes the policy's away.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Overrides {
    pub(crate) timeout: Option<Bound>,
    pub(crate) attempt_timeout: Option<Bound>,
    pub(crate) response_timeout: Option<Duration>,
    /// Attempts in all, and what they are made after beside what the policy names.
    pub(crate) attempts: Option<u32>,
    pub(crate) retry: Retry,
}

impl Overrides {
    /// Takes what a request asks for out of its headers; nothing, if it asks for nothing.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let mut all = Self::default();
        if let Some(millis) = number(headers, &TIMEOUT) {
            all.timeout = Some(Bound(time(millis)));
        }
        if let Some(millis) = number(headers, &ATTEMPT) {
            all.attempt_timeout = Some(Bound(time(millis)));
        }
        if let Some(time) = text(headers, &L5D_TIMEOUT, duration) {
            all.timeout = Some(Bound(Some(time)));
        }
        if let Some(time) = text(headers, &L5D_ATTEMPT, duration) {
            all.attempt_timeout = Some(Bound(Some(time)));
        }
        all.response_timeout = text(headers, &L5D_RESPONSE, duration);
        let retries = [&RETRIES, &L5D_RETRIES].map(|name| number::<u32>(headers, name));
        let retries = retries[0].or(retries[1]);
        all.attempts = retries.map(|retries| retries.saturating_add(1).min(MOST_ATTEMPTS));
        all.conditions(headers);
        //= Envoy RetryStateImpl: one retry, where a header asks for any and nobody says how many
        all.asks().then_some(all)
    }

    fn conditions(&mut self, headers: &mut HeaderMap) {
        let retry = &mut self.retry;
        for name in [&ON, &ON_GRPC] {
            list(headers, name, |word| {
                // Envoy knows each name in one of the two; either will do.
                retry.on.extend(named(word));
            });
        }
        list(headers, &ON_STATUSES, |word| retry.on_status_ranges.extend(statuses(word)));
        list(headers, &ON_HEADERS, |word| {
            if HeaderName::try_from(word).is_ok() {
                retry.on_headers.push(HeaderMatch::new(word, StringMatch::Present));
            }
        });
        let (mut on, mut ranges) = (Vec::new(), Vec::new());
        list(headers, &L5D_ON, |word| match word {
            "5xx" | "gateway-error" => on.extend(named(word)),
            word => ranges.extend(statuses(word)),
        });
        list(headers, &L5D_ON_GRPC, |word| on.extend(named(word)));
        if !ranges.is_empty() {
            on.push(RetryOn::RetriableStatusCodes);
            retry.on_status_ranges.extend(ranges);
        }
        retry.on.extend(on);
    }

    /// Whether it asks to be sent again.
    pub(crate) fn asks_for_retries(&self) -> bool {
        !self.retry.on.is_empty()
    }

    fn asks(&self) -> bool {
        let Self { timeout, attempt_timeout, response_timeout, attempts, retry } = self;
        timeout.is_some()
            || attempt_timeout.is_some()
            || response_timeout.is_some()
            || attempts.is_some()
            || !retry.on.is_empty()
            || !retry.on_status_ranges.is_empty()
            || !retry.on_headers.is_empty()
    }
}

/// What a header says, if it can be understood; the header is gone.
fn text<T>(
    headers: &mut HeaderMap,
    name: &HeaderName,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let value = headers.remove(name)?;
    read(value.to_str().ok()?.trim())
}

fn number<T: FromStr>(headers: &mut HeaderMap, name: &HeaderName) -> Option<T> {
    text(headers, name, |text| text.parse().ok())
}

/// Each word of a list that is separated by commas, and may stand in several lines; the header is gone.
//= RFC 9110 §5.3: the lines of a list are one list
fn list(headers: &mut HeaderMap, name: &HeaderName, mut word: impl FnMut(&str)) {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).for_each(&mut word);
    headers.remove(name);
}

/// So many milliseconds; 0 is no bound, and so is what lasts too long to be one.
fn time(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis)).filter(|time| is_time(*time))
}

/// A number with its unit, as Kubernetes has it: `10s`, `300ms`, `1m`.
//= linkerd2-proxy: policy timeouts in headers are durations with a unit
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    time(number.checked_mul(millis)?)
}

/// A condition by its name.
fn named(word: &str) -> Option<RetryOn> {
    Some(match word {
        "5xx" => RetryOn::ServerError,
        "gateway-error" => RetryOn::GatewayError,
        "reset" => RetryOn::Reset,
        "reset-before-request" => RetryOn::ResetBeforeRequest,
        "connect-failure" => RetryOn::ConnectFailure,
        "envoy-ratelimited" => RetryOn::EnvoyRatelimited,
        "retriable-4xx" => RetryOn::RetriableClientError,
        "refused-stream" => RetryOn::RefusedStream,
        "retriable-status-codes" => RetryOn::RetriableStatusCodes,
        "retriable-headers" => RetryOn::RetriableHeaders,
        "cancelled" => RetryOn::Cancelled,
        "deadline-exceeded" => RetryOn::DeadlineExceeded,
        "internal" => RetryOn::Internal,
        "resource-exhausted" => RetryOn::ResourceExhausted,
        "unavailable" => RetryOn::Unavailable,
        _ => return None,
    })
}

/// `503`, or `500-599`.
fn statuses(word: &str) -> Option<IntegerRange> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (start, last): (i64, i64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    ((400..=last).contains(&start) && last < 600).then(|| IntegerRange { start, end: last + 1 })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn taken(pairs: &[(&'static str, &'static str)]) -> (Option<Overrides>, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        (Overrides::take(&mut headers), headers)
    }

    #[test]
    fn envoys_headers_are_read_and_taken_out() {
        let (overrides, left) = taken(&[
            ("x-envoy-upstream-rq-timeout-ms", "1500"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "200"),
            ("x-envoy-max-retries", "4"),
            ("x-envoy-retry-on", "5xx,retriable-status-codes, nonsense"),
            ("x-envoy-retry-grpc-on", "unavailable"),
            ("x-envoy-retriable-status-codes", "409,429,99,soon"),
            ("x-other", "stays"),
        ]);
        let overrides = overrides.unwrap();
        assert_eq!(overrides.timeout, Some(Bound(Some(Duration::from_millis(1_500)))));
        assert_eq!(overrides.attempt_timeout, Some(Bound(Some(Duration::from_millis(200)))));
        assert_eq!(overrides.attempts, Some(5));
        let on = [RetryOn::ServerError, RetryOn::RetriableStatusCodes, RetryOn::Unavailable];
        assert_eq!(overrides.retry.on, on);
        let ranges: Vec<_> =
            overrides.retry.on_status_ranges.iter().map(|it| (it.start, it.end)).collect();
        assert_eq!(ranges, [(409, 410), (429, 430)]);
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn linkerds_headers_are_read_and_taken_out() {
        let (overrides, left) = taken(&[
            ("l5d-timeout", "10s"),
            ("l5d-response-timeout", "300ms"),
            ("l5d-retry-timeout", "1m"),
            ("l5d-retry-limit", "2"),
            ("l5d-retry-http", "gateway-error,429,500-504"),
            ("l5d-retry-grpc", "cancelled,internal"),
        ]);
        let overrides = overrides.unwrap();
        assert_eq!(overrides.timeout, Some(Bound(Some(Duration::from_secs(10)))));
        assert_eq!(overrides.response_timeout, Some(Duration::from_millis(300)));
        assert_eq!(overrides.attempt_timeout, Some(Bound(Some(Duration::from_secs(60)))));
        assert_eq!(overrides.attempts, Some(3));
        let on = [
            RetryOn::GatewayError,
            RetryOn::Cancelled,
            RetryOn::Internal,
            RetryOn::RetriableStatusCodes,
        ];
        assert_eq!(overrides.retry.on, on);
        assert!(left.is_empty());
    }

    #[test]
    fn a_list_in_several_lines_is_read_to_its_end() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-envoy-retry-on", &b"reset"[..]),
            ("x-envoy-retry-on", b"\xff"),
            ("x-envoy-retry-on", b"retriable-status-codes, 5xx"),
            ("x-envoy-retriable-status-codes", b"409"),
            ("x-envoy-retriable-status-codes", b"429"),
        ] {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let retry = Overrides::take(&mut headers).unwrap().retry;
        let on = [RetryOn::Reset, RetryOn::RetriableStatusCodes, RetryOn::ServerError];
        assert_eq!(retry.on, on);
        let ranges: Vec<_> = retry.on_status_ranges.iter().map(|it| it.start).collect();
        assert_eq!(ranges, [409, 429]);
        assert!(headers.is_empty());
    }

    #[test]
    fn what_cannot_be_understood_says_nothing_and_is_taken_out_all_the_same() {
        let (overrides, left) = taken(&[
            ("x-envoy-upstream-rq-timeout-ms", "soon"),
            ("x-envoy-max-retries", "-1"),
            ("x-envoy-retry-on", ""),
            ("l5d-timeout", "10"),
            ("l5d-response-timeout", "99999999999999999999s"),
            ("l5d-retry-limit", "1.5"),
        ]);
        assert_eq!(overrides, None);
        assert!(left.is_empty());
    }

    #[test]
    fn nothing_is_no_bound_and_no_more_than_a_hundred_attempts_are_made() {
        let (overrides, _) = taken(&[
            ("x-envoy-upstream-rq-timeout-ms", "0"),
            ("x-envoy-max-retries", "4294967295"),
        ]);
        let overrides = overrides.unwrap();
        assert_eq!((overrides.timeout, overrides.attempts), (Some(Bound(None)), Some(100)));
    }

    proptest! {
        #[test]
        fn no_value_is_too_much(value in "[ -~]{0,40}") {
            for name in [&TIMEOUT, &RETRIES, &ON, &ON_STATUSES, &L5D_TIMEOUT, &L5D_ON, &ON_HEADERS] {
                let mut headers = HeaderMap::new();
                headers.insert(name, value.parse().unwrap());
                let overrides = Overrides::take(&mut headers);
                prop_assert!(headers.is_empty());
                if let Some(overrides) = overrides {
                    prop_assert!(overrides.attempts.is_none_or(|it| (1..=100).contains(&it)));
                }
            }
        }
    }
}
