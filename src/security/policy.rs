//! What the handshakes of a cluster, or of one endpoint, have in common.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use super::{
    IdentityHandle, Provider, TlsError, TlsErrorKind, TrustHandle, ciphers,
    expected::{self, Expected},
    identity::Own,
    pools::Pools,
    shared::Shared,
    trust::Anchors,
    verifier::Rules,
};
#[cfg(feature = "xds")]
use crate::config::ClusterSecurity;
use crate::config::{ConfigError, ConfigErrors, IdentityMatch, TlsVersion};

/// How the connections of a cluster, or of one endpoint, are secured.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) provider: Provider,
    /// The own identity, for mutual TLS.
    pub(crate) identity: Option<IdentityHandle>,
    /// What vouches for the endpoint: the union of these.
    pub(crate) trust: Vec<TrustHandle>,
    /// Whether the code has chosen them, which alone may choose not to verify.
    pub(crate) is_trust_of_code: bool,
    /// One of these must be proved. Not empty.
    pub(crate) expected: Vec<IdentityMatch>,
    /// The name asked for. Default: the first DNS name that is expected; none is sent if there is
    /// none.
    pub(crate) sni: Option<String>,
    /// Protocols offered, the preferred one first. Empty: none is negotiated.
    pub(crate) alpn: Vec<String>,
    pub(crate) min_version: Option<TlsVersion>,
    pub(crate) max_version: Option<TlsVersion>,
    /// Cipher suites of TLS 1.2. Empty: the provider's.
    pub(crate) ciphers: Vec<String>,
    /// Key exchange groups, the preferred one first. Empty: the provider's.
    pub(crate) groups: Vec<String>,
    /// Certificates between the endpoint's and a root, at most.
    pub(crate) max_verify_depth: Option<u32>,
    /// Whether sessions are resumed.
    pub(crate) resumption: bool,
}

/// A policy, checked.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) provider: Provider,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) identity: Option<IdentityHandle>,
    pub(super) trust: Vec<TrustHandle>,
    pub(super) server_name: ServerName<'static>,
    /// The name that is sent, if one is.
    pub(super) sni: Option<String>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) names: Arc<[String]>,
    pub(super) resumption: bool,
    /// Everything that makes connections of this policy unlike those of another.
    pub(super) key: Arc<str>,
    expected: Arc<[Expected]>,
    max_depth: Option<u32>,
    is_trust_of_code: bool,
    shared: Shared,
    /// The newest.
    standing: Mutex<Option<Arc<Standing>>>,
}

/// What is in force at a moment: keys, roots and the rules that follow from them.
#[derive(Debug)]
pub(super) struct Standing {
    generations: Generations,
    pub(super) own: Option<Arc<Own>>,
    pub(super) rules: Arc<Rules>,
}

/// Why nobody is believed by a trust that was never meant for the cluster.
const NOT_OF_CODE: &str = "a source names a trust that believes everybody (`dangerous`), which only the \
                           application's code may do";
/// Why nobody is believed where it would make the others as good as nobody.
const BESIDE_OTHERS: &str = "a trust that believes everybody (`dangerous`) stands beside others that do not: name one of them";

/// Of the identity, and of each trust source.
type Generations = (u64, Vec<u64>);

impl Policy {
    /// The plain case: these identities, vouched for by this source.
    pub(crate) fn new(
        provider: Provider,
        trust: TrustHandle,
        expected: Vec<IdentityMatch>,
    ) -> Self {
        Self {
            provider,
            identity: None,
            trust: vec![trust],
            is_trust_of_code: true,
            expected,
            sni: None,
            alpn: Vec::new(),
            min_version: None,
            max_version: None,
            ciphers: Vec::new(),
            groups: Vec::new(),
            max_verify_depth: None,
            resumption: true,
        }
    }

    /// Checks it. The paths of the errors are relative to the policy.
    pub(super) fn compile(self, shared: &Shared) -> Result<Arc<Compiled>, ConfigErrors> {
        let key = self.key();
        shared.policy(Arc::clone(&key), || self.compiled(key, shared.clone()))
    }

