//! The identities and roots of a mesh by name, and what a cluster's settings make of them
//! (`resolved.rs`).

mod files;
mod inline;
mod resolved;
#[cfg(test)]
#[cfg(feature = "tls-aws-lc-rs")]
mod tests;

use std::{
    collections::BTreeMap,
    iter,
    sync::{Arc, Weak},
    time::SystemTime,
};

use tokio::task::AbortHandle;

use self::files::Read;
pub(crate) use self::resolved::{Resolved, Told};
use super::{inner::Inner, own::Known, protect::Giver, supervise::guarded};
use crate::{
    authorize::Who,
    config::{CertificateRef, ClusterSecurity},
    core::BoxFuture,
    discover::SourceId,
    security::{
        CryptoProvider, Identity, IdentityHandle, IdentityPublisher, Provider, Reports, Shared,
        Trust, TrustHandle, TrustPublisher, Verify, describe_provider, provider,
    },
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

/// When certificates expire, by a label and its value.
pub(crate) type Expiries = BTreeMap<(&'static str, Arc<str>), SystemTime>;

/// What clusters use that name no other.
const DEFAULT: &str = "default";

const PANICKED: &str = "the source panicked; its last good state stays";

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

    /// When each own certificate and the first root of each source expires, by a label and what the
    /// source calls it; of one name the earliest.
    pub(crate) fn expiries(&self) -> Expiries {
        let read = || self.files.values().flat_map(BTreeMap::values);
        let mut expiries = Expiries::new();
        let mut tell = |label, part: &Arc<str>, kind: &str, at: SystemTime| {
            let name: Arc<str> = part.strip_prefix(kind).unwrap_or(part).into();
            let first = expiries.entry((label, name)).or_insert(at);
            *first = at.min(*first);
        };
        let identities = read().filter_map(|read| read.identity.as_ref());
        for handle in self.code.identities.values().chain(identities) {
            if let Some(own) = handle.state().good {
                tell("mesh.identity", handle.part(), "identity ", own.not_after());
            }
        }
        let trust = read().flat_map(|read| &read.trust);
        for handle in self.code.trust.values().flatten().chain(trust) {
            if let Some(at) = handle.state().good.and_then(|anchors| anchors.not_after()) {
                tell("mesh.trust", handle.part(), "trust ", at);
            }
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

    /// What the settings of a cluster come to now, of which the code says this.
    pub(crate) fn resolve(
        &self,
        security: &ClusterSecurity,
        code: Option<&ClusterSecurity>,
    ) -> Resolved {
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
            // Those that nobody names are the mesh's, which no source takes from the code.
            is_trust_of_code: code.is_some_and(ClusterSecurity::says_trust)
                || !security.says_trust(),
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
