//! Whom a certificate must name.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

use super::{
    SpiffeId, TrustDomain,
    certificate::{Facts, San},
    spiffe::is_spiffe,
};
use crate::config::{ConfigError, IdentityMatch, SanKind, SanMatch, StringMatch, text::Text};

/// One identity that will do.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// A DNS name or an IP address, by the rules of RFC 9525.
    Name(ServerName<'static>),
    /// This SPIFFE id.
    Id(SpiffeId),
    /// This SPIFFE id, or one below it.
    Below(SpiffeId),
    /// Any SPIFFE id of this trust domain.
    Domain(TrustDomain),
    /// A name that looks so.
    San(Pattern),
}

/// What a name looks like.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    kind: Option<SanKind>,
    matcher: StringMatch,
    text: Text,
    /// The same for names of DNS, which have no case.
    of_dns: Text,
    /// Of an exact name: compared as such, so that wildcards of certificates count.
    exact: Option<ServerName<'static>>,
}

/// Whose roots may vouch for a name that was matched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Realm {
    /// Those for any name.
    Any,
    /// Those of a trust domain.
    Domain(String),
}

/// What was expected and is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Matched {
    /// The name of the certificate that did.
    pub(super) name: String,
    pub(super) realm: Realm,
}

// === impl Expected ===

impl Expected {
    /// Compiles what the configuration expects.
    ///
    /// # Errors
    ///
    /// What cannot be compared, or would let anybody pass.
    pub(super) fn compile(expected: &IdentityMatch) -> Result<Self, ConfigError> {
        match expected {
            IdentityMatch::Exact(name) if is_spiffe(name) => workload(name).map(Self::Id),
            IdentityMatch::Exact(name) => server_name(name).map(Self::Name).ok_or_else(|| {
                ConfigError::new("exact", name, "must be a DNS name, an IP address or a SPIFFE id")
            }),
            IdentityMatch::Prefix(prefix) => {
                // With or without the slash that ends it: segments are compared.
                let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
                trimmed.parse().map(Self::Below)
            }
            IdentityMatch::TrustDomain(domain) => domain.parse().map(Self::Domain),
            IdentityMatch::San(san) => Pattern::compile(san).map(Self::San),
        }
    }

    /// The name of the certificate that is expected, if there is one.
    pub(super) fn check(&self, leaf: &Leaf<'_>) -> Result<Option<Matched>, String> {
        match self {
            Self::Name(name) => Ok(leaf
                .is_valid_for(name)
                .then(|| Matched { name: name.to_str().into_owned(), realm: Realm::Any })),
            Self::Id(id) => leaf.workload(|found| found == id),
            Self::Below(prefix) => leaf.workload(|found| found.starts_with(prefix)),
            Self::Domain(domain) => leaf.workload(|found| found.trust_domain() == domain.as_str()),
            Self::San(pattern) => pattern.check(leaf),
        }
    }

    /// The DNS name that is expected, if it is one.
    pub(super) fn dns_name(&self) -> Option<&ServerName<'static>> {
        match self {
            Self::Name(name @ ServerName::DnsName(_)) => Some(name),
            _ => None,
        }
    }

    /// For a reader.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => name.to_str().into_owned(),
            Self::Id(id) => id.to_string(),
            Self::Below(prefix) => format!("{prefix}/…"),
            Self::Domain(domain) => format!("a SPIFFE id of {domain}"),
            Self::San(pattern) => pattern.describe(),
        }
    }
}

fn workload(text: &str) -> Result<SpiffeId, ConfigError> {
    let id: SpiffeId = text.parse()?;
    //= X509-SVID §3.1: the SPIFFE id of a leaf has a path
    if id.path().is_empty() {
        return Err(ConfigError::new("exact", text, "must have a path: it names a trust domain"));
    }
    Ok(id)
}

/// A DNS name or an IP address; no wildcard.
pub(super) fn server_name(text: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(text).ok().map(|name| name.to_owned())
}

/// The name as one that a handshake may ask for: a DNS name. What clusters of control planes are called seldom is one
/// (`outbound|80||users.prod`), and then nothing is asked for.
pub(crate) fn name_to_ask_for(name: &str) -> Option<String> {
    //= RFC 6066 §3: IP addresses are not sent as server names
    matches!(server_name(name), Some(ServerName::DnsName(_))).then(|| name.to_owned())
}

// === impl Pattern ===

impl Pattern {
    fn compile(san: &SanMatch) -> Result<Self, ConfigError> {
        let SanMatch { kind, matcher, ignore_case: _, oid } = san;
        let refuse = |field: &str, value: &str, why: &str| Err(ConfigError::new(field, value, why));
        if *kind == Some(SanKind::Other) {
            return refuse("san.kind", "other", "not supported yet");
        }
        if let Some(oid) = oid {
            return refuse("san.oid", oid, "not supported yet");
        }
        match matcher {
            StringMatch::Range(_) => return refuse("san.matcher", "range", "not supported yet"),
            StringMatch::Present => {
                return refuse("san.matcher", "present", "would match any name");
            }
            StringMatch::Exact(text)
            | StringMatch::Prefix(text)
            | StringMatch::Suffix(text)
            | StringMatch::Contains(text)
                if text.is_empty() =>
            {
                return refuse("san.matcher", "", "must not be empty: it would match any name");
            }
            _ => {}
        }
        let exact = match (kind, matcher) {
            (None | Some(SanKind::Dns | SanKind::Ip), StringMatch::Exact(text)) => {
                server_name(text)
            }
            _ => None,
        };
        let text = compiled(san, kind.unwrap_or(SanKind::Uri))?;
        let of_dns = if kind.is_none() { compiled(san, SanKind::Dns)? } else { text.clone() };
        Ok(Self { kind: *kind, matcher: matcher.clone(), text, of_dns, exact })
    }

