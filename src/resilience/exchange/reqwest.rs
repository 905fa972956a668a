//! `reqwest::Request` and `reqwest::Response`.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, StatusCode};
use reqwest::{Request, Response, ResponseBuilderExt};

use super::{
    host_of,
    sealed::{Answer, Exchange, Replay},
};
use crate::{
    core::{Body, Call, Held, Instant, Outgoing, ReplayBody, RetryRefusal, Unrepeatable},
    resilience::{
        deadline::{Expiry, TimedBody},
        fault::{FaultBody, Slow},
        limit::HeldBody,
    },
};

/// The means to send a request again.
#[expect(unnameable_types, reason = "an implementation detail of a sealed trait")]
pub struct Copy {
    /// Whole, or without the body that is replayed.
    request: Request,
    /// The replay of a streamed body; reqwest itself copies those in memory.
    body: Option<ReplayBody>,
}

impl Exchange for Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn path(&self) -> &str {
        self.url().path()
    }

    fn query(&self) -> Option<&str> {
        self.url().query()
    }

    fn authority(&self) -> Option<&str> {
        host_of(self.headers(), || Some(self.url().authority()))
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn call(&self) -> Option<&Call> {
        None
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout().copied()
    }

    fn head_by(&self) -> Option<Instant> {
        None
    }

    // Its extensions are reqwest's own.
    fn note_head_by(&mut self, _: Instant) {}
}

impl<B> Replay<B> for Request {
    type Sent = Self;
    type Copy = Option<Copy>;

    fn once(self, _: fn(Body) -> B) -> Self {
        self
    }

    fn split(mut self, cap: usize, _: fn(Body) -> B) -> (Self, Self::Copy) {
        if let Some(copy) = self.try_clone() {
            return (self, Some(Copy { request: copy, body: None }));
        }
        let body = self.body_mut().take().map(Outgoing::new).unwrap_or_default();
        let (first, replay) = ReplayBody::arm(body, cap);
        let copy = self.try_clone().map(|request| Copy { request, body: Some(replay) });
        *self.body_mut() = Some(reqwest::Body::wrap(Body::from(first)));
        (self, copy)
    }

    fn check(copy: &Self::Copy) -> Result<(), RetryRefusal> {
        match copy {
            None => Err(RetryRefusal::NoCopy),
            Some(Copy { body: Some(replay), .. }) => Ok(replay.check()?),
            Some(Copy { body: None, .. }) => Ok(()),
        }
    }

    fn again(copy: &Self::Copy, _: fn(Body) -> B) -> Result<Self, RetryRefusal> {
        another(copy.as_ref(), ReplayBody::next)
    }

    fn beside(copy: &Self::Copy, _: fn(Body) -> B) -> Result<Self, RetryRefusal> {
        another(copy.as_ref(), ReplayBody::beside)
    }

    fn call_of(_: &Self::Copy) -> Option<&Call> {
        None
    }
}

fn another(
    copy: Option<&Copy>,
    replayed: impl FnOnce(&ReplayBody) -> Result<Outgoing, Unrepeatable>,
) -> Result<Request, RetryRefusal> {
    let copy = copy.ok_or(RetryRefusal::NoCopy)?;
    let mut request = copy.request.try_clone().ok_or(RetryRefusal::NoCopy)?;
    if let Some(replay) = &copy.body {
        *request.body_mut() = Some(reqwest::Body::wrap(Body::from(replayed(replay)?)));
    }
    Ok(request)
}

impl Answer for Response {
    type Timed = Self;
    type Held = Self;
    type Faulty = Self;

    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions(&self) -> &Extensions {
        self.extensions()
    }

    fn timed(self, expiry: Option<Expiry>) -> Self {
        match expiry {
            None => self,
            expiry => rewrap(self, |body| reqwest::Body::wrap(TimedBody::new(body, expiry))),
        }
    }

    fn held(self, permit: Held) -> Self {
        rewrap(self, |body| reqwest::Body::wrap(HeldBody::new(body, permit)))
    }

    fn faulty(self, slow: Option<Box<Slow>>) -> Self {
        match slow {
            None => self,
            slow => rewrap(self, |body| reqwest::Body::wrap(FaultBody::new(body, slow))),
        }
    }

    fn injected(response: http::Response<Bytes>) -> Self {
        response.into()
    }
}

/// Changes the body and keeps the URL, which the way over `http::Response` would lose.
fn rewrap(response: Response, wrap: impl FnOnce(reqwest::Body) -> reqwest::Body) -> Response {
    let url = response.url().clone();
    let mut response = http::Response::<reqwest::Body>::from(response).map(wrap);
    if let Ok(named) = http::Response::builder().url(url).body(()) {
        response.extensions_mut().extend(named.into_parts().0.extensions);
    }
    response.into()
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy").finish_non_exhaustive()
    }
}
