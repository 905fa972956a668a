//! The running mesh: what its clients, sources and tasks share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    cluster::Cluster,
    code::Code,
    leaf::Leaf,
    names::Name,
    service::{Service, ServiceCell},
    stage::{Erased, Stage},
    state::State,
};
use crate::{
    config,
    core::{BoxFuture, Epoch, Error, ErrorKind, Events, Origin, Phase, Random},
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

    /// Wakes whoever waits for configuration.
    pub(super) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Every source has delivered its first state.
    pub(super) fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    pub(crate) fn resolving(&self) {
        self.resolving.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn resolved(&self) {
        self.resolving.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell of a service that is defined, by an authority as requests carry it: no lock, no
    /// allocation. Nothing for any other spelling of its name.
    pub(crate) fn find(&self, authority: &str) -> Option<Arc<ServiceCell>> {
        let services = self.services.load();
        let defined = |name: &str| {
            services.get(name).filter(|cell| cell.current.load().is_some()).map(Arc::clone)
        };
        defined(authority).or_else(|| defined(authority.rsplit_once(':')?.0))
    }

    /// The cell of a name, made on demand: it is filled when a source delivers the service.
    pub(crate) fn cell(&self, name: &Name) -> Arc<ServiceCell> {
        let full = name.to_string();
        if let Some(cell) = self.find(&full) {
            return cell;
        }
        let state = self.state();
        let wanted = if state.knows(&full) { &full } else { &name.host };
        self.cell_in(wanted)
    }

    /// The cell of an exact name. The state is locked by the caller.
    pub(super) fn cell_in(&self, name: &str) -> Arc<ServiceCell> {
        if let Some(cell) = self.services.load().get(name) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(ServiceCell::new(name));
        let mut services = HashMap::clone(&self.services.load());
        services.insert(Arc::clone(&cell.name), Arc::clone(&cell));
        self.services.store(Arc::new(services));
        cell
    }

    /// Whether any source or the code defines the name.
    pub(crate) fn knows(&self, name: &Name) -> bool {
        let state = self.state();
        state.knows(&name.to_string()) || state.knows(&name.host) || self.code.names(&name.host)
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
            .with_origin(Origin::Control)
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

    /// Ends when the cluster has endpoints, or none are on their way.
    pub(crate) fn endpoints(self: &Arc<Self>, cluster: &Arc<Cluster>) -> BoxFuture<()> {
        let (inner, cluster) = (Arc::clone(self), Arc::clone(cluster));
        Box::pin(async move {
            inner
                .wait_until(|inner| {
                    cluster.core.load().balancer.len() > 0
                        || inner.is_settled()
                        || inner.is_closed()
                })
                .await;
        })
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
            .with_origin(Origin::Control)
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
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
