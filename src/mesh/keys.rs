//! The identities and roots of a mesh by name, and what a cluster's settings make of them.

use std::{
    collections::BTreeMap,
    fmt, iter,
    sync::{Arc, Weak},
    time::SystemTime,
};

use tokio::task::AbortHandle;

use super::{
    inner::Inner,
    own::Known,
    protect::{Demand, Giver},
    supervise::guarded,
};
use crate::{
    authorize::Who,
    config::{
        CertificateRef, ClusterSecurity, ConfigError, ConfigErrors, IdentityFiles, SecurityMode,
    },
    core::{BoxError, BoxFuture},
    discover::SourceId,
    security::{
        ClientTls, CryptoProvider, Identity, IdentityHandle, IdentityPublisher, KeyPair, Policy,
        Provider, Reports, Secured as Handshaken, Shared, Trust, TrustHandle, TrustPublisher,
        Verify, describe_provider, provider,
    },
    transport::{Io, Protection, Secure, Secured},
};

/// What the builder was given.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) identities: BTreeMap<String, Box<dyn Identity>>,
    pub(crate) trust: BTreeMap<String, Box<dyn Verify>>,
    pub(crate) provider: Option<CryptoProvider>,
}

/// Every identity and every set of roots of a mesh. Locked by updates only, with the state.
#[derive(Default)]
pub(crate) struct Keys {
    provider: Option<Result<Provider, Arc<str>>>,
    /// What it is called.
    crypto: Arc<str>,
    reports: Option<Weak<dyn Reports>>,
    /// The mesh, for the tasks that wait for files.
    inner: Weak<Inner>,
    code: Named,
    /// Those that sources have told of; the first source of a name decides.
    files: BTreeMap<String, BTreeMap<SourceId, Read>>,
    system: Option<TrustHandle>,
    /// What clusters and endpoints of equal settings have in common.
    shared: Shared,
}

/// Handles by name.
#[derive(Default)]
struct Named {
    identities: BTreeMap<String, IdentityHandle>,
    trust: BTreeMap<String, Vec<TrustHandle>>,
}

/// One identity whose files are followed.
struct Read {
    files: IdentityFiles,
    identity: Option<IdentityHandle>,
    trust: Vec<TrustHandle>,
    tasks: Vec<AbortHandle>,
    /// What takes its place once all of it has been read.
    next: Option<Box<Self>>,
}

/// What the settings of one cluster come to.
#[derive(Clone)]
pub(crate) struct Resolved {
    provider: Result<Provider, Arc<str>>,
    identity: Result<IdentityHandle, Arc<str>>,
    trust: Result<Vec<TrustHandle>, Arc<str>>,
    shared: Shared,
    crypto: Arc<str>,
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

/// What clusters use that name no other.
const DEFAULT: &str = "default";

const PANICKED: &str = "the source panicked; its last good state stays";

/// A handshake, as the transport asks for it.
struct Client(ClientTls);

// === impl Keys ===

impl Keys {
    /// Starts the sources that the code has given.
    pub(crate) fn start(inner: &Arc<Inner>, given: Given) -> Self {
        let reports: Arc<dyn Reports> = Arc::<Inner>::clone(inner);
        let reports = Arc::downgrade(&reports);
        let mut keys = Self {
            reports: Some(Weak::clone(&reports)),
            inner: Arc::downgrade(inner),
            ..Self::default()
        };
        let is_given = given.provider.is_some();
        let provider = provider(given.provider).map_err(|error| error.to_string().into());
        if let Ok(provider) = &provider {
            keys.crypto = describe_provider(provider, is_given).into();
            for (name, identity) in given.identities {
                let reports = Weak::clone(&reports);
                let (publish, handle) =
                    IdentityHandle::identity(&identity.name(), provider, reports);
                run_identity(inner, identity, publish);
                keys.code.identities.insert(name, handle);
            }
        }
        keys.provider = Some(provider);
        for (name, trust) in given.trust {
            let (publish, handle) = TrustHandle::trust(&trust.name(), Weak::clone(&reports));
            run_trust(inner, trust, publish);
            keys.code.trust.entry(name).or_default().push(handle);
        }
        keys
    }

