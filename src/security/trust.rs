//! Who vouches for others: roots, by trust domain or for everybody, and what they have revoked.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Weak},
    time::SystemTime,
};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::{
    TlsError, TlsErrorKind, TrustDomain,
    certificate::Facts,
    pem,
    source::{self, Reports, Source, Writer},
};

/// A source of what vouches for endpoints, as [`Discover`](crate::Discover) is one of endpoints.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of trust",
    note = "implement `name` and `run`; `Trust` is the one of PEM files"
)]
pub trait Verify: Send + 'static {
    /// What reports call it: `bundle ca.crt`.
    fn name(&self) -> String;

    /// Publishes the first roots and those that follow, until it is dropped, which the mesh does
    /// when it ends.
    ///
    /// A source that has nothing more to say may return; what it has published stays. Until the
    /// first roots are published or [refused](TrustPublisher::refused), connections wait for them.
    fn run(self: Box<Self>, publish: TrustPublisher) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Publishes roots. A set that cannot be used is refused with its reason, and the last good one
/// stays in force.
#[derive(Clone, Debug)]
pub struct TrustPublisher {
    writer: Writer<Anchors>,
}

/// The reading side of a trust source.
pub(crate) type TrustHandle = Source<Anchors>;

/// What vouches, as certificates.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Roots {
    any: Vec<CertificateDer<'static>>,
    domains: BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>,
    /// Of the operating system, for any name.
    system: Vec<CertificateDer<'static>>,
    crls: Vec<Vec<u8>>,
    unchecked: bool,
}

/// What vouches, ready to verify by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Anchors {
    /// For any name.
    pub(super) any: Vec<Root>,
    /// For the SPIFFE ids of a trust domain.
    pub(super) domains: BTreeMap<TrustDomain, Vec<Root>>,
    pub(super) crls: Vec<Crl>,
    /// When the first of the roots expires, those of the system left out.
    until: Option<SystemTime>,
    /// Whether everybody is believed: only code can say so.
    pub(super) unchecked: bool,
}

/// One root.
#[derive(Clone)]
pub(super) struct Root {
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) subject: Arc<str>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// One revocation list.
#[derive(Clone)]
pub(super) struct Crl {
    pub(super) list: Arc<CertRevocationList<'static>>,
    der: Vec<u8>,
}

impl TrustHandle {
    /// A source that has said nothing yet, and what writes it.
    pub(crate) fn trust(name: &str, reports: Weak<dyn Reports>) -> (TrustPublisher, Self) {
        let (writer, handle) = source::channel(format!("trust {name}"), reports);
        (TrustPublisher { writer }, handle)
    }
}

// === impl TrustPublisher ===

impl TrustPublisher {
    /// Puts roots in force. They take the place of all that this source has published before: a
    /// root that is missing vouches for nobody any more, and the connections that it has vouched
    /// for are drained.
    ///
    /// # Errors
    ///
    /// When a certificate or list cannot be read, one is no CA's, or there is none. The last good
    /// roots stay, and the reason is reported.
    pub fn roots(&self, roots: Roots) -> Result<(), TlsError> {
        match Anchors::read(roots) {
            Ok(anchors) => {
                self.writer.accept(anchors);
                Ok(())
            }
            Err(reason) => {
                self.writer.refuse(&reason);
                Err(TlsError::new(TlsErrorKind::NoTrust, reason))
            }
        }
    }

    /// Reports that no roots could be had; the last good ones stay.
    pub fn refused(&self, reason: &str) {
        self.writer.refuse(reason);
    }

    /// Its source will say nothing more: reported, if it has said nothing at all.
    ///
    /// Whoever has watched it for panics has the only other clone: a source that returns may have
    /// left its own to somebody who speaks later.
    pub(crate) fn over(self) {
        if self.writer.clones() <= 2 && self.writer.is_silent() {
            self.writer.refuse(source::SILENT);
        }
    }

    /// Whether the mesh is shut down or gone: it takes nothing any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }
}

// === impl Roots ===

impl Roots {
    /// Nobody vouches yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds roots that vouch for any name. DER.
    pub fn der(mut self, certificates: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.any.extend(certificates.into_iter().map(CertificateDer::from));
        self
    }

    /// Adds roots that vouch for any name. PEM, one certificate or several.
    ///
    /// # Errors
    ///
    /// When it is not PEM, or there is no certificate in it.
    pub fn pem(mut self, bundle: &[u8]) -> Result<Self, TlsError> {
        self.any.extend(pem::certificates(bundle).map_err(refuse)?);
        Ok(self)
    }

    /// Adds roots that vouch for the SPIFFE ids of one trust domain. DER.
    pub fn domain_der(
        mut self,
        domain: TrustDomain,
        certificates: impl IntoIterator<Item = Vec<u8>>,
    ) -> Self {
        let roots = self.domains.entry(domain).or_default();
        roots.extend(certificates.into_iter().map(CertificateDer::from));
        self
    }

    /// Adds roots that vouch for the SPIFFE ids of one trust domain. PEM.
    ///
    /// # Errors
    ///
    /// When it is not PEM, or there is no certificate in it.
    pub fn domain_pem(mut self, domain: TrustDomain, bundle: &[u8]) -> Result<Self, TlsError> {
        let roots = pem::certificates(bundle).map_err(refuse)?;
        self.domains.entry(domain).or_default().extend(roots);
        Ok(self)
    }

