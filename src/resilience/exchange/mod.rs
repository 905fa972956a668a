//! What a layer needs of a request and its response, whichever client is below it.
//!
//! The traits are sealed: they are implemented for `http::Request`, `http::Response` and, behind
//! the feature `reqwest-013`, for reqwest's own types.

pub(crate) mod classify;
mod http;
#[cfg(feature = "reqwest-013")]
mod reqwest;

pub(super) mod sealed {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Extensions, HeaderMap, Method, Response, StatusCode};

    use crate::{
        core::{Body, Call, Held, Instant, RetryRefusal},
        resilience::{deadline::Expiry, fault::Slow},
    };

    /// The head of a request.
    #[expect(unnameable_types, reason = "seals `Exchange`")]
    pub trait Exchange: Sized {
        fn method(&self) -> &Method;
        /// The path, as it is written.
        fn path(&self) -> &str;
        /// What follows the question mark after it, as it is written.
        fn query(&self) -> Option<&str>;
        /// Whom the request is for, without a user before it; a `host` header wins.
        fn authority(&self) -> Option<&str>;
        fn headers(&self) -> &HeaderMap;
        fn headers_mut(&mut self) -> &mut HeaderMap;
        /// What the call asks for, where the request can carry it.
        fn call(&self) -> Option<&Call>;
        /// A timeout that the client below knows already.
        fn timeout(&self) -> Option<Duration>;
        /// Until when a deadline outside waits for the response head, where its headers do not tell and
        /// the request can carry it.
        fn head_by(&self) -> Option<Instant>;
        /// Notes that bound for the layers inside; an earlier one that is noted stays.
        fn note_head_by(&mut self, at: Instant);
    }

    /// The replayable copy of a request.
    #[expect(unnameable_types, reason = "seals `Replay`")]
    pub trait Replay<B>: Exchange {
        /// What the service below gets.
        type Sent: Exchange;
        /// The means to send it once more.
        type Copy;

        /// Sends without a copy.
        fn once(self, into: fn(Body) -> B) -> Self::Sent;
        /// The first attempt, and a copy that keeps at most `cap` bytes of a streamed body.
        fn split(self, cap: usize, into: fn(Body) -> B) -> (Self::Sent, Self::Copy);
        /// Whether there may be a next attempt; asking changes nothing.
        fn check(copy: &Self::Copy) -> Result<(), RetryRefusal>;
        /// The next attempt.
        fn again(copy: &Self::Copy, into: fn(Body) -> B) -> Result<Self::Sent, RetryRefusal>;
        /// The same beside those before, which go on.
        fn beside(copy: &Self::Copy, into: fn(Body) -> B) -> Result<Self::Sent, RetryRefusal>;
        /// What the call asks for, where the request can carry it.
        fn call_of(copy: &Self::Copy) -> Option<&Call>;
    }

    /// The head of a response, and its body's end.
    #[expect(unnameable_types, reason = "seals `Answer`")]
    pub trait Answer: Sized {
        /// The response whose body ends by a deadline.
        type Timed;
        /// The response whose body keeps a place under a limit.
        type Held;
        /// The response whose body is slow, or that was made without a call.
        type Faulty;

        fn status(&self) -> StatusCode;
        fn headers(&self) -> &HeaderMap;
        fn extensions(&self) -> &Extensions;
        fn timed(self, expiry: Option<Expiry>) -> Self::Timed;
        fn held(self, permit: Held) -> Self::Held;
        fn faulty(self, slow: Option<Box<Slow>>) -> Self::Faulty;
        fn injected(response: Response<Bytes>) -> Self::Faulty;
    }
}

/// A request that the layers understand: `http::Request<B>` or `reqwest::Request`.
///
/// Sealed. [`Call`](crate::Call) is read from the extensions of an `http::Request`;
/// `reqwest::Request` has none, but its own timeout is an explicit deadline. A
/// [`Deadline`](crate::resilience::Deadline) that ends at the head of a gRPC response is not told to the server,
/// so the layers inside learn of it by an extension: not with a `reqwest::Request`, around which it still
/// ends the call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no request that the layers of tower-mesh understand",
    note = "use `http::Request<_>`, or `reqwest::Request` with the feature `reqwest-013`"
)]
pub trait Exchange: sealed::Exchange {}

impl<T: sealed::Exchange> Exchange for T {}

/// A request that can be sent again, with a body of type `B` for the service below.
///
/// Sealed. `http::Request<_>` needs a body of `Bytes` that is `Send`; it reaches the service below
/// as `http::Request<B>`. `reqwest::Request` stays what it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent again by the retry layer",
    note = "its body must be `http_body::Body<Data = Bytes> + Send + 'static`"
)]
pub trait Replay<B>: sealed::Replay<B> {}

impl<B, T: sealed::Replay<B>> Replay<B> for T {}

/// A response that the layers understand: `http::Response<B>` or `reqwest::Response`.
///
/// Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no response that the layers of tower-mesh understand",
    note = "use `http::Response<_>`, or `reqwest::Response` with the feature `reqwest-013`"
)]
pub trait Answer: sealed::Answer {}

impl<T: sealed::Answer> Answer for T {}

/// What a `host` header says; where there is none, what the address does.
fn host_of<'a>(
    headers: &'a ::http::HeaderMap,
    of_address: impl FnOnce() -> Option<&'a str>,
) -> Option<&'a str> {
    let host = match headers.get(::http::header::HOST) {
        Some(host) => host.to_str().ok(),
        None => of_address(),
    };
    host.map(crate::core::uri::bare)
}