    /// Follows the files that a source tells of; says whether what is in force has changed.
    ///
    /// What was read of other files before stays in force until these have been read: a wrong path
    /// takes nothing down.
    pub(crate) fn read(
        &mut self,
        inner: &Inner,
        source: SourceId,
        name: &str,
        files: IdentityFiles,
    ) -> Result<bool, String> {
        let before = self.files.get_mut(name).and_then(|by| by.get_mut(&source));
        if let Some(before) = before {
            if before.files == files {
                before.next = None;
                return Ok(false);
            }
            if before.next.as_ref().is_some_and(|next| next.files == files) {
                return Ok(false);
            }
        }
        let mut read = self.follow(inner, files)?;
        let by = self.files.entry(name.to_owned()).or_default();
        if let Some(before) = by.get_mut(&source).filter(|before| before.has_any()) {
            let (weak, name) = (Weak::clone(&self.inner), name.to_owned());
            let (identity, trust) = (read.identity.clone(), read.trust.clone());
            read.tasks.push(inner.spawn(async move {
                if let Some(identity) = identity {
                    identity.good().await;
                }
                for trust in trust {
                    trust.good().await;
                }
                if let Some(inner) = weak.upgrade() {
                    inner.keys_came(source, &name);
                }
            }));
            before.next = Some(Box::new(read));
            return Ok(false);
        }
        by.insert(source, read);
        Ok(true)
    }

    /// Puts the files in force that were waited for, if all of them have been read.
    pub(crate) fn came(&mut self, source: SourceId, name: &str) -> bool {
        let Some(read) = self.files.get_mut(name).and_then(|by| by.get_mut(&source)) else {
            return false;
        };
        match read.next.take_if(|next| next.has_all()) {
            Some(next) => {
                *read = *next;
                true
            }
            None => false,
        }
    }

    fn follow(&self, inner: &Inner, files: IdentityFiles) -> Result<Read, String> {
        let (Some(reports), Some(provider)) = (&self.reports, &self.provider) else {
            return Err("the mesh has not started".to_owned());
        };
        let mut read =
            Read { files, identity: None, trust: Vec::new(), tasks: Vec::new(), next: None };
        let trust = trust_of(&read.files)?;
        if let (Some(certificate), Some(key)) = (&read.files.certificate, &read.files.key) {
            let provider = provider.as_ref().map_err(ToString::to_string)?;
            let mut pair = KeyPair::pem_files(certificate, key);
            if let Some(interval) = read.files.poll_interval {
                pair = pair.poll_interval(interval);
            }
            let (publish, handle) =
                IdentityHandle::identity(&pair.name(), provider, Weak::clone(reports));
            read.tasks.push(run_identity(inner, Box::new(pair), publish));
            read.identity = Some(handle);
        }
        if let Some(trust) = trust {
            let (publish, handle) = TrustHandle::trust(&trust.name(), Weak::clone(reports));
            read.tasks.push(run_trust(inner, Box::new(trust), publish));
            read.trust.push(handle);
        }
        Ok(read)
    }

    /// Forgets what a source has told of; says whether that changes anything.
    pub(crate) fn forget(&mut self, source: SourceId, name: &str) -> bool {
        let Some(by) = self.files.get_mut(name) else { return false };
        let was_told = by.remove(&source).is_some();
        if by.is_empty() {
            self.files.remove(name);
        }
        was_told
    }

    /// What the first source that speaks of the name has said: never something of one, and
    /// something of another.
    fn first(&self, name: &str) -> Option<&Read> {
        self.files.get(name)?.values().next()
    }

    /// Whether reports of this part are of files that nobody names any more.
    pub(crate) fn is_gone(&self, part: &str) -> bool {
        let is = |read: &Read| {
            let mut trust = read.trust.iter();
            read.identity.as_ref().is_some_and(|handle| &**handle.part() == part)
                || trust.any(|handle| &**handle.part() == part)
        };
        let read = self.files.values().flat_map(BTreeMap::values);
        let in_files = read.flat_map(|read| iter::once(read).chain(read.next.as_deref())).any(is);
        let in_code = self.code.identities.values().any(|handle| &**handle.part() == part)
            || self.code.trust.values().flatten().any(|handle| &**handle.part() == part);
        let is_system = self.system.as_ref().is_some_and(|handle| &**handle.part() == part);
        !(in_files || in_code || is_system)
    }

    /// The system's roots, read when they are needed first.
    pub(crate) fn need_system(&mut self, inner: &Inner) {
        if let (None, Some(reports)) = (&self.system, &self.reports) {
            let trust = Trust::system();
            let (publish, handle) = TrustHandle::trust(&trust.name(), Weak::clone(reports));
            run_trust(inner, Box::new(trust), publish);
            self.system = Some(handle);
        }
    }

