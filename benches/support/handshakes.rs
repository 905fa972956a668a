//! Mutual TLS handshakes in memory, both sides in one thread.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::{Builder, Runtime},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower_mesh::security::bench::Bench;

/// What is done over and over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Handshake {
    /// Both sides prove who they are.
    Full,
    /// An earlier session is resumed.
    Resumed,
}

/// A client and its server.
pub(crate) struct Handshakes<C> {
    runtime: Runtime,
    client: C,
    acceptor: TlsAcceptor,
    kind: Handshake,
}

/// rustls as its documentation shows it.
pub(crate) struct BareTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

pub(crate) trait Secures {
    /// Makes one connection and reads one byte, so that the tickets have come; whether it was
    /// resumed.
    fn connect(&self, io: DuplexStream, kind: Handshake) -> impl Future<Output = bool>;
}

const NAME: &str = "cart.prod";
const ID: &str = "spiffe://prod.example/ns/shop/sa/cart";

struct Pair {
    chain: String,
    key: String,
}

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// P-256, of the same names on both sides.
fn pair(ca: &CertifiedIssuer<'static, KeyPair>) -> Pair {
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(ID.try_into().unwrap()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let chain = params.signed_by(&key, ca).unwrap().pem();
    Pair { chain, key: key.serialize_pem() }
}

impl Pair {
    fn certificates(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn acceptor(roots: &Arc<RootCertStore>, own: &Pair) -> TlsAcceptor {
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), crypto());
    let mut config = ServerConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(own.certificates(), own.key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn roots(ca: &CertifiedIssuer<'static, KeyPair>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    Arc::new(roots)
}

impl<C: Secures> Handshakes<C> {
    fn new(client: C, acceptor: TlsAcceptor, kind: Handshake) -> Self {
        let runtime = Builder::new_current_thread().build().unwrap();
        let handshakes = Self { runtime, client, acceptor, kind };
        // Proves itself: what is measured is full, or resumed.
        handshakes.run(4);
        assert_eq!(handshakes.one(), kind == Handshake::Resumed);
        handshakes
    }

    /// Makes so many connections, one after the other.
    pub(crate) fn run(&self, handshakes: u32) {
        for _ in 0..handshakes {
            self.one();
        }
    }

    fn one(&self) -> bool {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = async {
            let mut stream = self.acceptor.accept(far).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
        };
        let client = self.client.connect(near, self.kind);
        self.runtime.block_on(async { futures_util::future::join(client, server).await.0 })
    }
}

impl Handshakes<Bench> {
    pub(crate) fn mesh(kind: Handshake) -> Self {
        let ca = ca();
        let own = pair(&ca);
        let (chain, key) = (own.chain.as_bytes(), own.key.as_bytes());
        let client = Bench::new(ca.pem().as_bytes(), chain, key, ID).unwrap();
        Self::new(client, acceptor(&roots(&ca), &pair(&ca)), kind)
    }
}

impl Handshakes<BareTls> {
    pub(crate) fn bare(kind: Handshake) -> Self {
        let ca = ca();
        let (roots, own) = (roots(&ca), pair(&ca));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), crypto());
        let mut config = ClientConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap())
            .with_client_auth_cert(own.certificates(), own.key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        if kind == Handshake::Full {
            config.resumption = Resumption::disabled();
        }
        let name = ServerName::try_from(NAME).unwrap();
        let client = BareTls { connector: TlsConnector::from(Arc::new(config)), name };
        Self::new(client, acceptor(&roots, &pair(&ca)), kind)
    }
}

impl Secures for Bench {
    async fn connect(&self, io: DuplexStream, kind: Handshake) -> bool {
        let fresh = (kind == Handshake::Full).then(|| self.endpoint());
        let made = fresh.as_ref().unwrap_or(self).handshake(TokioIo::new(io)).await;
        let (resumed, io) = made.unwrap();
        let mut byte = [0];
        TokioIo::new(io).read_exact(&mut byte).await.unwrap();
        resumed
    }
}

impl Secures for BareTls {
    async fn connect(&self, io: DuplexStream, _kind: Handshake) -> bool {
        let mut stream = self.connector.connect(self.name.clone(), io).await.unwrap();
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        resumed
    }
}
