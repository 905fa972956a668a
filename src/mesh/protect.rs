//! How the endpoints of a cluster are secured: from what its configuration says to what the
//! transport does. What cannot be secured as it is asked for is refused, and never plaintext.

use std::sync::{OnceLock, PoisonError, RwLock};

use super::{
    keys::{Keys, Resolved, Told},
    loosening::{Floor, Loosening},
};
use crate::{
    balance::Spec,
    config::{
        self, ClusterSecurity, ConfigError, ConfigErrors, EndpointTls, IdentityMatch, Protocol,
        Security, SecurityMode,
    },
    discover::SourceId,
    transport::{Offered, Protection},
};

/// How the endpoints of one cluster are secured.
pub(crate) struct Protector {
    /// The host of the cluster's name: what its endpoints are called by, and are to prove.
    host: Box<str>,
    security: ClusterSecurity,
    protocol: Option<Protocol>,
    /// What the code says: no source may take that back.
    code: Floor,
    /// Others take their place while nothing is made of them. Locked where an endpoint is built.
    keys: RwLock<Resolved>,
    /// What endpoints have in common that say nothing of their own.
    usual: OnceLock<Protection>,
    /// What takes the place of the cluster's, for endpoints that name it.
    rules: Vec<Rule>,
}

/// Settings that endpoints name.
#[derive(Clone)]
struct Rule {
    name: String,
    security: ClusterSecurity,
    keys: Resolved,
}

/// What an endpoint is to be, by its own words and its cluster's.
#[cfg_attr(not(feature = "_tls"), allow(dead_code, reason = "only handshakes read all of it"))]
pub(crate) struct Demand {
    pub(crate) mode: SecurityMode,
    pub(crate) identities: Vec<IdentityMatch>,
    /// The name asked for, if one was said.
    pub(crate) sni: Option<String>,
    /// What it is called by.
    pub(crate) host: String,
    pub(crate) alpn: Vec<String>,
    protocol: Option<Protocol>,
}

/// Who gives the identity, or the roots, of clusters that name no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(not(feature = "_tls"), allow(dead_code, reason = "without TLS nobody gives any"))]
pub(crate) enum Giver {
    Nobody,
    Code,
    Source(SourceId),
}

/// Why an endpoint is refused that names settings which its cluster has not.
const NO_RULE: &str = "is none of the cluster's `security.matches`";

// === impl Protector ===

impl Protector {
    /// `code` is what the code says, and `said` what the first source says that says anything of it: `config`
    /// has both in it.
    pub(crate) fn new(
        name: &str,
        config: &config::Cluster,
        code: Option<&ClusterSecurity>,
        said: Option<&ClusterSecurity>,
        keys: &Keys,
    ) -> Self {
        let host = host_of(name);
        let security = config.security.clone().unwrap_or_default();
        let rules = security.matches.iter().map(|rule| Rule {
            name: rule.name.clone(),
            security: (*rule.security).clone(),
            keys: keys.resolve(&rule.security, None),
        });
        let rules = rules.collect();
        let keys = RwLock::new(keys.resolve(&security, code));
        let code = code.map(|code| Floor::of_code(code, said, host)).unwrap_or_default();
        let host = host.into();
        let protocol = config.protocol;
        Self { host, security, protocol, code, keys, usual: OnceLock::new(), rules }
    }

    fn mode(&self) -> SecurityMode {
        self.security.mode.unwrap_or_default()
    }

