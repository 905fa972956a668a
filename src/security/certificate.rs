//! What a certificate says: its names, its dates, what it may sign.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::SystemTime,
};

use x509_cert::{
    certificate::{CertificateInner, Raw, Version},
    der::Decode,
    ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, name::GeneralName},
    time::Time,
};

use super::spiffe::is_spiffe;
use crate::config::SanKind;

/// What is read of a certificate beside its chain, which webpki verifies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Facts {
    pub(super) sans: Vec<San>,
    /// Of its subject, as RFC 4514 writes it.
    pub(super) subject: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Whether it says that it may sign certificates or revocation lists.
    pub(super) signs: bool,
    /// Whether it may sign a handshake: unless it says what its key is for, and that is not among it.
    pub(super) signs_handshakes: bool,
    /// Whether it is a CA's: it says so, or is of a version that could not.
    pub(super) is_ca: bool,
}

/// One subject alternative name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum San {
    Dns(String),
    Uri(String),
    Email(String),
    Ip(IpAddr),
    /// A kind that nothing here compares.
    Other,
}

impl Facts {
    /// Reads one certificate. Any bytes may be given.
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        // Without the profile of RFC 5280: what its limits mean for the peer is webpki's to say.
        let read = CertificateInner::<Raw>::from_der(der);
        let certificate = read.map_err(|error| format!("its encoding is broken: {error}"))?;
        let tbs = certificate.tbs_certificate();
        let sans = tbs.get_extension::<SubjectAltName>();
        let sans = sans.map_err(|error| format!("its names cannot be read: {error}"))?;
        let usage = tbs.get_extension::<KeyUsage>();
        let usage = usage.map_err(|error| format!("its key usage cannot be read: {error}"))?;
        let basic = tbs.get_extension::<BasicConstraints>();
        let basic = basic.map_err(|error| format!("its constraints cannot be read: {error}"))?;
        Ok(Self {
            sans: sans.map_or_else(Vec::new, |(_, names)| names.0.iter().map(San::read).collect()),
            subject: tbs.subject().to_string(),
            not_before: system(tbs.validity().not_before),
            not_after: system(tbs.validity().not_after),
            signs_handshakes: usage.as_ref().is_none_or(|(_, usage)| usage.digital_signature()),
            signs: usage.is_some_and(|(_, usage)| usage.key_cert_sign() || usage.crl_sign()),
            is_ca: basic.map_or_else(|| tbs.version() != Version::V3, |(_, basic)| basic.ca),
        })
    }

    pub(super) fn uris(&self) -> impl Iterator<Item = &str> {
        self.sans.iter().filter_map(|san| match san {
            San::Uri(uri) => Some(uri.as_str()),
            _ => None,
        })
    }

    /// Its names for a reader; its subject if it has none.
    pub(super) fn names(&self) -> Vec<String> {
        if self.sans.is_empty() {
            vec![format!("only its subject `{}`", self.subject)]
        } else {
            self.sans.iter().map(San::to_string).collect()
        }
    }

    /// What stays the same when it is renewed: its SPIFFE id, else all of its names.
    pub(super) fn principal(&self) -> Vec<String> {
        let mut spiffe: Vec<String> =
            self.uris().filter(|uri| is_spiffe(uri)).map(str::to_owned).collect();
        if spiffe.is_empty() {
            spiffe = self.names();
        }
        spiffe.sort_unstable();
        spiffe
    }
}

fn system(time: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(time.to_unix_duration()).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl San {
    /// Its kind and its text.
    pub(super) fn typed(&self) -> Option<(SanKind, String)> {
        Some(match self {
            Self::Dns(name) => (SanKind::Dns, name.clone()),
            Self::Uri(uri) => (SanKind::Uri, uri.clone()),
            Self::Email(email) => (SanKind::Email, email.clone()),
            Self::Ip(address) => (SanKind::Ip, address.to_string()),
            Self::Other => return None,
        })
    }

    fn read(name: &GeneralName) -> Self {
        match name {
            GeneralName::DnsName(name) => Self::Dns(name.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => Self::Uri(uri.to_string()),
            GeneralName::Rfc822Name(email) => Self::Email(email.to_string()),
            GeneralName::IpAddress(octets) => match octets.as_bytes() {
                four if four.len() == 4 => <[u8; 4]>::try_from(four)
                    .map_or(Self::Other, |four| Self::Ip(Ipv4Addr::from(four).into())),
                many => <[u8; 16]>::try_from(many)
                    .map_or(Self::Other, |many| Self::Ip(Ipv6Addr::from(many).into())),
            },
            _ => Self::Other,
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What a stranger has written is quoted, so that it cannot write lines of its own.
            Self::Dns(name) | Self::Uri(name) | Self::Email(name) => {
                for c in name.escape_debug() {
                    write!(f, "{c}")?;
                }
                Ok(())
            }
            Self::Ip(address) => address.fmt(f),
            Self::Other => f.write_str("a name of another kind"),
        }
    }
}
