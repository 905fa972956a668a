//! When a server wants its client back: `Retry-After` and `grpc-retry-pushback-ms`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header::RETRY_AFTER};

use crate::{
    config::{ResetFormat, ResetHeader},
    core::grpc,
};

/// A server's word on the next attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pushback {
    /// It has not said anything that can be understood.
    None,
    /// Exactly then.
    After(Duration),
    /// Not earlier.
    AtLeast(Duration),
    /// Not at all, or later than a call can wait.
    Stop,
}

//= gRFC A6 §"Pushback": a negative or unparseable value means not to retry at all
pub(crate) fn grpc(headers: &HeaderMap) -> Pushback {
    let Some(value) = headers.get(grpc::GRPC_PUSHBACK) else { return Pushback::None };
    let millis = value.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    millis.map_or(Pushback::Stop, |millis| Pushback::After(Duration::from_millis(millis.into())))
}

//= RFC 9110 §10.2.3 "Retry-After": delay-seconds or HTTP-date
pub(crate) fn http(
    headers: &HeaderMap,
    max: Duration,
    now: impl FnOnce() -> SystemTime,
) -> Pushback {
    let Some(text) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) else {
        return Pushback::None;
    };
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else if let Ok(date) = httpdate::parse_http_date(text) {
        // A date in the past is an invitation to come at once.
        date.duration_since(now()).unwrap_or_default()
    } else {
        return Pushback::None;
    };
    if wait > max { Pushback::Stop } else { Pushback::AtLeast(wait) }
}

/// Headers that say when a limit is over, in order of preference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resets(Vec<(HeaderName, ResetFormat)>);

impl Resets {
    pub(super) fn new(headers: &[ResetHeader]) -> Self {
        let compiled = headers.iter().filter_map(|header| {
            Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, header.format))
        });
        Self(compiled.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the first of them says that can be understood and is not too long. If all that can be are,
    /// that is a word, too: nobody is asked again before.
    //= Envoy ResetHeaderParserImpl and RetryStateImpl::parseResetInterval: seconds, or a time since
    //= 1970, as whole numbers. One over `max_interval` is left out there, and the back-off taken
    pub(super) fn read(
        &self,
        headers: &HeaderMap,
        max: Duration,
        now: impl Fn() -> SystemTime,
    ) -> Pushback {
        let mut found = Pushback::None;
        for (name, format) in &self.0 {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            let Some(seconds) = value.and_then(|text| text.trim().parse::<u64>().ok()) else {
                continue;
            };
            let asked = Duration::from_secs(seconds);
            let wait = match format {
                ResetFormat::Seconds => asked,
                ResetFormat::UnixTimestamp => {
                    let since = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    // In the past: it is over.
                    asked.saturating_sub(since)
                }
            };
            if wait <= max {
                return Pushback::AtLeast(wait);
            }
            found = Pushback::Stop;
        }
        found
    }
}

/// How long the server asks to be left alone, if it says so in either way.
pub(crate) fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    match grpc(headers) {
        Pushback::None => match http(headers, Duration::MAX, SystemTime::now) {
            Pushback::After(wait) | Pushback::AtLeast(wait) => Some(wait),
            Pushback::None | Pushback::Stop => None,
        },
        Pushback::After(wait) | Pushback::AtLeast(wait) => Some(wait),
        Pushback::Stop => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const MAX: Duration = Duration::from_secs(300);

    fn retry_after(value: &'static str) -> Pushback {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        // Sun, 06 Nov 1994 08:49:37 GMT
        http(&headers, MAX, || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn retry_after_in_seconds() {
        assert_eq!(retry_after("0"), Pushback::AtLeast(Duration::ZERO));
        assert_eq!(retry_after("120"), Pushback::AtLeast(Duration::from_secs(120)));
        assert_eq!(retry_after("300"), Pushback::AtLeast(MAX));
    }

    #[test]
    fn retry_after_as_a_date_in_each_form_of_rfc_9110() {
        for date in [
            "Sun, 06 Nov 1994 08:50:07 GMT",
            "Sunday, 06-Nov-94 08:50:07 GMT",
            "Sun Nov  6 08:50:07 1994",
        ] {
            assert_eq!(retry_after(date), Pushback::AtLeast(Duration::from_secs(30)), "{date}");
        }
        let past = retry_after("Sun, 06 Nov 1994 08:49:00 GMT");
        assert_eq!(past, Pushback::AtLeast(Duration::ZERO));
    }

    #[test]
    fn longer_than_the_cap_stops_retrying() {
        assert_eq!(retry_after("301"), Pushback::Stop);
        assert_eq!(retry_after("99999999999999999999999"), Pushback::Stop);
        assert_eq!(retry_after("Mon, 07 Nov 1994 08:49:37 GMT"), Pushback::Stop);
    }

    #[test]
    fn an_unreadable_retry_after_says_nothing() {
        for value in ["", "-1", "1.5", "soon", "+3"] {
            assert_eq!(retry_after(value), Pushback::None, "{value}");
        }
    }

    #[test]
    fn grpc_pushback() {
        let pushback = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(grpc::GRPC_PUSHBACK, HeaderValue::from_static(value));
            grpc(&headers)
        };
        assert_eq!(pushback("0"), Pushback::After(Duration::ZERO));
        assert_eq!(pushback("150"), Pushback::After(Duration::from_millis(150)));
        for stop in ["-1", "soon", "", "1.5"] {
            assert_eq!(pushback(stop), Pushback::Stop, "{stop}");
        }
        assert_eq!(grpc(&HeaderMap::new()), Pushback::None);
    }
}
