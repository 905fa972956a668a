//! How the connections of an endpoint are secured: what happens between its byte stream and HTTP.

use std::{fmt, sync::Arc};

use super::connect::Io;
use crate::{
    config::Protocol,
    core::{BoxError, BoxFuture, DisconnectReason},
    observe::Proved,
};

/// How the connections of an endpoint are secured.
#[derive(Clone)]
pub(crate) enum Protection {
    /// Not at all.
    Plain,
    /// By TLS.
    Tls {
        /// Performs the handshakes.
        with: Arc<dyn Secure>,
        /// What HTTP may be spoken then.
        offered: Offered,
    },
    /// They should be, and cannot: nothing is ever sent.
    Refused(Arc<str>),
}

/// Which protocols are offered in a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Offered {
    /// HTTP/1.1, which is spoken, too, with an endpoint that chooses nothing.
    Http1,
    /// HTTP/2, which the endpoint must choose.
    Http2,
    /// Both: the endpoint chooses, and speaks HTTP/1.1 if it does not.
    Either,
}

/// Performs TLS handshakes.
pub(crate) trait Secure: Send + Sync {
    /// The same for another endpoint: it shares no sessions.
    fn another(&self) -> Arc<dyn Secure>;

    fn handshake(&self, io: Box<dyn Io>) -> BoxFuture<Result<Secured, BoxError>>;
}

/// A stream on which a handshake has been performed.
pub(crate) struct Secured {
    pub(crate) io: Box<dyn Io>,
    /// What the endpoint has chosen to speak.
    pub(crate) protocol: Option<Protocol>,
    /// Who the endpoint has proved to be.
    pub(crate) peer: Proved,
    /// Ends, with the reason, when what vouched for the endpoint is trusted no more.
    pub(crate) distrusted: Option<BoxFuture<DisconnectReason>>,
}

// === impl Protection ===

impl Protection {
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    /// Whether the endpoint chooses what is spoken.
    pub(super) fn offers_both(&self) -> bool {
        self.offered() == Some(Offered::Either)
    }

    /// The same for another endpoint.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Tls { with, offered } => Self::Tls { with: with.another(), offered: *offered },
            other => other.clone(),
        }
    }

    pub(crate) fn offered(&self) -> Option<Offered> {
        match self {
            Self::Tls { offered, .. } => Some(*offered),
            Self::Plain | Self::Refused(_) => None,
        }
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("Plain"),
            Self::Tls { offered, .. } => f.debug_tuple("Tls").field(offered).finish(),
            Self::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
        }
    }
}

// === impl Offered ===

impl Offered {
    /// What is spoken with an endpoint that has chosen this, or nothing.
    pub(super) fn agreed(self, chosen: Option<Protocol>) -> Option<Protocol> {
        match (self, chosen) {
            (Self::Http2, Some(Protocol::Http2)) => Some(Protocol::Http2),
            (Self::Http2, _) => None,
            (Self::Http1, Some(Protocol::Http2)) => None,
            //= RFC 7301 §3.2: a server without the extension chooses nothing
            (Self::Http1, _) | (Self::Either, None) => Some(Protocol::Http1),
            (Self::Either, chosen) => chosen,
        }
    }
}
