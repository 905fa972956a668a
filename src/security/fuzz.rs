//! What the fuzz target of certificates reaches. Compiled under `--cfg fuzzing` only.

#![allow(clippy::panic, clippy::expect_used, reason = "a finding is a panic")]

use rustls::pki_types::CertificateDer;

use super::{
    SpiffeId, TrustDomain,
    certificate::Facts,
    expected::{Expected, Leaf},
    pem,
    trust::Root,
};
use crate::config::{IdentityMatch, SanMatch, StringMatch};

/// Reads DER, PEM, bundle maps and names; what is read says nothing that breaks a line, and a name that is read
/// is the one that was written.
pub fn certificate(bytes: &[u8]) {
    let mut certificates = vec![CertificateDer::from(bytes.to_vec())];
    certificates.extend(pem::certificates(bytes).unwrap_or_default());
    drop(pem::revocation_lists(bytes));
    for der in &certificates {
        drop(Root::read(der));
        if let Ok(facts) = Facts::read(der) {
            for name in facts.names().iter().chain(&facts.principal()) {
                assert!(!name.is_empty(), "{facts:?}");
            }
            let lines: Vec<String> = facts.sans.iter().map(ToString::to_string).collect();
            assert!(!lines.concat().contains(char::is_control), "{lines:?}");
        }
        let Ok(leaf) = Leaf::read(der) else { continue };
        let id = leaf.svid();
        for expected in [
            IdentityMatch::Exact("cart.prod".to_owned()),
            IdentityMatch::Prefix("spiffe://prod.example".to_owned()),
            IdentityMatch::San(SanMatch::new(StringMatch::Contains(".".to_owned()))),
        ] {
            let expected = Expected::compile(&expected).expect("these are compiled");
            if let (Expected::Below(prefix), Ok(Some(_))) = (&expected, expected.check(&leaf)) {
                let id = id.clone().expect("a workload").expect("with an id");
                assert!(id.starts_with(prefix), "{id}");
            }
        }
    }
    #[cfg(any(feature = "file", feature = "xds"))]
    {
        match super::bundle_map::read(bytes) {
            Ok(domains) => {
                assert!(!domains.is_empty() && domains.iter().all(|(_, roots)| !roots.is_empty()));
            }
            Err(reason) => assert!(!reason.contains(char::is_control), "{reason:?}"),
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        assert!(id.starts_with(&id));
    }
    if let Ok(domain) = text.parse::<TrustDomain>() {
        assert!(text.ends_with(domain.as_str()));
    }
    for identity in [IdentityMatch::Exact, IdentityMatch::Prefix, IdentityMatch::TrustDomain] {
        drop(Expected::compile(&identity(text.to_owned())));
    }
}
