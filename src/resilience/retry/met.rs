//! What an attempt met, as far as a retry is concerned.

use http::{HeaderMap, StatusCode};

use crate::core::{ErrorKind, grpc};

/// The outcome of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Met<'a> {
    /// No byte of the request reached an endpoint.
    NeverSent,
    /// The same, and there is no other endpoint to send it to.
    Unreachable,
    /// The endpoint said that it did not work on it.
    Refused,
    /// The connection was lost; it may have been worked on.
    Reset,
    /// The timeout of this attempt alone passed.
    AttemptTimeout,
    /// A response head.
    Response { status: StatusCode, headers: &'a HeaderMap },
    /// A gRPC status, in the head or in trailers without data before them.
    GrpcStatus { code: i32, headers: &'a HeaderMap },
}

// === impl Met ===

impl<'a> Met<'a> {
    /// Reads a response head.
    pub(crate) fn of(status: StatusCode, headers: &'a HeaderMap) -> Self {
        match grpc::status_of(headers) {
            Some(code) if status == StatusCode::OK => Self::GrpcStatus { code, headers },
            _ => Self::Response { status, headers },
        }
    }

    /// The same of a failure, and what kind it is; nothing of an answer.
    pub(crate) fn failure(self) -> Option<(Met<'static>, ErrorKind)> {
        match self {
            Self::NeverSent => Some((Met::NeverSent, ErrorKind::Connect)),
            Self::Unreachable => Some((Met::Unreachable, ErrorKind::Connect)),
            Self::Refused => Some((Met::Refused, ErrorKind::Refused)),
            Self::Reset => Some((Met::Reset, ErrorKind::Transport)),
            Self::AttemptTimeout => Some((Met::AttemptTimeout, ErrorKind::Timeout)),
            Self::Response { .. } | Self::GrpcStatus { .. } => None,
        }
    }

    /// Whether the request is known not to have been worked on.
    pub(crate) fn is_safe(self) -> bool {
        matches!(self, Self::NeverSent | Self::Unreachable | Self::Refused)
    }
}
