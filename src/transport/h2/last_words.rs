//! What a peer has said before it closed, heard by one who writes.
//!
//! A server that goes says which streams it has not worked on (GOAWAY), and closes. If what a client
//! writes meets the closed socket first, h2 ends with that error, and never reads what lies there:
//! calls that could be sent again are lost.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::time::Sleep;

use crate::transport::connect::Io;

/// A stream whose writes do not fail before all has been read. What fails to be written is thrown
/// away: who reads learns of the failure, after the last byte.
pub(super) struct LastWords {
    io: Box<dyn Io>,
    failed: Option<Failed>,
    hold: Hold,
}

/// What is left undone for now. Whoever says so is to poll for it again afterwards.
#[derive(Clone, Default)]
pub(super) struct Hold(Arc<Kept>);

#[derive(Default)]
struct Kept {
    unread: AtomicBool,
    unwritten: AtomicBool,
}

/// What a write has met, and until when the peer's last words are waited for: they lie in the
/// socket already, and the reactor has still to say so.
struct Failed {
    error: io::Error,
    until: Pin<Box<Sleep>>,
}

/// How long that may take.
const GRACE: Duration = Duration::from_millis(100);
/// Bytes that are read at once then.
const ROOM: usize = 1024;

// === impl Hold ===

impl Hold {
    /// Nothing is read.
    pub(super) fn reads(&self, held: bool) {
        self.0.unread.store(held, Relaxed);
    }

    /// Nothing is written.
    pub(super) fn writes(&self, held: bool) {
        self.0.unwritten.store(held, Relaxed);
    }
}

// === impl LastWords ===

impl LastWords {
    pub(super) fn new(io: Box<dyn Io>, hold: Hold) -> Self {
        Self { io, failed: None, hold }
    }

    /// The result of a write of so many bytes.
    fn written(
        &mut self,
        cx: &Context<'_>,
        length: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) => {
                self.fail(error, cx);
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }

    /// Only who reads tells now.
    #[cold]
    fn fail(&mut self, error: io::Error, cx: &Context<'_>) {
        self.failed = Some(Failed { error, until: Box::pin(tokio::time::sleep(GRACE)) });
        cx.waker().wake_by_ref();
    }

    /// Reads what is there, to the end; then tells what the write has met.
    #[cold]
    fn read_last(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; ROOM];
        let room = buf.remaining().min(ROOM);
        let mut read = ReadBuf::new(&mut bytes[..room]);
        match Pin::new(&mut self.io).poll_read(cx, read.unfilled()) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                buf.put_slice(read.filled());
                return Poll::Ready(Ok(()));
            }
            Poll::Pending => {
                if let Some(failed) = &mut self.failed
                    && failed.until.as_mut().poll(cx).is_pending()
                {
                    return Poll::Pending;
                }
            }
            Poll::Ready(_) => {}
        }
        let broken = || io::ErrorKind::BrokenPipe.into();
        Poll::Ready(Err(self.failed.take().map_or_else(broken, |failed| failed.error)))
    }
}

impl Read for LastWords {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.hold.0.unread.load(Relaxed) {
            // Who holds it looks again.
            return Poll::Pending;
        }
        if self.failed.is_some() {
            return self.read_last(cx, buf);
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for LastWords {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        if self.hold.0.unwritten.load(Relaxed) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, buf.len(), written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(Err(error)) => {
                self.fail(error, cx);
                Poll::Ready(Ok(()))
            }
            other => other,
        }
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
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.failed.is_some() {
            return Poll::Ready(Ok(length));
        }
        if self.hold.0.unwritten.load(Relaxed) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, length, written)
    }
}
