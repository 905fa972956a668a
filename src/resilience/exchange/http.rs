//! `http::Request` and `http::Response`: hyper, tonic and anything else that speaks `http`.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, request::Parts};

use super::{
    host_of,
    sealed::{Answer, Exchange, Replay},
};
use crate::{
    core::{Body, BoxError, Call, Held, Instant, Outgoing, ReplayBody, RetryRefusal, earliest},
    resilience::{
        deadline::{Expiry, TimedBody},
        fault::{FaultBody, Slow},
        limit::HeldBody,
    },
};

/// Until when a deadline outside waits for the response head.
#[derive(Clone, Copy)]
struct HeadBy(Instant);

/// A head and its body's replay.
#[expect(unnameable_types, reason = "an implementation detail of a sealed trait")]
pub struct Copy {
    head: Parts,
    body: ReplayBody,
}

impl<B> Exchange for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn query(&self) -> Option<&str> {
        self.uri().query()
    }

    fn authority(&self) -> Option<&str> {
        host_of(self.headers(), || Some(self.uri().authority()?.as_str()))
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn call(&self) -> Option<&Call> {
        self.extensions().get()
    }

    fn timeout(&self) -> Option<Duration> {
        None
    }

    fn head_by(&self) -> Option<Instant> {
        self.extensions().get().map(|HeadBy(at)| *at)
    }

    fn note_head_by(&mut self, at: Instant) {
        if let Some(at) = earliest(self.head_by(), Some(at)) {
            self.extensions_mut().insert(HeadBy(at));
        }
    }
}

impl<B, To> Replay<To> for Request<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Sent = Request<To>;
    type Copy = Copy;

    fn once(self, into: fn(Body) -> To) -> Self::Sent {
        self.map(|body| into(Body::new(body)))
    }

    fn split(self, cap: usize, into: fn(Body) -> To) -> (Self::Sent, Self::Copy) {
        let (head, body) = self.into_parts();
        let (first, body) = ReplayBody::arm(Outgoing::new(body), cap);
        (Request::from_parts(head.clone(), into(first.into())), Copy { head, body })
    }

    fn check(copy: &Self::Copy) -> Result<(), RetryRefusal> {
        Ok(copy.body.check()?)
    }

    fn again(copy: &Self::Copy, into: fn(Body) -> To) -> Result<Self::Sent, RetryRefusal> {
        let body = copy.body.next()?.into();
        Ok(Request::from_parts(copy.head.clone(), into(body)))
    }

    fn beside(copy: &Self::Copy, into: fn(Body) -> To) -> Result<Self::Sent, RetryRefusal> {
        let body = copy.body.beside()?.into();
        Ok(Request::from_parts(copy.head.clone(), into(body)))
    }

    fn call_of(copy: &Self::Copy) -> Option<&Call> {
        copy.head.extensions.get()
    }
}

impl<B> Answer for Response<B> {
    type Timed = Response<TimedBody<B>>;
    type Held = Response<HeldBody<B>>;
    type Faulty = Response<FaultBody<B>>;

    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions(&self) -> &Extensions {
        self.extensions()
    }

    fn timed(self, expiry: Option<Expiry>) -> Self::Timed {
        self.map(|body| TimedBody::new(body, expiry))
    }

    fn held(self, permit: Held) -> Self::Held {
        self.map(|body| HeldBody::new(body, permit))
    }

    fn faulty(self, slow: Option<Box<Slow>>) -> Self::Faulty {
        self.map(|body| FaultBody::new(body, slow))
    }

    fn injected(response: Response<Bytes>) -> Self::Faulty {
        response.map(FaultBody::own)
    }
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy").finish_non_exhaustive()
    }
}
