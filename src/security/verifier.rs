//! The endpoint's certificate, verified inside of the handshake.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
};
use webpki::{
    CertRevocationList, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::{
    TlsError, TlsErrorKind,
    expected::{Expected, Leaf, Matched, Realm},
    pools::{Pool, Pools, system, unix},
};

/// What an endpoint's certificate must keep to.
#[derive(Debug)]
pub(super) struct Rules {
    pools: Arc<Pools>,
    expected: Arc<[Expected]>,
    /// The same for a reader.
    names: Arc<[String]>,
    max_depth: Option<u32>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who an endpoint is, and who vouched for it.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The expected name that it proved; nothing if none was asked for.
    pub(super) name: Option<String>,
    /// All of its names.
    pub(super) names: Vec<String>,
    /// When the first certificate of its chain ends, the root's among them; if nothing was asked
    /// for, its own.
    pub(super) not_after: Option<SystemTime>,
    /// The root, and where it stands; nothing if none was asked.
    pub(super) root: Option<(TrustAnchor<'static>, Realm)>,
}

/// The root that vouches, and until when its chain does.
type Vouching = (TrustAnchor<'static>, SystemTime);

/// Verifies the certificates of one endpoint, and remembers what it has found.
#[derive(Debug)]
pub(super) struct Verifier {
    rules: Arc<Rules>,
    seen: Mutex<VecDeque<(CertificateDer<'static>, Arc<Verdict>)>>,
}

/// An endpoint has one certificate at a time, and another while it rotates.
const REMEMBERED: usize = 4;

// === impl Rules ===

impl Rules {
    pub(super) fn new(
        pools: Arc<Pools>,
        expected: Arc<[Expected]>,
        names: Arc<[String]>,
        max_depth: Option<u32>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { pools, expected, names, max_depth, algorithms }
    }

    #[cfg(test)]
    pub(super) fn pools_for_tests(&self) -> Arc<Pools> {
        Arc::clone(&self.pools)
    }

    /// Who has this chain.
    ///
    /// # Errors
    ///
    /// Why it is not believed.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verdict, TlsError> {
        let read = Leaf::read(leaf);
        if self.pools.unchecked {
            return Ok(Verdict {
                name: None,
                names: read.as_ref().map_or_else(|_| Vec::new(), |leaf| leaf.facts.names()),
                not_after: read.ok().map(|leaf| leaf.facts.not_after),
                root: None,
            });
        }
        let leaf = read.map_err(|why| {
            TlsError::new(
                TlsErrorKind::BadCertificate,
                format!("the certificate was refused: {why}"),
            )
            .expecting(&self.names)
        })?;
        let checked = self.check_names(&leaf, intermediates, now);
        let (matched, (root, not_after)) =
            checked.map_err(|error| error.presented(&leaf.facts.names()).expecting(&self.names))?;
        Ok(Verdict {
            name: Some(matched.name),
            names: leaf.facts.names(),
            not_after: Some(not_after),
            root: Some((root, matched.realm)),
        })
    }

    /// The first expected name that the certificate has and that its roots may give.
    fn check_names(
        &self,
        leaf: &Leaf<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(Matched, Vouching), TlsError> {
        //= RFC 8446 §4.4.2.2, RFC 5246 §7.4.2: what a handshake is signed with may sign
        if !leaf.facts.signs_handshakes {
            let what = "the certificate was refused: its key usage lacks digitalSignature, by which \
                        handshakes are signed";
            return Err(TlsError::new(TlsErrorKind::BadCertificate, what));
        }
        let mut refused = None;
        for expected in &*self.expected {
            match expected.check(leaf) {
                Ok(Some(matched)) => {
                    match self.check_chain(leaf, &matched.realm, intermediates, now) {
                        Ok(vouching) => return Ok((matched, vouching)),
                        Err(error) => refused = Some(error),
                    }
                }
                Ok(None) => {}
                Err(why) => {
                    let what = format!("the certificate was refused: {why}");
                    refused = Some(TlsError::new(TlsErrorKind::BadCertificate, what));
                }
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        // A certificate of nobody that is trusted says nothing of who somebody is.
        let realm = match leaf.svid() {
            Ok(Some(id)) => Realm::Domain(id.trust_domain().to_owned()),
            Ok(None) | Err(_) => Realm::Any,
        };
        self.check_chain(leaf, &realm, intermediates, now)?;
        let what = "the endpoint is somebody else";
        Err(TlsError::new(TlsErrorKind::WrongIdentity, what))
    }

    fn check_chain(
        &self,
        leaf: &Leaf<'_>,
        realm: &Realm,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vouching, TlsError> {
        let pool = self.pools.of(realm)?;
        let (mut vouching, mut refused) = (None, None);
        for lists in self.pools.lists(leaf, intermediates)? {
            match self.check_by(&lists, leaf, pool, intermediates, now) {
                Ok(found) => vouching = Some(found),
                // A list of the same name may be that of the key which signed.
                Err(error) if is_of_another_key(&error) => refused = Some(error),
                Err(error) => return Err(explain(error, leaf, now)),
            }
        }
        let refused = refused.unwrap_or(webpki::Error::UnknownIssuer);
        vouching.ok_or_else(|| explain(refused, leaf, now))
    }

    /// The same by these lists, no two of which are of one name.
    fn check_by(
        &self,
        lists: &[&CertRevocationList<'_>],
        leaf: &Leaf<'_>,
        pool: &Pool,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vouching, webpki::Error> {
        let too_long = |path: &VerifiedPath<'_>| {
            let depth = u32::try_from(path.intermediate_certificates().count());
            self.max_depth.is_some_and(|max| depth.map_or(true, |depth| depth > max))
        };
        let fits = |path: &VerifiedPath<'_>| {
            pool.valid(path.anchor(), now)?;
            if too_long(path) {
                return Err(webpki::Error::MaximumPathDepthExceeded);
            }
            Ok(())
        };
        let path = leaf.certificate.verify_for_usage(
            self.algorithms.all,
            &pool.anchors,
            intermediates,
            now,
            KeyUsage::server_auth(),
            revocation(lists),
            Some(&fits),
        )?;
        Ok((path.anchor().to_owned(), pool.end(&path, leaf, now)))
    }

    /// Whether the root of an earlier verdict still vouches for its name. Where nothing was asked
    /// for, it does not stand as soon as something is.
    pub(super) fn vouch(&self, verdict: &Verdict) -> bool {
        let Some((root, realm)) = &verdict.root else { return self.pools.unchecked };
        self.pools.unchecked || self.pools.of(realm).is_ok_and(|pool| pool.root(root).is_some())
    }

    /// Whether a chain that was believed is so no more, because of a list. Asked of the roots that
    /// vouched for it, and as of a time at which it had not ended: a chain that has ended since is
    /// looked up in the lists as well. Whatever else is found counts, too, for the certificate that
    /// ended may be what is told of a chain that is revoked.
    pub(super) fn revoke(&self, verdict: &Verdict, chain: &[CertificateDer<'_>]) -> bool {
        let (Some((_, realm)), Some((leaf, rest))) = (&verdict.root, chain.split_first()) else {
            return false;
        };
        if self.pools.unchecked || self.pools.crls.is_empty() {
            return false;
        }
        let now = UnixTime::now();
        let at = verdict.not_after.map_or(now, |end| now.min(unix(end)));
        let read = Leaf::read(leaf);
        read.map_or(true, |leaf| self.check_chain(&leaf, realm, rest, at).is_err())
    }
}

/// Whoever has a list is compared with it, along the whole chain. A list that is out of date still
/// counts: what it has revoked stays revoked.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = options
        .with_depth(RevocationCheckDepth::Chain)
        .with_status_policy(UnknownStatusPolicy::Allow)
        .with_expiration_policy(ExpirationPolicy::Ignore);
    Some(options.build())
}

/// Whether a signature is not of the key that it was compared with: all that a list is refused for which
/// another CA of the same name has made.
fn is_of_another_key(error: &webpki::Error) -> bool {
    use webpki::Error as E;
    matches!(
        error,
        E::InvalidCrlSignatureForPublicKey
            | E::InvalidSignatureForPublicKey
            | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
    )
}

fn explain(error: webpki::Error, leaf: &Leaf<'_>, now: UnixTime) -> TlsError {
    use webpki::Error as E;
    let whose = |own: bool| if own { "the certificate" } else { "a certificate of its chain" };
    let at = system(now);
    let (kind, what) = match error {
        E::CertExpired { not_after, .. } => {
            let own = leaf.facts.not_after < at;
            let until = super::until(system(not_after));
            (TlsErrorKind::Expired, format!("{} has expired: {until}", whose(own)))
        }
        E::CertNotValidYet { not_before, .. } => {
            let own = leaf.facts.not_before > at;
            let from = super::from(system(not_before));
            (TlsErrorKind::NotYetValid, format!("{} is not valid yet: {from}", whose(own)))
        }
        E::UnknownIssuer => {
            (TlsErrorKind::UnknownCa, "no trusted root vouches for the certificate".to_owned())
        }
        E::InvalidSignatureForPublicKey => (
            TlsErrorKind::UnknownCa,
            "no trusted root vouches for the certificate: one has the name of its issuer, and \
             another key"
                .to_owned(),
        ),
        E::CertRevoked => (
            TlsErrorKind::Revoked,
            "the certificate, or one of its chain, has been revoked".to_owned(),
        ),
        E::MaximumPathDepthExceeded => {
            (TlsErrorKind::BadCertificate, "the chain is longer than allowed".to_owned())
        }
        E::CaUsedAsEndEntity => (
            TlsErrorKind::BadCertificate,
            "the certificate is a CA's, not an endpoint's".to_owned(),
        ),
        other => (TlsErrorKind::BadCertificate, format!("the certificate was refused: {other}")),
    };
    // The verifier's own words are names of its types; ours say all that they do.
    TlsError::new(kind, what)
}

// === impl Verifier ===

impl Verifier {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Self { rules, seen: Mutex::default() }
    }

    /// What was found of this chain, in this handshake or in the one that it resumes.
    pub(super) fn verdict(
        &self,
        chain: &[CertificateDer<'static>],
    ) -> Result<Arc<Verdict>, TlsError> {
        let Some((leaf, rest)) = chain.split_first() else {
            let what = "the endpoint showed no certificate";
            return Err(TlsError::new(TlsErrorKind::BadCertificate, what));
        };
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = seen.iter().find(|(der, _)| der == leaf);
        let found = found.map(|(_, verdict)| Arc::clone(verdict));
        drop(seen);
        match found {
            Some(verdict) => Ok(verdict),
            None => self.rules.check(leaf, rest, UnixTime::now()).map(Arc::new),
        }
    }

    fn remember(&self, leaf: &CertificateDer<'_>, verdict: Verdict) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|(der, _)| der != leaf);
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back((leaf.clone().into_owned(), Arc::new(verdict)));
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.rules.check(end_entity, intermediates, now) {
            Ok(verdict) => {
                self.remember(end_entity, verdict);
                Ok(ServerCertVerified::assertion())
            }
            Err(error) => Err(CertificateError::Other(OtherError(Arc::new(error))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.rules.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.rules.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.algorithms.supported_schemes()
    }
}
