//! What an attempt must have met for its call to be sent again, beyond what is always safe.

use std::{ops::RangeInclusive, sync::Arc};

use http::{HeaderMap, HeaderName, StatusCode};

use super::Met;
use crate::{
    RetryReason,
    config::{IntegerRange, Retry, RetryOn, header::Header},
};

/// A proxy on the way has answered, because a rate limit was reached.
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
/// The same, of a circuit breaker.
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// The compiled conditions of a policy.
///
/// What is known never to have been worked on is sent again whatever they say: `connect-failure`,
/// `refused-stream` and `reset-before-request` name nothing that is not. HTTP/3 is not spoken, so
/// `http3-post-connect-failure` is never met.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what is named, each by itself")]
pub(super) struct Conditions {
    statuses: Vec<RangeInclusive<u16>>,
    /// One bit per gRPC code.
    codes: u32,
    /// Response headers, one of which asks for it.
    headers: Arc<[Header]>,
    /// A connection that was lost.
    pub(super) reset: bool,
    /// An attempt that met its timeout.
    pub(super) timeout: bool,
    /// They are given by name: then what a proxy says of itself counts.
    pub(super) by_name: bool,
    rate_limited: bool,
    /// They list statuses, and a request may add to the list.
    pub(super) lists_statuses: bool,
    /// The same of headers.
    pub(super) lists_headers: bool,
}

impl Conditions {
    pub(super) fn new(config: &Retry) -> Self {
        if !config.on.is_empty() {
            return Self::named(config);
        }
        let mut all = Self {
            reset: config.on_reset.unwrap_or(true),
            timeout: config.on_timeout.unwrap_or(true),
            headers: compiled(&config.on_headers),
            lists_statuses: config.on_status.is_some() || !config.on_status_ranges.is_empty(),
            lists_headers: !config.on_headers.is_empty(),
            ..Self::default()
        };
        // The usual ones, unless any are said.
        if config.on_status.is_some() || config.on_status_ranges.is_empty() {
            all.statuses.extend(config.statuses().iter().map(|status| *status..=*status));
        }
        all.statuses.extend(config.on_status_ranges.iter().filter_map(range));
        for code in config.codes() {
            all.code(*code);
        }
        all
    }

    /// Those of Envoy's names.
    fn named(config: &Retry) -> Self {
        let mut all = Self { by_name: true, ..Self::default() };
        all.join(config);
        all
    }

    /// Those of Envoy's names beside what is there already, and lists beside lists that a name, here or
    /// before, reads.
    //= Envoy RetryStateImpl: its constructor, wouldRetryFromHeaders and wouldRetryFromReset
    pub(super) fn join(&mut self, config: &Retry) {
        let all = self;
        for on in &config.on {
            match on {
                RetryOn::ServerError => all.answers(500..=599),
                RetryOn::GatewayError => all.answers(502..=504),
                RetryOn::Reset => (all.reset, all.timeout) = (true, true),
                RetryOn::EnvoyRatelimited => all.rate_limited = true,
                RetryOn::RetriableClientError => all.statuses.push(409..=409),
                RetryOn::RetriableStatusCodes => all.lists_statuses = true,
                RetryOn::RetriableHeaders => all.lists_headers = true,
                RetryOn::Cancelled => all.code(1),
                RetryOn::DeadlineExceeded => all.code(4),
                RetryOn::ResourceExhausted => all.code(8),
                RetryOn::Internal => all.code(13),
                RetryOn::Unavailable => all.code(14),
                // Always safe, or never met.
                RetryOn::ResetBeforeRequest
                | RetryOn::ConnectFailure
                | RetryOn::RefusedStream
                | RetryOn::Http3PostConnectFailure => {}
            }
        }
        if all.lists_statuses {
            let listed = config.on_status.iter().flatten();
            all.statuses.extend(listed.map(|status| *status..=*status));
            all.statuses.extend(config.on_status_ranges.iter().filter_map(range));
        }
        if all.lists_headers && !config.on_headers.is_empty() {
            let more = compiled(&config.on_headers);
            all.headers = all.headers.iter().chain(&*more).cloned().collect();
        }
    }

    /// Statuses, and no answer at all, which would become one of them in a proxy.
    fn answers(&mut self, statuses: RangeInclusive<u16>) {
        self.statuses.push(statuses);
        (self.reset, self.timeout) = (true, true);
    }

    fn code(&mut self, code: i32) {
        self.codes |= bit(code);
    }

    /// Why another attempt is wanted after this; none, if it is not.
    pub(super) fn want(&self, met: Met<'_>) -> Option<RetryReason> {
        match met {
            Met::Reset => self.reset.then_some(RetryReason::ConnectionLost),
            Met::AttemptTimeout => self.timeout.then_some(RetryReason::AttemptTimeout),
            Met::Response { status, headers } => {
                let named = self.statuses.iter().any(|range| range.contains(&status.as_u16()));
                let reason = RetryReason::Status(status.as_u16());
                self.is_wanted(named, headers).then_some(reason)
            }
            Met::GrpcStatus { code, headers } => {
                let ok = StatusCode::OK.as_u16();
                let named = self.codes & bit(code) != 0
                    || self.statuses.iter().any(|range| range.contains(&ok));
                self.is_wanted(named, headers).then_some(RetryReason::Grpc(code))
            }
            Met::NeverSent | Met::Unreachable | Met::Refused => None,
        }
    }

    fn is_wanted(&self, named: bool, headers: &HeaderMap) -> bool {
        if self.by_name {
            // What a breaker has refused is not to be made worse.
            if headers.contains_key(OVERLOADED) {
                return false;
            }
            if headers.contains_key(RATE_LIMITED) {
                return self.rate_limited;
            }
        }
        named || self.headers.iter().any(|header| header.matches(headers))
    }
}

/// Those of a list that can be compiled: validation has refused the others.
pub(super) fn compiled(headers: &[crate::config::HeaderMatch]) -> Arc<[Header]> {
    headers.iter().filter_map(|header| Header::new(header).ok()).collect()
}

/// A range of statuses; none, if it is empty.
fn range(range: &IntegerRange) -> Option<RangeInclusive<u16>> {
    let (first, last) = (range.start.max(0), range.end.checked_sub(1)?.min(999));
    if first > last {
        return None;
    }
    Some(u16::try_from(first).ok()?..=u16::try_from(last).ok()?)
}

fn bit(code: i32) -> u32 {
    u32::try_from(code).ok().and_then(|code| 1_u32.checked_shl(code)).unwrap_or(0)
}
