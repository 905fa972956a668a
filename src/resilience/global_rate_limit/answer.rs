//! What a rate limit service is asked, and what it says: bytes to meaning, without I/O.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;

use super::message::{
    Code, DescriptorStatus, Entry, HeaderValue as Header, Quota, RateLimitDescriptor,
    RateLimitRequest, RateLimitResponse, Span, UInt64Value, Unit,
};
use crate::{
    config::headers::is_editable,
    core::framed,
    resilience::{
        Descriptor,
        rate_limit::{LIMIT, REMAINING, RESET},
    },
};

/// What the service says of one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) is_over: bool,
    pub(crate) request_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) response_headers: Vec<(HeaderName, HeaderValue)>,
    /// The `x-ratelimit-*` headers, where it says what the limits are.
    pub(crate) limits: Option<Limits>,
    /// The body of a refusal.
    pub(crate) body: Bytes,
    /// When the last of the limits that are reached begins anew.
    pub(crate) retry_after: Option<Duration>,
    /// So many more requests of the same description may go on, until then, without a question.
    pub(crate) quota: Option<Granted>,
}

/// The strictest limit, and all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    pub(crate) limit: String,
    pub(crate) remaining: u32,
    /// Unit: seconds.
    pub(crate) reset: u64,
}

/// A quota.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Granted {
    pub(crate) requests: u32,
    /// Since 1970.
    pub(crate) until: Duration,
}

/// An answer that is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unreadable {
    Message,
    /// It says itself that it does not know.
    Unknown,
}

/// The question, with the five bytes that gRPC has before a message.
pub(crate) fn question(domain: &str, descriptors: &[Descriptor]) -> Bytes {
    let descriptors = descriptors.iter().map(|descriptor| RateLimitDescriptor {
        entries: descriptor
            .entries()
            .iter()
            .map(|(key, value)| Entry { key: key.clone().into_owned(), value: value.clone() })
            .collect(),
        hits_addend: descriptor.said_hits().map(|value| UInt64Value { value }),
    });
    let message = RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: descriptors.collect(),
        hits_addend: 0,
    };
    framed::framed(&message)
}

// === impl Answer ===

impl Answer {
    /// Reads a message.
    pub(crate) fn read(message: &[u8]) -> Result<Self, Unreadable> {
        let response = RateLimitResponse::decode(message).map_err(|_| Unreadable::Message)?;
        let is_over = match Code::try_from(response.overall_code) {
            Ok(Code::Ok) => false,
            Ok(Code::OverLimit) => true,
            Ok(Code::Unknown) | Err(_) => return Err(Unreadable::Unknown),
        };
        let reached = response.statuses.iter().filter(|it| it.code == Code::OverLimit as i32);
        let reached = reached.filter_map(|it| it.duration_until_reset.and_then(length));
        let retry_after = if is_over { reached.max() } else { None };
        Ok(Self {
            is_over,
            request_headers: headers(&response.request_headers_to_add),
            response_headers: headers(&response.response_headers_to_add),
            limits: Limits::new(&response.statuses),
            quota: if is_over { None } else { quota(&response) },
            body: response.raw_body,
            retry_after,
        })
    }
}

// === impl Limits ===

impl Limits {
    /// The limit that has the least left decides; all of them are listed behind it.
    //= Envoy XRateLimitHeaderUtils::create
    fn new(statuses: &[DescriptorStatus]) -> Option<Self> {
        let mut least: Option<(&DescriptorStatus, u32)> = None;
        let mut policies = String::new();
        for status in statuses {
            let Some(limit) = &status.current_limit else { continue };
            if least.is_none_or(|(least, _)| status.limit_remaining < least.limit_remaining) {
                least = Some((status, limit.requests_per_unit));
            }
            let window = window(limit.unit);
            if window > 0 {
                let _ = write!(policies, ", {};w={window}", limit.requests_per_unit);
                if !limit.name.is_empty() {
                    let _ = write!(policies, ";name=\"{}\"", limit.name);
                }
            }
        }
        let (status, requests) = least?;
        let reset = status.duration_until_reset.and_then(length).unwrap_or_default().as_secs();
        Some(Self {
            limit: format!("{requests}{policies}"),
            remaining: status.limit_remaining,
            reset,
        })
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        // The name of a limit may be anything.
        if let Ok(limit) = HeaderValue::try_from(&self.limit) {
            headers.insert(LIMIT, limit);
        }
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset));
    }
}

/// Seconds; months and years as Envoy has them.
fn window(unit: i32) -> u64 {
    match Unit::try_from(unit) {
        Ok(Unit::Second) => 1,
        Ok(Unit::Minute) => 60,
        Ok(Unit::Hour) => 3_600,
        Ok(Unit::Day) => 86_400,
        Ok(Unit::Week) => 604_800,
        Ok(Unit::Month) => 2_592_000,
        Ok(Unit::Year) => 31_536_000,
        Ok(Unit::Unknown) | Err(_) => 0,
    }
}

/// A time that is not negative.
fn length(span: Span) -> Option<Duration> {
    let nanos = u32::try_from(span.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(span.seconds).ok()?, nanos))
}

/// What is granted of all descriptors together; of each of several on its own, the smallest.
//= xDS RateLimitResponse.quota: "a certain number of requests over a period of time"
fn quota(response: &RateLimitResponse) -> Option<Granted> {
    let granted = |quota: &Quota| {
        let until = length(quota.valid_until?)?;
        (quota.requests > 0).then_some(Granted { requests: quota.requests, until })
    };
    if let Some(quota) = &response.quota {
        return granted(quota);
    }
    // One that grants nothing has to be asked about each request.
    let each: Vec<_> =
        response.statuses.iter().map(|it| granted(it.quota.as_ref()?)).collect::<Option<_>>()?;
    Some(Granted {
        requests: each.iter().map(|it| it.requests).min()?,
        until: each.iter().map(|it| it.until).min()?,
    })
}

/// What may be added; what frames a message, or says how a gRPC call went, is not the service's.
fn headers(list: &[Header]) -> Vec<(HeaderName, HeaderValue)> {
    let pair = |header: &Header| {
        let name = HeaderName::try_from(&header.key).ok()?;
        let value = if header.raw_value.is_empty() {
            header.value.as_bytes()
        } else {
            header.raw_value.as_slice()
        };
        let is_status = name.as_str().starts_with("grpc-");
        (is_editable(&name) && !is_status).then_some(())?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    };
    list.iter().filter_map(pair).collect()
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
