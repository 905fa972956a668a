//! Which cryptography: the application's choice, else what is compiled in.

use std::{fmt, sync::Arc};

use super::{TlsError, TlsErrorKind};

/// What every handshake computes with.
pub(crate) type Provider = Arc<rustls::crypto::CryptoProvider>;

/// The cryptography that TLS uses.
///
/// Default: aws-lc (feature `tls`, post-quantum key exchange first), else ring (feature `tls-ring`).
/// The one that a process has installed in rustls as its default is not used, and the mesh installs
/// none. One of your own comes from `Arc<rustls::crypto::CryptoProvider>` (feature `rustls-023`).
#[derive(Clone)]
pub struct CryptoProvider(Provider);

impl fmt::Debug for CryptoProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CryptoProvider").finish_non_exhaustive()
    }
}

#[cfg(feature = "rustls-023")]
impl From<Provider> for CryptoProvider {
    fn from(provider: Provider) -> Self {
        Self(provider)
    }
}

/// What a provider is called: whose it is, and what it agrees on keys by, the preferred one first.
pub(crate) fn describe(provider: &Provider, is_given: bool) -> String {
    let whose = match (is_given, cfg!(feature = "tls-aws-lc-rs")) {
        (true, _) => "the application's own",
        (false, true) => "aws-lc",
        (false, false) => "ring",
    };
    let groups = provider.kx_groups.iter().map(|group| format!("{:?}", group.name()));
    format!("{whose}: {}", groups.collect::<Vec<_>>().join(", "))
}

/// The application's own, else aws-lc, else ring; never the process's default, which any library may
/// have installed.
pub(crate) fn provider(given: Option<CryptoProvider>) -> Result<Provider, TlsError> {
    if let Some(CryptoProvider(provider)) = given {
        return Ok(provider);
    }
    compiled().ok_or_else(|| {
        TlsError::new(TlsErrorKind::NoProvider, "no cryptography is compiled in and none is given")
    })
}

#[cfg(feature = "tls-aws-lc-rs")]
#[expect(clippy::unnecessary_wraps, reason = "without a provider there is none")]
fn compiled() -> Option<Provider> {
    Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc-rs")))]
#[expect(clippy::unnecessary_wraps, reason = "without a provider there is none")]
fn compiled() -> Option<Provider> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc-rs")))]
fn compiled() -> Option<Provider> {
    None
}
