//! The running mesh: its services and clusters, and the sink that its sources publish into.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    cluster::{Cluster, Core, NodeContext},
    code::Code,
    leaf::Leaf,
    names::Name,
    service::{Route, Service, ServiceCell},
    stage::{Erased, Stage},
};
use crate::{
    config::{self, Address, ConfigError, ConfigErrors},
    core::{BoxFuture, Epoch, Error, ErrorKind, Event, Events, Origin, Phase, Random},
    discover::{Change, Sink, SourceId},
    resilience::limit::Limiter,
    route::{Matcher, Split, Table},
    transport::{Connect, Shared},
};

/// Everything that clients, sources and tasks of one mesh share.
pub(crate) struct Inner {
    pub(crate) epoch: Epoch,
    pub(crate) events: Arc<Events>,
    pub(crate) random: Arc<Random>,
    pub(crate) stages: Stages,
    pub(crate) resolve_timeout: Duration,
    pub(crate) code: Code,
    pub(crate) sources: Vec<String>,
    pub(crate) transport: Arc<Shared>,
    pub(crate) unknown_names: super::UnknownNames,
    services: ArcSwap<HashMap<Arc<str>, Arc<ServiceCell>>>,
    /// What the sources have said. Locked by updaters only, never by a call.
    state: Mutex<State>,
    changed: Notify,
    synced: AtomicBool,
    /// Names whose first DNS answer is awaited.
    resolving: AtomicUsize,
    closed: AtomicBool,
    /// The tasks of the sources; they hold this weakly.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The user's layers and leaves.
pub(crate) struct Stages {
    pub(crate) call: Option<Arc<dyn Erased>>,
    pub(crate) attempt: Option<Arc<dyn Erased>>,
    pub(crate) endpoint: Option<Stage>,
    pub(crate) leaf: Option<Leaf>,
    pub(crate) connector: Arc<dyn Connect>,
}

#[derive(Default)]
struct State {
    services: BTreeMap<String, BTreeMap<SourceId, config::Service>>,
    clusters: HashMap<String, ClusterEntry>,
    refused: BTreeMap<String, String>,
    synced: HashSet<SourceId>,
}

struct ClusterEntry {
    cell: Arc<Cluster>,
    /// The settings of each source; the first source that has any decides.
    settings: BTreeMap<SourceId, config::Cluster>,
    /// Whose endpoints they are, kept only while several sources name the cluster.
    owners: BTreeMap<SourceId, HashSet<Address>>,
}

// === impl Inner ===

impl Inner {
    #[expect(clippy::too_many_arguments, reason = "the builder's parts, given once")]
    pub(crate) fn new(
        epoch: Epoch,
        events: Arc<Events>,
        random: Arc<Random>,
        stages: Stages,
        code: Code,
        sources: Vec<String>,
        transport: Arc<Shared>,
        unknown_names: super::UnknownNames,
    ) -> Self {
        Self {
            epoch,
            events,
            random,
            stages,
            resolve_timeout: code.resolve_timeout.unwrap_or(config::DEFAULT_RESOLVE_TIMEOUT),
            code,
            synced: AtomicBool::new(sources.is_empty()),
            sources,
            transport,
            unknown_names,
            services: ArcSwap::default(),
            state: Mutex::default(),
            changed: Notify::new(),
            resolving: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            tasks: Mutex::default(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether every source has delivered its first state.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Runs a source's task until the mesh ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.transport.handle.spawn(task);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn end_tasks(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Whether nothing more is on its way that a call should wait for.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_synced() && self.resolving.load(Ordering::Acquire) == 0
    }

    pub(crate) fn resolving(&self) {
        self.resolving.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn resolved(&self) {
        self.resolving.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell of a name, made on demand: it is filled when a source delivers the service.
    pub(crate) fn cell(&self, name: &Name) -> Arc<ServiceCell> {
        let services = self.services.load();
        let full = name.to_string();
        if let Some(cell) = services.get(full.as_str()) {
            return Arc::clone(cell);
        }
        if name.port.is_some()
            && let Some(cell) = services.get(name.host.as_str())
        {
            return Arc::clone(cell);
        }
        let state = self.state();
        let wanted = if state.knows(&full) { &full } else { &name.host };
        let cell = self.cell_in(wanted);
        drop(state);
        cell
    }

    /// The cell of an exact name. The state is locked by the caller.
    fn cell_in(&self, name: &str) -> Arc<ServiceCell> {
        if let Some(cell) = self.services.load().get(name) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(ServiceCell::new(name));
        self.services.rcu(|services| {
            let mut services = HashMap::clone(services);
            services.entry(Arc::clone(&cell.name)).or_insert_with(|| Arc::clone(&cell));
            services
        });
        let services = self.services.load();
        services.get(name).map_or(cell, Arc::clone)
    }

    /// Whether any source or the code defines the name.
    pub(crate) fn knows(&self, name: &Name) -> bool {
        let state = self.state();
        state.knows(&name.to_string()) || state.knows(&name.host)
    }

    /// The error of a name that nobody defines.
    pub(crate) fn unknown(&self, name: &Arc<str>) -> Error {
        let state = self.state();
        let refused: Vec<String> = state
            .refused
            .iter()
            .filter(|(part, _)| part.ends_with(&**name) || part.starts_with("file"))
            .map(|(part, reason)| format!("{part} was refused: {reason}"))
            .collect();
        drop(state);
        let error = Error::new(ErrorKind::UnknownService, Phase::Resolve)
            .from(Origin::Control)
            .service(name);
        if refused.is_empty() {
            let sources = self.sources.join(", ");
            return error.detail(format!("not defined by any source ({sources})"));
        }
        error.detail(refused.join("; "))
    }

    /// Ends when the service's cell is filled, or every source has delivered its first state.
    pub(crate) fn changed(self: &Arc<Self>, cell: &Arc<ServiceCell>) -> BoxFuture<()> {
        let (inner, cell) = (Arc::clone(self), Arc::clone(cell));
        Box::pin(async move {
            inner
                .wait_until(|inner| {
                    cell.current.load().is_some() || inner.is_synced() || inner.is_closed()
                })
                .await;
        })
    }

    /// Ends at the next change of configuration.
    pub(crate) fn endpoints_changed(self: &Arc<Self>) -> BoxFuture<()> {
        let inner = Arc::clone(self);
        Box::pin(async move { inner.changed.notified().await })
    }

    /// Waits for the first state of every source.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.wait_until(|inner| inner.is_synced() || inner.is_closed()).await;
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Shutdown, Phase::Resolve));
        }
        let refused: Vec<String> =
            self.state().refused.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, Phase::Resolve)
            .from(Origin::Control)
            .detail(refused.join("; ")))
    }

    async fn wait_until(&self, done: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if done(self) {
                return;
            }
            changed.await;
        }
    }

    /// Refuses further calls and drains every endpoint.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.end_tasks();
        self.changed.notify_waiters();
        let state = self.state();
        for entry in state.clusters.values() {
            entry.cell.core.load().balancer.replace(Vec::new());
        }
    }

    /// The parts that are refused now, with their reasons.
    pub(crate) fn refused_parts(&self) -> Vec<(String, String)> {
        self.state().refused.iter().map(|(part, why)| (part.clone(), why.clone())).collect()
    }

    /// The services that are defined, by name.
    pub(crate) fn defined(&self) -> BTreeMap<Arc<str>, Arc<Service>> {
        let services = self.services.load();
        services
            .iter()
            .filter_map(|(name, cell)| Some((Arc::clone(name), cell.current.load_full()?)))
            .collect()
    }

    fn node_context(&self, name: &Arc<str>, config: &config::Cluster) -> NodeContext {
        NodeContext {
            cluster: Arc::clone(name),
            protocol: config.protocol,
            settings: Arc::new(config.transport.settings()),
            connector: Arc::clone(&self.stages.connector),
            shared: Arc::clone(&self.transport),
            leaf: self.stages.leaf.clone(),
            stage: self.stages.endpoint.clone(),
        }
    }

    fn core(&self, name: &Arc<str>, config: &config::Cluster) -> Core {
        let mut settings = config.clone();
        settings.endpoints = Vec::new();
        let settings = self.code.cluster(name, settings);
        Core::new(settings.clone(), self.node_context(name, &settings), self.epoch)
    }

    /// The entry of a cluster, made empty when nothing has named it yet.
    fn entry<'a>(&self, state: &'a mut State, name: &str) -> &'a mut ClusterEntry {
        state.clusters.entry(name.to_owned()).or_insert_with(|| {
            let name: Arc<str> = name.into();
            let core = self.core(&name, &config::Cluster::default());
            ClusterEntry {
                cell: Arc::new(Cluster::new(name, core)),
                settings: BTreeMap::new(),
                owners: BTreeMap::new(),
            }
        })
    }

    /// Compiles the service and swaps it in; a reference to a cluster makes its cell.
    fn compile(&self, state: &mut State, name: &str) {
        let cell = self.cell_in(name);
        let planned = state.services.get(name).and_then(|by| by.iter().next());
        let source: Option<Arc<str>> =
            planned.and_then(|(source, _)| Some(self.sources.get(source.index())?.as_str().into()));
        let planned = planned.map(|(_, service)| service.clone());
        let is_cluster = state.clusters.get(name).is_some_and(|entry| !entry.settings.is_empty());
        if planned.is_none() && !is_cluster && !self.code.names(name) {
            cell.current.store(None);
            return;
        }
        let config = planned.unwrap_or_default();
        let mut routes = config.routes.clone();
        if routes.is_empty() {
            let target = config.cluster.clone().unwrap_or_else(|| name.to_owned());
            let clusters = vec![config::WeightedCluster::new(target)];
            routes.push(config::Route { clusters, ..config::Route::default() });
        }
        let mut compiled = Vec::with_capacity(routes.len());
        for route in &routes {
            let matchers: Result<Vec<_>, _> = route.matches.iter().map(Matcher::new).collect();
            // Validation has refused what cannot be compiled.
            let Ok(matchers) = matchers else { continue };
            let plane = route.policy.over(&config.policy);
            let merged = self.code.policy(name).over(&plane);
            let clusters = route
                .clusters
                .iter()
                .map(|target| (target.weight, Arc::clone(&self.entry(state, &target.name).cell)));
            let clusters = Split::new(clusters.collect::<Vec<_>>());
            let policy = cell.policy(&merged);
            let name = route.name.as_deref().map(Into::into);
            compiled
                .push((matchers, Route { name, clusters, policy, plane, source: source.clone() }));
        }
        let merged = self.code.policy(name).over(&config.policy);
        let previous = cell.current.load_full();
        let limiter = merged.max_requests.map(|limit| {
            // The count of calls in flight survives an update that keeps the limit.
            previous
                .as_ref()
                .and_then(|service| service.limiter.clone())
                .filter(|limiter| limiter.limit() == limit)
                .unwrap_or_else(|| Arc::new(Limiter::new(limit)))
        });
        let table = Table::new(compiled);
        cell.current.store(Some(Arc::new(Service { table, limiter })));
        self.applied(format!("service {name}"));
    }

    /// Swaps a cluster's settings, keeping its endpoints' state when they did not change.
    fn settle(&self, state: &mut State, name: &str) {
        let entry = self.entry(state, name);
        let settings = entry.settings.values().next().cloned().unwrap_or_default();
        let shared: Arc<str> = Arc::clone(&entry.cell.name);
        let wanted = self.code.cluster(&shared, settings);
        let current = entry.cell.core.load_full();
        if !current.same_settings(&wanted) {
            let core = self.core(&shared, &wanted);
            let endpoints = current.balancer.specs();
            core.balancer.replace(endpoints);
            entry.cell.core.store(Arc::new(core));
            // The old endpoints finish what they have in flight and close.
            current.balancer.replace(Vec::new());
        }
    }

    /// Replaces the endpoints that `source` owns.
    fn replace(&self, state: &mut State, source: SourceId, name: &str, set: Vec<config::Endpoint>) {
        let entry = self.entry(state, name);
        let balancer = entry.cell.core.load_full();
        let several = entry.settings.len() > 1;
        if !several {
            entry.owners.clear();
            balancer.balancer.replace(set);
            return;
        }
        let owned: HashSet<Address> = set.iter().map(|endpoint| endpoint.address.clone()).collect();
        let before = entry.owners.insert(source, owned.clone()).unwrap_or_default();
        let by_others = |address: &Address| {
            entry.owners.iter().any(|(other, set)| *other != source && set.contains(address))
        };
        let gone: Vec<Address> = before
            .into_iter()
            .filter(|address| !owned.contains(address) && !by_others(address))
            .collect();
        balancer.balancer.upsert(set);
        balancer.balancer.remove(&gone);
    }

    /// Notes that a second source names the cluster: from now on owners are told apart.
    fn own(&self, state: &mut State, source: SourceId, name: &str) {
        let entry = self.entry(state, name);
        if let (1, Some(first)) = (entry.settings.len(), entry.settings.keys().next().copied())
            && first != source
        {
            let specs = entry.cell.core.load().balancer.specs();
            let owned = specs.into_iter().map(|endpoint| endpoint.address).collect();
            entry.owners.insert(first, owned);
        }
    }

    fn applied(&self, part: String) {
        self.state_applied(&part);
        self.events.emit(|| Event::ConfigApplied { part: part.into() });
    }

    fn state_applied(&self, _part: &str) {
        self.changed.notify_waiters();
    }

    fn report(&self, state: &mut State, part: String, reason: String) {
        self.events.emit(|| Event::ConfigRefused {
            part: part.as_str().into(),
            reason: reason.as_str().into(),
        });
        state.refused.insert(part, reason);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    fn knows(&self, name: &str) -> bool {
        self.services.get(name).is_some_and(|by| !by.is_empty())
            || self.clusters.get(name).is_some_and(|entry| !entry.settings.is_empty())
    }
}

