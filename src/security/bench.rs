//! What the benches measure: the handshake without transport. Not part of the API.

#![allow(missing_docs, reason = "for the benches of this crate only")]

use std::sync::{Arc, Weak};

use hyper::rt::{Read, Write};

use super::{
    ClientTls, IdentityHandle, Policy, Report, Reports, Roots, TlsError, TlsErrorKind, TlsIo,
    TrustHandle, provider,
};
use crate::config::IdentityMatch;

/// The mutual TLS of one endpoint.
#[derive(Clone, Debug)]
pub struct Bench(ClientTls);

struct Nobody;

impl Reports for Nobody {
    fn report(&self, _part: &Arc<str>, _report: Report) {}

    fn is_closed(&self) -> bool {
        false
    }
}

impl Bench {
    /// # Errors
    ///
    /// When one of these cannot be used.
    pub fn new(roots: &[u8], chain: &[u8], key: &[u8], expected: &str) -> Result<Self, TlsError> {
        let crypto = provider(None)?;
        let nobody: Weak<dyn Reports> = Weak::<Nobody>::new();
        let (publish, trust) = TrustHandle::trust("bench", Weak::clone(&nobody));
        publish.roots(Roots::new().pem(roots)?)?;
        let (publish, identity) = IdentityHandle::identity("bench", &crypto, nobody);
        publish.pem(chain, key)?;
        let expected = vec![IdentityMatch::Exact(expected.to_owned())];
        let mut policy = Policy::new(crypto, trust, expected);
        policy.identity = Some(identity);
        policy.alpn = vec!["h2".to_owned()];
        let refused = |errors| TlsError::new(TlsErrorKind::NoTrust, format!("{errors}"));
        ClientTls::new(policy).map(Self).map_err(refused)
    }

    /// The same for another endpoint, without sessions.
    #[must_use]
    pub fn endpoint(&self) -> Self {
        Self(self.0.endpoint())
    }

    /// Whether it was resumed, and the stream.
    ///
    /// # Errors
    ///
    /// As the handshake.
    pub async fn handshake<I>(&self, io: I) -> Result<(bool, impl Read + Write + Unpin), TlsError>
    where
        I: Read + Write + Unpin + Send,
    {
        let made = self.0.handshake(io).await?;
        let io: TlsIo<I> = made.io;
        Ok((made.peer.resumed, io))
    }
}
