//! Authorities, certificates and the files they come in, as a certificate manager would keep them;
//! and the server's side of mutual TLS.
#![allow(dead_code, reason = "shared: each program uses a part")]
#![allow(clippy::unwrap_used, reason = "an authority that cannot sign ends the program")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::replica::{Accept, Stream};

/// An authority that signs what it is asked for.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key.
pub(crate) struct Issued {
    chain: CertificateDer<'static>,
    chain_pem: String,
    key: KeyPair,
}

/// A folder with the files of one process: `tls.crt`, `tls.key`, `ca.crt`.
pub(crate) struct Folder(PathBuf);

/// The server's side of mutual TLS. What it shows and whom it lets in can be changed while it runs:
/// that goes for further connections.
pub(crate) struct Mutual(Mutex<TlsAcceptor>);

// === impl Ca ===

impl Ca {
    /// An authority of this name.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    /// A certificate for this DNS name or, with a `://`, this URI; valid for so long from now.
    pub(crate) fn issue(&self, name: &str, valid: Duration) -> Issued {
        let mut params = CertificateParams::default();
        let name = name.to_owned();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.subject_alt_names = if name.contains("://") {
            vec![SanType::URI(name.try_into().unwrap())]
        } else {
            vec![SanType::DnsName(name.try_into().unwrap())]
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        // Clocks differ a little.
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + valid).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { chain: certificate.der().clone(), chain_pem: certificate.pem(), key }
    }
}

// === impl Folder ===

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("tls.key")
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    /// Puts a certificate and its key in the place of the old ones.
    pub(crate) fn identify(&self, own: &Issued) -> io::Result<()> {
        swap(&self.certificate(), &own.chain_pem)?;
        swap(&self.key(), &own.key.serialize_pem())
    }

    /// Puts these roots in the place of the old ones.
    pub(crate) fn trust(&self, roots: &[&Ca]) -> io::Result<()> {
        let pem: String = roots.iter().map(|ca| ca.pem.as_str()).collect();
        swap(&self.roots(), &pem)
    }
}

/// Writes a file by a rename: whoever reads it sees the old content or the new one.
fn swap(path: &Path, content: &str) -> io::Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, content)?;
    fs::rename(next, path)
}

// === impl Mutual ===

impl Mutual {
    /// Shows this certificate, and lets in whoever has one of these authorities.
    pub(crate) fn new(own: &Issued, clients_of: &[&Ca]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(acceptor(own, clients_of))))
    }

    /// The same with other ones.
    pub(crate) fn rotate(&self, own: &Issued, clients_of: &[&Ca]) {
        *self.0.lock().unwrap() = acceptor(own, clients_of);
    }
}

impl Accept for Mutual {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let acceptor = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(Box::new(acceptor.accept(stream).await?) as Box<dyn Stream>) })
    }
}

fn acceptor(own: &Issued, clients_of: &[&Ca]) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in clients_of {
        roots.add(ca.der.clone()).unwrap();
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![own.chain.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
