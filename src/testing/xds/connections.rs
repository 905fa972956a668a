//! The port, and the connections to it.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use envoy_types::pb::envoy::service::{
    discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer,
    load_stats::v3::load_reporting_service_server::LoadReportingServiceServer,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    task::AbortHandle,
};

use tower_service::Service as _;

#[cfg(test)]
use super::memory;
use super::{loads, server::Shared, stream::Service};

/// Where it listens.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
    #[cfg(test)]
    Memory(Arc<str>),
}

enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
    #[cfg(test)]
    Memory(memory::Listener),
}

/// A port that is listened at, with its connections; closed when it is dropped.
pub(super) struct Port {
    accepts: AbortHandle,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// May be shared by those who do not listen.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Place {
    /// What it is, where the system chooses its port, and a socket that keeps the port while nobody
    /// listens at it: connections are refused, and nobody else is given it.
    pub(super) fn claim(self) -> io::Result<(Self, Option<TcpSocket>)> {
        match self {
            Self::Tcp(address) => {
                let socket = bound(address)?;
                Ok((Self::Tcp(socket.local_addr()?), Some(socket)))
            }
            #[cfg(unix)]
            path @ Self::Unix(_) => Ok((path, None)),
            #[cfg(test)]
            host @ Self::Memory(_) => Ok((host, None)),
        }
    }
}

impl Port {
    /// Listens at a place that is claimed.
    pub(super) fn open(place: &Place, shared: &Arc<Shared>) -> io::Result<Self> {
        let listener = match place {
            Place::Tcp(address) => Listener::Tcp(bound(*address)?.listen(BACKLOG)?),
            #[cfg(unix)]
            Place::Unix(path) => {
                if path.exists() {
                    std::fs::remove_file(path)?;
                }
                Listener::Unix(tokio::net::UnixListener::bind(path)?)
            }
            #[cfg(test)]
            Place::Memory(host) => Listener::Memory(memory::Listener::open(host)),
        };
        let connections = Arc::new(Mutex::new(Vec::new()));
        let accept = accept(listener, Arc::clone(shared), Arc::clone(&connections));
        let accepts = tokio::spawn(accept).abort_handle();
        Ok(Self { accepts, connections })
    }

    /// Drops every connection, without a word.
    pub(super) fn drop_connections(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.drain(..).for_each(|connection| connection.abort());
    }

    /// How many there are.
    pub(super) fn connections(&self) -> usize {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.is_finished());
        connections.len()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.accepts.abort();
        self.drop_connections();
    }
}

async fn accept(
    mut listener: Listener,
    shared: Arc<Shared>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
) {
    loop {
        let shared = Arc::clone(&shared);
        let serving = match &mut listener {
            Listener::Tcp(listener) => match listener.accept().await {
                Ok((stream, _)) => {
                    // Small answers in a row would wait for what the client acknowledges only after 40 ms.
                    drop(stream.set_nodelay(true));
                    tokio::spawn(serve(stream, shared))
                }
                Err(_) => continue,
            },
            #[cfg(unix)]
            Listener::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => tokio::spawn(serve(stream, shared)),
                Err(_) => continue,
            },
            #[cfg(test)]
            Listener::Memory(listener) => tokio::spawn(serve(listener.accept().await, shared)),
        };
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection: &AbortHandle| !connection.is_finished());
        connections.push(serving.abort_handle());
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let ads = AggregatedDiscoveryServiceServer::new(Service(Arc::clone(&shared)));
    let lrs = LoadReportingServiceServer::new(loads::Service(shared));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (mut ads, mut lrs) = (ads.clone(), lrs.clone());
        async move {
            if request.uri().path().starts_with("/envoy.service.load_stats.") {
                lrs.call(request).await
            } else {
                ads.call(request).await
            }
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}
