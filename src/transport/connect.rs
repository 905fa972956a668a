//! Making the byte stream of a connection: ours, or through the user's connect layers.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

#[cfg(feature = "_tls")]
use crate::security::TlsError;
use crate::{
    config::{Address, Protocol},
    core::{BoxError, BoxFuture, Error, ErrorKind, Origin, Phase, Refusal},
};

/// A byte stream that HTTP is spoken over.
pub trait Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send {}

impl<T: hyper::rt::Read + hyper::rt::Write + Unpin + Send> Io for T {}

const CHECK_TLS: &str =
    "the certificates of both sides, and the roots and identities that are expected of them";

/// What a connection is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectTarget {
    /// Where the endpoint listens.
    pub address: Address,
    /// Where it listens, too: whichever of them connects first will do. Empty for most.
    pub more_addresses: Arc<[Address]>,
    /// The wait before the next of them is tried beside the one before.
    pub attempt_delay: Duration,
    /// The idle time before TCP keepalive probes.
    pub tcp_keepalive: Duration,
    /// What will be spoken over it; with TLS what is preferred, for then the endpoint decides.
    pub protocol: Protocol,
    /// Whether TLS will be spoken over it: the mesh performs the handshake on the byte stream that
    /// it is given, which may not be secured already.
    pub secured: bool,
    pub(super) watch: Watch,
    pub(super) reached: Reached,
}

/// Whether the stream looks for the peer's close itself, which is known for sure only after a
/// handshake.
#[derive(Clone, Debug)]
pub(super) struct Watch(Option<Arc<AtomicBool>>);

/// Which of several addresses the connection was made to; whoever makes it notes that.
#[derive(Clone, Debug)]
pub(super) struct Reached(Option<Arc<OnceLock<Address>>>);

/// What an attempt has met that took too long.
const TIMEOUT: &str = "connect timeout";
const TLS_TIMEOUT: &str = "connect timeout in the TLS handshake";

/// Makes byte streams.
pub(crate) trait Connect: Send + Sync {
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>>;
}

/// What a connect layer wraps: the way to an endpoint, as a service.
#[derive(Clone)]
pub struct Connector(Arc<dyn Connect>);

/// The stream of a [`Connector`].
#[must_use = "futures do nothing unless polled"]
pub struct ConnectorFuture(BoxFuture<Result<Box<dyn Io>, BoxError>>);

/// Why no connection was made.
#[derive(Clone, Debug)]
pub(crate) struct ConnectError {
    what: &'static str,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    of: Of,
    /// The time that it was given, where that has passed.
    allowed: Option<Duration>,
    /// It is what an attempt before has met, and none was made now.
    is_old: bool,
}

/// What a failure to connect is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Of {
    /// The way to the endpoint.
    Connection,
    /// Its identity, or ours.
    Tls,
    /// What is configured: nothing may be sent, to this endpoint at least.
    Config,
    /// The one call that needs another protocol.
    Protocol,
    /// The endpoint has left its cluster.
    Leaving,
    /// As many attempts wait for a connection as may.
    Full,
}

// === impl Reached ===

impl Reached {
    /// Of a single address there is nothing to note.
    pub(super) fn of(more: &[Address]) -> Self {
        Self((!more.is_empty()).then(Arc::default))
    }

    pub(super) fn note(&self, address: Address) {
        if let Some(cell) = &self.0 {
            // Made once.
            drop(cell.set(address));
        }
    }

    /// What was noted, if anything was.
    pub(super) fn noted(&self) -> Option<&Address> {
        self.0.as_ref()?.get()
    }
}

// === impl Connector ===

impl Connector {
    pub(crate) fn new(connect: Arc<dyn Connect>) -> Self {
        Self(connect)
    }
}

impl Service<ConnectTarget> for Connector {
    type Response = Box<dyn Io>;
    type Error = BoxError;
    type Future = ConnectorFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: ConnectTarget) -> ConnectorFuture {
        ConnectorFuture(self.0.connect(target))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Future for ConnectorFuture {
    type Output = Result<Box<dyn Io>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ConnectorFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorFuture").finish_non_exhaustive()
    }
}

// === erasure ===

struct Erased<S>(S);

impl<S> Connect for Erased<S>
where
    S: Service<ConnectTarget> + Clone + Send + Sync + 'static,
    S::Response: Io + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let io = service.call(target).await.map_err(Into::into)?;
            Ok(Box::new(io) as Box<dyn Io>)
        })
    }
}

/// Erases a user's connector.
pub(crate) fn erase<S>(service: S) -> Arc<dyn Connect>
where
    S: Service<ConnectTarget> + Clone + Send + Sync + 'static,
    S::Response: Io + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    Arc::new(Erased(service))
}

// === impl Watch ===

