//! The handshake with one endpoint.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, HandshakeKind, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    sign::CertifiedKey,
};
use tokio_rustls::TlsConnector;

use super::{
    Policy, Shared, TlsError, TlsErrorKind,
    alert::{When, explain},
    policy::{Compiled, Standing},
    secured::{Peer, Secured, TlsIo, Vouched},
    verifier::Verifier,
};
use crate::config::{ConfigErrors, Protocol};

/// The TLS of one endpoint. Clones share its sessions; equal ones may share a connection.
#[derive(Clone)]
pub(crate) struct ClientTls {
    compiled: Arc<Compiled>,
    live: Arc<Mutex<Option<Arc<Live>>>>,
}

/// What handshakes with this endpoint use while nothing is rotated.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) standing: Arc<Standing>,
    config: Arc<ClientConfig>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) shown: Arc<Shown>,
    /// When the first chain ends whose sessions may be kept.
    until: Mutex<Option<SystemTime>>,
}

/// The own certificate, and whether the endpoint has asked for it.
#[derive(Debug)]
pub(super) struct Shown {
    key: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl ClientTls {
    /// Checks the policy and compiles it.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used; the paths are relative to the policy.
    pub(crate) fn new(policy: Policy) -> Result<Self, ConfigErrors> {
        Self::shared(policy, &Shared::default())
    }

    /// The same; of equal policies that are checked there, the first is used for all.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn shared(policy: Policy, shared: &Shared) -> Result<Self, ConfigErrors> {
        Ok(Self { compiled: policy.compile(shared)?, live: Arc::default() })
    }

    /// The same policy for another endpoint: it shares all but the sessions, which are of use with
    /// the endpoint that gave them alone.
    pub(crate) fn endpoint(&self) -> Self {
        Self { compiled: Arc::clone(&self.compiled), live: Arc::default() }
    }

    /// Whether the own certificate is shown.
    pub(crate) fn is_mutual(&self) -> bool {
        self.compiled.identity.is_some()
    }

    /// Secures a byte stream: the endpoint is verified before it returns.
    ///
    /// It waits for the first word of the identity and of the trust; bound it, as the connection
    /// attempt is bound.
    ///
    /// # Errors
    ///
    /// Why the endpoint is not believed, or the handshake failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the stream.
    pub(crate) async fn handshake<I>(&self, io: I) -> Result<Secured<I>, TlsError>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send,
    {
        let live = self.live(self.compiled.standing().await?)?;
        let connector = TlsConnector::from(Arc::clone(&live.config));
        let name = self.compiled.server_name.clone();
        let made = connector.connect(name, TokioIo::new(io)).await;
        let stream =
            made.map_err(|error| explain(&error, &live, &self.compiled.names, When::InHandshake))?;
        let (_, session) = stream.get_ref();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let chain = session.peer_certificates().unwrap_or_default();
        let verdict = live.verifier.verdict(chain)?;
        if let Some(not_after) = verdict.not_after
            && verdict.root.is_some()
        {
            if resumed && super::is_past(not_after) {
                self.forget(&live);
                let until = super::until(not_after);
                let what = format!("the resumed session has outlived its certificates: {until}");
                return Err(TlsError::new(TlsErrorKind::Expired, what));
            }
            live.keep_until(not_after);
        }
        let protocol = match session.alpn_protocol() {
            // Those of Istio are offered for its proxies to look at; who agrees to one speaks the same.
            Some(b"h2" | b"istio-h2") => Some(Protocol::Http2),
            Some(b"http/1.1" | b"istio-http/1.1" | b"istio-http/1.0") => Some(Protocol::Http1),
            _ => None,
        };
        let peer = Peer::new(&verdict, resumed);
        let own = live.standing.own.as_ref();
        let vouched = Vouched::new(Arc::clone(&self.compiled), own, verdict, chain);
        let names = Arc::clone(&self.compiled.names);
        Ok(Secured { io: TlsIo::new(stream, live, names), protocol, peer, vouched })
    }

    /// The configuration of what stands, with the sessions that still count.
    fn live(&self, standing: Arc<Standing>) -> Result<Arc<Live>, TlsError> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = &*live
            && Arc::ptr_eq(&live.standing, &standing)
            && !live.is_over()
        {
            return Ok(Arc::clone(live));
        }
        let made = Arc::new(Live::new(&self.compiled, standing)?);
        *live = Some(Arc::clone(&made));
        Ok(made)
    }

    fn forget(&self, over: &Arc<Live>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.as_ref().is_some_and(|live| Arc::ptr_eq(live, over)) {
            *live = None;
        }
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.compiled.key == other.compiled.key
    }
}

impl Eq for ClientTls {}

impl Hash for ClientTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.compiled.key.hash(state);
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("expected", &self.compiled.names)
            .field("sni", &self.compiled.sni)
            .field("mutual", &self.is_mutual())
            .finish_non_exhaustive()
    }
}

// === impl Live ===

impl Live {
    fn new(compiled: &Compiled, standing: Arc<Standing>) -> Result<Self, TlsError> {
        let verifier = Arc::new(Verifier::new(Arc::clone(&standing.rules)));
        let key = standing.own.as_ref().map(|own| Arc::clone(&own.key));
        let shown = Arc::new(Shown { key, asked: AtomicBool::new(false) });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&compiled.provider))
            .with_protocol_versions(&compiled.versions)
            .map_err(|error| {
                let what = format!("the cryptography in use cannot do this: {error}");
                TlsError::new(TlsErrorKind::Incompatible, what)
            })?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&shown) as _);
        config.alpn_protocols.clone_from(&compiled.alpn);
        config.enable_sni = compiled.sni.is_some();
        config.resumption = if compiled.resumption {
            Resumption::in_memory_sessions(SESSIONS)
        } else {
            Resumption::disabled()
        };
        let config = Arc::new(config);
        Ok(Self { standing, config, verifier, shown, until: Mutex::default() })
    }

    /// Sessions are not resumed when a certificate of their chain has expired.
    fn keep_until(&self, not_after: SystemTime) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(until.map_or(not_after, |until| until.min(not_after)));
    }

    fn is_over(&self) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(super::is_past)
    }
}

// === impl Shown ===

impl Shown {
    /// Whether the endpoint has asked for a certificate and got none.
    pub(super) fn is_missing(&self) -> bool {
        self.key.is_none() && self.asked.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Tickets of one endpoint that are kept.
const SESSIONS: usize = 8;