    /// When each own certificate expires, by what its source calls it; of one name the earliest.
    pub(crate) fn expiries(&self) -> BTreeMap<Arc<str>, SystemTime> {
        let read = self.files.values().flat_map(BTreeMap::values);
        let read = read.filter_map(|read| read.identity.as_ref());
        let mut expiries = BTreeMap::new();
        for handle in self.code.identities.values().chain(read) {
            let Some(own) = handle.state().good else { continue };
            let name: Arc<str> =
                handle.part().strip_prefix("identity ").unwrap_or(handle.part()).into();
            let at = expiries.entry(name).or_insert_with(|| own.not_after());
            *at = own.not_after().min(*at);
        }
        expiries
    }

    /// Those whose first word is to be waited for.
    pub(crate) fn awaited(&self) -> BoxFuture<()> {
        let read = self.files.values().flat_map(BTreeMap::values);
        let files: Vec<&Read> =
            read.flat_map(|read| iter::once(read).chain(read.next.as_deref())).collect();
        let identities = self.code.identities.values();
        let identities = identities.chain(files.iter().filter_map(|read| read.identity.as_ref()));
        let identities: Vec<IdentityHandle> = identities.cloned().collect();
        let trust = self.code.trust.values().flatten();
        let trust = trust.chain(files.iter().flat_map(|read| &read.trust)).chain(&self.system);
        let trust: Vec<TrustHandle> = trust.cloned().collect();
        Box::pin(async move {
            // What is wrong with them is reported where it is found.
            for identity in identities {
                drop(identity.ready().await);
            }
            for trust in trust {
                drop(trust.ready().await);
            }
        })
    }

    /// Who this process is where nobody says otherwise.
    pub(crate) fn own(&self) -> Known {
        if matches!(self.provider, Some(Err(_))) {
            // One that was given may not even have been started.
            return Known::Nothing;
        }
        match self.identity(None).map(|handle| handle.state().good) {
            Ok(Some(own)) => Known::Is(Who::new(own.sans())),
            Ok(None) => Known::Nothing,
            Err(_) => Known::Nobody,
        }
    }

    fn identity(&self, reference: Option<&CertificateRef>) -> Result<IdentityHandle, Arc<str>> {
        let name = name_of(reference);
        if let Some(handle) = self.code.identities.get(&name) {
            return Ok(handle.clone());
        }
        let handle = self.first(&name).and_then(|read| read.identity.clone());
        handle.ok_or_else(|| missing("identity", "certificate and key", &name))
    }

    fn trust(&self, reference: Option<&CertificateRef>) -> Result<Vec<TrustHandle>, Arc<str>> {
        let name = name_of(reference);
        if let Some(handles) = self.code.trust.get(&name) {
            return Ok(handles.clone());
        }
        let handles = self.first(&name).map(|read| &read.trust);
        let handles = handles.filter(|trust| !trust.is_empty());
        handles.cloned().ok_or_else(|| missing("trust", "roots or bundles", &name))
    }

    /// Who gives the identity and the roots of clusters that name none.
    pub(crate) fn givers(&self) -> [Giver; 2] {
        let first = self.files.get(DEFAULT).and_then(|by| by.iter().next());
        let giver = |in_code: bool, is_read: fn(&Read) -> bool| match first {
            _ if in_code => Giver::Code,
            Some((source, read)) if is_read(read) => Giver::Source(*source),
            _ => Giver::Nobody,
        };
        [
            giver(self.code.identities.contains_key(DEFAULT), |read| read.identity.is_some()),
            giver(self.code.trust.contains_key(DEFAULT), |read| !read.trust.is_empty()),
        ]
    }

    /// What the settings of a cluster come to now.
    pub(crate) fn resolve(&self, security: &ClusterSecurity) -> Resolved {
        let unstarted = || Err("the mesh has not started".into());
        let provider = self.provider.clone().unwrap_or_else(unstarted);
        let identity = match &provider {
            Ok(_) => self.identity(security.certificate.as_ref()),
            Err(reason) => Err(Arc::clone(reason)),
        };
        let trust = self.trusted(security);
        Resolved {
            provider,
            identity,
            trust,
            shared: self.shared.clone(),
            crypto: Arc::clone(&self.crypto),
        }
    }

