//! What a refusal says beyond its error: when to come back, and what an answer of it would look like.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::RETRY_AFTER};

use super::Error;
use crate::core::{Body, Refusal};

/// gRPC's code for what cannot be reached, or takes no more.
const UNAVAILABLE: i32 = 14;

/// What the rule or limit that refused a call gives to its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Error {
    /// What an answer of it would look like.
    pub(crate) fn replied(self, reply: Reply) -> Self {
        self.edit(|inner| inner.reply = Some(Box::new(reply)))
    }

    /// When the same call may be let in, from the moment of its refusal on, where the limit that
    /// refused it knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.reply.as_ref()?.retry_after
    }

    /// The headers that the rule or limit that refused the call gives to its answer.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.0.reply.as_ref().map(|reply| &reply.headers)
    }

    /// The code that a gRPC caller sees: that of the kind, but `UNAVAILABLE` (14) where a limit of the
    /// cluster refuses the call, or a service that did not answer.
    //= gRFC A32: what is over `max_requests` fails UNAVAILABLE; gRFC A27: so does what is dropped
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        match self.refusal() {
            // Nothing is exhausted: somebody cannot be asked.
            Some(Refusal::RateLimitUnavailable) => UNAVAILABLE,
            Some(refusal) if refusal.is_of_cluster() => UNAVAILABLE,
            _ => self.kind().grpc_code(),
        }
    }

    /// The response that an HTTP gateway would answer: the status, and what the rule or limit that
    /// refused the call gives it, with `retry-after` where that is known.
    ///
    /// It does not have the error's text, which names services and endpoints.
    //= RFC 6585 §4: a 429 may say `retry-after`; RFC 9110 §10.2.3: in whole seconds
    #[must_use]
    pub fn http_response(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.http_status();
        let Some(reply) = &self.0.reply else { return response };
        *response.headers_mut() = reply.headers.clone();
        *response.body_mut() = Body::from(reply.body.clone());
        if let Some(wait) = reply.retry_after {
            let seconds = wait.as_nanos().div_ceil(1_000_000_000);
            let seconds = HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX));
            response.headers_mut().entry(RETRY_AFTER).or_insert(seconds);
        }
        response
    }
}
