//! What the sources have said so far. Locked by updates only, never by a call.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Weak},
};

use super::{
    asking::Asking,
    caches::Caches,
    cluster::Cluster,
    keys::Keys,
    listed::Listed,
    loosening::{Floor, Loosening, secures},
    overlay::{self, Whose},
    protect::host_of,
    remark::Remark,
    runtime::Runtime,
    service::ServiceCell,
};
use crate::{
    balance::Diff,
    config::{self, Address, ConfigError, ConfigErrors, name::callable},
    discover::{Places, SourceId},
    observe::Hub,
};

/// What each source says of one thing. Boxed: a node of a map has room for eleven, and there is one source as a
/// rule.
pub(super) type Said<T> = BTreeMap<SourceId, Box<T>>;

/// The words of every source, by name.
#[derive(Default)]
pub(super) struct State {
    pub(super) services: BTreeMap<String, Said<config::Service>>,
    pub(super) clusters: HashMap<String, Entry>,
    /// The clusters that each compiled service names.
    pub(super) named: BTreeMap<String, BTreeSet<String>>,
    /// Parts that are refused now, by source, with their reasons.
    pub(super) refused: BTreeMap<String, BTreeMap<SourceId, String>>,
    /// What is said of parts that is no failure, by source.
    pub(super) notes: BTreeMap<String, BTreeMap<SourceId, String>>,
    /// Services that point nowhere, as far as all sources together say.
    pub(super) flaws: BTreeMap<String, String>,
    /// What of the routes of services is run, and does nothing: each in words.
    pub(super) doubts: BTreeMap<String, Vec<String>>,
    /// What all calls pass that sources ask for, behind what the code does.
    pub(super) rules: BTreeMap<(SourceId, String), config::Filter>,
    pub(super) absent: Absent,
    pub(super) asking: Asking,
    pub(super) keys: Keys,
    pub(super) caches: Caches,
    pub(super) runtime: Runtime,
    pub(super) synced: HashSet<SourceId>,
    /// Those that could be read, too, then or later.
    pub(super) heard: HashSet<SourceId>,
    /// What reports call the places of each source's words.
    pub(super) places: HashMap<SourceId, Arc<dyn Places>>,
    /// The clusters of which the code says how they are secured.
    pub(super) secured: BTreeSet<String>,
    /// Those of them that it wants more than plaintext of.
    pub(super) demanding: BTreeSet<String>,
    /// How many names are defined by DNS.
    #[cfg(feature = "dns")]
    pub(super) dns: usize,
    /// Tasks of discovery that were started.
    #[cfg(feature = "dns")]
    pub(super) runs: u64,
}

/// One cluster, and who says what of it. It lives while a source defines it, or a service or
/// another cluster names it.
pub(super) struct Entry {
    pub(super) cell: Arc<Cluster>,
    /// What the code says of how it is secured.
    code: Option<config::ClusterSecurity>,
    /// The settings of each source, without endpoints; of each field the first that says it decides.
    pub(super) settings: Said<config::Cluster>,
    /// The services that name it.
    pub(super) users: BTreeSet<String>,
    /// The clusters that it takes over from.
    pub(super) backs: BTreeSet<String>,
    /// What fills it, where its settings leave that to discovery.
    #[cfg(feature = "dns")]
    pub(super) discovery: Option<super::discovery::Running>,
    /// What each source says of each address, kept only while several sources name the cluster.
    listed: Listed,
}

/// Cells of services that are not defined, as long as a client holds them.
#[derive(Default)]
pub(super) struct Absent {
    cells: HashMap<String, Weak<ServiceCell>>,
    sweep_at: usize,
}

