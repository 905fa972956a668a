//! A byte stream that looks for the peer's close itself.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(unix)]
pub(super) use std::os::fd::AsFd as Socket;
#[cfg(windows)]
pub(super) use std::os::windows::io::AsSocket as Socket;

/// The socket of an HTTP/1.1 connection, which asks the system whether the peer has closed.
///
/// hyper reads before it takes a request, and gives the request back when it reads the end. But
/// a read is not made before the reactor has reported something, and on a busy runtime the close
/// of a kept connection may lie there unreported while the next request is written to it.
pub(super) struct Watchful<S> {
    io: TokioIo<S>,
    /// The last read found nothing, and nothing has been written since.
    quiet: bool,
}

impl<S> Watchful<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { io: TokioIo::new(stream), quiet: false }
    }
}

impl<S: AsyncRead + Socket + Unpin> Read for Watchful<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let was_quiet = std::mem::replace(&mut self.quiet, read.is_pending());
        if read.is_pending() && was_quiet {
            let mut byte = [MaybeUninit::uninit()];
            match SockRef::from(self.io.inner()).peek(&mut byte) {
                // The end, as hyper is told of it.
                Ok(0) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(error));
                }
                // What else there is to read, the reactor reports.
                Ok(_) | Err(_) => {}
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Write for Watchful<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.quiet = false;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
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
        self.quiet = false;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
