//! The way to a control plane: a byte stream, secured if it is to be, and HTTP/2 on it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use atomic_waker::AtomicWaker;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, runtime::Handle, task::AbortHandle};
use tower_service::Service;

use super::response::{Course, Followed};
#[cfg(feature = "_tls")]
use super::secrets::Secrets;
use crate::{
    config::Address,
    control::xds::bootstrap::{Creds, Server, Target},
    core::{BoxError, BoxFuture},
    transport::{Io, race},
};

/// Makes the connections to one control plane.
pub(super) struct Dialer {
    target: Result<Target, String>,
    #[cfg(feature = "_tls")]
    secrets: Option<Result<Secrets, String>>,
    is_plain: bool,
}

/// A connection for one stream. It is closed with it.
pub(super) struct Connection {
    sender: Kept,
    _driver: Aborted,
    /// Ends, with the reason, when what vouched for the server is trusted no more.
    pub(super) distrusted: Option<BoxFuture<String>>,
    /// How far the response of its stream has come.
    pub(super) course: Course,
}

/// hyper's sender, until the connection has ended: a request that was handed over while hyper took its
/// channel down lies in there, and would wait for its answer, for as long as there is a sender.
struct Kept(Arc<Mutex<Option<Sender>>>);

type Sender = http2::SendRequest<tonic::body::Body>;

/// A task that ends with its owner.
pub(super) struct Aborted(Option<AbortHandle>);

/// A byte stream on which HTTP may begin.
pub(super) struct Bytes {
    pub(super) io: Box<dyn Io>,
    pub(super) distrusted: Option<BoxFuture<String>>,
}

impl Dialer {
    /// Follows the files that it needs on this runtime.
    pub(super) fn new(server: &Server, runtime: &Handle) -> Self {
        let target = server.target();
        #[cfg(feature = "_tls")]
        let secrets = match (&server.creds, &target) {
            (Creds::Tls(tls), Ok(target)) => Some(Secrets::new(tls, target, runtime)),
            _ => None,
        };
        #[cfg(not(feature = "_tls"))]
        let _ = runtime;
        Self {
            target,
            #[cfg(feature = "_tls")]
            secrets,
            is_plain: server.creds == Creds::Insecure,
        }
    }

    /// Makes a connection, the server's SETTINGS included.
    ///
    /// # Errors
    ///
    /// What went wrong, in words.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let made = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let target = self.target.as_ref().map_err(Clone::clone)?;
            let Bytes { io, distrusted } = self.secured(bytes(target).await?).await?;
            http(io, distrusted).await
        });
        made.await.unwrap_or_else(|_| Err(format!("no connection within {CONNECT_TIMEOUT:?}")))
    }

    #[cfg(feature = "_tls")]
    async fn secured(&self, io: Box<dyn Io>) -> Result<Bytes, String> {
        match &self.secrets {
            None if self.is_plain => Ok(Bytes { io, distrusted: None }),
            None => Err(UNSECURED.to_owned()),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(secrets)) => secrets.handshake(io).await,
        }
    }

    #[cfg(not(feature = "_tls"))]
    #[expect(clippy::unused_async, reason = "with TLS it waits")]
    async fn secured(&self, io: Box<dyn Io>) -> Result<Bytes, String> {
        if self.is_plain { Ok(Bytes { io, distrusted: None }) } else { Err(UNSECURED.to_owned()) }
    }
}

const UNSECURED: &str = "the connection is to be secured and cannot be: TLS is not compiled in";

async fn bytes(target: &Target) -> Result<Box<dyn Io>, String> {
    match target {
        Target::Unix(path) => unix(path).await,
        Target::Addresses(list) => tcp(list.clone()).await,
        Target::Host { host, port } => {
            #[cfg(all(test, feature = "testing"))]
            if let Some(stream) = crate::testing::xds::connect_in_memory(host) {
                return Ok(Box::new(TokioIo::new(stream.map_err(|error| error.to_string())?)));
            }
            let found = tokio::net::lookup_host((&**host, *port)).await;
            let found = found.map_err(|error| format!("`{host}` cannot be resolved: {error}"))?;
            let list: Vec<SocketAddr> = found.collect();
            if list.is_empty() {
                return Err(format!("`{host}` has no address"));
            }
            tcp(list).await
        }
    }
}

#[cfg(unix)]
async fn unix(path: &std::path::Path) -> Result<Box<dyn Io>, String> {
    let stream = tokio::net::UnixStream::connect(path).await;
    let stream = stream.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Box::new(TokioIo::new(stream)))
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "on Unix it waits")]
async fn unix(_path: &std::path::Path) -> Result<Box<dyn Io>, String> {
    Err("Unix sockets are not on this platform".to_owned())
}

