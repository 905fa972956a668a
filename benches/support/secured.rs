//! Calls over mutual TLS in memory: bare hyper on rustls, and the mesh. The peer is rustls' own
//! server before the canned peer, so what it costs is the same for both.

use std::{
    io::{self, Read as _, Write as _},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use hyper::{
    client::conn::http2::{self, SendRequest},
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tower_layer::Layer;
use tower_mesh::{
    Body, Client, Mesh, config,
    discover::Static,
    security::{self, Trust},
    transport::{ConnectTarget, Connector, Io},
};
use tower_service::Service;

use super::support::{
    calls::{self, Caller, WARM_UP, drive, read, request},
    peer::{Answer, Peer, Peers},
    subjects::{ENDPOINTS, TIMEOUT, Work, config},
};

const NAME: &str = "users.prod";

/// Who the two sides are.
struct Keys {
    root: String,
    chain: String,
    key: String,
}

/// The server's end of a connection, as the byte stream that a client speaks over.
struct TlsPeer {
    server: ServerConnection,
    peer: Peer,
    out: Vec<u8>,
    read: usize,
    reader: Option<Waker>,
}

/// Makes them: a mesh's connect layer.
#[derive(Clone)]
struct TlsPeers {
    peers: Peers,
    config: Arc<ServerConfig>,
}

/// Bare hyper over rustls.
pub(crate) struct Bare {
    runtime: Runtime,
    caller: BareCaller,
}

#[derive(Clone)]
struct BareCaller {
    senders: Arc<Vec<SendRequest<Full<Bytes>>>>,
    turn: Arc<AtomicUsize>,
}

/// A mesh over mutual TLS.
pub(crate) struct Meshed {
    runtime: Runtime,
    caller: MeshCaller,
    _mesh: Mesh,
}

#[derive(Clone)]
struct MeshCaller(Client);

// === impl Keys ===

impl Keys {
    /// P-256, of the same name on both sides.
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &ca).unwrap().pem();
        Self { root: ca.pem(), chain, key: key.serialize_pem() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    fn peers(&self) -> TlsPeers {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(self.chain(), self.key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsPeers { peers: Peers::new(Answer::http()), config: Arc::new(config) }
    }

    fn connector(&self) -> TlsConnector {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(self.chain(), self.key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

// === impl TlsPeer ===

impl TlsPeer {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.server.read_tls(&mut bytes).unwrap();
            self.server.process_new_packets().unwrap();
            let mut plain = [0; 4096];
            while let Ok(count @ 1..) = self.server.reader().read(&mut plain) {
                self.peer.feed(&plain[..count]);
            }
        }
        let writer = &mut self.server;
        while self.peer.take(4096, |answer| writer.writer().write_all(answer).unwrap()) {}
        while self.server.wants_write() {
            self.server.write_tls(&mut self.out).unwrap();
        }
        if self.read < self.out.len()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

impl Read for TlsPeer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.out.len().min(self.read.saturating_add(buf.remaining()));
        if self.read == end {
            match &self.reader {
                Some(reader) if reader.will_wake(cx.waker()) => {}
                _ => self.reader = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        buf.put_slice(&self.out[self.read..end]);
        self.read = end;
        if end == self.out.len() {
            self.out.clear();
            self.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for TlsPeer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.feed(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

// === impl TlsPeers ===

impl TlsPeers {
    fn connect(&self) -> TlsPeer {
        TlsPeer {
            server: ServerConnection::new(Arc::clone(&self.config)).unwrap(),
            peer: self.peers.connect(),
            out: Vec::with_capacity(64 * 1024),
            read: 0,
            reader: None,
        }
    }
}

impl Layer<Connector> for TlsPeers {
    type Service = Self;

    fn layer(&self, _real: Connector) -> Self {
        self.clone()
    }
}

impl Service<ConnectTarget> for TlsPeers {
    type Response = TlsPeer;
    type Error = io::Error;
    type Future = std::future::Ready<Result<TlsPeer, io::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: ConnectTarget) -> Self::Future {
        assert!(target.secured, "the mesh is to secure it");
        std::future::ready(Ok(self.connect()))
    }
}

// === impl Bare ===

impl Bare {
    /// With the mesh's keepalive and windows, over a stream behind a `Box<dyn …>`.
    pub(crate) fn new() -> Self {
        let runtime = calls::runtime();
        let keys = Keys::new();
        let (peers, connector) = (keys.peers(), keys.connector());
        let senders = runtime.block_on(async {
            let mut senders = Vec::new();
            for _ in 0..ENDPOINTS {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                let settings = config::TransportSettings::default();
                builder
                    .timer(TokioTimer::new())
                    .keep_alive_interval(settings.http2_ping_interval)
                    .keep_alive_timeout(settings.http2_ping_timeout)
                    .initial_stream_window_size(settings.http2_stream_window_bytes)
                    .initial_connection_window_size(settings.http2_connection_window_bytes);
                let name = ServerName::try_from(NAME).unwrap();
                let stream: Box<dyn Io> = Box::new(peers.connect());
                let stream = connector.connect(name, TokioIo::new(stream)).await.unwrap();
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                let stream: Box<dyn Io> = Box::new(TokioIo::new(stream));
                let (sender, connection) = builder.handshake(stream).await.unwrap();
                tokio::spawn(connection);
                senders.push(sender);
            }
            senders
        });
        let caller = BareCaller { senders: Arc::new(senders), turn: Arc::default() };
        let bare = Self { runtime, caller };
        bare.run(1, WARM_UP);
        bare
    }

    pub(crate) fn run(&self, concurrency: u32, calls: u32) {
        drive(&self.runtime, concurrency, calls, &self.caller);
    }
}

impl Caller for BareCaller {
    async fn call(&self) {
        let request = request(Method::POST);
        let turn = self.turn.fetch_add(1, Relaxed) % ENDPOINTS;
        let mut sender = self.senders[turn].clone();
        read(sender.send_request(request).await.unwrap()).await;
    }
}

// === impl Meshed ===

impl Meshed {
    /// Balancing and counters only.
    pub(crate) fn new() -> Self {
        let runtime = calls::runtime();
        let keys = Keys::new();
        let (mesh, client) = runtime.block_on(async {
            let mesh = Mesh::builder()
                .source(Static::new(config(Work::Balance, TIMEOUT)))
                .identity(security::KeyPair::pem(keys.chain.clone(), keys.key.clone()))
                .trust(Trust::pem(keys.root.clone()))
                .service(NAME, |s| s.mutual_tls())
                .connect_layer(keys.peers())
                .seed(7)
                .build()
                .unwrap();
            mesh.ready().await.unwrap();
            let client = mesh.client(NAME).unwrap();
            (mesh, client)
        });
        let meshed = Self { runtime, caller: MeshCaller(client), _mesh: mesh };
        meshed.run(1, WARM_UP);
        meshed
    }

    pub(crate) fn run(&self, concurrency: u32, calls: u32) {
        drive(&self.runtime, concurrency, calls, &self.caller);
    }
}

impl Caller for MeshCaller {
    async fn call(&self) {
        let request = request::<Body>(Method::POST);
        read(self.0.send(request).await.unwrap()).await;
    }
}
