//! What is known of a call while its headers are edited: what `%NAME%` in their values becomes.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header::HOST,
};

use crate::{
    config::{
        Address,
        format::{Fact, Field, Format, Part},
    },
    core::{Instant, apart::differs_per_call, uri::bare},
};

/// A call, as its filters see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around<'a> {
    pub(crate) route: Option<&'a str>,
    pub(crate) cluster: Option<&'a str>,
    /// When it began; none: now.
    pub(crate) started: Option<Instant>,
}

/// The request that a response answers, kept where an edit of the response asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    route: Option<String>,
    cluster: Option<String>,
    started: SystemTime,
}

/// What a value is filled in from. The headers that are edited are beside it.
pub(crate) struct About<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) route: Option<&'a str>,
    pub(super) cluster: Option<&'a str>,
    pub(super) started: SystemTime,
    pub(super) answer: Option<Answered<'a>>,
}

/// Of a response: the headers of its request, and whose it is.
pub(crate) struct Answered<'a> {
    pub(super) request: &'a HeaderMap,
    pub(super) status: StatusCode,
    pub(super) endpoint: Option<&'a Address>,
}

// === impl Around ===

impl Around<'_> {
    /// By the clock of the machine, which is what logs of others have.
    pub(super) fn started(&self) -> SystemTime {
        let now = SystemTime::now();
        let ago = self.started.map(|started| started.elapsed());
        ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now)
    }
}

// === impl Seen ===

impl Seen {
    pub(crate) fn of<B>(request: &Request<B>, around: &Around<'_>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            route: around.route.map(str::to_owned),
            cluster: around.cluster.map(str::to_owned),
            started: around.started(),
        }
    }

    pub(super) fn about<'a>(
        &'a self,
        status: StatusCode,
        endpoint: Option<&'a Address>,
    ) -> About<'a> {
        About {
            method: &self.method,
            uri: &self.uri,
            version: self.version,
            route: self.route.as_deref(),
            cluster: self.cluster.as_deref(),
            started: self.started,
            answer: Some(Answered { request: &self.headers, status, endpoint }),
        }
    }
}

// === impl About ===

impl About<'_> {
    /// The value; none, if it comes to nothing (Envoy adds no header then). It is marked sensitive if one
    /// of its parts is a secret, or differs from call to call: it would drive what is stable out of
    /// HTTP/2's header table.
    pub(super) fn value(&self, format: &Format, edited: &HeaderMap) -> Option<HeaderValue> {
        let (mut text, mut is_apart) = (Vec::new(), false);
        for part in &format.0 {
            match part {
                Part::Text(part) => text.extend_from_slice(part.as_bytes()),
                Part::Fact(fact, most) => {
                    let from = text.len();
                    is_apart |= self.fill(fact, edited, &mut text);
                    if let Some(most) = most {
                        text.truncate(from.saturating_add(*most));
                    }
                }
            }
        }
        let mut value = HeaderValue::from_bytes(&text).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(is_apart);
        Some(value)
    }

    /// Adds what is there; whether that stays out of header tables.
    fn fill(&self, fact: &Fact, edited: &HeaderMap, text: &mut Vec<u8>) -> bool {
        match fact {
            Fact::Request(first, second) => {
                let headers = self.answer.as_ref().map_or(edited, |answer| answer.request);
                return self.field(first, headers, text)
                    || (second.as_ref()).is_some_and(|second| {
                        self.lacks(first, headers) && self.field(second, headers, text)
                    });
            }
            Fact::Response(first, second) => {
                return [Some(first), second.as_ref()]
                    .into_iter()
                    .flatten()
                    .find_map(|name| edited.get(name).map(|value| add(name, value, text)))
                    == Some(true);
            }
            Fact::Protocol => text.extend_from_slice(name_of(self.version).as_bytes()),
            Fact::Endpoint => {
                let endpoint = self.answer.as_ref().and_then(|answer| answer.endpoint);
                text.extend(endpoint.map(ToString::to_string).unwrap_or_default().bytes());
            }
            Fact::Started(clock) => {
                text.extend(clock.tell(self.started).bytes());
                return clock.differs_per_call();
            }
            Fact::Status => {
                let status = self.answer.as_ref().map(|answer| answer.status);
                text.extend_from_slice(status.as_ref().map_or("", StatusCode::as_str).as_bytes());
            }
            Fact::Route => text.extend_from_slice(self.route.unwrap_or_default().as_bytes()),
            Fact::Cluster => text.extend_from_slice(self.cluster.unwrap_or_default().as_bytes()),
        }
        false
    }

    fn field(&self, field: &Field, headers: &HeaderMap, text: &mut Vec<u8>) -> bool {
        let authority = self.uri.authority().map(http::uri::Authority::as_str);
        match field {
            Field::Header(name) => {
                return headers.get(name).is_some_and(|value| add(name, value, text));
            }
            Field::Path => {
                let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
                text.extend_from_slice(path.as_bytes());
                // As h2 itself has it of `:path`.
                return true;
            }
            Field::Method => text.extend_from_slice(self.method.as_str().as_bytes()),
            Field::Authority => match headers.get(HOST) {
                Some(host) => {
                    // As it is, but for a user before it.
                    let host = host.as_bytes().rsplit(|byte| *byte == b'@').next();
                    text.extend_from_slice(host.unwrap_or_default());
                }
                None => text.extend_from_slice(bare(authority.unwrap_or_default()).as_bytes()),
            },
            Field::Scheme => {
                text.extend_from_slice(self.uri.scheme_str().unwrap_or("http").as_bytes());
            }
        }
        false
    }

    /// Only a header may not be there.
    fn lacks(&self, field: &Field, headers: &HeaderMap) -> bool {
        match field {
            Field::Header(name) => !headers.contains_key(name),
            Field::Authority => !headers.contains_key(HOST) && self.uri.authority().is_none(),
            Field::Path | Field::Method | Field::Scheme => false,
        }
    }
}

/// Whether it is a secret, or another one in each call.
fn add(name: &HeaderName, value: &HeaderValue, text: &mut Vec<u8>) -> bool {
    text.extend_from_slice(value.as_bytes());
    value.is_sensitive() || differs_per_call(name)
}

//= Envoy Http::Utility::getProtocolString
fn name_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
