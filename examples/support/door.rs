//! The server's side of mutual TLS, for replicas whose certificate and authorities change while
//! they run.

use std::{
    io,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::replica::{Accept, Stream};

/// What is shown, and who is let in.
pub(crate) struct Door(Mutex<TlsAcceptor>);

impl Door {
    pub(crate) fn new(acceptor: TlsAcceptor) -> Arc<Self> {
        Arc::new(Self(Mutex::new(acceptor)))
    }

    /// Further connections are made so.
    pub(crate) fn replace(&self, acceptor: TlsAcceptor) {
        *self.0.lock().unwrap() = acceptor;
    }
}

impl Accept for Door {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let acceptor = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(Box::new(acceptor.accept(stream).await?) as Box<dyn Stream>) })
    }
}
