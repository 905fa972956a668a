//! Making the byte stream of a connection: ours, or through the user's connect layers.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use crate::{
    config::{Address, Protocol},
    core::{BoxError, BoxFuture, Error, ErrorKind, Origin, Phase},
};

/// A byte stream that HTTP is spoken over.
pub trait Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send {}

impl<T: hyper::rt::Read + hyper::rt::Write + Unpin + Send> Io for T {}

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
    /// What will be spoken over it.
    pub protocol: Protocol,
}

/// What an attempt has met that took too long.
const TIMEOUT: &str = "connect timeout";

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
    left: bool,
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

// === impl ConnectError ===

impl ConnectError {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, cause: None, left: false }
    }

    pub(super) fn caused(what: &'static str, cause: BoxError) -> Self {
        Self { what, cause: Some(cause.into()), left: false }
    }

    /// The endpoint left its cluster after it was picked: another pick finds another.
    pub(super) fn left() -> Self {
        Self { what: "the endpoint has left its cluster", cause: None, left: true }
    }

    pub(super) fn timeout() -> Self {
        Self::new(TIMEOUT)
    }

    /// Whether the attempt has taken all the time that it may.
    pub(crate) fn is_timeout(&self) -> bool {
        self.what == TIMEOUT
    }

    /// Whether nothing is wrong but that the endpoint is no longer there.
    pub(crate) fn has_left(&self) -> bool {
        self.left
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
        if error.left {
            return Self::new(ErrorKind::NoEndpoints, Phase::Pick).detail(error.what);
        }
        Self::new(ErrorKind::Connect, Phase::Connect)
            .with_origin(Origin::Endpoint)
            .detail(error.to_string())
            .caused_by(error)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}
