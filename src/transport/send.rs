//! Sending one request on a connection, and what its failure is known to mean.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::TrySendError};
use stackfuture::StackFuture;

use super::{connect::ConnectError, h1, refusal::refusal};
use crate::core::{Held, Outgoing, WireFailure};

/// Room for hyper's future, which cannot be named: it holds the request until it is dispatched.
/// One that has grown beyond it is boxed.
const ROOM: usize = size_of::<Request<Outgoing>>() + 64;

/// What hyper says of a request.
pub(super) type Outcome = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>;

/// A request under way; no allocation of ours.
#[pin_project::pin_project]
pub(crate) struct SendFuture {
    #[pin]
    sent: StackFuture<'static, Outcome, ROOM>,
    held: Held,
    past: Past,
}

/// What a connection has seen before a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Past {
    /// Nothing.
    New,
    /// A request whose caller left before its answer.
    Sent,
    /// An answer.
    Answered,
}

/// The response to a request.
pub(crate) struct Sent {
    pub(crate) response: Response<Incoming>,
    /// Its connection, until its body has ended.
    pub(crate) held: Held,
    /// It is the first answer that has come over its connection.
    pub(crate) first: bool,
}

/// A request that got no response.
#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) kind: WireFailure,
    /// The request, when hyper never dispatched it.
    pub(crate) request: Option<Request<Outgoing>>,
    /// Its connection was new.
    pub(crate) fresh: bool,
    /// The endpoint has refused who we are, and with it whatever was sent.
    pub(crate) refused: Option<ConnectError>,
    pub(crate) source: hyper::Error,
}

impl SendFuture {
    #[inline(always)]
    pub(super) fn new(
        sent: impl Future<Output = Outcome> + Send + 'static,
        held: Held,
        past: Past,
    ) -> Self {
        Self { sent: StackFuture::from_or_box(sent), held, past }
    }
}

impl Future for SendFuture {
    type Output = Result<Sent, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let sent = ready!(this.sent.poll(cx));
        let mut held = std::mem::replace(this.held, Held::Nothing);
        let fresh = *this.past == Past::New;
        Poll::Ready(match sent {
            Ok(response) => {
                let first = *this.past != Past::Answered;
                if first
                    && let Held::Owned(lease) = &mut held
                    && let Some(lease) = lease.downcast_mut::<h1::Lease>()
                {
                    lease.was_answered();
                }
                Ok(Sent { response, held, first })
            }
            Err(mut failure) => {
                let request = failure.take_message();
                let source = failure.into_error();
                let kind = match request {
                    Some(_) => {
                        if let Held::Owned(lease) = &held
                            && let Some(lease) = lease.downcast_ref::<h1::Lease>()
                        {
                            lease.was_closed();
                        }
                        WireFailure::NeverSent
                    }
                    // Without the request in hand, what was never sent cannot be sent.
                    None => match WireFailure::of_hyper(&source) {
                        WireFailure::NeverSent => WireFailure::Closed,
                        known => known,
                    },
                };
                if kind == WireFailure::Refused
                    && let Held::Shared(stream) = &held
                {
                    stream.refused();
                }
                let refused = if fresh { refusal(&source) } else { None };
                Err(SendError { kind, request, fresh, refused, source })
            }
        })
    }
}

impl WireFailure {
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

#[cfg(test)]
mod tests {
    use hyper::client::conn::{http1, http2};

    use super::*;

    /// Whether a future of this function fits without a box.
    fn fits<A, F: Future>(_: impl FnOnce(A) -> F) -> bool {
        StackFuture::<'static, F::Output, ROOM>::has_space_for::<F>()
    }

    #[test]
    fn hypers_futures_need_no_box() {
        type Pair<S> = (S, Request<Outgoing>);
        assert!(fits(|(mut sender, request): Pair<http1::SendRequest<Outgoing>>| {
            sender.try_send_request(request)
        }));
        assert!(fits(|(mut sender, request): Pair<http2::SendRequest<Outgoing>>| {
            sender.try_send_request(request)
        }));
    }
}
