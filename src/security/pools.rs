//! Roots and revocation lists, ready to verify by. They are large, and shared by every policy that
//! trusts the same sources.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, VerifiedPath};

use super::{
    TlsError, TlsErrorKind, TrustDomain,
    certificate::Facts,
    expected::{Leaf, Realm},
    trust::{Anchors, Crl, Root},
};

/// What vouches, by the names that it vouches for.
#[derive(Debug)]
pub(super) struct Pools {
    any: Pool,
    domains: BTreeMap<TrustDomain, Pool>,
    pub(super) crls: Vec<Crl>,
    /// Whether everybody is believed.
    pub(super) unchecked: bool,
}

/// So many ways to choose lists of the same name are tried.
const MAX_CHOICES: usize = 64;

/// Roots that vouch for the same names.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<Root>,
}

// === impl Pools ===

impl Pools {
    pub(super) fn new(anchors: Anchors) -> Self {
        let Anchors { any, domains, crls, unchecked, .. } = anchors;
        let domains = domains.into_iter();
        let domains = domains.map(|(domain, roots)| (domain, Pool::new(roots))).collect();
        Self { any: Pool::new(any), domains, crls, unchecked }
    }

    /// The roots that may vouch for names of this realm.
    pub(super) fn of(&self, realm: &Realm) -> Result<&Pool, TlsError> {
        let unknown = |what: String| Err(TlsError::new(TlsErrorKind::UnknownCa, what));
        match realm {
            Realm::Any if self.any.anchors.is_empty() => unknown(
                "the roots are given by trust domain, and vouch for SPIFFE ids only".to_owned(),
            ),
            Realm::Domain(domain) if !self.domains.is_empty() => {
                match self.domains.get(&**domain) {
                    Some(pool) => Ok(pool),
                    None => unknown(format!("there are no roots for the trust domain {domain}")),
                }
            }
            Realm::Any | Realm::Domain(_) => Ok(&self.any),
        }
    }
}

impl Pools {
    /// The lists that may speak of a chain, in each way in which no two are of one name: a CA that was
    /// made anew under its name has two, and webpki looks at the first that it is given.
    pub(super) fn lists(
        &self,
        leaf: &Leaf<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<Vec<Vec<&CertRevocationList<'static>>>, TlsError> {
        let above = intermediates.iter().filter_map(|der| EndEntityCert::try_from(der).ok());
        let above = above.map(|certificate| certificate.issuer().to_vec());
        let own = leaf.certificate.issuer().to_vec();
        let mut issuers: Vec<Vec<u8>> = std::iter::once(own).chain(above).collect();
        issuers.sort_unstable();
        issuers.dedup();
        let mut choices = vec![Vec::new()];
        for issuer in &issuers {
            let named = self.crls.iter().map(|crl| &*crl.list);
            let named: Vec<_> = named.filter(|list| list.issuer() == &**issuer).collect();
            if named.is_empty() {
                continue;
            }
            if choices.len() * named.len() > MAX_CHOICES {
                let what = "there are too many revocation lists of its CAs' names";
                return Err(TlsError::new(TlsErrorKind::BadCertificate, what));
            }
            let mut next = Vec::with_capacity(choices.len() * named.len());
            for chosen in &choices {
                for list in &named {
                    let mut chosen: Vec<_> = Vec::clone(chosen);
                    chosen.push(*list);
                    next.push(chosen);
                }
            }
            choices = next;
        }
        Ok(choices)
    }
}

// === impl Pool ===

impl Pool {
    fn new(roots: Vec<Root>) -> Self {
        let anchors = roots.iter().map(|root| root.anchor.clone()).collect();
        Self { anchors, roots }
    }

    /// The longest lived of the certificates of this key and name.
    pub(super) fn root(&self, anchor: &TrustAnchor<'_>) -> Option<&Root> {
        let same = self.roots.iter().filter(|root| root.anchor == *anchor);
        same.max_by_key(|root| root.not_after)
    }

    /// Whether one of the certificates of this key and name is valid now.
    ///
    /// # Errors
    ///
    /// Why none is.
    //= RFC 5280 §6.2: it is free to process what a trust anchor's certificate says; its dates are
    pub(super) fn valid(
        &self,
        anchor: &TrustAnchor<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let at = system(now);
        let mut same = self.roots.iter().filter(|root| root.anchor == *anchor);
        if same.any(|root| root.not_before <= at && at <= root.not_after) {
            return Ok(());
        }
        let root = self.root(anchor).ok_or(webpki::Error::UnknownIssuer)?;
        Err(if at > root.not_after {
            webpki::Error::CertExpired { time: now, not_after: unix(root.not_after) }
        } else {
            webpki::Error::CertNotValidYet { time: now, not_before: unix(root.not_before) }
        })
    }

    /// When the first certificate of a path ends. One whose end cannot be read vouches for `now`.
    pub(super) fn end(
        &self,
        path: &VerifiedPath<'_>,
        leaf: &Leaf<'_>,
        now: UnixTime,
    ) -> SystemTime {
        let root = self.root(path.anchor()).map_or_else(|| system(now), |root| root.not_after);
        let between = path.intermediate_certificates().map(|certificate| {
            Facts::read(&certificate.der()).map_or_else(|_| system(now), |facts| facts.not_after)
        });
        between.fold(root.min(leaf.facts.not_after), SystemTime::min)
    }
}

pub(super) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

pub(super) fn system(time: UnixTime) -> SystemTime {
    let since = Duration::from_secs(time.as_secs());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
