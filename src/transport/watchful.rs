//! A byte stream that looks for the peer's close itself.

use std::{
    io::{
        self,
        ErrorKind::{Interrupted, WouldBlock},
        Read as _,
    },
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::connect::Watch;

#[cfg(unix)]
use std::os::fd::AsFd as Handle;
#[cfg(windows)]
use std::os::windows::io::AsSocket as Handle;

/// A socket that can be asked past the reactor.
pub(super) trait Socket: Handle {
    /// Whether the reactor has reported something to read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Room for a small record: what a peer says when it closes.
const RECORD: usize = 256;

/// The socket of an HTTP/1.1 connection, which asks the system whether the peer has closed.
///
/// hyper reads before it takes a request, and gives the request back when it reads the end. But
/// a read is not made before the reactor has reported something, and on a busy runtime the close
/// of a kept connection may lie there unreported while the next request is written to it. Under
/// TLS the close is a record of its own (`close_notify`), which is read past the reactor, too.
pub(super) struct Watchful<S> {
    io: TokioIo<S>,
    watch: Watch,
    secured: bool,
    /// The last read found nothing, and nothing has been written since.
    quiet: bool,
}

impl Socket for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

#[cfg(unix)]
impl Socket for tokio::net::UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl<S: Socket> Watchful<S> {
    pub(super) fn new(stream: S, watch: Watch, secured: bool) -> Self {
        Self { io: TokioIo::new(stream), watch, secured, quiet: false }
    }

    /// What lies in the socket unreported: the peer's close, or under TLS records.
    fn look(&self, buf: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let socket = SockRef::from(self.io.inner());
        let mut byte = [MaybeUninit::uninit()];
        match socket.peek(&mut byte) {
            // The end, as hyper is told of it.
            Ok(0) => Poll::Ready(Ok(())),
            // The system tells it once: whoever has asked is who is to tell.
            Err(error) if !matches!(error.kind(), WouldBlock | Interrupted) => {
                Poll::Ready(Err(error))
            }
            Ok(_) if self.secured => {
                let mut bytes = [0; RECORD];
                let most = bytes.len().min(buf.remaining());
                let Ok(read) = (&*socket).read(&mut bytes[..most]) else { return Poll::Pending };
                buf.put_slice(&bytes[..read]);
                Poll::Ready(Ok(()))
            }
            // What else there is to read, the reactor reports.
            Ok(_) | Err(_) => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Socket + Unpin> Read for Watchful<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.quiet && self.watch.is_on() && self.io.inner().poll_readable(cx).is_pending() {
            return self.look(&mut buf);
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.quiet = read.is_pending();
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