/// What a report speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part<'a> {
    Service(&'a str),
    Cluster(&'a str),
    /// Rules of all services, by the name that their source gives them.
    Rules(&'a str),
    Other,
}

/// What a name comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    Absent,
    /// A source tried to define it, and there is no good definition to fall back to.
    Refused,
    Defined,
}

// === impl Part ===

impl<'a> Part<'a> {
    pub(super) fn of(part: &'a str) -> Self {
        match part.split_once(' ') {
            Some(("service", name)) => Self::Service(name),
            Some(("cluster", name)) => Self::Cluster(name),
            Some(("authorize", name)) => Self::Rules(name),
            _ => Self::Other,
        }
    }

    /// Whether the part defines, or would define, the name.
    pub(super) fn defines(part: &'a str, name: &str) -> bool {
        let part = part.strip_prefix("endpoints of ").unwrap_or(part);
        matches!(Self::of(part), Self::Service(of) | Self::Cluster(of) if of == name)
    }
}

// === impl State ===

impl State {
    /// Whether a source defines the service; a cluster is also the service of its name.
    #[cfg(feature = "dns")]
    pub(super) fn knows(&self, name: &str) -> bool {
        self.services.get(name).is_some_and(|by| !by.is_empty()) || self.is_callable(name)
    }

    /// Whether a source defines the cluster, and with it the service of its name. The clusters of a
    /// source that looks names up are none: what a name means there, it is asked.
    fn is_callable(&self, name: &str) -> bool {
        let said = self.clusters.get(name).map(|entry| &entry.settings);
        said.is_some_and(|said| said.keys().any(|source| !self.asking.has(*source)))
    }

    /// Whether a source defines the cluster; one that is only named by a route is none.
    pub(super) fn is_cluster(&self, name: &str) -> bool {
        self.clusters.get(name).is_some_and(|entry| !entry.settings.is_empty())
    }

    fn refusals(&self, part: &str) -> impl Iterator<Item = &SourceId> {
        self.refused.get(part).into_iter().flat_map(BTreeMap::keys)
    }

    /// What the service comes to. One of which a source's words are refused is not run on what others
    /// say: they may have denied something. Nor is one whose calls would pass by rules of a route, or by
    /// what the code says of how they are secured.
    pub(super) fn service(&self, name: &str) -> Standing {
        let said = self.services.get(name);
        let is_lost = |source| said.is_none_or(|by| !by.contains_key(source));
        if self.refusals(&format!("service {name}")).any(is_lost) {
            return Standing::Refused;
        }
        if said.is_some_and(|by| overlay::lost_rules(name, by).is_some())
            || !self.unsecured(name).is_empty()
        {
            return Standing::Refused;
        }
        if said.is_some_and(|by| !by.is_empty()) {
            return Standing::Defined;
        }
        if self.is_callable(name) { Standing::Defined } else { Standing::Absent }
    }

    /// What the cluster comes to. One whose settings are refused is not run on defaults because
    /// another source lists endpoints for it; nor on what others say, where it may have said how
    /// connections are secured and nobody before it does.
    pub(super) fn cluster(&self, name: &str) -> Standing {
        let said = self.clusters.get(name).map(|entry| &entry.settings);
        let is_lost = |source: &&SourceId| said.is_none_or(|said| !said.contains_key(source));
        let lost = self.refusals(&format!("cluster {name}")).filter(is_lost).min();
        if let Some(lost) = lost {
            let said = || said.into_iter().flatten();
            let secured = self.secured.contains(name)
                || said().any(|(source, it)| source < lost && it.security.is_some());
            if !secured || !said().any(|(_, settings)| says_anything(settings)) {
                return Standing::Refused;
            }
        }
        if self.is_cluster(name) { Standing::Defined } else { Standing::Absent }
    }

    /// Whether nobody leads to a cluster, nor says anything of it, once this source does not.
    pub(super) fn is_left(&self, source: SourceId, name: &str) -> bool {
        // The service that a cluster is goes with it.
        let is_service = self.services.get(name).is_some_and(|said| !said.is_empty());
        self.clusters.get(name).is_some_and(|entry| {
            entry.is_of_only(source)
                && entry.backs.is_empty()
                && entry.users.iter().all(|user| user == name && !is_service)
        })
    }

    /// Why nobody can call the cluster as the service of its name, nor by a service that names it.
    pub(super) fn reachable(&self, name: &str) -> Result<(), String> {
        let Some(entry) = self.clusters.get(name) else { return Ok(()) };
        // What is asked of DNS has been called already.
        let is_own = |source: &SourceId| *source == SourceId::DNS || self.asking.has(*source);
        let is_listed = entry.settings.keys().any(|source| !is_own(source));
        let is_named = entry.users.iter().any(|user| user != name) || !entry.backs.is_empty();
        if !is_listed || is_named {
            return Ok(());
        }
        callable(name)
    }

    /// What the thing that a report speaks of comes to.
    pub(super) fn standing(&self, part: &str) -> Standing {
        match Part::of(part) {
            Part::Service(name) => self.service(name),
            Part::Cluster(name) => self.cluster(name),
            Part::Rules(_) | Part::Other => Standing::Absent,
        }
    }

    /// Why the cluster is refused.
    pub(super) fn reason(&self, part: &str) -> String {
        let reasons: Vec<&str> =
            self.refused.get(part).into_iter().flat_map(BTreeMap::values).map(|r| &**r).collect();
        reasons.join("; ")
    }

    /// Every report that stands now.
    pub(super) fn reports(&self) -> Vec<Remark> {
        let refused =
            self.refused.iter().flat_map(|(part, by)| by.values().map(move |r| (part, r)));
        let unsaid = self.asking.all_unsaid();
        let unsaid = unsaid.filter(|(name, _)| self.service(name) == Standing::Absent);
        let unsaid = unsaid.map(|(name, reason)| Remark::new(&format!("service {name}"), reason));
        let known = refused.chain(&self.flaws);
        known.map(|(part, reason)| Remark::new(part, reason)).chain(unsaid).collect()
    }

    /// Everything that is said of parts and is no failure.
    pub(super) fn noted(&self) -> Vec<Remark> {
        let notes = self.notes.iter();
        notes.flat_map(|(part, by)| by.values().map(|note| Remark::new(part, note))).collect()
    }

    /// Where a source's words of this path stand, if it knows.
    pub(super) fn place(&self, source: SourceId, path: &str) -> Option<String> {
        self.places.get(&source)?.place(path)
    }

    /// The errors in words, each with the place of the source's words.
    pub(super) fn placed(&self, source: SourceId, errors: &ConfigErrors) -> String {
        let placed = |error: &ConfigError| match self.place(source, &error.path) {
            Some(place) => format!("{error} ({place})"),
            None => error.to_string(),
        };
        errors.0.iter().map(placed).collect::<Vec<_>>().join("; ")
    }

    /// Whether endpoints of a cluster may change without a look at the others: this source alone speaks of it,
    /// it is in use as it was said, and what is new of it is good. Otherwise the whole is looked at, which
    /// says what is wrong.
    pub(super) fn may_patch(&self, source: SourceId, name: &str, put: &[config::Endpoint]) -> bool {
        let Some(entry) = self.clusters.get(name) else { return false };
        let is_alone = entry.settings.len() == 1 && entry.settings.contains_key(&source);
        if !is_alone || self.refused.contains_key(&format!("cluster {name}")) {
            return false;
        }
        let core = entry.cell.core.load();
        !core.balancer.is_ordered()
            && put.iter().all(|endpoint| endpoint.validate("").is_ok())
            && core.protector.validate(put).is_ok()
    }

    /// Forgets a cluster that nobody defines or names.
    pub(super) fn tidy(&mut self, cluster: &str) {
        if self
            .clusters
            .get(cluster)
            .is_some_and(|entry| entry.settings.is_empty() && !entry.is_named())
        {
            self.clusters.remove(cluster);
        }
    }
}

/// Whether these settings are more than a place for endpoints.
fn says_anything(settings: &config::Cluster) -> bool {
    *settings != config::Cluster::default()
}

// === impl Entry ===

impl Entry {
    /// `code` is what the code says of how it is secured.
    pub(super) fn new(cell: Cluster, code: Option<config::ClusterSecurity>) -> Self {
        Self {
            cell: Arc::new(cell),
            code,
            settings: BTreeMap::new(),
            users: BTreeSet::new(),
            backs: BTreeSet::new(),
            #[cfg(feature = "dns")]
            discovery: None,
            listed: Listed::default(),
        }
    }

    /// Whether a service or another cluster names it.
    fn is_named(&self) -> bool {
        !self.users.is_empty() || !self.backs.is_empty()
    }

    /// The settings of each source, in their order.
    pub(super) fn said(&self) -> impl Iterator<Item = (SourceId, &config::Cluster)> {
        self.settings.iter().map(|(source, settings)| (*source, &**settings))
    }

    /// The discovery that the first source asks for which says anything of it, and whose it is.
    #[cfg(feature = "dns")]
    pub(super) fn discovery_said(&self) -> Option<(SourceId, &config::Discovery)> {
        self.said().find_map(|(source, settings)| Some((source, settings.discovery.as_ref()?)))
    }

    /// Notes what a source says of the cluster, and whether that is new; from the second source
    /// on, endpoints have owners. [`secure`](Self::secure) must follow, once its endpoints are there, too: what
    /// is left out for its sake goes when there is something in its place.
    pub(super) fn define(&mut self, source: SourceId, settings: config::Cluster) -> bool {
        if let (1, Some(first)) = (self.settings.len(), self.settings.keys().next().copied())
            && first != source
        {
            let specs = self.cell.core.load().balancer.specs();
            self.listed.replace(first, specs);
        }
        if self.settings.get(&source).is_some_and(|known| **known == settings) {
            return false;
        }
        self.settings.insert(source, Box::new(settings));
        self.cell.define(true);
        true
    }

    /// Replaces the endpoints of a source; those that others name, too, stay.
    pub(super) fn replace(&mut self, source: SourceId, set: Vec<config::Endpoint>) -> bool {
        if self.settings.len() <= 1 {
            self.listed.clear();
            return self.cell.core.load().balancer.replace(set) != Diff::default();
        }
        let touched = self.listed.replace(source, set);
        self.publish(touched)
    }

    /// Adds to the endpoints of a source.
    pub(super) fn upsert(&mut self, source: SourceId, set: Vec<config::Endpoint>) {
        if self.settings.len() <= 1 {
            self.cell.core.load().balancer.upsert(set);
            return;
        }
        let touched = self.listed.insert(source, set);
        self.publish(touched);
    }

    /// Changes these endpoints of the one source that names the cluster.
    pub(super) fn patch(&self, put: Vec<config::Endpoint>, gone: &[Address]) -> bool {
        self.cell.core.load().balancer.patch(put, gone) != Diff::default()
    }

    /// Takes endpoints from a source; those that others name, too, stay.
    pub(super) fn remove(&mut self, source: SourceId, addresses: Vec<Address>) {
        if !self.settings.contains_key(&source) {
            return;
        }
        let touched = self.listed.remove(source, addresses);
        self.publish(touched);
    }

    /// Whether nobody but this source, and what discovers endpoints for it, says anything of it.
    fn is_of_only(&self, source: SourceId) -> bool {
        self.settings.contains_key(&source)
            && self.settings.keys().all(|it| *it == source || *it == SourceId::DISCOVERY)
    }

    /// Takes back what a source has said of the cluster.
    pub(super) fn forget(&mut self, source: SourceId) {
        if !self.settings.contains_key(&source) {
            return;
        }
        let is_alone = self.settings.len() == 1;
        if is_alone {
            self.replace(source, Vec::new());
        }
        self.settings.remove(&source);
        self.cell.define(!self.settings.is_empty());
        // What was left out for its sake is back before its own endpoints go: there is always one to call.
        self.secure();
        if !is_alone {
            let touched = self.listed.replace(source, Vec::new());
            self.publish(touched);
        }
        self.listed.forget(source);
    }

    /// The first source that says how it is secured, and its words.
    pub(super) fn secured_by(&self) -> Option<(SourceId, &config::ClusterSecurity)> {
        self.said().find_map(|(source, settings)| Some((source, settings.security.as_ref()?)))
    }

    /// Who says how it is secured may have changed, and with it which endpoints loosen that.
    pub(super) fn secure(&mut self) {
        let (said, host) = (self.secured_by(), host_of(&self.cell.name));
        let floor = match (said, &self.code) {
            (Some((source, said)), code) if secures(said) || code.is_none() => {
                Some((Whose::Source(source), Floor::of(said, host)))
            }
            (said, Some(code)) => {
                let said = said.map(|(_, said)| said);
                Some((Whose::Code, Floor::of_code(code, said, host)))
            }
            (_, None) => None,
        };
        #[cfg(feature = "dns")]
        let finds_for = self.discovery_said().map(|(source, _)| source);
        #[cfg(not(feature = "dns"))]
        let finds_for = None;
        let touched = self.listed.secure(floor, finds_for);
        if !touched.is_empty() {
            self.publish(touched);
        }
    }

    /// The endpoints that are left out since they would loosen what another says of it.
    pub(super) fn loosening(
        &self,
    ) -> impl Iterator<Item = (SourceId, &Address, Loosening<'_>, Whose)> {
        self.listed.loosening()
    }

    /// Brings what is known of these addresses to the balancer; whether that changed anything.
    fn publish(&self, addresses: Vec<Address>) -> bool {
        let (mut known, mut gone) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for address in addresses {
            if !seen.insert(address.clone()) {
                continue;
            }
            match self.listed.endpoint(&address) {
                Some(endpoint) => known.push(endpoint),
                None => gone.push(address),
            }
        }
        let core = self.cell.core.load_full();
        // It goes by the order of the lists, which any of them may have changed.
        if core.balancer.is_ordered() {
            return core.balancer.replace(self.listed.in_order()) != Diff::default();
        }
        let changed = core.balancer.upsert(known) != Diff::default();
        core.balancer.remove(&gone) != Diff::default() || changed
    }
}

// === impl Absent ===

impl Absent {
    /// The cell that clients of this name hold, or a new one.
    pub(super) fn cell(&mut self, name: &str, hub: &Arc<Hub>) -> Arc<ServiceCell> {
        if let Some(cell) = self.cells.get(name).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(ServiceCell::new(name, hub));
        self.keep(&cell);
        cell
    }

    /// The same, for the service has come.
    pub(super) fn take(&mut self, name: &str, hub: &Arc<Hub>) -> Arc<ServiceCell> {
        let cell = self.cells.remove(name).and_then(|cell| cell.upgrade());
        cell.unwrap_or_else(|| Arc::new(ServiceCell::new(name, hub)))
    }

    /// Those that clients hold.
    pub(super) fn held(&self) -> impl Iterator<Item = Arc<ServiceCell>> {
        self.cells.values().filter_map(Weak::upgrade)
    }

    /// Keeps the cell for as long as somebody else does.
    pub(super) fn keep(&mut self, cell: &Arc<ServiceCell>) {
        if self.cells.len() >= self.sweep_at {
            self.cells.retain(|_, cell| cell.strong_count() > 0);
            self.sweep_at = self.cells.len() * 2 + 64;
        }
        self.cells.insert(cell.name.to_string(), Arc::downgrade(cell));
    }
}

#[cfg(test)]
impl Absent {
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }
}
