//! How connections are secured.

use super::{StringMatch, text::Text};

/// How connections of a cluster are secured.
///
/// The mode must be given with anything else: a cluster that says whom to trust, and not that
/// its connections are secured, would be plaintext.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ClusterSecurity {
    /// How far. Default: plaintext, and a call that says `https` is refused.
    pub mode: Option<SecurityMode>,
    /// Identities, one of which the endpoint must prove. Default: the host of the endpoint's authority, else
    /// that of the cluster's name. Who names nobody means the cluster's name: where that is the code, no endpoint
    /// proves another, and where it is a source, none of another source does, be it by identities of its own or
    /// by its authority.
    pub identities: Vec<IdentityMatch>,
    /// The name asked for in the handshake. Default: the endpoint's authority, else the name of
    /// the cluster.
    pub sni: Option<String>,
    /// Whether the name is the request's authority (xDS `auto_host_sni`, gRFC A101). Default:
    /// false. Not supported yet.
    pub sni_from_host: Option<bool>,
    /// Whether the name asked for is also the identity expected (xDS `auto_sni_san_validation`).
    /// Default: as without identities: it is. Not supported yet.
    pub verify_sni: Option<bool>,
    /// Protocols offered in the handshake, best first: `h2`, `http/1.1`; and names that Istio's proxies
    /// look at and nobody speaks, beside them: `istio`, `istio-h2`, `istio-http/1.1`, `istio-http/1.0`.
    /// Default: that of `protocol`, else both.
    pub alpn: Vec<String>,
    /// The own certificate. Default: the mesh's identity.
    pub certificate: Option<CertificateRef>,
    /// The roots that vouch for endpoints. Default: the mesh's, unless `bundles` or `system_roots`
    /// are given.
    pub roots: Option<CertificateRef>,
    /// Whether the system's roots vouch, beside those that are given here (gRFC A82, Gateway API `System`). Default: false.
    pub system_roots: Option<bool>,
    /// Roots by trust domain, beside the others (gRFC A87). Default: none.
    pub bundles: Option<CertificateRef>,
    /// Revocation lists. Default: those that come with the roots. Not supported yet. Source: gRFC
    /// A69.
    pub crl: Option<CertificateRef>,
    /// Digests of public keys, one of which the endpoint must have. Unit: base64 of SHA-256. Not
    /// supported yet. Source: xDS `verify_certificate_spki`.
    pub spki: Vec<String>,
    /// Digests of certificates, one of which the endpoint must have. Unit: hexadecimal SHA-256.
    /// Not supported yet. Source: xDS `verify_certificate_hash`.
    pub certificate_hashes: Vec<String>,
    /// The oldest version. Default: 1.2. Range: 1.2, 1.3.
    pub min_version: Option<TlsVersion>,
    /// The newest version. Default: 1.3. Range: 1.2, 1.3.
    pub max_version: Option<TlsVersion>,
    /// Cipher suites of TLS 1.2, by their names of IANA or OpenSSL. Default: the library's.
    pub ciphers: Vec<String>,
    /// Key exchange groups, the preferred one first. Default: the library's.
    pub groups: Vec<String>,
    /// Signature algorithms. Default: the library's. Not supported yet.
    pub signatures: Vec<String>,
    /// Certificates between the endpoint's and a root, at most. Default: no limit. Source: xDS
    /// `max_verify_depth`.
    pub max_verify_depth: Option<u32>,
    /// Session keys that are kept for resumption. Default: 8 tickets of each endpoint. Not supported
    /// yet. Source: xDS `max_session_keys`.
    pub max_session_keys: Option<u32>,
    /// Other settings, for endpoints that name them (`rule`). Source: xDS `transport_socket_matches`.
    pub matches: Vec<SecurityRule>,
}

