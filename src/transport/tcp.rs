//! TCP and Unix sockets.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    connect::{Connect, ConnectTarget, Io},
    race,
    watchful::{Socket, Watchful},
};
use crate::{
    config::{Address, Protocol},
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
        let (keepalive, protocol) = (target.tcp_keepalive, target.protocol);
        if target.more_addresses.is_empty() {
            return Box::pin(connect(target.address, keepalive, protocol));
        }
        let addresses = race::order(target.address, &target.more_addresses);
        let connect = move |address| connect(address, keepalive, protocol);
        Box::pin(race::race(addresses, target.attempt_delay, connect))
    }
}

async fn connect(
    address: Address,
    keepalive: Duration,
    protocol: Protocol,
) -> Result<Box<dyn Io>, BoxError> {
    match address {
        Address::Socket(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // A silent peer is given up after twice the idle time.
            let keepalive =
                socket2::TcpKeepalive::new().with_time(keepalive).with_interval(keepalive / PROBES);
            #[cfg(target_os = "linux")]
            let keepalive = keepalive.with_retries(PROBES);
            socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            Ok(io(stream, protocol))
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path.as_path()).await?;
            Ok(io(stream, protocol))
        }
        #[cfg(not(unix))]
        Address::Unix(_) => Err("Unix sockets are not on this platform".into()),
    }
}

/// A connection of HTTP/1.1 is kept for requests that may find it closed.
fn io<S>(stream: S, protocol: Protocol) -> Box<dyn Io>
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
{
    match protocol {
        Protocol::Http1 => Box::new(Watchful::new(stream)),
        Protocol::Http2 => Box::new(TokioIo::new(stream)),
    }
}
