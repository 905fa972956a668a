//! A network in memory: the connect layer through which a mesh reaches scripted endpoints.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tower_layer::Layer;
use tower_service::Service;

use super::{Endpoint, Fault, serve};
use crate::{
    config::Address,
    core::{BoxError, BoxFuture},
    transport::{ConnectTarget, Connector},
};

/// Endpoints by address. Give it to [`MeshBuilder::connect_layer`](crate::MeshBuilder): then no
/// socket is opened, and an address that was never made here refuses connections.
#[derive(Clone, Default)]
pub struct Network {
    endpoints: Arc<Mutex<HashMap<Address, Endpoint>>>,
}

/// Connects to the endpoints of a [`Network`].
#[derive(Clone, Debug)]
pub struct NetworkConnector(Network);

// === impl Network ===

impl Network {
    /// A network without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The endpoint at `address`, made healthy when it is new.
    ///
    /// # Panics
    ///
    /// When the text is no address.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test's own literal")]
    pub fn endpoint(&self, address: &str) -> Endpoint {
        let address: Address = address.parse().expect("an address");
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.entry(address.clone()).or_insert_with(|| Endpoint::new(address)).clone()
    }

    fn find(&self, address: &Address) -> Option<Endpoint> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }
}

impl Layer<Connector> for Network {
    type Service = NetworkConnector;

    fn layer(&self, _real: Connector) -> NetworkConnector {
        NetworkConnector(self.clone())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

// === impl NetworkConnector ===

impl Service<ConnectTarget> for NetworkConnector {
    type Response = TokioIo<DuplexStream>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: ConnectTarget) -> Self::Future {
        let endpoint = self.0.find(&target.address);
        Box::pin(async move {
            let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            let Some(endpoint) = endpoint else { return Err(refused().into()) };
            let (end, ended) = match endpoint.connect() {
                Ok(open) => open,
                Err(Fault::Blackhole) => std::future::pending().await,
                Err(_) => return Err(refused().into()),
            };
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(serve::serve(endpoint, far, end, ended));
            Ok(TokioIo::new(near))
        })
    }
}
