//! What a failed handshake means.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

use super::{TlsError, TlsErrorKind, client::Live};

/// When an error was met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum When {
    InHandshake,
    /// As this side has it. An endpoint that refuses the certificate in TLS 1.3 says so only then; what
    /// it says of anything else may follow a request that it has worked on.
    After,
}

/// The typed reason of what tokio-rustls returned, in the handshake or after it.
pub(super) fn explain(error: &io::Error, live: &Live, expected: &[String], when: When) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the endpoint closed the connection in the handshake",
            _ => "the connection failed in the handshake",
        };
        let copy = io::Error::new(error.kind(), error.to_string());
        return TlsError::new(TlsErrorKind::Io, what).expecting(expected).caused_by(copy);
    };
    if let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(ours))) = inner
        && let Some(ours) = ours.downcast_ref::<TlsError>()
    {
        return ours.clone();
    }
    let (kind, what) = told(inner, live, when);
    TlsError::new(kind, what).caused_by(inner.clone())
}

fn told(error: &rustls::Error, live: &Live, when: When) -> (TlsErrorKind, String) {
    use TlsErrorKind as K;
    use rustls::Error as E;
    match error {
        E::AlertReceived(alert) => alerted(*alert, live, when),
        E::InvalidCertificate(error) => {
            (K::BadCertificate, format!("the endpoint did not prove its certificate: {error}"))
        }
        E::NoCertificatesPresented => {
            (K::BadCertificate, "the endpoint showed no certificate".to_owned())
        }
        E::NoApplicationProtocol | E::PeerIncompatible(_) => {
            (K::Incompatible, format!("the two sides have nothing in common: {error}"))
        }
        E::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::InvalidEmptyPayload
            | InvalidMessage::MessageTooLarge,
        ) => (K::NotTls, "the endpoint does not answer as TLS does".to_owned()),
        other => (K::NotTls, format!("the endpoint breaks the protocol: {other}")),
    }
}

fn alerted(alert: AlertDescription, live: &Live, when: When) -> (TlsErrorKind, String) {
    use AlertDescription as A;
    use TlsErrorKind as K;
    let own = live.standing.own.as_ref();
    let own = own.map_or_else(
        || "none is configured".to_owned(),
        |own| format!("{}, {}", own.names().join(", "), super::until(own.not_after())),
    );
    let refused = |why: &str| (K::CertificateRefused, format!("the endpoint {why}: {own}"));
    match alert {
        A::CertificateRequired => {
            (K::CertificateRequired, format!("the endpoint asks for a certificate: {own}"))
        }
        _ if when == When::After && !is_of_certificates(alert) => {
            (K::Alert, format!("the endpoint ended the connection: {alert:?}"))
        }
        _ if live.shown.is_missing() => {
            let what =
                format!("the endpoint asked for a certificate, none is configured: {alert:?}");
            (K::CertificateRequired, what)
        }
        A::UnknownCA => refused("does not know the CA of the own certificate"),
        A::CertificateExpired => refused("says that the own certificate has expired"),
        A::CertificateRevoked => refused("says that the own certificate is revoked"),
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown | A::DecryptError => {
            refused("does not accept the own certificate")
        }
        A::AccessDenied => refused("denies access to the own certificate"),
        A::UnrecognisedName => {
            (K::Alert, "the endpoint does not know the name that was asked for (SNI)".to_owned())
        }
        A::NoApplicationProtocol => {
            (K::Incompatible, "the endpoint speaks none of the protocols offered (ALPN)".to_owned())
        }
        A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => {
            (K::Incompatible, format!("the endpoint found nothing in common: {alert:?}"))
        }
        other => (K::Alert, format!("the endpoint ended the handshake: {other:?}")),
    }
}

/// Whether an endpoint says by it that it does not accept a certificate, or that there is none.
//= RFC 8446 §6.2, §4.4.2.4; some servers say `handshake_failure` where there is none, as of TLS 1.2
fn is_of_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::UnknownCA
            | A::CertificateExpired
            | A::CertificateRevoked
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateUnknown
            | A::HandshakeFailure
    )
}