    /// Adds revocation lists. PEM, one or several.
    ///
    /// # Errors
    ///
    /// When it is not PEM, or there is no list in it.
    pub fn crl_pem(mut self, lists: &[u8]) -> Result<Self, TlsError> {
        self.crls.extend(pem::revocation_lists(lists).map_err(refuse)?);
        Ok(self)
    }

    /// Adds a revocation list. DER.
    pub fn crl_der(mut self, list: Vec<u8>) -> Self {
        self.crls.push(list);
        self
    }

    /// Adds roots of the operating system. DER.
    pub(super) fn system(mut self, certificates: Vec<Vec<u8>>) -> Self {
        self.system.extend(certificates.into_iter().map(CertificateDer::from));
        self
    }

    /// Believes everybody.
    pub(super) fn unchecked() -> Self {
        Self { unchecked: true, ..Self::default() }
    }
}

fn refuse(reason: String) -> TlsError {
    TlsError::new(TlsErrorKind::NoTrust, reason)
}

// === impl Anchors ===

impl Anchors {
    fn read(roots: Roots) -> Result<Self, String> {
        let Roots { any, domains, system, crls, unchecked } = roots;
        let mut any = Root::read_all(&any)?;
        let mut read = BTreeMap::new();
        for (domain, roots) in domains {
            let roots = Root::read_all(&roots).map_err(|why| format!("{domain}: {why}"))?;
            if roots.is_empty() {
                return Err(format!("trust domain {domain} has no root"));
            }
            read.insert(domain, roots);
        }
        let own = any.iter().chain(read.values().flatten());
        let until = own.map(|root: &Root| root.not_after).min();
        for root in Root::read_all(&system)? {
            if !any.contains(&root) {
                any.push(root);
            }
        }
        if any.is_empty() && read.is_empty() && crls.is_empty() && !unchecked {
            return Err("there is no root".to_owned());
        }
        let crls = crls.into_iter().map(Crl::read).collect::<Result<_, _>>()?;
        Ok(Self { any, domains: read, crls, until, unchecked })
    }

    /// Adds what another source says.
    pub(super) fn add(&mut self, other: &Self) {
        self.any.extend(other.any.iter().cloned());
        for (domain, roots) in &other.domains {
            self.domains.entry(domain.clone()).or_default().extend(roots.iter().cloned());
        }
        self.crls.extend(other.crls.iter().cloned());
        self.unchecked |= other.unchecked;
    }

    /// Whether there is nothing to verify by.
    pub(super) fn is_empty(&self) -> bool {
        self.any.is_empty() && self.domains.is_empty() && !self.unchecked
    }

    /// One line for `describe()`: how many roots, for whom.
    pub(crate) fn summary(&self) -> String {
        if self.unchecked {
            return "everybody is believed (dangerous)".to_owned();
        }
        let mut parts = Vec::new();
        if !self.any.is_empty() {
            parts.push(format!("{} roots for any name", self.any.len()));
        }
        for (domain, roots) in &self.domains {
            parts.push(format!("{} roots for {domain}", roots.len()));
        }
        if !self.crls.is_empty() {
            parts.push(format!("{} revocation lists", self.crls.len()));
        }
        parts.join(", ")
    }

    /// When the first of the roots expires; those of the operating system are not ours to renew.
    pub(crate) fn not_after(&self) -> Option<SystemTime> {
        self.until
    }
}

impl PartialEq for Anchors {
    fn eq(&self, other: &Self) -> bool {
        self.any == other.any
            && self.domains == other.domains
            && self.crls == other.crls
            && self.unchecked == other.unchecked
    }
}

// === impl Root ===

impl Root {
    fn read_all(certificates: &[CertificateDer<'static>]) -> Result<Vec<Self>, String> {
        let mut roots: Vec<Self> = Vec::with_capacity(certificates.len());
        for (index, der) in certificates.iter().enumerate() {
            let root = Self::read(der).map_err(|why| format!("root {}: {why}", index + 1))?;
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        Ok(roots)
    }

    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let facts = Facts::read(der)?;
        if !facts.is_ca {
            return Err(format!("`{}` is no CA's certificate", facts.subject));
        }
        let anchor = webpki::anchor_from_trusted_cert(der);
        let anchor = anchor.map_err(|error| format!("`{}`: {error}", facts.subject))?.to_owned();
        let Facts { not_before, not_after, subject, .. } = facts;
        Ok(Self { anchor, subject: subject.into(), not_before, not_after })
    }
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.anchor == other.anchor
            && (self.not_before, self.not_after) == (other.not_before, other.not_after)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Root").field(&self.subject).finish()
    }
}

// === impl Crl ===

impl Crl {
    fn read(der: Vec<u8>) -> Result<Self, String> {
        let list = OwnedCertRevocationList::from_der(&der);
        let list = list.map_err(|error| format!("a revocation list cannot be used: {error}"))?;
        Ok(Self { list: Arc::new(list.into()), der })
    }
}

impl PartialEq for Crl {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl").finish_non_exhaustive()
    }
}
