//! What hyper's and h2's errors are known to mean for a request.

use std::error::Error as StdError;

/// What is known of a request whose connection or stream failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WireFailure {
    /// hyper cancelled it before it began to send it.
    NeverSent,
    /// The peer said that it did not work on it: `REFUSED_STREAM`, or GOAWAY below it.
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

impl WireFailure {
    /// Reads an error of hyper's.
    pub(crate) fn of_hyper(error: &hyper::Error) -> Self {
        let mut source = StdError::source(error);
        while let Some(cause) = source {
            if let Some(h2) = cause.downcast_ref::<h2::Error>() {
                return Self::of_h2(h2);
            }
            if cause.is::<crate::Error>() {
                return Self::RequestBody;
            }
            source = cause.source();
        }
        // hyper calls a call whose driver is gone a misuse; it is the end of its connection.
        let gone = error.is_closed() || error.is_incomplete_message();
        if error.is_canceled() {
            Self::NeverSent
        } else if gone || error.to_string().contains("dispatch task is gone") {
            Self::Closed
        } else if error.is_user() {
            Self::RequestBody
        } else if error.is_parse() {
            Self::Protocol
        } else {
            Self::Reset
        }
    }

    /// Reads an error of h2's.
    pub(crate) fn of_h2(error: &h2::Error) -> Self {
        if error.is_remote() {
            //= RFC 9113 §8.7: a stream that was refused, or is above GOAWAY's last stream, has not
            //= been worked on. h2 gives the peer's GOAWAY to no other stream.
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return if refused || error.is_go_away() { Self::Refused } else { Self::Reset };
        }
        if error.is_library() {
            // The peer broke the protocol, and h2 has ended the stream.
            return Self::Protocol;
        }
        // hyper resets a stream whose request body has failed.
        if error.is_reset() { Self::RequestBody } else { Self::Reset }
    }
}

/// Whether the peer has ended the stream as one that nobody needs any more.
//= RFC 9113 §7: CANCEL; gRPC over HTTP/2 §"Errors": it is CANCELLED, as a server ends what is late
pub(crate) fn is_cancelled(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_remote() && h2.reason() == Some(h2::Reason::CANCEL);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use hyper_util::rt::TokioIo;

    use super::*;

    #[test]
    fn only_the_peers_refusal_is_safe() {
        // An error made of a reason alone counts as this side's own.
        let local = h2::Error::from(h2::Reason::REFUSED_STREAM);
        assert_ne!(WireFailure::of_h2(&local), WireFailure::Refused);
    }

    /// What a stream ends with that its peer resets so.
    async fn reset_with(reason: h2::Reason) -> h2::Error {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = async {
            let mut connection = h2::server::handshake(far).await.unwrap();
            let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_reset(reason);
            // Until the other side is gone.
            drop(connection.accept().await);
        };
        let client = async {
            let (sender, connection) = h2::client::handshake(near).await.unwrap();
            let driven = async { drop(connection.await) };
            let called = async {
                let mut sender = sender.ready().await.unwrap();
                let request = http::Request::get("http://a/").body(()).unwrap();
                let (response, _) = sender.send_request(request, true).unwrap();
                response.await.unwrap_err()
            };
            tokio::select! {
                error = called => error,
                () = driven => panic!("the connection has ended"),
            }
        };
        tokio::select! {
            error = client => error,
            () = server => panic!("the server has ended"),
        }
    }

    #[tokio::test]
    async fn a_stream_that_its_peer_cancels_is_told_from_others() {
        let cancelled = reset_with(h2::Reason::CANCEL).await;
        assert!(is_cancelled(&cancelled), "{cancelled}");
        assert_eq!(WireFailure::of_h2(&cancelled), WireFailure::Reset);
        let wrapped = crate::Error::new(crate::ErrorKind::Transport, crate::Phase::Headers);
        assert!(is_cancelled(&wrapped.caused_by(cancelled)));
        for reason in [h2::Reason::INTERNAL_ERROR, h2::Reason::REFUSED_STREAM] {
            assert!(!is_cancelled(&reset_with(reason).await), "{reason:?}");
        }
        // Nor is what this side says.
        assert!(!is_cancelled(&h2::Error::from(h2::Reason::CANCEL)));
    }

    /// hyper has no other word for it than its text.
    #[tokio::test]
    async fn a_call_whose_connection_was_dropped_under_it_is_closed_and_no_fault_of_its_body() {
        let (near, _far) = tokio::io::duplex(64);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        let mut connection = Box::pin(connection);
        let mut call = Box::pin(sender.send_request(http::Request::new(crate::Body::empty())));
        // It takes the call, and then there is no connection any more.
        let waits = std::future::poll_fn(|cx| {
            Poll::Ready((
                call.as_mut().poll(cx).is_pending(),
                connection.as_mut().poll(cx).is_pending(),
            ))
        });
        assert_eq!(waits.await, (true, true));
        drop(connection);
        let error = call.await.unwrap_err();
        assert_eq!(WireFailure::of_hyper(&error), WireFailure::Closed, "{error}");
    }
}