    fn check(&self, leaf: &Leaf<'_>) -> Result<Option<Matched>, String> {
        if let Some(name) = &self.exact
            && leaf.is_valid_for(name)
        {
            return Ok(Some(Matched { name: name.to_str().into_owned(), realm: Realm::Any }));
        }
        for san in &leaf.facts.sans {
            let (kind, text) = match san {
                San::Dns(name) => (SanKind::Dns, name.clone()),
                San::Uri(uri) => (SanKind::Uri, uri.clone()),
                San::Email(email) => (SanKind::Email, email.clone()),
                San::Ip(address) => (SanKind::Ip, address.to_string()),
                San::Other => continue,
            };
            if self.kind.is_some_and(|wanted| wanted != kind) {
                continue;
            }
            let wanted = if kind == SanKind::Dns { &self.of_dns } else { &self.text };
            if !wanted.matches(&text) {
                continue;
            }
            if kind == SanKind::Uri && is_spiffe(&text) {
                return leaf.workload(|id| id.as_str() == text);
            }
            // A stranger may have written it: it is told escaped.
            return Ok(Some(Matched { name: san.to_string(), realm: Realm::Any }));
        }
        Ok(None)
    }

    fn describe(&self) -> String {
        let kind = match self.kind {
            Some(SanKind::Dns) => "a DNS name",
            Some(SanKind::Uri) => "a URI",
            Some(SanKind::Email) => "an email address",
            Some(SanKind::Ip) => "an IP address",
            Some(SanKind::Other) | None => "a name",
        };
        match &self.matcher {
            StringMatch::Exact(text) => format!("{kind} `{text}`"),
            StringMatch::Prefix(text) => format!("{kind} that begins with `{text}`"),
            StringMatch::Suffix(text) => format!("{kind} that ends with `{text}`"),
            StringMatch::Contains(text) => format!("{kind} with `{text}` in it"),
            StringMatch::Regex(text) => format!("{kind} that matches `{text}`"),
            // They are refused.
            StringMatch::Present | StringMatch::Range(_) => kind.to_owned(),
        }
    }
}

fn compiled(san: &SanMatch, kind: SanKind) -> Result<Text, ConfigError> {
    san.text(kind).map_err(|why| {
        // Of the others none can be wrong.
        let regex = if let StringMatch::Regex(it) = &san.matcher { it.as_str() } else { "" };
        ConfigError::new("san.matcher.regex", regex, why)
    })
}

/// The certificate of an endpoint.
pub(super) struct Leaf<'a> {
    pub(super) facts: Facts,
    pub(super) certificate: EndEntityCert<'a>,
}

impl<'a> Leaf<'a> {
    /// Reads it. Any bytes may be given.
    pub(super) fn read(der: &'a CertificateDer<'a>) -> Result<Self, String> {
        let facts = Facts::read(der)?;
        let certificate = EndEntityCert::try_from(der);
        let certificate = certificate.map_err(|error| format!("it cannot be read: {error}"))?;
        Ok(Self { facts, certificate })
    }

    fn is_valid_for(&self, name: &ServerName<'_>) -> bool {
        self.certificate.verify_is_valid_for_subject_name(name).is_ok()
    }

    /// Its SPIFFE id, if `wanted`.
    ///
    /// # Errors
    ///
    /// Why it may not show the id that it has.
    fn workload(&self, wanted: impl Fn(&SpiffeId) -> bool) -> Result<Option<Matched>, String> {
        match self.svid()? {
            Some(id) if wanted(&id) => Ok(Some(Matched {
                name: id.to_string(),
                realm: Realm::Domain(id.trust_domain().to_owned()),
            })),
            _ => Ok(None),
        }
    }

    /// Its SPIFFE id.
    ///
    /// # Errors
    ///
    /// Why it is no X.509-SVID, though it has a SPIFFE id.
    pub(super) fn svid(&self) -> Result<Option<SpiffeId>, String> {
        let mut uris = self.facts.uris();
        if !self.facts.uris().any(is_spiffe) {
            return Ok(None);
        }
        let (first, second) = (uris.next(), uris.next());
        //= X509-SVID §5.2: an SVID with more than one URI SAN is rejected
        let (Some(uri), None) = (first, second) else {
            return Err("it has several URIs: an X.509-SVID has exactly one".to_owned());
        };
        let id: SpiffeId = uri.parse().map_err(|error: ConfigError| {
            format!("its SPIFFE id is malformed: {}", error.reason)
        })?;
        //= X509-SVID §5.2: the SPIFFE id of a leaf has a path
        if id.path().is_empty() {
            return Err("its SPIFFE id has no path: it is a signing authority's".to_owned());
        }
        //= X509-SVID §5.2: a leaf has neither keyCertSign nor cRLSign
        if self.facts.signs {
            return Err("it may sign certificates: an X.509-SVID of a workload may not".to_owned());
        }
        Ok(Some(id))
    }
}

/// An IP address as a name to send: none is sent.
pub(super) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into())
}
