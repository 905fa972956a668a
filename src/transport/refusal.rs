//! What an endpoint says of us after the handshake: in TLS 1.3 a client learns only then that its
//! certificate is refused.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::connect::{ConnectError, Io};

/// The refusal that a connection has met, if it has. It stands beside the stream, for an error of
/// HTTP/2 keeps no more of its cause than the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<OnceLock<ConnectError>>);

/// A secured stream that notes what the endpoint says of us.
struct Noting {
    io: Box<dyn Io>,
    refusals: Refusals,
}

impl Refusals {
    /// The refusal that has come.
    pub(super) fn met(&self) -> Option<ConnectError> {
        self.0.get().cloned()
    }

    /// The same stream, noted.
    pub(super) fn of(&self, io: Box<dyn Io>) -> Box<dyn Io> {
        Box::new(Noting { io, refusals: self.clone() })
    }
}

/// The refusal behind an error, if there is one. Nothing that was sent has been worked on: it came
/// in place of the end of the handshake.
#[cfg(feature = "_tls")]
pub(super) fn refusal(error: &(dyn StdError + 'static)) -> Option<ConnectError> {
    use crate::security::TlsError;

    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = match io {
            Some(inner) => inner.downcast_ref::<TlsError>(),
            None => error.downcast_ref::<TlsError>(),
        };
        if let Some(tls) = tls {
            let cause = Some(Box::new(tls.clone()) as _);
            return tls
                .is_refusal()
                .then(|| ConnectError::tls("refused after the TLS handshake", cause));
        }
        next = error.source();
    }
    None
}

#[cfg(not(feature = "_tls"))]
pub(super) fn refusal(_error: &(dyn StdError + 'static)) -> Option<ConnectError> {
    None
}

// === impl Noting ===

impl Noting {
    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && let Some(refusal) = refusal(error)
        {
            // The first one tells.
            drop(self.refusals.0.set(refusal));
        }
        result
    }
}

impl Read for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(read)
    }
}

impl Write for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(written)
    }
}
