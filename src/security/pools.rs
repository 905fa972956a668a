//! Roots and revocation lists, ready to verify by. They are large, and shared by every policy that
//! trusts the same sources.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use rustls::pki_types::{TrustAnchor, UnixTime};
use webpki::VerifiedPath;

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

pub(super) fn system(time: UnixTime) -> SystemTime {
    let since = Duration::from_secs(time.as_secs());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}