/// How far connections are secured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SecurityMode {
    /// Plaintext, unless the endpoint says otherwise; on purpose, so that a call that says `https`
    /// is sent all the same.
    #[default]
    Off,
    /// The endpoint proves who it is.
    Tls,
    /// Both sides do.
    Mutual,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.0.
    #[cfg_attr(feature = "serde", serde(rename = "1.0"))]
    V1_0,
    /// TLS 1.1.
    #[cfg_attr(feature = "serde", serde(rename = "1.1"))]
    V1_1,
    /// TLS 1.2.
    #[cfg_attr(feature = "serde", serde(rename = "1.2"))]
    V1_2,
    /// TLS 1.3.
    #[cfg_attr(feature = "serde", serde(rename = "1.3"))]
    V1_3,
}

/// An identity that is expected of a peer.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum IdentityMatch {
    /// This DNS name or SPIFFE id.
    Exact(String),
    /// A SPIFFE id that begins so.
    Prefix(String),
    /// Any SPIFFE id of this trust domain.
    TrustDomain(String),
    /// A subject alternative name.
    San(SanMatch),
}

/// A match on a subject alternative name (xDS `match_typed_subject_alt_names`).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct SanMatch {
    /// Its kind. Default: any (xDS `match_subject_alt_names`).
    #[cfg_attr(feature = "serde", serde(default))]
    pub kind: Option<SanKind>,
    /// What it must be. Not `present`: any name would do.
    pub matcher: StringMatch,
    /// Whether it is compared without case. Default: false.
    #[cfg_attr(feature = "serde", serde(default))]
    pub ignore_case: bool,
    /// The object identifier of an other name.
    #[cfg_attr(feature = "serde", serde(default))]
    pub oid: Option<String>,
}

/// The kind of a subject alternative name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SanKind {
    /// A DNS name.
    Dns,
    /// A URI, such as a SPIFFE id.
    Uri,
    /// An email address.
    Email,
    /// An IP address.
    Ip,
    /// Another name.
    Other,
}

/// Certificates that a provider holds by name (gRFC A29's `certificate_provider_instance`): one of
/// [`Config::identities`](super::Config::identities), or one that the code has given.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct CertificateRef {
    /// The provider.
    pub provider: String,
    /// The name of the certificates there: those of `provider/name`. Default: those of `provider`.
    pub name: Option<String>,
}

/// Security of the endpoints that name it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct SecurityRule {
    /// Its name, which endpoints say; unique in its cluster.
    pub name: String,
    /// The labels of the endpoints that it is for, though they do not name it. Not supported yet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub labels: std::collections::BTreeMap<String, String>,
    /// What takes the place of the cluster's.
    pub security: Box<ClusterSecurity>,
}

impl ClusterSecurity {
    /// TLS: endpoints prove who they are: the name of their cluster, unless
    /// [`identities`](Self::identities) or an authority that may name them say otherwise.
    #[must_use]
    pub fn tls() -> Self {
        Self { mode: Some(SecurityMode::Tls), ..Self::default() }
    }

    /// Mutual TLS: endpoints prove the same, and the mesh who it is.
    #[must_use]
    pub fn mutual() -> Self {
        Self { mode: Some(SecurityMode::Mutual), ..Self::default() }
    }

    /// Plaintext, on purpose.
    #[must_use]
    pub fn off() -> Self {
        Self { mode: Some(SecurityMode::Off), ..Self::default() }
    }

    /// Adds an identity, one of which the endpoint must prove.
    #[must_use]
    pub fn identity(mut self, identity: IdentityMatch) -> Self {
        self.identities.push(identity);
        self
    }

    /// Whether it says who vouches for endpoints.
    pub(crate) fn says_trust(&self) -> bool {
        self.roots.is_some() || self.system_roots.is_some() || self.bundles.is_some()
    }