    fn compiled(self, key: Arc<str>, shared: Shared) -> Result<Compiled, ConfigErrors> {
        let mut errors = Vec::new();
        let versions = versions(self.min_version, self.max_version, &mut errors);
        let provider = narrowed(&self.provider, &self.ciphers, &self.groups, &mut errors);
        let mut compiled = Vec::with_capacity(self.expected.len());
        for (index, identity) in self.expected.iter().enumerate() {
            match Expected::compile(identity) {
                Ok(identity) => compiled.push(identity),
                Err(error) => errors.push(ConfigError {
                    path: format!("identities[{index}].{}", error.path),
                    ..error
                }),
            }
        }
        if self.expected.is_empty() {
            let why = "must name whom the endpoint has to be: nobody would do";
            errors.push(ConfigError::new("identities", "[]", why));
        }
        if self.trust.is_empty() {
            errors.push(ConfigError::new("roots", "none", "there is nothing to verify by"));
        }
        let server_name = match &self.sni {
            None => compiled.iter().find_map(Expected::dns_name).cloned(),
            Some(name) => match expected::server_name(name) {
                Some(name @ ServerName::DnsName(_)) => Some(name),
                //= RFC 6066 §3: IP addresses are not sent as server names
                _ => {
                    errors.push(ConfigError::new("sni", name, "must be a DNS name"));
                    None
                }
            },
        };
        for protocol in &self.alpn {
            if protocol.is_empty() || protocol.len() > 255 {
                errors.push(ConfigError::new("alpn", protocol, "must have 1 to 255 bytes"));
            }
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        Ok(Compiled {
            provider,
            versions,
            identity: self.identity,
            trust: self.trust,
            sni: server_name.as_ref().map(|name| name.to_str().into_owned()),
            server_name: server_name.unwrap_or_else(expected::no_name),
            alpn: self.alpn.into_iter().map(String::into_bytes).collect(),
            names: compiled.iter().map(Expected::describe).collect(),
            resumption: self.resumption,
            key,
            expected: compiled.into(),
            max_depth: self.max_verify_depth,
            is_trust_of_code: self.is_trust_of_code,
            shared,
            standing: Mutex::default(),
        })
    }

    fn key(&self) -> Arc<str> {
        let Self {
            provider,
            identity,
            trust,
            is_trust_of_code,
            expected,
            sni,
            alpn,
            min_version,
            max_version,
            ciphers,
            groups,
            max_verify_depth,
            resumption,
        } = self;
        let identity = identity.as_ref().map(IdentityHandle::id);
        let trust: Vec<u64> = trust.iter().map(TrustHandle::id).collect();
        let provider = Arc::as_ptr(provider);
        format!(
            "{provider:?} {identity:?} {trust:?} {is_trust_of_code} {expected:?} {sni:?} {alpn:?} \
             {min_version:?} {max_version:?} {ciphers:?} {groups:?} {max_verify_depth:?} {resumption}"
        )
        .into()
    }
}

// === impl Compiled ===

impl Compiled {
    /// What is in force now; waits for the first word of each source.
    pub(super) async fn standing(&self) -> Result<Arc<Standing>, TlsError> {
        if let Some(identity) = &self.identity {
            identity.ready().await.map_err(|why| {
                let what = format!("there is no own certificate to show: {why}");
                TlsError::new(TlsErrorKind::NoIdentity, what)
            })?;
        }
        for trust in &self.trust {
            trust.ready().await.map_err(|why| {
                TlsError::new(TlsErrorKind::NoTrust, format!("there are no roots: {why}"))
            })?;
        }
        self.current()
    }