    fn keys(&self) -> Resolved {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings of an endpoint that says this of itself, and the keys of these, if they are not the
    /// cluster's; nothing where it names a rule that is not there. What the code says of the cluster goes
    /// before all rules.
    fn settings(&self, own: Option<&EndpointTls>) -> Option<(&ClusterSecurity, Option<&Resolved>)> {
        match own.and_then(|own| own.rule.as_ref()) {
            Some(name) if self.code == Floor::default() => {
                let rule = self.rules.iter().find(|rule| rule.name == *name)?;
                Some((&rule.security, Some(&rule.keys)))
            }
            _ => Some((&self.security, None)),
        }
    }

    /// Whether endpoints are secured that say nothing of themselves.
    pub(crate) fn is_on(&self) -> bool {
        self.mode() != SecurityMode::Off
    }

    /// Whether the mesh proves who it is.
    pub(crate) fn is_mutual(&self) -> bool {
        self.mode() == SecurityMode::Mutual
    }

    /// What its endpoints are called by where nothing else is said.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// What is told of its keys and roots.
    pub(crate) fn told(&self) -> Told {
        self.keys().told()
    }

    /// Why no endpoint of the cluster could be called.
    pub(crate) fn flaw(&self) -> Option<String> {
        let works = |rule: &Rule| {
            let mode = rule.security.mode.unwrap_or_default();
            mode == SecurityMode::Off || rule.keys.flaw(mode).is_none()
        };
        match self.mode() {
            SecurityMode::Off => None,
            // It is of those that name another one.
            _ if self.rules.iter().any(works) => None,
            mode => self.keys().flaw(mode),
        }
    }

    /// Checks what can be checked before keys and roots have come.
    pub(crate) fn validate(&self, endpoints: &[config::Endpoint]) -> Result<(), ConfigErrors> {
        if self.mode() != SecurityMode::Off {
            let demand = self.demand_of(&self.security, None, None, None);
            within("security", self.keys().validate(&self.security, &demand))?;
        }
        for (index, Rule { security, keys, .. }) in self.rules.iter().enumerate() {
            let demand = self.demand_of(security, None, None, None);
            within(
                &format!("security.matches[{index}].security"),
                keys.validate(security, &demand),
            )?;
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let authority = endpoint.authority.as_deref();
            if let Some(loosening) = self.code.loosened_by(endpoint.security.as_ref(), authority) {
                let path = format!("endpoints[{index}].{}", loosening.field());
                let error = ConfigError::new(path, loosening.value(), against_code(&loosening));
                return Err(ConfigErrors(vec![error]));
            }
            let own = match &endpoint.security {
                Some(Security::Plain) => continue,
                Some(Security::Tls(own)) => Some(&**own),
                None if self.is_on() && endpoint.protocol.is_some() => None,
                None => continue,
            };
            let path = format!("endpoints[{index}].security.tls");
            let Some((security, keys)) = self.settings(own) else {
                let name = own.and_then(|own| own.rule.clone()).unwrap_or_default();
                let error = ConfigError::new(format!("{path}.rule"), name, NO_RULE);
                return Err(ConfigErrors(vec![error]));
            };
            let demand = self.demand_of(security, own, authority, endpoint.protocol);
            let keys = keys.cloned().unwrap_or_else(|| self.keys());
            within(&path, keys.validate(security, &demand))?;
        }
        Ok(())
    }

    /// What the endpoint is to be; nothing where it is plaintext.
    pub(crate) fn demand(&self, spec: &Spec) -> Option<Demand> {
        let own = match spec.security() {
            Some(Security::Plain) => return None,
            Some(Security::Tls(own)) => Some(&**own),
            None if self.mode() == SecurityMode::Off => return None,
            None => None,
        };
        // One that names a rule that is not there is refused; until then it is as the cluster says.
        let security = self.settings(own).map_or(&self.security, |(security, _)| security);
        Some(self.demand_of(security, own, spec.authority(), spec.protocol()))
    }

    fn demand_of(
        &self,
        security: &ClusterSecurity,
        own: Option<&EndpointTls>,
        authority: Option<&str>,
        protocol: Option<Protocol>,
    ) -> Demand {
        let name = authority.map_or(&*self.host, host_of);
        let own = own.cloned().unwrap_or_default();
        let identities = match (own.identities.is_empty(), security.identities.is_empty()) {
            (false, _) => own.identities,
            (true, false) => security.identities.clone(),
            (true, true) => vec![IdentityMatch::Exact(name.to_owned())],
        };
        Demand {
            mode: own.mode.unwrap_or_else(|| match security.mode.unwrap_or_default() {
                // It is the endpoint itself that asks for TLS.
                SecurityMode::Off => SecurityMode::Tls,
                mode => mode,
            }),
            identities,
            sni: own.sni.or_else(|| security.sni.clone()),
            host: name.to_owned(),
            alpn: if own.alpn.is_empty() { security.alpn.clone() } else { own.alpn },
            protocol: protocol.or(self.protocol),
        }
    }

    /// How the endpoint's connections are secured.
    pub(crate) fn of(&self, spec: &Spec) -> Protection {
        if let Some(loosening) = self.code.loosened_by(spec.security(), spec.authority()) {
            return Protection::Refused(against_code(&loosening).into());
        }
        let Some(demand) = self.demand(spec) else { return Protection::Plain };
        if let Some(Security::Tls(own)) = spec.security()
            && own.rule.is_some()
        {
            return match self.settings(Some(own)) {
                Some((security, keys)) => {
                    let keys = keys.cloned().unwrap_or_else(|| self.keys());
                    keys.protection(security, &demand)
                }
                None => Protection::Refused(NO_RULE.into()),
            };
        }
        if spec.security().is_some() || spec.authority().is_some() || spec.protocol().is_some() {
            return self.keys().protection(&self.security, &demand);
        }
        self.usual.get_or_init(|| self.keys().protection(&self.security, &demand)).another()
    }

    /// Whether endpoints are plaintext of which nobody has said anything.
    pub(crate) fn is_open_itself(&self) -> bool {
        self.security.mode.is_none()
    }

    /// Whether the endpoint is plaintext because nobody has said anything of it.
    pub(crate) fn is_open(&self, spec: &Spec) -> bool {
        self.security.mode.is_none() && spec.security().is_none()
    }

    /// Whether the same is secured, and what rules say with the same identities and roots.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let mut rules = self.rules.iter().zip(&other.rules);
        // Of the same settings, which have the rules in them.
        self.security == other.security
            && self.code == other.code
            && rules.all(|(one, other)| one.keys.same(&other.keys) == (true, true))
    }