impl Watch {
    /// Decided by what will be spoken, or after the handshake.
    pub(super) fn new(protocol: Protocol, secured: bool) -> Self {
        let watched = secured || protocol == Protocol::Http1;
        Self(watched.then(|| Arc::new(AtomicBool::new(true))))
    }

    /// Whether the stream may have to look.
    pub(super) fn is_possible(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the stream has to look.
    pub(super) fn is_on(&self) -> bool {
        self.0.as_ref().is_some_and(|on| on.load(Relaxed))
    }

    /// What is spoken finds the peer's close by itself.
    pub(super) fn end(&self) {
        if let Some(on) = &self.0 {
            on.store(false, Relaxed);
        }
    }
}

// === impl ConnectError ===

impl ConnectError {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, cause: None, of: Of::Connection, allowed: None, is_old: false }
    }

    pub(super) fn caused(what: &'static str, cause: BoxError) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(what) }
    }

    /// A failure of TLS.
    pub(super) fn tls(what: &'static str, cause: Option<BoxError>) -> Self {
        Self { cause: cause.map(Into::into), of: Of::Tls, ..Self::new(what) }
    }

    /// It is to be secured, and the configuration does not say by what. No connection is tried.
    pub(super) fn refused(reason: &str) -> Self {
        let what = "the endpoint cannot be secured";
        Self { of: Of::Config, ..Self::caused(what, reason.into()) }
    }

    /// The endpoint left its cluster after it was picked: another pick finds another.
    pub(crate) fn left() -> Self {
        Self { of: Of::Leaving, ..Self::new("the endpoint has left its cluster") }
    }

    /// The breaker of attempts that wait for a connection.
    pub(super) fn pending(most: u32) -> Self {
        let cause = format!(
            "its cluster has its maximum of {most} attempts that wait for one \
             (`breakers.max_pending`)"
        );
        Self { of: Of::Full, ..Self::caused("no connection is free", cause.into()) }
    }

    /// Whether nothing else is to be tried.
    pub(crate) fn is_refusal(&self) -> bool {
        self.of == Of::Full
    }

    /// A gRPC call came to an endpoint that has chosen HTTP/1.1.
    pub(super) fn no_http2() -> Self {
        let what = "gRPC needs HTTP/2, and the endpoint speaks HTTP/1.1 only (by ALPN)";
        Self { of: Of::Protocol, ..Self::new(what) }
    }

    /// `transport.connect_timeout` has passed.
    pub(super) fn timeout(in_tls: bool, allowed: Duration) -> Self {
        let error = if in_tls { Self::tls(TLS_TIMEOUT, None) } else { Self::new(TIMEOUT) };
        Self { allowed: Some(allowed), ..error }
    }

    /// The same, told again where no attempt is made.
    pub(super) fn told_again(self) -> Self {
        Self { is_old: true, ..self }
    }

    /// Whether it says nothing new of the endpoint: no attempt was made.
    pub(crate) fn is_old(&self) -> bool {
        self.is_old
    }

    /// Whether the attempt has taken all the time that it may.
    pub(crate) fn is_timeout(&self) -> bool {
        self.what == TIMEOUT || self.what == TLS_TIMEOUT
    }

    /// Whether nothing is wrong with the endpoint as others see it.
    pub(crate) fn is_the_calls(&self) -> bool {
        matches!(self.of, Of::Leaving | Of::Protocol | Of::Config | Of::Full)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        let (phase, check) = match error.of {
            Of::Leaving => {
                return Self::new(ErrorKind::NoEndpoints, Phase::Pick).detail(error.what);
            }
            Of::Config => {
                return Self::new(ErrorKind::Config, Phase::Tls)
                    .detail(error.to_string())
                    .caused_by(error);
            }
            Of::Full => {
                return Self::new(ErrorKind::Overloaded, Phase::Connect)
                    .refused(Refusal::MaxPending)
                    .detail(error.to_string());
            }
            Of::Connection => (Phase::Connect, None),
            Of::Tls => (Phase::Tls, Some(CHECK_TLS)),
            Of::Protocol => (Phase::Tls, Some("what the endpoint offers by ALPN")),
        };
        #[cfg(feature = "_tls")]
        if let Some(tls) = error.cause.as_ref().and_then(|cause| cause.downcast_ref::<TlsError>()) {
            return tls.clone().into();
        }
        let made = Self::new(ErrorKind::Connect, phase).with_origin(Origin::Endpoint);
        let made = match check {
            Some(check) => made.check(check),
            None => made,
        };
        let detail = match error.allowed {
            Some(allowed) => format!("{error}: {allowed:?}, `transport.connect_timeout`"),
            None => error.to_string(),
        };
        made.detail(detail).caused_by(error)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}