impl Sink for Inner {
    fn apply(&self, source: SourceId, change: Change) -> Result<(), ConfigErrors> {
        let mut guard = self.state();
        let state = &mut *guard;
        let result = match change {
            Change::Service(name, service) => match service.validate(&name) {
                Err(errors) => {
                    self.report(state, format!("service {name}"), errors.to_string());
                    Err(errors)
                }
                Ok(()) => {
                    state.refused.remove(&format!("service {name}"));
                    let name = name.to_ascii_lowercase();
                    state.services.entry(name.clone()).or_default().insert(source, *service);
                    self.compile(state, &name);
                    Ok(())
                }
            },
            Change::RemoveService(name) => {
                state.refused.remove(&format!("service {name}"));
                if let Some(by) = state.services.get_mut(&name) {
                    by.remove(&source);
                }
                self.compile(state, &name);
                Ok(())
            }
            Change::Cluster(name, cluster) => match cluster.validate(&name) {
                Err(errors) => {
                    self.report(state, format!("cluster {name}"), errors.to_string());
                    Err(errors)
                }
                Ok(()) => {
                    state.refused.remove(&format!("cluster {name}"));
                    let mut cluster = *cluster;
                    let endpoints = std::mem::take(&mut cluster.endpoints);
                    self.own(state, source, &name);
                    self.entry(state, &name).settings.insert(source, cluster);
                    self.settle(state, &name);
                    self.replace(state, source, &name, endpoints);
                    self.compile(state, &name);
                    self.applied(format!("cluster {name}"));
                    Ok(())
                }
            },
            Change::RemoveCluster(name) => {
                state.refused.remove(&format!("cluster {name}"));
                self.replace(state, source, &name, Vec::new());
                self.entry(state, &name).settings.remove(&source);
                self.compile(state, &name);
                Ok(())
            }
            Change::Endpoints(name, endpoints) => {
                self.checked(state, &name, endpoints).map(|set| {
                    self.adopt(state, source, &name);
                    self.replace(state, source, &name, set);
                    self.changed.notify_waiters();
                })
            }
            Change::Upsert(name, endpoints) => self.checked(state, &name, endpoints).map(|set| {
                self.adopt(state, source, &name);
                let entry = self.entry(state, &name);
                if entry.settings.len() > 1 {
                    let owned = entry.owners.entry(source).or_default();
                    owned.extend(set.iter().map(|endpoint| endpoint.address.clone()));
                }
                entry.cell.core.load().balancer.upsert(set);
                self.changed.notify_waiters();
            }),
            Change::Remove(name, addresses) => {
                let entry = self.entry(state, &name);
                if let Some(owned) = entry.owners.get_mut(&source) {
                    for address in &addresses {
                        owned.remove(address);
                    }
                }
                let gone: Vec<Address> = addresses
                    .into_iter()
                    .filter(|address| !entry.owners.values().any(|set| set.contains(address)))
                    .collect();
                entry.cell.core.load().balancer.remove(&gone);
                Ok(())
            }
            Change::Refused { part, reason } => {
                self.report(state, part, reason);
                Ok(())
            }
            Change::Accepted { part } => {
                state.refused.remove(&part);
                Ok(())
            }
            Change::Synced => {
                state.synced.insert(source);
                if state.synced.len() >= self.sources.len() {
                    self.synced.store(true, Ordering::Release);
                }
                Ok(())
            }
        };
        drop(guard);
        self.changed.notify_waiters();
        result
    }
}

impl Inner {
    /// Refuses a set with an endpoint that cannot be used; the last good set stays.
    fn checked(
        &self,
        state: &mut State,
        name: &str,
        endpoints: Vec<config::Endpoint>,
    ) -> Result<Vec<config::Endpoint>, ConfigErrors> {
        let mut errors: Vec<ConfigError> = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = format!("clusters.{name}.endpoints[{index}]");
            if let Err(found) = endpoint.validate(&path) {
                errors.extend(found.0);
            }
        }
        if errors.is_empty() {
            return Ok(endpoints);
        }
        let errors = ConfigErrors(errors);
        self.report(state, format!("cluster {name}"), errors.to_string());
        Err(errors)
    }

    /// A source that publishes endpoints alone defines the cluster with default settings.
    fn adopt(&self, state: &mut State, source: SourceId, name: &str) {
        let entry = self.entry(state, name);
        if entry.settings.contains_key(&source) {
            return;
        }
        self.own(state, source, name);
        self.entry(state, name).settings.insert(source, config::Cluster::default());
        self.compile(state, name);
    }
}
