//! TLS to the control plane: who it is, who we are, and files that are rotated.

use std::{fs, path::PathBuf};

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::control::xds::bootstrap::ServerTls;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

struct Issued {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: (String, String),
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    fn issue(&self, name: &str) -> Issued {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: vec![certificate.der().clone()],
            pem: (certificate.pem(), key.serialize_pem()),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// Ends TLS in front of a control plane.
async fn front(plane: &AdsServer, shown: Issued, clients: Option<&Ca>, alpn: &[u8]) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(shown.chain, shown.key).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = port.local_addr().unwrap();
    let behind = plane.uri();
    tokio::spawn(async move {
        while let Ok((stream, _)) = port.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut front) = acceptor.accept(stream).await else { return };
                let Ok(mut back) = TcpStream::connect(&*behind).await else { return };
                drop(tokio::io::copy_bidirectional(&mut front, &mut back).await);
            });
        }
    });
    address.to_string()
}

async fn plane() -> AdsServer {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a")]);
    plane
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Written as a rotation does.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let (new, path) = (self.0.path().join("new"), self.0.path().join(name));
        fs::write(&new, content).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }
}

#[tokio::test]
async fn the_server_must_be_whom_the_roots_vouch_for() {
    let (ca, other, files, plane) = (Ca::new(), Ca::new(), Files::new(), plane().await);
    let roots = files.write("ca.pem", &ca.pem);
    let tls = ServerTls::new().roots_file(&roots);
    let uri = front(&plane, ca.issue("127.0.0.1"), None, b"h2").await;
    let mut mesh = Mesh::to([Server::tls(&*uri, tls.clone())]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    within(plane.until(|plane| !plane.acks(CDS).is_empty())).await;

    let refused = async |shown: Issued, alpn: &'static [u8], tls: ServerTls| {
        let uri = front(&plane, shown, None, alpn).await;
        let mut mesh = Mesh::to([Server::tls(&*uri, tls)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.misses(Kind::Cluster, "a").await
    };
    let before = plane.requests().len();
    let why = refused(other.issue("127.0.0.1"), b"h2", tls.clone()).await;
    assert!(why.contains("cannot be reached"), "{why}");
    let why = refused(ca.issue("elsewhere.example"), b"h2", tls.clone()).await;
    assert!(why.contains("127.0.0.1"), "{why}");
    let named = tls.clone().server_name("istiod.istio-system.svc");
    let why = refused(ca.issue("127.0.0.1"), b"h2", named.clone()).await;
    assert!(why.contains("istiod.istio-system.svc"), "{why}");
    let why = refused(ca.issue("127.0.0.1"), b"h2", ServerTls::new().roots_file("/nowhere")).await;
    assert!(why.contains("/nowhere"), "{why}");
    // Nobody was asked anything.
    assert_eq!(plane.requests().len(), before);

    let uri = front(&plane, ca.issue("istiod.istio-system.svc"), None, b"h2").await;
    let mut mesh = Mesh::to([Server::tls(&*uri, named)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
}

#[tokio::test]
async fn we_show_who_we_are_and_rotated_files_are_used_by_the_next_stream() {
    let (ca, next, files, plane) = (Ca::new(), Ca::new(), Files::new(), plane().await);
    let mine = ca.issue("orders");
    let (chain, key) = (files.write("tls.crt", &mine.pem.0), files.write("tls.key", &mine.pem.1));
    let roots = files.write("ca.pem", &ca.pem);
    let tls = ServerTls::new()
        .roots_file(roots)
        .certificate_files(chain, key)
        .refresh_interval(Duration::from_millis(100));
    let uri = front(&plane, ca.issue("127.0.0.1"), Some(&ca), b"h2").await;
    let mut mesh = Mesh::to([Server::tls(&*uri, tls)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    // The root that vouches for the server is gone: the stream ends, and none takes its place.
    files.write("ca.pem", &next.pem);
    within(plane.until(|plane| plane.streams() == 0)).await;
    let why = mesh.is_warned_of(Kind::Cluster, "a").await;
    assert!(why.contains("cannot be reached"), "{why}");
    // It is back.
    files.write("ca.pem", &ca.pem);
    within(plane.until(|plane| plane.streams() == 1)).await;
}

#[tokio::test]
async fn a_certificate_that_is_asked_for_and_not_there_is_told() {
    let (ca, files, plane) = (Ca::new(), Files::new(), plane().await);
    let roots = files.write("ca.pem", &ca.pem);
    let uri = front(&plane, ca.issue("127.0.0.1"), Some(&ca), b"h2").await;
    let mut mesh = Mesh::to([Server::tls(&*uri, ServerTls::new().roots_file(roots))]);
    mesh.watch(Kind::Cluster, "a");
    mesh.misses(Kind::Cluster, "a").await;
    assert!(plane.requests().is_empty());
}
