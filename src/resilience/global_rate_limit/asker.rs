//! What becomes of a request, by what the service says of it, or does not say.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;

use super::{
    answer::{Answer, Unreadable, question},
    quota::Quotas,
};
use crate::{
    config::{self, RateRequestType},
    core::{Body, BoxError, Error, ErrorKind, Phase, Refusal, Reply, framed, grpc},
    resilience::Descriptor,
};

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// What an answer may have. Unit: bytes.
const LONGEST: usize = 64 * 1024;

//= Envoy ratelimit filter: on refusals
const LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// What is asked, how long for, and what is made of the answer.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) domain: String,
    pub(crate) waits: Duration,
    pub(crate) fail_closed: bool,
    refused_as: u16,
    failed_as: u16,
    limit_headers: bool,
    limited_header: bool,
    request_type: RateRequestType,
    pub(crate) quotas: Quotas,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    source: Option<BoxError>,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Said {
    /// It goes on, with what the service adds; nothing, if it did not answer.
    On(Option<Arc<Answer>>),
    Refused(Error),
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    pub(crate) fn caused(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { what: what.into(), source: Some(source.into()) }
    }

    pub(crate) fn late(waits: Duration) -> Self {
        Self::new(format!("has not answered within {waits:?}"))
    }
}

// === impl Asker ===

impl Asker {
    /// Compiles a validated limit.
    pub(crate) fn new(limit: &config::GlobalRateLimit) -> Self {
        Self {
            domain: limit.domain.clone(),
            waits: limit.waits(),
            fail_closed: limit.fail_closed.unwrap_or(false),
            refused_as: limit.refused_as(),
            failed_as: limit.failed_as(),
            limit_headers: limit.limit_headers.unwrap_or(false),
            limited_header: limit.limited_header.unwrap_or(true),
            request_type: limit.request_type.unwrap_or_default(),
            quotas: Quotas::default(),
        }
    }

    /// Whether such a request is asked about.
    //= Envoy ratelimit filter: `request_type` by `x-envoy-internal`
    pub(crate) fn asks_about(&self, headers: &HeaderMap) -> bool {
        let is_internal = || headers.get(INTERNAL).is_some_and(|value| value == "true");
        match self.request_type {
            RateRequestType::Both => true,
            RateRequestType::Internal => is_internal(),
            RateRequestType::External => !is_internal(),
        }
    }

    /// The question about a request of these descriptions.
    pub(crate) fn question(&self, descriptors: &[Descriptor]) -> Request<Body> {
        let mut request = Request::new(Body::from(question(&self.domain, descriptors)));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = http::Uri::from_static(METHOD);
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        request
    }

    /// What an answer that came before, with a quota, says of such a request.
    pub(crate) fn remembered(&self, descriptors: &[Descriptor]) -> Option<Arc<Answer>> {
        self.quotas.take(descriptors)
    }

    /// What becomes of a request of these descriptions. `edit` changes the headers of a refusal.
    pub(crate) fn decide(
        &self,
        descriptors: &[Descriptor],
        result: Result<Answer, Failure>,
        edit: impl FnOnce(&mut HeaderMap),
    ) -> Said {
        match result {
            Ok(answer) if answer.is_over => Said::Refused(self.over(answer, edit)),
            Ok(answer) => {
                let answer = Arc::new(answer);
                if let Some(quota) = answer.quota {
                    self.quotas.keep(descriptors, quota, &answer);
                }
                Said::On(Some(answer))
            }
            Err(failure) => {
                if !self.fail_closed {
                    return Said::On(None);
                }
                Said::Refused(self.failed(failure))
            }
        }
    }

