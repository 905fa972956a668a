//! What an endpoint may not say of its own security, where somebody else secures its cluster: the code, or
//! another source.

use super::protect::host_of;
use crate::config::{
    ClusterSecurity, EndpointTls, IdentityMatch, Security, SecurityMode, SecurityRule,
};

/// How far a cluster is secured by one author.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Floor {
    /// How far it asks for TLS.
    mode: SecurityMode,
    /// Whom the endpoints must prove to be: whom it says, else the host of the cluster's name. Nobody where it
    /// asks for no TLS, or leaves that to another.
    identities: Vec<IdentityMatch>,
    /// The host, where that is whom they must prove to be: no other name of their own will do.
    host: Option<String>,
    /// The name that they are asked for, if it says so.
    sni: Option<String>,
    /// The names of its rules that ask for less: they are for its own endpoints alone.
    lax_rules: Vec<String>,
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
    /// It is to prove the name that it is called by, which is another.
    Authority(&'a str),
    /// It is asked for another name.
    Sni(&'a str),
    /// It is one of those that a rule asks less of.
    Rule(&'a str),
}

// === impl Floor ===

impl Floor {
    /// `host` is that of the cluster's name.
    pub(super) fn of(security: &ClusterSecurity, host: &str) -> Self {
        let mode = security.mode.unwrap_or_default();
        let mut floor = Self {
            mode,
            identities: security.identities.clone(),
            host: None,
            sni: security.sni.clone(),
            lax_rules: Vec::new(),
        };
        if mode != SecurityMode::Off && floor.identities.is_empty() {
            floor.identities = vec![IdentityMatch::Exact(host.to_owned())];
            floor.host = Some(host.to_owned());
        }
        let lax = |rule: &&SecurityRule| floor.is_over(&Self::of(&rule.security, host));
        floor.lax_rules =
            security.matches.iter().filter(lax).map(|rule| rule.name.clone()).collect();
        floor
    }

    /// Whether what this asks for is more than the other asks for.
    fn is_over(&self, other: &Self) -> bool {
        let proven = |identity| self.identities.iter().any(|said| covers(said, identity));
        rank(self.mode) > rank(other.mode)
            || (!self.identities.is_empty() && !other.identities.iter().all(proven))
            || (self.sni.is_some() && other.sni != self.sni)
    }

    /// What the code says, beside the words of the source that says how the cluster is secured, if one does:
    /// where the code names nobody, a source that secures it says whom, of its own endpoints too.
    pub(super) fn of_code(
        code: &ClusterSecurity,
        said: Option<&ClusterSecurity>,
        host: &str,
    ) -> Self {
        // It goes before all rules.
        let mut floor = Self { lax_rules: Vec::new(), ..Self::of(code, host) };
        let Some(said) = said.filter(|_| code.identities.is_empty()) else { return floor };
        if secures(said) {
            (floor.identities, floor.host) = (Vec::new(), None);
        } else if !said.identities.is_empty() {
            (floor.identities, floor.host) = (said.identities.clone(), None);
        }
        floor
    }

    /// What an endpoint would loosen that says this of itself, and of what it is called by.
    pub(super) fn loosened_by<'a>(
        &self,
        own: Option<&'a Security>,
        authority: Option<&'a str>,
    ) -> Option<Loosening<'a>> {
        let own = match own {
            Some(Security::Plain) => {
                return (self.mode != SecurityMode::Off).then_some(Loosening::Plain);
            }
            Some(Security::Tls(own)) => Some(&**own),
            None => None,
        };
        own.and_then(|own| self.loosened_by_tls(own)).or_else(|| {
            // Whom it gives itself is looked at above.
            let is_named = own.is_some_and(|own| !own.identities.is_empty());
            let host = self.host.as_ref().filter(|_| !is_named)?;
            let is_other = |it: &&str| !host_of(it).eq_ignore_ascii_case(host);
            authority.filter(is_other).map(Loosening::Authority)
        })
    }

    fn loosened_by_tls<'a>(&self, own: &'a EndpointTls) -> Option<Loosening<'a>> {
        if let Some(rule) = own.rule.as_deref()
            && self.lax_rules.iter().any(|lax| lax == rule)
        {
            return Some(Loosening::Rule(rule));
        }
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

/// How far it goes, among the others.
fn rank(mode: SecurityMode) -> u8 {
    match mode {
        SecurityMode::Off => 0,
        SecurityMode::Tls => 1,
        SecurityMode::Mutual => 2,
    }
}

/// Whether it asks for TLS.
pub(super) fn secures(security: &ClusterSecurity) -> bool {
    security.mode.unwrap_or_default() != SecurityMode::Off
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
    /// Where it is said, of the endpoint.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Plain => "security",
            Self::Mode => "security.tls.mode",
            Self::Identities(_) => "security.tls.identities",
            Self::Authority(_) => "authority",
            Self::Sni(_) => "security.tls.sni",
            Self::Rule(_) => "security.tls.rule",
        }
    }

    pub(super) fn value(&self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Mode => "tls".to_owned(),
            Self::Identities(identities) => format!("{identities:?}"),
            Self::Authority(name) | Self::Sni(name) | Self::Rule(name) => (*name).to_owned(),
        }
    }

    /// Why the endpoint is refused: what its source says, and what `whose` words say.
    pub(super) fn reason(&self, whose: &str) -> String {
        let (said, asked) = match self {
            Self::Plain => ("plain", "asks for TLS"),
            Self::Mode => ("tls", "asks for mutual TLS"),
            Self::Identities(_) => ("identities", "has others proven"),
            Self::Authority(_) => ("authority", "has the name of the cluster proven"),
            Self::Sni(_) => ("sni", "gives another"),
            Self::Rule(_) => ("rule", "means it for its own endpoints: it asks for less"),
        };
        format!("its source says `{said}`, and {whose} {asked}")
    }
}