    /// The mesh's own roots vouch where a cluster says nothing of roots.
    fn trusted(&self, security: &ClusterSecurity) -> Result<Vec<TrustHandle>, Arc<str>> {
        let ClusterSecurity { roots, bundles, system_roots, .. } = security;
        let is_system = *system_roots == Some(true);
        let mut trust = Vec::new();
        if roots.is_some() || (bundles.is_none() && !is_system) {
            trust.extend(self.trust(roots.as_ref())?);
        }
        if bundles.is_some() {
            trust.extend(self.trust(bundles.as_ref())?);
        }
        if is_system {
            trust.push(self.system.clone().ok_or("the system's roots are not read")?);
        }
        Ok(trust)
    }
}

/// Runs a source, all of it in its task: what it publishes is reported, which takes the lock.
fn run_identity(
    inner: &Inner,
    identity: Box<dyn Identity>,
    publish: IdentityPublisher,
) -> AbortHandle {
    let (told, over) = (publish.clone(), publish.clone());
    let run = async move {
        identity.run(publish).await;
        over.over();
    };
    inner.spawn(guarded(run, move || told.refused(PANICKED)))
}

/// The same for roots.
fn run_trust(inner: &Inner, trust: Box<dyn Verify>, publish: TrustPublisher) -> AbortHandle {
    let (told, over) = (publish.clone(), publish.clone());
    let run = async move {
        trust.run(publish).await;
        over.over();
    };
    inner.spawn(guarded(run, move || told.refused(PANICKED)))
}

/// The roots of these files, if there are any.
fn trust_of(files: &IdentityFiles) -> Result<Option<Trust>, String> {
    let IdentityFiles { roots, bundles, crl, poll_interval, .. } = files;
    let by_domain = bundles.iter().map(|(domain, path)| (domain.as_str(), path));
    #[cfg_attr(
        not(any(feature = "file", feature = "xds")),
        expect(unused_mut, reason = "there are no bundle maps")
    )]
    let mut trust = match (roots, bundles.is_empty()) {
        (None, true) => None,
        (Some(roots), true) => Some(Trust::pem_file(roots)),
        (roots, false) => {
            let trust = Trust::bundles(by_domain).map_err(|error| error.to_string())?;
            Some(match roots {
                Some(roots) => trust.and_pem_file(roots),
                None => trust,
            })
        }
    };
    #[cfg(any(feature = "file", feature = "xds"))]
    if let Some(map) = &files.bundle_map {
        trust = Some(match trust {
            Some(trust) => trust.and_bundle_map_file(map),
            None => Trust::bundle_map_file(map),
        });
    }
    let Some(mut trust) = trust else { return Ok(None) };
    if let Some(crl) = crl {
        trust = trust.crl_file(crl);
    }
    if let Some(interval) = poll_interval {
        trust = trust.poll_interval(*interval);
    }
    Ok(Some(trust))
}

fn name_of(reference: Option<&CertificateRef>) -> String {
    match reference {
        None => DEFAULT.to_owned(),
        Some(CertificateRef { provider, name: None }) => provider.clone(),
        Some(CertificateRef { provider, name: Some(name) }) => format!("{provider}/{name}"),
    }
}

fn missing(kind: &str, fields: &str, name: &str) -> Arc<str> {
    let setter =
        if name == DEFAULT { format!("{kind}(…)") } else { format!("named_{kind}(…)") };
    format!(
        "there is no {kind} `{name}`: give one by `MeshBuilder::{setter}`, or say `{fields}` of \
         `identities.{name}` in the mesh file"
    )
    .into()
}

// === impl Read ===

impl Read {
    /// Whether any of it has been read.
    fn has_any(&self) -> bool {
        self.identity.iter().any(|handle| handle.state().good.is_some())
            || self.trust.iter().any(|handle| handle.state().good.is_some())
    }

    fn has_all(&self) -> bool {
        self.identity.iter().all(|handle| handle.state().good.is_some())
            && self.trust.iter().all(|handle| handle.state().good.is_some())
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        // What they have said stays with whoever uses it.
        for task in &self.tasks {
            task.abort();
        }
    }
}

// === impl Resolved ===

impl Resolved {
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
            expected: demand.identities.clone(),
            sni: demand.sni.clone().or_else(|| demand.default_sni()),
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

impl PartialEq for Resolved {
    fn eq(&self, other: &Self) -> bool {
        let identity = |it: &Self| it.identity.as_ref().map(IdentityHandle::id).ok();
        let trust = |it: &Self| match &it.trust {
            Ok(handles) => Some(handles.iter().map(TrustHandle::id).collect::<Vec<_>>()),
            Err(_) => None,
        };
        identity(self) == identity(other) && trust(self) == trust(other)
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
                peer: peer.identity,
                distrusted: Some(Box::pin(async { vouched.withdrawn().await.reason() })),
            })
        })
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("identity", &self.identity)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
