//! The application's layers at the four stages, and its own leaf.

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::MeshBuilder;
use crate::{
    core::{Body, BoxError},
    mesh::{
        leaf::{Leaf, LeafEndpoint},
        stage::{Next, push},
    },
    transport::{self, ConnectTarget, Connector},
};

type StageError<S> = <S as Service<Request<Body>>>::Error;

impl MeshBuilder {
    /// Wraps every call, once; the layer added first is the outermost.
    ///
    /// It calls [`Next`] at most once for a call: what stands behind it is the call itself, with its
    /// place and its budget. A second one, as of tower's `Retry`, fails with
    /// [`ErrorKind::Layer`](crate::ErrorKind::Layer). Retries are set on the service
    /// ([`ServiceSettings::retry`](crate::ServiceSettings::retry)); a layer of retries of the
    /// application's own goes around the client.
    pub fn call_layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        StageError<L::Service>: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.call = Some(push(self.call.take(), layer));
        self
    }

    /// Wraps every attempt of every call, before its endpoint is picked.
    pub fn attempt_layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        StageError<L::Service>: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.attempt = Some(push(self.attempt.take(), layer));
        self
    }

    /// Wraps every endpoint: long-lived, made at the endpoint's first pick.
    pub fn endpoint_layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        StageError<L::Service>: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.endpoint = Some(push(self.endpoint.take(), layer));
        self
    }

    /// Wraps the making of connections: what it returns is spoken HTTP over. The layer added first
    /// is the outermost.
    pub fn connect_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Connector> + Send + 'static,
        L::Service: Service<ConnectTarget> + Clone + Send + Sync + 'static,
        <L::Service as Service<ConnectTarget>>::Response: transport::Io + 'static,
        <L::Service as Service<ConnectTarget>>::Error: Into<BoxError>,
        <L::Service as Service<ConnectTarget>>::Future: Send,
    {
        // The layer given first is the outermost, as at the other stages.
        let outer = self.connect.take();
        self.connect = Some(Box::new(move |inner| {
            let connect = transport::erase(layer.layer(Connector::new(inner)));
            match outer {
                Some(outer) => outer(connect),
                None => connect,
            }
        }));
        self
    }

    /// Brings your own client: `make` is called once per endpoint, and its service takes the
    /// place of our connections.
    ///
    /// An endpoint whose connections must be secured is refused: see
    /// [`tls_leaf`](Self::tls_leaf).
    pub fn leaf<F, S, B>(mut self, make: F) -> Self
    where
        F: Fn(&LeafEndpoint) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.leaf = Some(Leaf::new(make, false));
        self
    }

    /// Takes an own client in the place of the transport, as [`MeshBuilder::leaf`] does, one that secures
    /// its connections itself, as [`LeafEndpoint::mode`], [`LeafEndpoint::server_name`] and
    /// [`LeafEndpoint::identities`] ask for.
    ///
    /// Nothing here checks that it does.
    pub fn tls_leaf<F, S, B>(mut self, make: F) -> Self
    where
        F: Fn(&LeafEndpoint) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.leaf = Some(Leaf::new(make, true));
        self
    }
}
