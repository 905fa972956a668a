//! TLS servers on loopback, which keep what they are sent, and whose certificate can be rotated.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, header::CONNECTION};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tower_mesh::config::Address;

use super::{
    certificates::{Ca, Issued},
    greeter::{Greeter, GreeterServer},
    server::{Reply, body, reply},
};

type Handler =
    dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync;

/// Who a server is, whom it asks for a certificate, what it speaks.
pub(crate) struct Tls {
    certificate: Issued,
    clients: Option<Vec<CertificateDer<'static>>>,
    alpn: Vec<Vec<u8>>,
    or_plain: bool,
    name: &'static str,
}

/// What a connection was made with.
#[derive(Clone, Debug)]
pub(crate) struct Met {
    /// The number of the connection, from 0.
    pub(crate) number: usize,
    /// How often the server's certificate had been rotated.
    pub(crate) rotation: usize,
    /// The name that was asked for.
    pub(crate) sni: Option<String>,
    /// What was agreed on.
    pub(crate) alpn: Option<String>,
    /// How many certificates the client has shown.
    pub(crate) certificates: usize,
    /// The first of them: the client's own.
    pub(crate) shown: Option<CertificateDer<'static>>,
    /// Whether a session was resumed.
    pub(crate) resumed: bool,
}

/// A TLS server, whose drop kills it.
pub(crate) struct TlsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// The number of the connection of each request.
    served: Mutex<Vec<usize>>,
    /// The same of those that carry [`LATE`].
    late: Mutex<Vec<usize>>,
    met: Mutex<Vec<Met>>,
    /// The first bytes of each connection, and whatever was no TLS record.
    strays: Mutex<Vec<Vec<u8>>>,
    acceptor: Mutex<Option<(usize, TlsAcceptor)>>,
    or_plain: bool,
    /// Ends the connections that there are, whenever it changes.
    drains: watch::Sender<()>,
}

/// The header of requests whose connections [`TlsServer::late`] tells.
pub(crate) const LATE: &str = "x-late";

// === impl Tls ===

impl Tls {
    /// A server of this certificate that speaks HTTP/2 and HTTP/1.1.
    pub(crate) fn new(certificate: Issued) -> Self {
        let alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { certificate, clients: None, alpn, or_plain: false, name: "hello" }
    }

    /// Speaks these protocols; none at all leaves out ALPN.
    pub(crate) fn alpn(mut self, alpn: &[&str]) -> Self {
        self.alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Wants a certificate of this authority from its clients.
    pub(crate) fn clients_of(mut self, ca: &Ca) -> Self {
        self.clients = Some(vec![ca.der()]);
        self
    }

    /// Wants one of this authority, or of those named before.
    pub(crate) fn and_clients_of(mut self, ca: &Ca) -> Self {
        self.clients.get_or_insert_default().push(ca.der());
        self
    }

    /// Serves connections that do not begin with a handshake, too.
    pub(crate) fn or_plain(mut self) -> Self {
        self.or_plain = true;
        self
    }

    /// Answers with this text.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let mut store = rustls::RootCertStore::empty();
                for root in roots {
                    store.add(root.clone()).unwrap();
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(store),
                    Arc::clone(&provider),
                );
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let Issued { chain, key, .. } = self.certificate.clone();
        let key = CertifiedKey::from_der(chain, key, &provider).unwrap();
        let mut config = builder.with_cert_resolver(Arc::new(Always(Arc::new(key))));
        config.alpn_protocols.clone_from(&self.alpn);
        TlsAcceptor::from(Arc::new(config))
    }

    /// Starts a server that answers with its name.
    pub(crate) async fn start(self) -> TlsServer {
        let name = self.name;
        self.serve(move |_| async move { reply(name) }).await
    }

