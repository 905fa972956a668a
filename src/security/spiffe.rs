//! SPIFFE ids: who a workload is, and in whose trust domain.

use std::{fmt, str::FromStr, sync::Arc};

use crate::config::ConfigError;

/// A name such as `spiffe://prod.example/ns/shop/sa/cart`.
///
/// It is compared byte by byte: the grammar has one spelling of each id.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins; the length if there is none.
    path: usize,
}

/// The part of a SPIFFE id that says whose roots vouch for it: `prod.example`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(Arc<str>);

const SCHEME: &str = "spiffe://";
//= SPIFFE-ID §2.3: implementations support ids up to 2048 bytes, and generate none longer
const MAX_ID: usize = 2048;
//= SPIFFE-ID §2.3: a trust domain has at most 255 bytes
const MAX_DOMAIN: usize = 255;

/// Whether a URI claims to be a SPIFFE id, spelled as one or not.
//= RFC 3986 §3.1: schemes have no case
pub(super) fn is_spiffe(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

// === impl SpiffeId ===

impl SpiffeId {
    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.path).unwrap_or_default()
    }

    /// Its path, with the leading slash; empty when it names the trust domain itself.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is `prefix`, or below it: whole path segments, never a part of one.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        let rest = self.text.strip_prefix(&*prefix.text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for SpiffeId {
    type Err = ConfigError;

    /// # Errors
    ///
    /// When the text is not what SPIFFE-ID §2 allows.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| Err(ConfigError::new("spiffe id", text, reason));
        if text.len() > MAX_ID {
            return refuse("must have at most 2048 bytes");
        }
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return refuse("must begin with `spiffe://`");
        };
        let domain = rest.split('/').next().unwrap_or_default();
        if let Err(reason) = check_domain(domain) {
            return refuse(reason);
        }
        let path = rest.get(domain.len()..).unwrap_or_default();
        if let Err(reason) = check_path(path) {
            return refuse(reason);
        }
        Ok(Self { text: text.into(), path: SCHEME.len() + domain.len() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl TrustDomain ===

impl TrustDomain {
    /// The name, without a scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = ConfigError;

    /// The name alone, or as `spiffe://name`.
    ///
    /// # Errors
    ///
    /// When the text is not what SPIFFE-ID §2.1 allows.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        match check_domain(name) {
            Ok(()) => Ok(Self(name.into())),
            Err(reason) => Err(ConfigError::new("trust domain", text, reason)),
        }
    }
}

impl TryFrom<&str> for TrustDomain {
    type Error = ConfigError;

    fn try_from(text: &str) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl std::borrow::Borrow<str> for TrustDomain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//= SPIFFE-ID §2.1: lower-case letters, digits, dots, dashes and underscores; no user info, no port
fn check_domain(name: &str) -> Result<(), &'static str> {
    let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if name.is_empty() {
        Err("the trust domain must not be empty")
    } else if name.len() > MAX_DOMAIN {
        Err("the trust domain must have at most 255 bytes")
    } else if !name.as_bytes().iter().all(allowed) {
        Err("the trust domain must be of lower-case letters, digits, `.`, `-` and `_`")
    } else {
        Ok(())
    }
}

//= SPIFFE-ID §2.2: segments of letters, digits, dots, dashes and underscores; none empty, `.` or `..`
fn check_path(path: &str) -> Result<(), &'static str> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    for segment in path.split('/').skip(1) {
        if segment.is_empty() {
            return Err("a path segment must not be empty, and no slash ends the path");
        }
        if segment == "." || segment == ".." {
            return Err("a path segment must not be `.` or `..`");
        }
        if !segment.as_bytes().iter().all(allowed) {
            return Err("a path segment must be of letters, digits, `.`, `-` and `_`");
        }
    }
    Ok(())
}
