//! Connections in memory: the mesh's own pools and protocols, under paused time.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::io::DuplexStream;
use tower::{Layer, Service};
use tower_mesh::{
    config::Address,
    transport::{ConnectTarget, Connector},
};

use super::{
    BoxError,
    greeter::{Greeter, GreeterServer},
    server::{Reply, body},
};

type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connect layer under which each connection is a pipe to a server of this process.
#[derive(Clone)]
pub(crate) struct Pipes {
    serve: Arc<dyn Fn(Address, DuplexStream) -> Served + Send + Sync>,
    made: Arc<AtomicUsize>,
}

impl Pipes {
    /// Hands the far end of each pipe to `serve`, with the address that it stands for.
    pub(crate) fn to<F, Fut>(serve: F) -> Self
    where
        F: Fn(Address, DuplexStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self {
            serve: Arc::new(move |address, stream| Box::pin(serve(address, stream))),
            made: Arc::default(),
        }
    }

    /// Servers of both protocols that answer with what `handler` makes of a request.
    pub(crate) fn http<F, Fut>(handler: F) -> Self
    where
        F: Fn(Address, Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let handler = Arc::new(handler);
        Self::to(move |address, stream| {
            let handler = Arc::clone(&handler);
            let service = service_fn(move |request| {
                let answer = handler(address.clone(), request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            async move {
                let builder = Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            }
        })
    }

    /// At every address the gRPC server that `greeter` makes for it.
    pub(crate) fn grpc<G: Greeter>(
        greeter: impl Fn(&Address) -> G + Send + Sync + 'static,
    ) -> Self {
        Self::http(move |address, request| {
            let mut server = GreeterServer::new(greeter(&address));
            async move {
                match Service::call(&mut server, request).await {
                    Ok(reply) => reply.map(body),
                    Err(never) => match never {},
                }
            }
        })
    }

    /// Connections made so far.
    pub(crate) fn connections(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

impl Layer<Connector> for Pipes {
    type Service = Self;

    fn layer(&self, _sockets: Connector) -> Self {
        self.clone()
    }
}

impl Service<ConnectTarget> for Pipes {
    type Response = TokioIo<DuplexStream>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: ConnectTarget) -> Self::Future {
        self.made.fetch_add(1, Ordering::SeqCst);
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn((self.serve)(target.address, far));
        std::future::ready(Ok(TokioIo::new(near)))
    }
}