    /// Starts a gRPC server.
    pub(crate) async fn grpc(self, greeter: impl Greeter) -> TlsServer {
        let server = GreeterServer::new(greeter);
        self.serve(move |request| {
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

    /// Starts a server that answers each request with what `handler` makes of it.
    pub(crate) async fn serve<F, Fut>(self, handler: F) -> TlsServer
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        self.serve_at("127.0.0.1:0".parse().unwrap(), handler).await
    }

    /// The same, listening at this address.
    pub(crate) async fn serve_at<F, Fut>(self, address: SocketAddr, handler: F) -> TlsServer
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { or_plain: self.or_plain, ..Shared::default() });
        *shared.acceptor.lock().unwrap() = Some((0, self.acceptor()));
        let handler: Arc<Handler> = Arc::new(move |request| Box::pin(handler(request)));
        let stop = watch::Sender::new(false);
        let accept = accept(listener, handler, Arc::clone(&shared), stop.subscribe());
        TlsServer { address, shared, stop, task: tokio::spawn(accept) }
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

// === impl TlsServer ===

impl TlsServer {
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
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections accepted so far, whatever their handshakes came to.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The handshakes so far that have succeeded.
    pub(crate) fn met(&self) -> Vec<Met> {
        self.shared.met.lock().unwrap().clone()
    }

    /// The number of the connection that each request came over.
    pub(crate) fn served(&self) -> Vec<usize> {
        self.shared.served.lock().unwrap().clone()
    }

    /// The same of the requests that carry [`LATE`].
    pub(crate) fn late(&self) -> Vec<usize> {
        self.shared.late.lock().unwrap().clone()
    }

    /// Bytes that were no record of TLS.
    pub(crate) fn in_clear(&self) -> Vec<Vec<u8>> {
        self.shared.strays.lock().unwrap().clone()
    }

    /// Takes another certificate for further connections.
    pub(crate) fn rotate(&self, tls: &Tls) {
        let mut acceptor = self.shared.acceptor.lock().unwrap();
        let rotation = acceptor.as_ref().map_or(0, |(rotation, _)| rotation + 1);
        *acceptor = Some((rotation, tls.acceptor()));
    }

    /// Ends the connections that there are as the protocol has it, so that no call is lost: by
    /// GOAWAY, or with their next answer. New ones are accepted.
    pub(crate) fn drain(&self) {
        self.shared.drains.send_replace(());
    }

    /// Refuses new connections and ends the others when their requests are answered.
    pub(crate) async fn close(mut self) {
        self.stop.send_replace(true);
        (&mut self.task).await.unwrap();
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    handler: Arc<Handler>,
    shared: Arc<Shared>,
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
        let drains = shared.drains.subscribe();
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let (handler, shared) = (Arc::clone(&handler), Arc::clone(&shared));
        let ends = (stop.clone(), drains);
        tasks.spawn(async move {
            let mut first = [0];
            // A handshake is a record of type 22.
            if shared.or_plain && stream.peek(&mut first).await.is_ok() && first[0] != 22 {
                return serve(stream, (number, false), handler, shared, ends).await;
            }
            let (stream, rest) = twice(stream);
            let (rotation, acceptor) = shared.acceptor.lock().unwrap().clone().unwrap();
            let stream =
                Recorded { stream, rest: 0, head: Vec::new(), shared: Arc::clone(&shared) };
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let (_, session) = stream.get_ref();
            let alpn = session.alpn_protocol();
            let is_h2 = alpn == Some(b"h2");
            let shown = session.peer_certificates().unwrap_or_default();
            shared.met.lock().unwrap().push(Met {
                number,
                rotation,
                sni: session.server_name().map(str::to_owned),
                alpn: alpn.map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
                certificates: shown.len(),
                shown: shown.first().cloned(),
                resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            });
            serve(stream, (number, is_h2), handler, shared, ends).await;
            linger(rest).await;
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// The same socket, twice.
fn twice(stream: TcpStream) -> (TcpStream, TcpStream) {
    let stream = stream.into_std().unwrap();
    let again = stream.try_clone().unwrap();
    (TcpStream::from_std(stream).unwrap(), TcpStream::from_std(again).unwrap())
}

/// Reads what the client still says until it leaves, for a moment: were the socket closed before, that
/// would reset the connection, and the client might lose what it has been sent.
async fn linger(mut rest: TcpStream) {
    let mut nowhere = tokio::io::sink();
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    drop(tokio::time::timeout(Duration::from_secs(5), read).await);
}

/// Serves the requests of one connection.
async fn serve<I>(
    stream: I,
    (number, is_h2): (usize, bool),
    handler: Arc<Handler>,
    shared: Arc<Shared>,
    (mut stop, mut drains): (watch::Receiver<bool>, watch::Receiver<()>),
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let is_draining = drains.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        shared.served.lock().unwrap().push(number);
        if request.headers().contains_key(LATE) {
            shared.late.lock().unwrap().push(number);
        }
        let answer = handler(request);
        let is_draining = is_draining.clone();
        async move {
            let mut answer = answer.await;
            if !is_h2 && is_draining.has_changed().unwrap_or(false) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let builder = Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let drained = async {
        if drains.changed().await.is_err() || !is_h2 {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.changed() => {}
        () = drained => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
}

/// A stream whose every byte must be a part of a TLS record.
struct Recorded {
    stream: TcpStream,
    /// Bytes of the record that are still to come.
    rest: usize,
    head: Vec<u8>,
    shared: Arc<Shared>,
}

impl Recorded {
    fn see(&mut self, mut bytes: &[u8]) {
        while let Some((first, _)) = bytes.split_first() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                self.rest -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.head.push(*first);
            bytes = &bytes[1..];
            if self.head.len() == 5 {
                let head = std::mem::take(&mut self.head);
                // Change cipher spec, alert, handshake, application data; version 3.x.
                if !(20..=23).contains(&head[0]) || head[1] != 3 {
                    let stray = [&head[..], bytes].concat();
                    self.shared.strays.lock().unwrap().push(stray);
                    return;
                }
                self.rest = usize::from(u16::from_be_bytes([head[3], head[4]]));
            }
        }
    }
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let new = buf.filled()[before..].to_vec();
        self.see(&new);
        read
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