    #[cold]
    fn over(&self, answer: Answer, edit: impl FnOnce(&mut HeaderMap)) -> Error {
        let mut headers = HeaderMap::new();
        if self.limited_header {
            headers.insert(LIMITED, HeaderValue::from_static("true"));
        }
        if let Some(limits) = answer.limits.as_ref().filter(|_| self.limit_headers) {
            limits.write(&mut headers);
        }
        for (name, value) in answer.response_headers {
            headers.append(name, value);
        }
        edit(&mut headers);
        let domain = &self.domain;
        let mut detail = format!("the rate limit service refuses it (domain `{domain}`)");
        if let Some(wait) = answer.retry_after {
            detail += &format!("; the limit begins anew in {wait:.1?}");
        }
        let status = StatusCode::from_u16(self.refused_as);
        Error::new(ErrorKind::Overloaded, Phase::Admission)
            .refused(Refusal::GlobalRateLimited)
            .with_status(status.unwrap_or(StatusCode::TOO_MANY_REQUESTS))
            .detail(detail)
            .check("the rate of calls of all callers, and the limits of the service")
            .replied(Reply { headers, retry_after: answer.retry_after, body: answer.body })
    }

    #[cold]
    fn failed(&self, failure: Failure) -> Error {
        let status = StatusCode::from_u16(self.failed_as);
        let error = Error::new(ErrorKind::Overloaded, Phase::Admission)
            .refused(Refusal::RateLimitUnavailable)
            .with_status(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .detail(format!(
                "the rate limit service {}, and `fail_closed` refuses what it does not allow",
                failure.what
            ))
            .check("the cluster of the rate limit service");
        match failure.source {
            Some(source) => error.caused_by(source),
            None => error,
        }
    }

    /// Adds to a request what the service says.
    pub(crate) fn change_request(answer: &Answer, headers: &mut HeaderMap) {
        for (name, value) in &answer.request_headers {
            headers.append(name, value.clone());
        }
    }

    /// Whether the response is to be changed.
    pub(crate) fn changes_response(&self, answer: &Answer) -> bool {
        !answer.response_headers.is_empty() || (self.limit_headers && answer.limits.is_some())
    }

    /// Adds to a response what the service says.
    pub(crate) fn change_response(&self, answer: &Answer, headers: &mut HeaderMap) {
        for (name, value) in &answer.response_headers {
            headers.append(name, value.clone());
        }
        if let Some(limits) = answer.limits.as_ref().filter(|_| self.limit_headers) {
            limits.write(headers);
        }
    }
}

/// Reads the service's response to its end.
pub(crate) async fn read<B>(response: Response<B>) -> Result<Answer, Failure>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = response.into_parts();
    if parts.status != StatusCode::OK {
        return Err(Failure::new(format!("answers with status {}", parts.status.as_u16())));
    }
    let mut body = std::pin::pin!(body);
    let mut code = grpc::status_of(&parts.headers);
    let mut message = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::caused("breaks its answer off", error))?;
        match frame.into_data() {
            Ok(mut data) => {
                use bytes::Buf as _;
                while data.has_remaining() {
                    let chunk = data.chunk();
                    message.extend_from_slice(chunk);
                    let length = chunk.len();
                    data.advance(length);
                }
            }
            Err(frame) => code = frame.trailers_ref().and_then(grpc::status_of).or(code),
        }
        if message.len() > LONGEST {
            return Err(Failure::new("gives too long an answer"));
        }
    }
    match code {
        Some(0) => {}
        // A failure of ours on the way to it.
        Some(code) => {
            let what = format!("answers with the gRPC status {}", grpc::name(code).unwrap_or("?"));
            return Err(match parts.extensions.remove::<Error>() {
                Some(error) => Failure::caused("cannot be asked", error),
                None => Failure::new(what),
            });
        }
        None => return Err(Failure::new("gives an answer without a gRPC status")),
    }
    let answer = framed::lone(&message).ok_or(Unreadable::Message).and_then(Answer::read);
    answer.map_err(|why| match why {
        Unreadable::Message => Failure::new("gives an answer that cannot be read"),
        Unreadable::Unknown => Failure::new("does not know (code UNKNOWN)"),
    })
}

#[cfg(test)]
#[path = "asker/tests.rs"]
mod tests;
