//! Who we are: the own key and its chain, over time.

use std::{pin::Pin, sync::Weak, time::SystemTime};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    Provider, TlsError, TlsErrorKind,
    certificate::{Facts, San},
    source::{self, Reports, Source, Writer},
};
use crate::config::SanKind;

/// A source of the own key and certificate chain, as [`Discover`](crate::Discover) is one of
/// endpoints.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of identity",
    note = "implement `name` and `run`; `KeyPair` is the one of PEM files"
)]
pub trait Identity: Send + 'static {
    /// What reports call it: `key pair tls.crt, tls.key`.
    fn name(&self) -> String;

    /// Publishes the first pair and each that follows, until it is dropped, which the mesh does
    /// when it ends.
    ///
    /// A source that has nothing more to say may return; what it has published stays. Until the
    /// first pair is published or [refused](IdentityPublisher::refused), connections wait for it.
    fn run(self: Box<Self>, publish: IdentityPublisher)
    -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Publishes the own key and chain. A pair that cannot be used is refused with its reason, and the
/// last good one stays in force.
#[derive(Clone, Debug)]
pub struct IdentityPublisher {
    writer: Writer<Own>,
    provider: Provider,
}

/// The reading side of an identity.
pub(crate) type IdentityHandle = Source<Own>;

/// A key with its chain, checked.
#[derive(Debug)]
pub(crate) struct Own {
    pub(super) key: std::sync::Arc<CertifiedKey>,
    pub(super) facts: Facts,
}

impl IdentityHandle {
    /// A source that has said nothing yet, and what writes it.
    pub(crate) fn identity(
        name: &str,
        provider: &Provider,
        reports: Weak<dyn Reports>,
    ) -> (IdentityPublisher, Self) {
        let (writer, handle) = source::channel(format!("identity {name}"), reports);
        (IdentityPublisher { writer, provider: Provider::clone(provider) }, handle)
    }
}

impl Own {
    /// The names of the certificate.
    pub(crate) fn names(&self) -> Vec<String> {
        self.facts.names()
    }

    /// The same, each with its kind; those that nothing compares left out.
    pub(crate) fn sans(&self) -> Vec<(SanKind, String)> {
        self.facts.sans.iter().filter_map(San::typed).collect()
    }

    /// The end of its validity.
    pub(crate) fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

impl IdentityPublisher {
    /// Puts a pair in force: the chain with the own certificate first, and its private key in
    /// PKCS#8, PKCS#1 or SEC1, both PEM.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, they do not belong together, or the certificate is not
    /// valid now. The last good pair stays, and the reason is reported.
    pub fn pem(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.publish(self.read_pem((None, chain), (None, key)))
    }

    /// As [`pem`](Self::pem), with the files' names; tells the end of the certificate's validity.
    pub(super) fn pem_until(
        &self,
        (chain, chain_pem): (&str, &[u8]),
        (key, key_pem): (&str, &[u8]),
    ) -> Option<SystemTime> {
        let read = self.read_pem((Some(chain), chain_pem), (Some(key), key_pem));
        let until = read.as_ref().ok().map(|own| own.facts.not_after);
        self.publish(read).ok().and(until)
    }

    /// Puts a pair in force: the chain with the own certificate first, and its private key in
    /// PKCS#8, PKCS#1 or SEC1, all DER.
    ///
    /// # Errors
    ///
    /// As [`pem`](Self::pem).
    pub fn der(&self, chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<(), TlsError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key =
            PrivateKeyDer::try_from(key).map_err(|reason| refuse(format!("the key: {reason}")));
        self.publish(key.and_then(|key| self.read(chain, key)))
    }

    /// Reports that no pair could be had; the last good one stays.
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

    fn publish(&self, read: Result<Own, TlsError>) -> Result<(), TlsError> {
        match read {
            Ok(own) => {
                self.writer.accept(own);
                Ok(())
            }
            Err(error) => {
                self.writer.refuse(error.what());
                Err(error)
            }
        }
    }

    fn read_pem(
        &self,
        (chain_file, chain): (Option<&str>, &[u8]),
        (key_file, key): (Option<&str>, &[u8]),
    ) -> Result<Own, TlsError> {
        let chain = super::pem::certificates(chain)
            .map_err(|reason| refuse(format!("{}: {reason}", chain_file.unwrap_or("the chain"))))?;
        let read = PrivateKeyDer::from_pem_slice(key);
        let key = read.map_err(|error| refuse(super::pem::no_key(key, key_file, &error)))?;
        self.read(chain, key)
    }

    fn read(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Own, TlsError> {
        let Some(leaf) = chain.first() else {
            return Err(refuse("the chain is empty".to_owned()));
        };
        let facts =
            Facts::read(leaf).map_err(|reason| refuse(format!("the certificate: {reason}")))?;
        if super::is_past(facts.not_after) {
            let until = super::date(facts.not_after);
            return Err(refuse(format!("the certificate was valid until {until}")));
        }
        if SystemTime::now() < facts.not_before {
            let from = super::date(facts.not_before);
            return Err(refuse(format!("the certificate is not valid before {from}")));
        }
        let key =
            CertifiedKey::from_der(chain, key, &self.provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => refuse(
                    "the key does not belong to the certificate: are both of the same rotation?"
                        .to_owned(),
                ),
                error => refuse(format!("the key cannot be used: {error}")),
            })?;
        Ok(Own { key: key.into(), facts })
    }
}

fn refuse(what: String) -> TlsError {
    TlsError::new(TlsErrorKind::NoIdentity, what)
}