    /// Whether the cluster's identity and its roots are the same.
    pub(crate) fn same_keys(&self, other: &Self) -> (bool, bool) {
        self.keys().same(&other.keys())
    }

    /// What is built from now on is secured with the keys and roots of the other.
    pub(crate) fn follow(&self, other: &Self) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = other.keys();
    }
}

// === impl Demand ===

#[cfg_attr(not(feature = "_tls"), expect(dead_code, reason = "only handshakes ask"))]
impl Demand {
    /// The protocols that are offered, the preferred one first.
    pub(super) fn offered(&self) -> Option<(Vec<String>, Offered)> {
        let said: Vec<&str> = if self.alpn.is_empty() {
            vec!["h2", "http/1.1"]
        } else {
            self.alpn.iter().map(String::as_str).collect()
        };
        let names = said.into_iter().filter(|name| match self.protocol {
            Some(Protocol::Http1) => {
                matches!(*name, "istio" | "http/1.1") || name.starts_with("istio-http/")
            }
            Some(Protocol::Http2) => matches!(*name, "istio" | "istio-h2" | "h2"),
            None => true,
        });
        let names: Vec<String> = names.map(str::to_owned).collect();
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let offered = match (has("http/1.1"), has("h2")) {
            (true, true) => Offered::Either,
            (true, false) => Offered::Http1,
            (false, true) => Offered::Http2,
            (false, false) => return None,
        };
        Some((names, offered))
    }
}

/// Why an endpoint is refused that loosens what the code says.
fn against_code(loosening: &Loosening<'_>) -> String {
    format!("{}: the code wins", loosening.reason("the application's code"))
}

/// The errors, each with where it stands.
fn within(path: &str, found: Result<(), ConfigErrors>) -> Result<(), ConfigErrors> {
    found.map_err(|ConfigErrors(errors)| {
        let errors = errors.into_iter();
        ConfigErrors(
            errors
                .map(|error| ConfigError { path: format!("{path}.{}", error.path), ..error })
                .collect(),
        )
    })
}

/// The host of `host:port`.
pub(super) fn host_of(name: &str) -> &str {
    let name = name.strip_prefix("https://").unwrap_or(name);
    let host = match name.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => name,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_name() {
        for (name, host) in [
            ("users.prod", "users.prod"),
            ("users.prod:8443", "users.prod"),
            ("[::1]:8443", "::1"),
            ("[::1]", "::1"),
            ("https://example.com:8443", "example.com"),
        ] {
            assert_eq!(host_of(name), host);
        }
    }
}
