//! Why a handshake failed: what, who was met and who was expected, the probable cause and what to
//! check.

use std::{fmt, sync::Arc};

use crate::core::{Error, ErrorKind, Origin, Phase};

/// Why no secured connection was made, or why a key or a bundle was refused.
///
/// It is the source of an [`Error`] in the phase [`Phase::Tls`]. Its text is one line: what
/// happened, whom the endpoint's certificate names and whom it should name, the probable cause and
/// what to check.
#[derive(Clone)]
pub struct TlsError(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    kind: TlsErrorKind,
    what: String,
    presented: Vec<String>,
    expected: Vec<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TlsErrorKind {
    /// The endpoint's certificate, or one of its chain, has expired.
    Expired,
    /// The endpoint's certificate, or one of its chain, is not valid yet.
    NotYetValid,
    /// No trusted root vouches for the endpoint's certificate.
    UnknownCa,
    /// The endpoint's certificate, or one of its chain, is revoked.
    Revoked,
    /// The endpoint's certificate names somebody else.
    WrongIdentity,
    /// The endpoint's certificate breaks a rule: its form, its use, its signature.
    BadCertificate,
    /// The endpoint asked for a certificate and there is none to show.
    CertificateRequired,
    /// The endpoint refused the own certificate.
    CertificateRefused,
    /// The own key and certificate cannot be used, or have not come.
    NoIdentity,
    /// There are no roots to verify by.
    NoTrust,
    /// No version, cipher, group or application protocol that both sides know.
    Incompatible,
    /// The endpoint did not answer as TLS does.
    NotTls,
    /// The endpoint ended the handshake with an alert.
    Alert,
    /// The connection was lost in the handshake.
    #[default]
    Io,
    /// No cryptography is compiled in.
    NoProvider,
}

// === impl TlsError ===

impl TlsError {
    pub(super) fn new(kind: TlsErrorKind, what: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, what: what.into(), ..Inner::default() }))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Inner)) -> Self {
        edit(Arc::make_mut(&mut self.0));
        self
    }

    /// The names that the endpoint's certificate has.
    pub(super) fn presented(self, names: &[String]) -> Self {
        self.edit(|inner| inner.presented = names.to_vec())
    }

    /// The names, one of which it should have.
    pub(super) fn expecting(self, names: &[String]) -> Self {
        self.edit(|inner| inner.expected = names.to_vec())
    }

    pub(super) fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// The first part of its text.
    pub(super) fn what(&self) -> &str {
        &self.0.what
    }

    /// Its text without what to check.
    pub(crate) fn cause(&self) -> String {
        let Inner { what, presented, expected, .. } = &*self.0;
        let mut text = what.clone();
        if !presented.is_empty() {
            text = format!("{text}; its certificate names {}", presented.join(", "));
        }
        if !expected.is_empty() {
            text = format!("{text}; expected {}", expected.join(" or "));
        }
        text
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> TlsErrorKind {
        self.0.kind
    }

    /// The names of the endpoint's certificate, as far as they could be read.
    #[must_use]
    pub fn presented_names(&self) -> &[String] {
        &self.0.presented
    }

    /// What was expected, one of which would have done.
    #[must_use]
    pub fn expected_names(&self) -> &[String] {
        &self.0.expected
    }

    /// Whether one side refused who the other is, in contrast to a failure of the connection.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.0.kind.is_refusal()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; check {}", self.cause(), self.0.kind.check())
    }
}

impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsError")
            .field("kind", &self.0.kind)
            .field("what", &self.0.what)
            .field("presented", &self.0.presented)
            .field("expected", &self.0.expected)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        let (kind, origin) = match error.kind() {
            TlsErrorKind::NoIdentity | TlsErrorKind::NoTrust | TlsErrorKind::NoProvider => {
                (ErrorKind::Config, Origin::Local)
            }
            kind if kind.is_refusal() => (ErrorKind::Identity, Origin::Endpoint),
            _ => (ErrorKind::Connect, Origin::Endpoint),
        };
        Self::new(kind, Phase::Tls)
            .with_origin(origin)
            .detail(error.cause())
            .check(error.0.kind.check())
            .caused_by(error)
    }
}

// === impl TlsErrorKind ===

impl TlsErrorKind {
    fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::NotYetValid
                | Self::UnknownCa
                | Self::Revoked
                | Self::WrongIdentity
                | Self::BadCertificate
                | Self::CertificateRequired
                | Self::CertificateRefused
        )
    }

    fn check(self) -> &'static str {
        match self {
            Self::Expired => "whether the endpoint's certificate is renewed, and both clocks",
            Self::NotYetValid => "the clocks of this host and of the CA",
            Self::UnknownCa => {
                "that the bundle holds the root of the endpoint's CA, for its trust domain, and that \
                 the endpoint sends its intermediates"
            }
            Self::Revoked => "why the CA has revoked it, and that the endpoint has a new one",
            Self::WrongIdentity => {
                "that the address belongs to the service that is called, and the identities that are \
                 expected of it"
            }
            Self::BadCertificate => "how the endpoint's certificate was issued",
            Self::CertificateRequired => {
                "that the cluster's security mode is `mutual` and an identity is given"
            }
            Self::CertificateRefused => {
                "that the endpoint trusts the CA of the own certificate, and its dates"
            }
            Self::NoIdentity => "the certificate and key files, and what `describe()` says of them",
            Self::NoTrust => "the bundle of roots, and what `describe()` says of it",
            Self::Incompatible => "the versions, ciphers and protocols that both sides allow",
            Self::NotTls => "that the endpoint speaks TLS at this port",
            Self::Alert => "the endpoint's log",
            Self::Io => "that the endpoint speaks TLS at this port, and its log",
            Self::NoProvider => "the features `tls` and `tls-ring`",
        }
    }
}
