//! Where the own certificate and the roots are read.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// The files of one identity, PEM, followed while the mesh runs. Paths in a mesh file are relative
/// to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct IdentityFiles {
    /// The own certificate and its chain. Default: none.
    pub certificate: Option<String>,
    /// Its private key. Default: none; must be given with `certificate`.
    pub key: Option<String>,
    /// The roots that vouch for endpoints. Default: none.
    pub roots: Option<String>,
    /// Roots by trust domain. Default: none.
    pub bundles: BTreeMap<String, String>,
    /// Roots by trust domain in one file, a SPIFFE bundle map (JSON). Default: none. Source: gRFC A87.
    pub bundle_map: Option<String>,
    /// Revocation lists. Default: none.
    pub crl: Option<String>,
    /// How often the files are read. Default: 5 s. Range: from 100 ms, at most 365 days.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub poll_interval: Option<Duration>,
    /// What a control plane has said itself, in place of files.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) pem: Option<Arc<Pem>>,
}

/// Keys and roots as text. A key is never printed.
#[derive(Default, Eq, PartialEq)]
pub(crate) struct Pem {
    /// The own certificate with its chain, and its private key.
    pub(crate) pair: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) roots: Option<Vec<u8>>,
}

// === impl IdentityFiles ===

#[cfg(feature = "_tls")]
impl IdentityFiles {
    /// Whether the other is the same but for how often it is read.
    pub(crate) fn are_read_at_other_times(&self, other: &Self) -> bool {
        self.poll_interval != other.poll_interval
            && Self { poll_interval: other.poll_interval, ..self.clone() } == *other
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem")
            .field("pair", &self.pair.is_some())
            .field("roots", &self.roots.is_some())
            .finish()
    }
}
