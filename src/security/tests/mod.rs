//! Certificates made in the process, a rustls server over memory, and what both are put through.

mod files;
mod handshakes;
mod names;
mod provider;
mod refusals;
mod resumption;
mod rotation;
mod spiffe;

use std::{
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair as Key, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{
    secured::{Peer, Vouched, Withdrawn},
    source::Report,
    *,
};
use crate::config::IdentityMatch;

// === certificates ===

/// A certificate authority.
pub(super) struct Ca(CertifiedIssuer<'static, Key>);

/// What a certificate says.
#[derive(Clone)]
pub(super) struct Ask {
    params: CertificateParams,
}

/// A certificate with its chain and key, PEM.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn ago(by: Duration) -> SystemTime {
    SystemTime::now() - by
}

pub(super) fn ahead(by: Duration) -> SystemTime {
    SystemTime::now() + by
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = Ask::none().params;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(ca_params(name), Key::generate().unwrap()).unwrap())
    }

    pub(super) fn lasting(name: &str, from: SystemTime, until: SystemTime) -> Self {
        let mut params = ca_params(name);
        (params.not_before, params.not_after) = (from.into(), until.into());
        Self(CertifiedIssuer::self_signed(params, Key::generate().unwrap()).unwrap())
    }

    pub(super) fn intermediate(&self, name: &str) -> Self {
        self.lasting_intermediate(name, None)
    }

    pub(super) fn lasting_intermediate(&self, name: &str, until: Option<SystemTime>) -> Self {
        let mut params = ca_params(name);
        if let Some(until) = until {
            params.not_after = until.into();
        }
        Self(CertifiedIssuer::signed_by(params, Key::generate().unwrap(), &self.0).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        pem::certificates(self.pem().as_bytes()).unwrap().remove(0)
    }

    pub(super) fn issue(&self, ask: &Ask) -> Issued {
        let key = Key::generate().unwrap();
        let certificate = ask.params.signed_by(&key, &self.0).unwrap();
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// A list that revokes these serial numbers.
    pub(super) fn revoke(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: ago(DAY).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: ago(DAY).into(),
            next_update: ahead(DAY).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Ask {
    pub(super) fn none() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.use_authority_key_identifier_extension = true;
        params.not_before = ago(DAY).into();
        params.not_after = ahead(DAY).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self { params }
    }

    pub(super) fn dns(self, name: &str) -> Self {
        self.san(SanType::DnsName(name.try_into().unwrap()))
    }

    pub(super) fn uri(self, uri: &str) -> Self {
        self.san(SanType::URI(uri.try_into().unwrap()))
    }

    pub(super) fn ip(self, address: &str) -> Self {
        self.san(SanType::IpAddress(address.parse().unwrap()))
    }

    pub(super) fn email(self, address: &str) -> Self {
        self.san(SanType::Rfc822Name(address.try_into().unwrap()))
    }

    fn san(mut self, san: SanType) -> Self {
        self.params.subject_alt_names.push(san);
        self
    }

    pub(super) fn lasting(mut self, from: SystemTime, until: SystemTime) -> Self {
        (self.params.not_before, self.params.not_after) = (from.into(), until.into());
        self
    }

    pub(super) fn serial(mut self, serial: u64) -> Self {
        self.params.serial_number = Some(SerialNumber::from(serial));
        self
    }

    pub(super) fn usage(mut self, usage: KeyUsagePurpose) -> Self {
        self.params.key_usages.push(usage);
        self
    }

    /// Its key is for this alone.
    pub(super) fn only(mut self, usage: KeyUsagePurpose) -> Self {
        self.params.key_usages = vec![usage];
        self
    }

    pub(super) fn client_only(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self
    }

    pub(super) fn ca(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }
}

impl Issued {
    /// Puts the certificate of an intermediate behind its own.
    pub(super) fn through(mut self, intermediate: &Ca) -> Self {
        self.chain += &intermediate.pem();
        self
    }

    pub(super) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        pem::certificates(self.chain.as_bytes()).unwrap()
    }

    pub(super) fn certified(&self) -> CertifiedKey {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        CertifiedKey::from_der(self.certificates(), key, &crypto()).unwrap()
    }
}

// === the server ===

/// A server whose certificate can be changed, and that counts what it meets.
#[derive(Clone)]
pub(super) struct Server {
    acceptor: TlsAcceptor,
    certificate: Arc<Shows>,
}

#[derive(Debug)]
struct Shows(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }
}

pub(super) static TLS_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
pub(super) static TLS_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// What a server asks of its clients.
pub(super) struct Terms<'a> {
    pub(super) clients: Option<&'a Ca>,
    /// They may show none.
    pub(super) optional: bool,
    pub(super) alpn: &'a [&'a str],
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { clients: None, optional: false, alpn: &[], versions: rustls::ALL_VERSIONS }
    }
}

/// What the server has seen of a connection.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) client: Option<Vec<String>>,
    pub(super) sni: Option<String>,
    pub(super) resumed: bool,
    pub(super) group: String,
}

impl Server {
    pub(super) fn new(shown: &Issued) -> Self {
        Self::with(shown, &Terms::default())
    }

