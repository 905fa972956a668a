//! TCP and Unix sockets.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    connect::{Connect, ConnectTarget, Io, Watch},
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

impl Connect for Tcp {
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        Box::pin(async move {
            match target.address {
                Address::Socket(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    // A silent peer is given up after twice the idle time.
                    let keepalive = socket2::TcpKeepalive::new()
                        .with_time(target.tcp_keepalive)
                        .with_interval(target.tcp_keepalive / PROBES);
                    #[cfg(target_os = "linux")]
                    let keepalive = keepalive.with_retries(PROBES);
                    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                    Ok(io(stream, target.watch, target.secured))
                }
                #[cfg(unix)]
                Address::Unix(path) => {
                    let stream = tokio::net::UnixStream::connect(path.as_path()).await?;
                    Ok(io(stream, target.watch, target.secured))
                }
                #[cfg(not(unix))]
                Address::Unix(_) => Err("Unix sockets are not on this platform".into()),
            }
        })
    }
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
