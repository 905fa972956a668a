//! A stream that is secured: who is at its other end, and until when that is believed.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use tokio_rustls::client::TlsStream;

use super::{
    alert::{When, explain},
    client::Live,
    identity::Own,
    policy::Compiled,
    source::Source,
    verifier::Verdict,
};
use crate::{config::Protocol, core::DisconnectReason};

/// A byte stream after its handshake.
pub(crate) struct Secured<I> {
    pub(crate) io: TlsIo<I>,
    /// What both sides agreed on (ALPN), if they did.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) peer: Peer,
    pub(crate) vouched: Vouched,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The expected name that it proved; nothing if verification is skipped.
    pub(crate) identity: Option<Arc<str>>,
    /// All names of its certificate.
    pub(crate) names: Arc<[String]>,
    /// When the first certificate of its chain ends.
    pub(crate) not_after: Option<SystemTime>,
    /// Whether an earlier session was resumed.
    pub(crate) resumed: bool,
}

/// Why a connection must be drained that was believed when it was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Withdrawn {
    /// The root that vouched for it is not trusted any more.
    RootRemoved,
    /// A certificate of its chain has been revoked, or cannot be shown not to be.
    Revoked,
    /// The own certificate names somebody else now.
    IdentityChanged,
}

/// Until when a connection is believed.
pub(crate) struct Vouched {
    compiled: Arc<Compiled>,
    verdict: Arc<Verdict>,
    /// Who we were.
    principal: Option<Vec<String>>,
    /// What was shown: a list may come that revokes it.
    chain: Box<[CertificateDer<'static>]>,
}

/// A secured byte stream. Its errors say what the endpoint meant.
pub(crate) struct TlsIo<I> {
    io: TokioIo<TlsStream<TokioIo<I>>>,
    live: Arc<Live>,
    expected: Arc<[String]>,
}

/// A change of a source; false when the source has ended.
type BoxFuture<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Waits for the first change. A source that has ended says nothing more.
async fn first(mut changes: Vec<BoxFuture<'_>>) {
    std::future::poll_fn(|cx| {
        let mut changed = false;
        changes.retain_mut(|change| match change.as_mut().poll(cx) {
            Poll::Ready(told) => {
                changed |= told;
                false
            }
            Poll::Pending => true,
        });
        if changed { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

// === impl Peer ===

impl Peer {
    pub(super) fn new(verdict: &Verdict, resumed: bool) -> Self {
        Self {
            identity: verdict.name.as_deref().map(Into::into),
            names: verdict.names.as_slice().into(),
            not_after: verdict.not_after,
            resumed,
        }
    }
}

// === impl Withdrawn ===

impl Withdrawn {
    /// As events name it.
    pub(crate) fn reason(self) -> DisconnectReason {
        match self {
            Self::RootRemoved => DisconnectReason::RootRemoved,
            Self::Revoked => DisconnectReason::Revoked,
            Self::IdentityChanged => DisconnectReason::IdentityChanged,
        }
    }
}

// === impl Vouched ===

impl Vouched {
    pub(super) fn new(
        compiled: Arc<Compiled>,
        own: Option<&Arc<Own>>,
        verdict: Arc<Verdict>,
        chain: &[CertificateDer<'static>],
    ) -> Self {
        let principal = own.map(|own| own.facts.principal());
        Self { compiled, verdict, principal, chain: chain.into() }
    }

    /// Waits until the connection must not take another call; those that it has may end.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: it looks again when it is polled anew.
    pub(crate) async fn withdrawn(self) -> Withdrawn {
        let mut identity = self.compiled.identity.as_ref().map(Source::watch);
        let mut trust: Vec<_> = self.compiled.trust.iter().map(Source::watch).collect();
        loop {
            // Seen before looked at: a change in between is looked at again.
            if let Some(identity) = &mut identity {
                identity.mark_unchanged();
            }
            for source in &mut trust {
                source.mark_unchanged();
            }
            if let Some(withdrawn) = self.look() {
                return withdrawn;
            }
            let mut changes: Vec<BoxFuture<'_>> = Vec::with_capacity(trust.len() + 1);
            if let Some(identity) = &mut identity {
                changes.push(Box::pin(async { identity.changed().await.is_ok() }));
            }
            for source in &mut trust {
                changes.push(Box::pin(async { source.changed().await.is_ok() }));
            }
            first(changes).await;
        }
    }

    /// Whether it is still believed.
    fn look(&self) -> Option<Withdrawn> {
        if let (Some(was), Some(identity)) = (&self.principal, &self.compiled.identity)
            && let Some(now) = identity.state().good
            && now.facts.principal() != *was
        {
            return Some(Withdrawn::IdentityChanged);
        }
        // By the same rules as new connections: what all sources say together.
        let Ok(standing) = self.compiled.current() else { return Some(Withdrawn::RootRemoved) };
        if !standing.rules.vouch(&self.verdict) {
            return Some(Withdrawn::RootRemoved);
        }
        standing.rules.revoke(&self.verdict, &self.chain).then_some(Withdrawn::Revoked)
    }
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouched").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

// === impl TlsIo ===

impl<I> TlsIo<I> {
    pub(super) fn new(
        stream: TlsStream<TokioIo<I>>,
        live: Arc<Live>,
        expected: Arc<[String]>,
    ) -> Self {
        Self { io: TokioIo::new(stream), live, expected }
    }

    /// A failure of TLS, told in words: in TLS 1.3 a client learns only now that its certificate is
    /// refused.
    fn told<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        result.map_err(|error| {
            let ours = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            if ours {
                io::Error::new(
                    error.kind(),
                    explain(&error, &self.live, &self.expected, When::After),
                )
            } else {
                error
            }
        })
    }
}

impl<I: Read + Write + Unpin> Read for TlsIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.told(read)
    }
}

impl<I: Read + Write + Unpin> Write for TlsIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.told(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.told(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.told(shut)
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
        self.told(written)
    }
}

impl<I> fmt::Debug for TlsIo<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIo").field("expected", &self.expected).finish_non_exhaustive()
    }
}
