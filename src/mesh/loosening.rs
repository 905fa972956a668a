//! What an endpoint may not say of its own security, where somebody else secures its cluster: the code, or
//! another source.

use crate::config::{ClusterSecurity, EndpointTls, IdentityMatch, Security, SecurityMode};

/// How far a cluster is secured by one author.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Floor {
    /// How far it asks for TLS.
    mode: SecurityMode,
    /// Whom the endpoints must prove to be, if it says so.
    identities: Vec<IdentityMatch>,
    /// The name that they are asked for, if it says so.
    sni: Option<String>,
}

/// What an endpoint says of itself that would loosen that.
#[derive(Debug)]
pub(super) enum Loosening<'a> {
    /// No TLS.
    Plain,
    /// The mesh is not to prove who it is.
    Mode,
    /// It is to prove less, or something else.
    Identities(&'a [IdentityMatch]),
    /// It is asked for another name.
    Sni(&'a str),
}

// === impl Floor ===

impl Floor {
    pub(super) fn of(security: &ClusterSecurity) -> Self {
        Self {
            mode: security.mode.unwrap_or_default(),
            identities: security.identities.clone(),
            sni: security.sni.clone(),
        }
    }

    /// What an endpoint that says this of itself would loosen.
    pub(super) fn loosened_by<'a>(&self, own: Option<&'a Security>) -> Option<Loosening<'a>> {
        match own? {
            Security::Plain => (self.mode != SecurityMode::Off).then_some(Loosening::Plain),
            Security::Tls(own) => self.loosened_by_tls(own),
        }
    }

    fn loosened_by_tls<'a>(&self, own: &'a EndpointTls) -> Option<Loosening<'a>> {
        if self.mode == SecurityMode::Mutual && own.mode == Some(SecurityMode::Tls) {
            return Some(Loosening::Mode);
        }
        let may = |identity| self.identities.iter().any(|said| covers(said, identity));
        if !self.identities.is_empty() && !own.identities.iter().all(may) {
            return Some(Loosening::Identities(&own.identities));
        }
        let other = own.sni.as_deref().filter(|_| self.sni.is_some() && own.sni != self.sni);
        other.map(Loosening::Sni)
    }
}

/// Whether whoever is this is that, too.
fn covers(said: &IdentityMatch, own: &IdentityMatch) -> bool {
    match (said, own) {
        //= a prefix is a SPIFFE id, and those below it
        (IdentityMatch::Prefix(above), IdentityMatch::Exact(id)) => {
            let rest = id.strip_prefix(above.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (IdentityMatch::TrustDomain(domain), IdentityMatch::Exact(id)) => {
            let id = id.strip_prefix("spiffe://").and_then(|id| id.split('/').next());
            id == Some(domain.as_str())
        }
        _ => said == own,
    }
}

// === impl Loosening ===

impl Loosening<'_> {
    /// Where it is said, behind the endpoint's `security`.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Mode => ".tls.mode",
            Self::Identities(_) => ".tls.identities",
            Self::Sni(_) => ".tls.sni",
        }
    }

    pub(super) fn value(&self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Mode => "tls".to_owned(),
            Self::Identities(identities) => format!("{identities:?}"),
            Self::Sni(sni) => (*sni).to_owned(),
        }
    }

    /// Why the endpoint is refused: what its source says, and what `whose` words say.
    pub(super) fn reason(&self, whose: &str) -> String {
        let (said, asked) = match self {
            Self::Plain => ("plain", "asks for TLS"),
            Self::Mode => ("tls", "asks for mutual TLS"),
            Self::Identities(_) => ("identities", "gives others"),
            Self::Sni(_) => ("sni", "gives another"),
        };
        format!("its source says `{said}`, and {whose} {asked}")
    }
}
