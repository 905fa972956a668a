//! Sending one request on a connection, and what its failure is known to mean.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::TrySendError};
use stackfuture::StackFuture;

use crate::core::{Body, Held};

/// Room for hyper's future, which cannot be named: it holds the request until it is dispatched.
/// `StackFuture` refuses to compile when this is too small.
const ROOM: usize = size_of::<Request<Body>>() + 64;

type Sent = Result<Response<Incoming>, TrySendError<Request<Body>>>;

/// A request under way; no allocation of ours.
#[pin_project::pin_project]
pub(crate) struct SendFuture {
    #[pin]
    sent: StackFuture<'static, Sent, ROOM>,
    held: Held,
}

/// A request that got no response.
#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) kind: SendErrorKind,
    /// The request, when hyper never dispatched it.
    pub(crate) request: Option<Request<Body>>,
    pub(crate) source: hyper::Error,
}

/// What is known of a request that got no response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SendErrorKind {
    /// It was never dispatched; it is in hand again.
    NeverSent,
    /// The endpoint said that it did not work on it: `REFUSED_STREAM`, or GOAWAY below it.
    Refused,
    /// The stream or connection was reset; it may have been worked on.
    Reset,
    /// The connection ended before the response.
    Closed,
    /// What came is no HTTP.
    Protocol,
    /// The request's own body failed.
    RequestBody,
}

impl SendFuture {
    pub(super) fn new(sent: impl Future<Output = Sent> + Send + 'static, held: Held) -> Self {
        Self { sent: StackFuture::from(sent), held }
    }
}

impl Future for SendFuture {
    type Output = Result<(Response<Incoming>, Held), SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let sent = ready!(this.sent.poll(cx));
        let held = std::mem::replace(this.held, Held::Nothing);
        Poll::Ready(match sent {
            Ok(response) => Ok((response, held)),
            Err(mut failure) => {
                let request = failure.take_message();
                let source = failure.into_error();
                let kind = match request {
                    Some(_) => SendErrorKind::NeverSent,
                    None => classify(&source),
                };
                Err(SendError { kind, request, source })
            }
        })
    }
}

fn classify(error: &hyper::Error) -> SendErrorKind {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            let reason = h2.reason();
            //= RFC 9113 §8.7: a stream that was refused, or is above GOAWAY's last stream, has
            //= not been worked on
            let refused = h2.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
            let gone = h2.is_go_away() && h2.is_remote() && reason == Some(h2::Reason::NO_ERROR);
            return if refused || gone { SendErrorKind::Refused } else { SendErrorKind::Reset };
        }
        if cause.is::<crate::Error>() {
            return SendErrorKind::RequestBody;
        }
        source = cause.source();
    }
    // hyper calls a call whose driver is gone a misuse; it is the end of its connection.
    let gone = error.is_canceled() || error.is_closed() || error.is_incomplete_message();
    if gone || error.to_string().contains("dispatch task is gone") {
        SendErrorKind::Closed
    } else if error.is_user() {
        SendErrorKind::RequestBody
    } else if error.is_parse() {
        SendErrorKind::Protocol
    } else {
        SendErrorKind::Reset
    }
}

impl SendErrorKind {
    /// In words, for the error's text.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NeverSent => "the connection ended before the request was sent",
            Self::Refused => "the endpoint refused the stream",
            Self::Reset => "the stream or its connection was reset",
            Self::Closed => "the connection ended before the response",
            Self::Protocol => "the endpoint's answer is not valid HTTP",
            Self::RequestBody => "the request body failed while it was sent",
        }
    }
}

impl fmt::Debug for SendFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}
