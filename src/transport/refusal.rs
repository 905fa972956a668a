//! What an endpoint says of us after the handshake: in TLS 1.3 a client learns only then that its
//! certificate is refused.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::connect::{ConnectError, Io};

/// The refusal that a connection has met, if it has. It stands beside the stream, for an error of
/// HTTP/2 keeps no more of its cause than the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<OnceLock<ConnectError>>);

/// A secured stream that notes what the endpoint says of us.
struct Noting {
    io: Box<dyn Io>,
    refusals: Refusals,
    /// Something has been read: the endpoint has accepted us.
    heard: bool,
    /// What a write has met, while the endpoint's last words are looked for.
    failed: Option<io::Error>,
}

impl Refusals {
    /// The refusal that has come.
    pub(super) fn met(&self) -> Option<ConnectError> {
        self.0.get().cloned()
    }

    /// The same stream, noted.
    pub(super) fn of(&self, io: Box<dyn Io>) -> Box<dyn Io> {
        Box::new(Noting { io, refusals: self.clone(), heard: false, failed: None })
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
    fn note(&self, error: &io::Error) {
        if let Some(refusal) = refusal(error) {
            // The first one tells.
            drop(self.refusals.0.set(refusal));
        }
    }

    /// The result of a write. What fails on a new connection may have been refused: a server that
    /// closes at once has said why before.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error)) if !self.heard => {
                self.note(&error);
                self.failed = Some(error);
                self.last_words(cx)
            }
            other => other,
        }
    }

    /// Reads what is there, to the end; then tells what the write has met.
    fn last_words<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let mut bytes = [0; 256];
        for _ in 0..LAST_READS {
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(cx, buf.unfilled()) {
                // The socket is closed: this comes.
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    self.note(&error);
                    break;
                }
                Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
                Poll::Ready(Ok(())) => {}
            }
        }
        let broken = || io::ErrorKind::BrokenPipe.into();
        Poll::Ready(Err(self.failed.take().unwrap_or_else(broken)))
    }
}

/// Reads after which a closed connection has told why, or does not.
const LAST_READS: usize = 64;

impl Read for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        match &read {
            Poll::Ready(Err(error)) => self.note(error),
            Poll::Ready(Ok(())) => self.heard = true,
            Poll::Pending => {}
        }
        read
    }
}

impl Write for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
            return self.last_words(cx);
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return self.last_words(cx);
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, flushed)
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
        if self.failed.is_some() {
            return self.last_words(cx);
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }
}
