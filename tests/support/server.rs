//! HTTP/1.1 and HTTP/2 servers on loopback that a test can kill, close and count.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tower_mesh::config::Address;

use super::{
    BoxError,
    greeter::{Greeter, GreeterServer},
};

/// What a server answers with.
pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

type Handler =
    dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync;

/// A reply with this text.
pub(crate) fn reply(text: impl Into<Bytes>) -> Reply {
    Response::new(body(Full::new(text.into())))
}

/// An empty reply with this status.
pub(crate) fn status(code: StatusCode) -> Reply {
    let mut reply = reply(Bytes::new());
    *reply.status_mut() = code;
    reply
}

/// Any body as a server's.
pub(crate) fn body<B>(body: B) -> UnsyncBoxBody<Bytes, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// An address that refuses connections for as long as the socket lives.
pub(crate) fn dead_address() -> (Address, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().into(), socket)
}

/// A listener at this address whose queue is full: connection attempts to it are not answered.
pub(crate) async fn full(address: SocketAddr) -> (SocketAddr, impl Sized + Send) {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let connect = || tokio::net::TcpStream::connect(address);
    while let Ok(made) = tokio::time::timeout(Duration::from_millis(50), connect()).await {
        waiting.push(made.unwrap());
        assert!(waiting.len() < 100, "the queue is not bounded here");
    }
    (address, (listener, waiting))
}

/// A server, whose drop kills it.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers each request with what `handler` makes of it.
    pub(crate) async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), handler).await
    }

    /// The same, listening at this address.
    pub(crate) async fn start_at<F, Fut>(address: SocketAddr, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let stop = watch::Sender::new(false);
        let handler: Arc<Handler> = Arc::new(move |request| Box::pin(handler(request)));
        let accept = accept(
            listener,
            handler,
            Arc::clone(&requests),
            Arc::clone(&connections),
            stop.subscribe(),
        );
        Self { address, requests, connections, stop, task: tokio::spawn(accept) }
    }

    /// Answers every request with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { reply(name) }).await
    }

    /// A gRPC server.
    pub(crate) async fn grpc(greeter: impl Greeter) -> Self {
        let server = GreeterServer::new(greeter);
        Self::start(move |request| {
            let mut server = server.clone();
            async move {
                match tonic::codegen::Service::call(&mut server, request).await {
                    Ok(reply) => reply.map(body),
                    Err(never) => match never {},
                }
            }
        })
        .await
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        self.address.into()
    }

    /// Where it listens, as a socket's address.
    pub(crate) fn socket(&self) -> SocketAddr {
        self.address
    }

    /// Requests seen so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Breaks all connections and refuses new ones, at once.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }

    /// The same, some time soon: as a process is killed.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }

    /// Refuses new connections and ends the others when their requests are answered.
    pub(crate) async fn close(mut self) {
        self.stop.send_replace(true);
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    handler: Arc<Handler>,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = stop.changed() => break,
            Some(_) = tasks.join_next() => continue,
        };
        stream.set_nodelay(true).unwrap();
        connections.fetch_add(1, Ordering::SeqCst);
        let requests = Arc::clone(&requests);
        let handler = Arc::clone(&handler);
        let service = service_fn(move |request| {
            requests.fetch_add(1, Ordering::SeqCst);
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let mut stop = stop.clone();
        tasks.spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = connection.as_mut() => {}
                _ = stop.changed() => {
                    connection.as_mut().graceful_shutdown();
                    drop(connection.await);
                }
            }
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}