    pub(super) fn with(shown: &Issued, terms: &Terms<'_>) -> Self {
        let certificate = Arc::new(Shows(Mutex::new(Arc::new(shown.certified()))));
        let builder = ServerConfig::builder_with_provider(crypto());
        let builder = builder.with_protocol_versions(terms.versions).unwrap();
        let builder = match terms.clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(pem::certificates(ca.pem().as_bytes()).unwrap());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto());
                let verifier =
                    if terms.optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&certificate) as _);
        config.alpn_protocols = terms.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate }
    }

    /// Shows another certificate from now on.
    pub(super) fn show(&self, shown: &Issued) {
        *self.certificate.0.lock().unwrap() = Arc::new(shown.certified());
    }

    /// Takes one connection, and echoes what it gets on it.
    pub(super) fn accept(&self) -> (DuplexStream, JoinHandle<Result<Met, std::io::Error>>) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let acceptor = self.acceptor.clone();
        let task = tokio::spawn(async move {
            let mut stream = acceptor.accept(far).await?;
            let session = stream.get_ref().1;
            let client = session.peer_certificates();
            let met = Met {
                client: client.map(|chain| certificate::Facts::read(&chain[0]).unwrap().names()),
                sni: session.server_name().map(str::to_owned),
                resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
                group: session
                    .negotiated_key_exchange_group()
                    .map_or_else(String::new, |group| format!("{:?}", group.name())),
            };
            let mut word = [0; 4];
            stream.read_exact(&mut word).await?;
            stream.write_all(&word).await?;
            stream.shutdown().await?;
            Ok(met)
        });
        (near, task)
    }
}

// === the client ===

static CRYPTO: std::sync::LazyLock<Provider> = std::sync::LazyLock::new(|| provider(None).unwrap());

pub(super) fn crypto() -> Provider {
    Provider::clone(&CRYPTO)
}

/// Where reports go.
#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<Report>>);

impl Heard {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn weak(self: &Arc<Self>) -> Weak<dyn Reports> {
        let weak: Weak<Self> = Arc::downgrade(self);
        weak
    }

    /// The reasons of what was refused.
    pub(super) fn refused(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        let refused = heard.iter().filter_map(|report| match report {
            Report::Refused(reason) => Some(reason.to_string()),
            Report::Accepted => None,
        });
        refused.collect()
    }
}

impl Reports for Heard {
    fn report(&self, _part: &Arc<str>, report: Report) {
        self.0.lock().unwrap().push(report);
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Both sources of a client, and what they have reported.
pub(super) struct Sources {
    pub(super) heard: Arc<Heard>,
    pub(super) publish_trust: TrustPublisher,
    pub(super) trust: TrustHandle,
    pub(super) publish_identity: IdentityPublisher,
    pub(super) identity: IdentityHandle,
}

impl Sources {
    /// Nothing said yet.
    pub(super) fn silent() -> Self {
        let heard = Heard::new();
        let (publish_trust, trust) = TrustHandle::trust("roots", heard.weak());
        let (publish_identity, identity) = IdentityHandle::identity("own", &crypto(), heard.weak());
        Self { heard, publish_trust, trust, publish_identity, identity }
    }

    /// These roots, for any name.
    pub(super) fn trusting(roots: &[&Ca]) -> Self {
        let sources = Self::silent();
        sources.trust(roots).unwrap();
        sources
    }

    pub(super) fn trust(&self, roots: &[&Ca]) -> Result<(), TlsError> {
        let bundle: String = roots.iter().map(|ca| ca.pem()).collect();
        self.publish_trust.roots(Roots::new().pem(bundle.as_bytes())?)
    }

    pub(super) fn own(&self, own: &Issued) -> Result<(), TlsError> {
        self.publish_identity.pem(own.chain.as_bytes(), own.key.as_bytes())
    }

    pub(super) fn policy(&self, expected: &[IdentityMatch]) -> Policy {
        Policy::new(crypto(), self.trust.clone(), expected.to_vec())
    }

    pub(super) fn mutual(&self, expected: &[IdentityMatch]) -> Policy {
        Policy { identity: Some(self.identity.clone()), ..self.policy(expected) }
    }
}

pub(super) fn exact(name: &str) -> IdentityMatch {
    IdentityMatch::Exact(name.to_owned())
}

/// A connection that said `ping` and heard it.
pub(super) struct Made {
    pub(super) met: Met,
    pub(super) peer: Peer,
    pub(super) protocol: Option<crate::config::Protocol>,
    pub(super) vouched: Vouched,
}

/// What the client and the server say of a handshake and of four bytes.
pub(super) async fn call(tls: &ClientTls, server: &Server) -> Result<Made, TlsError> {
    let (near, task) = server.accept();
    let secured = tls.handshake(TokioIo::new(near)).await?;
    let Secured { io, protocol, peer, vouched } = secured;
    let mut stream = TokioIo::new(io);
    stream.write_all(b"ping").await.map_err(|error| told(&error))?;
    stream.flush().await.map_err(|error| told(&error))?;
    let mut word = Vec::new();
    stream.read_to_end(&mut word).await.map_err(|error| told(&error))?;
    assert_eq!(word, b"ping");
    let met = task.await.unwrap().unwrap();
    Ok(Made { met, peer, protocol, vouched })
}

/// Why the connection is believed no more; it must be so by now.
pub(super) async fn end(vouched: impl Future<Output = Withdrawn>) -> Withdrawn {
    let ended = tokio::time::timeout(Duration::from_secs(5), vouched).await;
    ended.expect("it is still believed")
}

/// The typed error of a failed read.
pub(super) fn told(error: &std::io::Error) -> TlsError {
    let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    ours.cloned().unwrap_or_else(|| panic!("not told: {error:?}"))
}
