//! TCP and Unix sockets.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    connect::{Connect, ConnectTarget, Io, Watch},
    race,
    watchful::{Socket, Watchful},
};
use crate::{
    config::Address,
    core::{BoxError, BoxFuture},
};

/// TCP keepalive probes without an answer after which a connection is dead.
const PROBES: u32 = 3;

struct Tcp;

/// The connector of a mesh without connect layers.
pub(crate) fn default_connector() -> Arc<dyn Connect> {
    Arc::new(Tcp)
}

/// The connector of a mesh that only explains.
pub(crate) fn dry_connector() -> Arc<dyn Connect> {
    Arc::new(Dry)
}

struct Dry;

impl Connect for Dry {
    fn connect(&self, _target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        Box::pin(async { Err("a mesh of a dry run connects to nobody".into()) })
    }
}

impl Connect for Tcp {
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        let how =
            How { keepalive: target.tcp_keepalive, watch: target.watch, secured: target.secured };
        if target.more_addresses.is_empty() {
            return Box::pin(connect(target.address, how));
        }
        let addresses = race::order(target.address, &target.more_addresses);
        let (delay, reached) = (target.attempt_delay, target.reached);
        let connect = move |address: Address| {
            let made = connect(address.clone(), how.clone());
            async move { Ok((made.await?, address)) }
        };
        Box::pin(async move {
            let (io, address) = race::race(addresses, delay, connect).await?;
            reached.note(address);
            Ok(io)
        })
    }
}

/// What is to become of a socket.
#[derive(Clone)]
struct How {
    keepalive: Duration,
    watch: Watch,
    secured: bool,
}

async fn connect(address: Address, how: How) -> Result<Box<dyn Io>, BoxError> {
    let How { keepalive, watch, secured } = how;
    match address {
        Address::Socket(address) => {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream, keepalive)?;
            Ok(io(stream, watch, secured))
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path.as_path()).await?;
            Ok(io(stream, watch, secured))
        }
        #[cfg(not(unix))]
        Address::Unix(_) => Err("Unix sockets are not on this platform".into()),
    }
}

/// Nothing waits in it for more to send, and a silent peer is given up after twice the idle time.
pub(super) fn prepare(stream: &TcpStream, keepalive: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        socket2::TcpKeepalive::new().with_time(keepalive).with_interval(keepalive / PROBES);
    #[cfg(target_os = "linux")]
    let keepalive = keepalive.with_retries(PROBES);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// A connection of HTTP/1.1 is kept for requests that may find it closed.
fn io<S>(stream: S, watch: Watch, secured: bool) -> Box<dyn Io>
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
{
    if watch.is_possible() {
        Box::new(Watchful::new(stream, watch, secured))
    } else {
        Box::new(TokioIo::new(stream))
    }
}