/// The families take turns (RFC 8305), as with endpoints.
async fn tcp(list: Vec<SocketAddr>) -> Result<Box<dyn Io>, String> {
    let list = list.into_iter().map(Address::Socket).collect();
    let made =
        race::first(race::in_turns(list, race::is_v6), ATTEMPT_DELAY, |address| async move {
            let Address::Socket(address) = address else { return Err("no socket".to_owned()) };
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            Ok(stream)
        });
    match made.await {
        Ok(stream) => Ok(Box::new(TokioIo::new(stream))),
        Err(failed) => {
            let failed = failed.iter().map(|(address, error)| format!("{address}: {error}"));
            Err(failed.collect::<Vec<_>>().join("; "))
        }
    }
}

async fn http(
    io: Box<dyn Io>,
    distrusted: Option<BoxFuture<String>>,
) -> Result<Connection, String> {
    let heard = Heard::default();
    let mut builder = http2::Builder::new(heard.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_max_send_streams(UNKNOWN);
    let failed =
        |error: &dyn std::error::Error| format!("HTTP/2 handshake failed: {}", chain(error));
    let (sender, mut connection) = builder.handshake(io).await.map_err(|error| failed(&error))?;
    // hyper's handshake waits for nothing from the server: whatever accepts would pass for one.
    std::future::poll_fn(|cx| {
        heard.0.register(cx.waker());
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(CLOSED.to_owned())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(failed(&error))),
            Poll::Pending if connection.current_max_send_streams() == UNKNOWN => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        }
    })
    .await?;
    let sender = Kept(Arc::new(Mutex::new(Some(sender))));
    let kept = Arc::downgrade(&sender.0);
    let driver = tokio::spawn(async move {
        drop(connection.await);
        if let Some(kept) = kept.upgrade() {
            drop(Kept(kept).with(Option::take));
        }
    });
    let driver = Aborted::new(driver.abort_handle());
    Ok(Connection { sender, _driver: driver, distrusted, course: Course::default() })
}

const CLOSED: &str = "closed before the HTTP/2 handshake was over: is it a gRPC server, and secured the \
                      same way as asked for?";

const ENDED: &str = "the connection has ended";

/// Spawns what hyper wants spawned, among it the reader of frames, and tells whenever that has done
/// something: hyper does not tell when the server's SETTINGS have come.
#[derive(Clone, Default)]
struct Heard(Arc<AtomicWaker>);

#[pin_project::pin_project]
struct Telling<F> {
    #[pin]
    future: F,
    heard: Heard,
}

impl<F> hyper::rt::Executor<F> for Heard
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(tokio::spawn(Telling { future, heard: self.clone() }));
    }
}

impl<F: Future> Future for Telling<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        this.heard.0.wake();
        polled
    }
}

/// An error with its causes, which hyper keeps to themselves.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl Service<http::Request<tonic::body::Body>> for Connection {
    type Response = http::Response<Followed<Incoming>>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.sender.with(|sender| match sender {
            Some(sender) => sender.poll_ready(cx).map_err(Into::into),
            None => Poll::Ready(Err(ENDED.into())),
        })
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let answer = self.sender.with(|sender| Some(sender.as_mut()?.send_request(request)));
        let course = self.course.clone();
        Box::pin(async move {
            let Some(answer) = answer else { return Err(ENDED.into()) };
            match answer.await {
                Ok(response) => Ok(course.follow(response)),
                Err(error) => Err(chain(&error).into()),
            }
        })
    }
}

impl Kept {
    fn with<T>(&self, what: impl FnOnce(&mut Option<Sender>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Aborted {
    pub(super) fn new(task: AbortHandle) -> Self {
        Self(Some(task))
    }

    /// Lets it end by itself.
    pub(super) fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Aborted {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The authority of the streams.
pub(super) fn origin(server: &Server) -> Result<http::Uri, String> {
    let authority: Arc<str> = server.target()?.authority().into();
    let scheme = if server.creds == Creds::Insecure { "http" } else { "https" };
    let uri = http::Uri::builder().scheme(scheme).authority(&*authority).path_and_query("/");
    uri.build().map_err(|_| format!("`{authority}` is no authority"))
}

/// For all of a connection: name, TCP, TLS, HTTP/2.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Before the next address is tried beside the one before (RFC 8305).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Between two pings.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// For the answer to one.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a server may send before it is read.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// What `current_max_send_streams` gives until the server's SETTINGS have come.
const UNKNOWN: usize = usize::MAX - 1;