    /// What is in force now, if every source has spoken.
    pub(super) fn current(&self) -> Result<Arc<Standing>, TlsError> {
        let identity = self.identity.as_ref().map(IdentityHandle::state);
        let trust: Vec<_> = self.trust.iter().map(TrustHandle::state).collect();
        let generations = (
            identity.as_ref().map_or(0, |state| state.generation),
            trust.iter().map(|state| state.generation).collect(),
        );
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = &*standing
            && standing.generations == generations
        {
            return Ok(Arc::clone(standing));
        }
        let good = || trust.iter().filter_map(|state| state.good.as_ref());
        self.may_believe(good().map(|anchors| anchors.unchecked))?;
        let said = self.trust.iter().zip(&trust);
        let said = said.map(|(source, state)| (source.id(), state.generation)).collect();
        let pools = self.shared.pools(said, || {
            let mut anchors = Anchors::default();
            good().for_each(|good| anchors.add(good));
            if anchors.is_empty() {
                return Err(TlsError::new(TlsErrorKind::NoTrust, "there are no roots"));
            }
            Ok(Pools::new(anchors))
        })?;
        let rules = Rules::new(
            pools,
            Arc::clone(&self.expected),
            Arc::clone(&self.names),
            self.max_depth,
            self.provider.signature_verification_algorithms,
        );
        let own = identity.and_then(|state| state.good);
        let made = Arc::new(Standing { generations, own, rules: Arc::new(rules) });
        *standing = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Who believes everybody does so where the code says so, and beside nobody who verifies.
    fn may_believe(&self, mut unchecked: impl Iterator<Item = bool>) -> Result<(), TlsError> {
        let refuse = |why| Err(TlsError::new(TlsErrorKind::NoTrust, why));
        if !unchecked.any(|it| it) {
            return Ok(());
        }
        if !self.is_trust_of_code {
            return refuse(NOT_OF_CODE);
        }
        if self.trust.len() > 1 { refuse(BESIDE_OTHERS) } else { Ok(()) }
    }
}

// === what rustls can be told ===

fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
    errors: &mut Vec<ConfigError>,
) -> Vec<&'static SupportedProtocolVersion> {
    let mut number = |field: &str, version: Option<TlsVersion>, default: u8| match version {
        None => default,
        Some(TlsVersion::V1_2) => 2,
        Some(TlsVersion::V1_3) => 3,
        Some(TlsVersion::V1_0 | TlsVersion::V1_1) => {
            errors.push(ConfigError::new(field, "1.0 or 1.1", "must be 1.2 or 1.3"));
            default
        }
    };
    let (min, max) = (number("min_version", min, 2), number("max_version", max, 3));
    if min > max {
        errors.push(ConfigError::new("min_version", "1.3", "must be at most `max_version`"));
    }
    let all: [(u8, &'static SupportedProtocolVersion); 2] = [(3, &TLS13), (2, &TLS12)];
    let chosen = all.into_iter().filter(|(number, _)| (min..=max).contains(number));
    chosen.map(|(_, version)| version).collect()
}

/// What no cryptography makes anything of: names that cannot be compared or asked for, ciphers and groups
/// that rustls has no word for.
///
/// # Errors
///
/// All of it, relative to the settings.
#[cfg(feature = "xds")]
pub(crate) fn judge(security: &ClusterSecurity) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    for (index, identity) in security.identities.iter().enumerate() {
        if let Err(error) = Expected::compile(identity) {
            let path = format!("identities[{index}].{}", error.path);
            errors.push(ConfigError { path, ..error });
        }
    }
    if let Some(name) = &security.sni
        && !matches!(expected::server_name(name), Some(ServerName::DnsName(_)))
    {
        errors.push(ConfigError::new("sni", name, "must be a DNS name"));
    }
    for name in &security.ciphers {
        if ciphers::suite(name).is_none() {
            errors.push(ConfigError::new("ciphers", name, "is not offered by rustls"));
        }
    }
    for name in &security.groups {
        if ciphers::group(name).is_none() {
            errors.push(ConfigError::new("groups", name, "is not offered by rustls"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// The provider with these suites and groups alone. Those that are well known, and that rustls never offers,
/// count for nothing as long as others are left.
fn narrowed(
    provider: &Provider,
    suites: &[String],
    groups: &[String],
    errors: &mut Vec<ConfigError>,
) -> Provider {
    if suites.is_empty() && groups.is_empty() {
        return Arc::clone(provider);
    }
    let mut narrow = CryptoProvider::clone(provider);
    if !suites.is_empty() {
        // Those of TLS 1.3 stay: the setting speaks of 1.2.
        narrow.cipher_suites.retain(|suite| suite.tls13().is_some());
        for name in ciphers::without_foreign(suites, ciphers::is_foreign_suite) {
            let suite = ciphers::suite(name).and_then(|suite| {
                provider.cipher_suites.iter().find(|offered| offered.suite() == suite)
            });
            match suite {
                Some(suite) => narrow.cipher_suites.push(*suite),
                None => errors.push(ConfigError::new("ciphers", name, "is not offered by rustls")),
            }
        }
    }
    if !groups.is_empty() {
        narrow.kx_groups.clear();
        for name in ciphers::without_foreign(groups, ciphers::is_foreign_group) {
            let group = ciphers::group(name).and_then(|group| {
                provider.kx_groups.iter().find(|offered| offered.name() == group)
            });
            match group {
                Some(group) => narrow.kx_groups.push(*group),
                None => {
                    let why = "is not offered by the cryptography in use";
                    errors.push(ConfigError::new("groups", name, why));
                }
            }
        }
    }
    Arc::new(narrow)
}
