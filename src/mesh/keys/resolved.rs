//! What the settings of one cluster come to with the identities and roots that there are.

use std::{fmt, sync::Arc, time::SystemTime};

use crate::{
    config::{ClusterSecurity, ConfigError, ConfigErrors, SecurityMode},
    core::{BoxError, BoxFuture},
    mesh::protect::Demand,
    observe::Proved,
    security::{
        ClientTls, IdentityHandle, Policy, Provider, Secured as Handshaken, Shared, TrustHandle,
        name_to_ask_for,
    },
    transport::{Io, Protection, Secure, Secured},
};

/// What the settings of one cluster come to.
#[derive(Clone)]
pub(crate) struct Resolved {
    pub(super) provider: Result<Provider, Arc<str>>,
    pub(super) identity: Result<IdentityHandle, Arc<str>>,
    pub(super) trust: Result<Vec<TrustHandle>, Arc<str>>,
    /// The code has chosen the roots.
    pub(super) is_trust_of_code: bool,
    pub(super) shared: Shared,
    pub(super) crypto: Arc<str>,
}

/// What is told of keys and roots.
pub(crate) struct Told {
    /// Names and end of the own certificate.
    pub(crate) identity: String,
    /// How many roots, for whom.
    pub(crate) trust: String,
    /// Which cryptography.
    pub(crate) crypto: Arc<str>,
}

/// A handshake, as the transport asks for it.
struct Client(ClientTls);

// === impl Resolved ===

impl Resolved {
    /// Whether the identity is the same, and whether the roots are.
    pub(crate) fn same(&self, other: &Self) -> (bool, bool) {
        let identity = |it: &Self| it.identity.as_ref().map(IdentityHandle::id).ok();
        let trust = |it: &Self| match &it.trust {
            Ok(handles) => Some(handles.iter().map(TrustHandle::id).collect::<Vec<_>>()),
            Err(_) => None,
        };
        (identity(self) == identity(other), trust(self) == trust(other))
    }

    /// Why it cannot be done at all.
    pub(crate) fn flaw(&self, mode: SecurityMode) -> Option<String> {
        let reason = match (&self.provider, &self.trust, &self.identity) {
            (Err(reason), ..) | (_, Err(reason), _) => reason,
            (_, _, Err(reason)) if mode == SecurityMode::Mutual => reason,
            _ => return None,
        };
        Some(reason.to_string())
    }

    fn policy(&self, security: &ClusterSecurity, demand: &Demand) -> Result<Policy, Arc<str>> {
        let provider = self.provider.clone()?;
        let is_mutual = demand.mode == SecurityMode::Mutual;
        Ok(Policy {
            provider,
            identity: if is_mutual { Some(self.identity.clone()?) } else { None },
            trust: self.trust.clone()?,
            is_trust_of_code: self.is_trust_of_code,
            expected: demand.identities.clone(),
            // Where none was said, what the endpoint is called by.
            sni: demand.sni.clone().or_else(|| name_to_ask_for(&demand.host)),
            alpn: demand.offered().map(|(names, _)| names).unwrap_or_default(),
            min_version: security.min_version,
            max_version: security.max_version,
            ciphers: security.ciphers.clone(),
            groups: security.groups.clone(),
            max_verify_depth: security.max_verify_depth,
            resumption: security.max_session_keys != Some(0),
        })
    }

    /// Checks what can be checked before keys and roots have come.
    pub(crate) fn validate(
        &self,
        security: &ClusterSecurity,
        demand: &Demand,
    ) -> Result<(), ConfigErrors> {
        if demand.offered().is_none() {
            let reason = "the protocols offered must hold the one that `protocol` says";
            let error = ConfigError::new("alpn", format!("{:?}", demand.alpn), reason);
            return Err(ConfigErrors(vec![error]));
        }
        // What is missing is told by `flaw`: it may still come.
        let Ok(policy) = self.policy(security, demand) else { return Ok(()) };
        ClientTls::shared(policy, &self.shared).map(drop)
    }

    /// How the connections of an endpoint are secured.
    pub(crate) fn protection(&self, security: &ClusterSecurity, demand: &Demand) -> Protection {
        let Some((_, offered)) = demand.offered() else {
            return Protection::Refused("`alpn` and `protocol` have nothing in common".into());
        };
        let policy = match self.policy(security, demand) {
            Ok(policy) => policy,
            Err(reason) => return Protection::Refused(reason),
        };
        match ClientTls::shared(policy, &self.shared) {
            Ok(tls) => Protection::Tls { with: Arc::new(Client(tls)), offered },
            Err(errors) => Protection::Refused(errors.to_string().into()),
        }
    }

    /// For `describe()`.
    pub(crate) fn told(&self) -> Told {
        let identity = match &self.identity {
            Err(_) => "none".to_owned(),
            Ok(handle) => {
                let state = handle.state();
                let own = state.good.map(|own| {
                    let until = until(own.not_after());
                    format!("{}, until {until}", own.names().join(", "))
                });
                told(handle.part(), own.as_deref(), state.problem.as_deref())
            }
        };
        let trust = match &self.trust {
            Err(_) => "none".to_owned(),
            Ok(handles) => {
                let all = handles.iter().map(|handle| {
                    let state = handle.state();
                    let good = state.good.map(|anchors| anchors.summary());
                    told(handle.part(), good.as_deref(), state.problem.as_deref())
                });
                all.collect::<Vec<_>>().join("; ")
            }
        };
        Told { identity, trust, crypto: Arc::clone(&self.crypto) }
    }
}

fn told(part: &str, good: Option<&str>, problem: Option<&str>) -> String {
    let mut text = format!("{part}: {}", good.unwrap_or("nothing yet"));
    if let Some(problem) = problem {
        text.push_str(", refused since: ");
        text.push_str(problem);
    }
    text
}

/// A date as HTTP writes it.
fn until(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("identity", &self.identity)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

// === impl Client ===

impl Secure for Client {
    fn another(&self) -> Arc<dyn Secure> {
        Arc::new(Self(self.0.endpoint()))
    }

    fn handshake(&self, io: Box<dyn Io>) -> BoxFuture<Result<Secured, BoxError>> {
        let tls = self.0.clone();
        Box::pin(async move {
            let Handshaken { io, protocol, peer, vouched } = tls.handshake(io).await?;
            Ok(Secured {
                io: Box::new(io),
                protocol,
                peer: Proved {
                    identity: peer.identity,
                    names: peer.names,
                    not_after: peer.not_after,
                },
                distrusted: Some(Box::pin(async { vouched.withdrawn().await.reason() })),
            })
        })
    }
}