    /// This, and what it does not say from `far`; `roots`, `bundles` and `system_roots` are taken
    /// together.
    pub(crate) fn over(&self, far: Self) -> Self {
        fn list<T: Clone>(near: &[T], far: Vec<T>) -> Vec<T> {
            if near.is_empty() { far } else { near.to_vec() }
        }
        let near = self.clone();
        // Whom to trust is one thing: nobody adds roots to those that were chosen.
        let trust = if near.says_trust() {
            (near.roots, near.system_roots, near.bundles)
        } else {
            (far.roots, far.system_roots, far.bundles)
        };
        let (roots, system_roots, bundles) = trust;
        Self {
            mode: near.mode.or(far.mode),
            identities: list(&near.identities, far.identities),
            sni: near.sni.or(far.sni),
            sni_from_host: near.sni_from_host.or(far.sni_from_host),
            verify_sni: near.verify_sni.or(far.verify_sni),
            alpn: list(&near.alpn, far.alpn),
            certificate: near.certificate.or(far.certificate),
            roots,
            system_roots,
            bundles,
            crl: near.crl.or(far.crl),
            spki: list(&near.spki, far.spki),
            certificate_hashes: list(&near.certificate_hashes, far.certificate_hashes),
            min_version: near.min_version.or(far.min_version),
            max_version: near.max_version.or(far.max_version),
            ciphers: list(&near.ciphers, far.ciphers),
            groups: list(&near.groups, far.groups),
            signatures: list(&near.signatures, far.signatures),
            max_verify_depth: near.max_verify_depth.or(far.max_verify_depth),
            max_session_keys: near.max_session_keys.or(far.max_session_keys),
            // They stand for all of it: whoever says how far it is secured says these, too.
            matches: if near.mode.is_some() { near.matches } else { far.matches },
        }
    }
}

impl SanMatch {
    /// A match on names of any kind.
    #[must_use]
    pub fn new(matcher: StringMatch) -> Self {
        Self { kind: None, matcher, ignore_case: false, oid: None }
    }

    /// What takes names of this kind, compiled: those of DNS have no case.
    ///
    /// # Errors
    ///
    /// What is wrong with a regular expression: as one, or that it takes names that are nobody's.
    pub(crate) fn text(&self, kind: SanKind) -> Result<Text, String> {
        let text = Text::new(&self.matcher, self.ignore_case || kind == SanKind::Dns)?;
        let is_regex = matches!(self.matcher, StringMatch::Regex(_));
        if is_regex && nobody(kind).iter().any(|name| text.matches(name)) {
            return Err(ANY_NAME.to_owned());
        }
        Ok(text)
    }
}

impl SecurityRule {
    /// What secures the endpoints that name it, and those with these labels.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        labels: std::collections::BTreeMap<String, String>,
        security: ClusterSecurity,
    ) -> Self {
        Self { name: name.into(), labels, security: Box::new(security) }
    }
}

/// Names of this kind that nobody has: what takes one of them is no name of somebody.
//= RFC 6761 §6.4: no name below `invalid` is anybody's
//= RFC 5737 §3, RFC 3849 §2: nor are the addresses of documents
fn nobody(kind: SanKind) -> &'static [&'static str] {
    match kind {
        SanKind::Dns => &["nobody.invalid"],
        SanKind::Uri => &["spiffe://nobody.invalid/nobody", "https://nobody.invalid/"],
        SanKind::Email => &["nobody@nobody.invalid"],
        SanKind::Ip => &["192.0.2.1", "2001:db8::1"],
        SanKind::Other => &[],
    }
}

/// Why a match that takes any name is none.
pub(crate) const ANY_NAME: &str = "not supported yet, nor ever: anybody would pass whom a root \
                                   vouches for; say the name, or `trust_domain` for any SPIFFE id \
                                   of one";

/// Whether Istio's proxies look at it to tell calls of their mesh from others, and nobody speaks it.
/// `istio-peer-exchange` is none: who agrees to it waits for another protocol before HTTP.
pub(crate) fn is_of_istio(alpn: &str) -> bool {
    matches!(alpn, "istio" | "istio-h2" | "istio-http/1.1" | "istio-http/1.0")
}
