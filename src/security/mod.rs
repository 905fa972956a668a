//! Identity, trust and TLS: who the endpoints are, who we are, and the stream that is secured.
//!
//! Two small traits say where keys and roots come from, over time, as [`Discover`] does for
//! endpoints: [`Identity`] yields the own key with its chain, [`Verify`] what vouches for others.
//! PEM files are the first of both: [`KeyPair::pem_files`], [`Trust::pem_file`]. Both are followed:
//! a file that was swapped is in force for the next connection, without a call being lost.
//!
//! ```
//! use tower_mesh::security::{KeyPair, Trust};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = KeyPair::pem_files("/run/tls/tls.crt", "/run/tls/tls.key");
//! let trust = Trust::pem_file("/run/tls/ca.crt");
//! // Several trust domains, each with the roots that may vouch for it:
//! let federated = Trust::bundles([("prod.example", "prod.pem"), ("partner.example", "partner.pem")])?;
//! # drop((identity, trust, federated));
//! # Ok(())
//! # }
//! ```
//!
//! The server is verified inside of the handshake, before a byte of a request is sent: its chain, its
//! dates, its revocation, its use, and then its name, which must be one of those expected. A SPIFFE id
//! is only accepted from the roots of its trust domain, if trust is given by domain.
//!
//! **Do** give the whole bundle when a CA is rotated: old and new root together, until every
//! certificate of the old one is gone. **Do not** skip verification: [`Trust::dangerous`] exists for
//! laboratories, and only in code.
//!
//! [`Discover`]: crate::Discover

mod alert;
#[doc(hidden)]
pub mod bench;
mod bundle;
#[cfg(any(feature = "file", feature = "xds"))]
mod bundle_map;
mod certificate;
mod ciphers;
mod client;
mod error;
mod expected;
mod files;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod identity;
mod key_pair;
mod pem;
mod policy;
mod pools;
mod provider;
mod secured;
mod shared;
mod source;
mod spiffe;
mod trust;
mod verifier;

use std::time::SystemTime;

pub use self::{
    bundle::{DangerousTrust, Trust},
    error::{TlsError, TlsErrorKind},
    identity::{Identity, IdentityPublisher},
    key_pair::KeyPair,
    provider::CryptoProvider,
    spiffe::{SpiffeId, TrustDomain},
    trust::{Roots, TrustPublisher, Verify},
};
#[cfg(feature = "xds")]
pub(crate) use self::{ciphers::leave_out, policy::judge};
pub(crate) use self::{
    client::ClientTls,
    expected::name_to_ask_for,
    identity::IdentityHandle,
    policy::Policy,
    provider::{Provider, describe as describe_provider, provider},
    secured::{Secured, TlsIo},
    shared::Shared,
    source::{Report, Reports},
    trust::TrustHandle,
};

/// Whether a certificate's validity has ended. Dates are whole seconds, the last one included.
fn is_past(not_after: SystemTime) -> bool {
    SystemTime::now().duration_since(not_after).is_ok_and(|past| past.as_secs() > 0)
}

/// The end of a certificate's validity, for a reader.
fn until(not_after: SystemTime) -> String {
    format!("valid until {}, it is now {}", date(not_after), date(SystemTime::now()))
}

/// The start of a certificate's validity, for a reader.
fn from(not_before: SystemTime) -> String {
    format!("valid from {}, it is now {}", date(not_before), date(SystemTime::now()))
}

fn date(at: SystemTime) -> String {
    // Years beyond 9999 have no such form.
    let last = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(at.clamp(SystemTime::UNIX_EPOCH, last))
}

#[cfg(test)]
mod tests;
