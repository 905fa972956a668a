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
use tokio::{sync::Notify, task::JoinSet};

use super::{
    cluster::Cluster,
    code::Code,
    dns,
    leaf::Leaf,
    names::Name,
    service::{Service, ServiceCell},
    stage::{Erased, Stage},
    state::{Entry, Part, State},
};
use crate::{
    config,
    core::{BoxFuture, Epoch, Error, ErrorKind, Events, Instant, Origin, Phase, Random},
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
    tasks: Mutex<JoinSet<()>>,
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
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.transport.handle);
    }

    fn end_tasks(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
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
        // A name whose definition was refused is there, too, and empty.
        let cell = services.get(authority).or_else(|| {
            let (host, _port) = authority.rsplit_once(':')?;
            services.get(host)
        })?;
        cell.current.load().is_some().then(|| Arc::clone(cell))
    }

    /// The cell of a name that a client is made for.
    ///
    /// Before every source has spoken it is one of the full name: `name:port` may still come.
    /// Calls look for what it stands for, and the service fills it when it comes.
    pub(crate) fn lookup(self: &Arc<Self>, name: &Name) -> Result<Arc<ServiceCell>, Error> {
        let full = name.to_string();
        if self.is_synced() {
            return match self.find(&full) {
                Some(cell) => Ok(cell),
                None => self.unfound(&full),
            };
        }
        let mut state = self.state();
        let known = self.services.load().get(full.as_str()).map(Arc::clone);
        Ok(known.unwrap_or_else(|| state.absent.cell(&full)))
    }

    /// What becomes of a name that no source defines, once all have spoken.
    pub(crate) fn unfound(self: &Arc<Self>, name: &str) -> Result<Arc<ServiceCell>, Error> {
        if self.unknown_names == super::UnknownNames::Dns
            && self.refusals(name).is_empty()
            && let Ok(name) = Name::parse(name)
        {
            dns::define(self, &name)?;
        }
        self.find(name).ok_or_else(|| self.unknown(name))
    }

    /// The cell of an exact name that is defined or refused.
    pub(super) fn cell_in(&self, state: &mut State, name: &str) -> Arc<ServiceCell> {
        if let Some(cell) = self.services.load().get(name) {
            return Arc::clone(cell);
        }
        let cell = state.absent.take(name);
        let mut services = HashMap::clone(&self.services.load());
        services.insert(Arc::clone(&cell.name), Arc::clone(&cell));
        self.services.store(Arc::new(services));
        cell
    }

    /// Empties and forgets the cell of a name that is not defined any more; clients that hold it
    /// find it filled should the service come again.
    pub(super) fn drop_cell(&self, state: &mut State, name: &str) {
        let mut services = HashMap::clone(&self.services.load());
        let Some(cell) = services.remove(name) else { return };
        cell.clear();
        self.services.store(Arc::new(services));
        state.absent.keep(&cell);
    }

    /// Why the name is not defined, as far as sources tried to.
    fn refusals(&self, name: &str) -> Vec<String> {
        let host = name.rsplit_once(':').map_or(name, |(host, _port)| host);
        let state = self.state();
        let about = |part: &str| Part::defines(part, name) || Part::defines(part, host);
        let reports = state.reports().into_iter().filter(|(part, _)| about(part));
        reports.map(|(part, reason)| format!("{part} was refused: {reason}")).collect()
    }

    /// The error of a name that nobody defines, or whose definition was refused.
    pub(crate) fn unknown(&self, name: &str) -> Error {
        let error = |kind| {
            Error::new(kind, Phase::Resolve).with_origin(Origin::Control).service(&name.into())
        };
        let refused = self.refusals(name);
        if !refused.is_empty() {
            return error(ErrorKind::Config).detail(refused.join("; "));
        }
        let sources = self.sources.join(", ");
        // A source that could not be read at all may well define it.
        let lost = self.state().reports().into_iter();
        let lost = lost.filter(|(part, _)| self.sources.contains(part));
        let lost: Vec<String> =
            lost.map(|(part, reason)| format!("{part} was refused: {reason}")).collect();
        error(ErrorKind::UnknownService).detail(if lost.is_empty() {
            format!("not defined by any source ({sources})")
        } else {
            lost.join("; ")
        })
    }

    /// Ends when the service of the cell's name is there, or every source has delivered its first state.
    pub(crate) fn changed(self: &Arc<Self>, cell: &Arc<ServiceCell>) -> BoxFuture<()> {
        let (inner, cell) = (Arc::clone(self), Arc::clone(cell));
        Box::pin(async move {
            inner
                .wait_until(|inner| {
                    inner.find(&cell.name).is_some() || inner.is_synced() || inner.is_closed()
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
        let refused = self.refused_parts().into_iter();
        let refused: Vec<String> =
            refused.map(|(part, reason)| format!("{part}: {reason}")).collect();
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
        // Under the lock: a source that publishes meanwhile comes before it, or is refused.
        let state = self.state();
        self.closed.store(true, Ordering::Relaxed);
        self.end_tasks();
        self.changed.notify_waiters();
        for entry in state.clusters.values() {
            entry.cell.core.load().balancer.replace(Vec::new());
        }
    }

    /// The parts that are refused now, with their reasons.
    pub(crate) fn refused_parts(&self) -> Vec<(String, String)> {
        self.state().reports()
    }

    /// When the service was last called, to about a second; nothing if it is not defined.
    pub(super) fn called(&self, service: &str) -> Option<Instant> {
        let service = self.services.load().get(service)?.current.load_full()?;
        let used = service.table.iter().map(|(_, route)| route.policy.budget.used()).max()?;
        Some(self.epoch.at(used))
    }

    /// What the sources decide about a cluster, and which of them.
    pub(super) fn decisive(&self, cluster: &str) -> (config::Cluster, Option<String>) {
        let state = self.state();
        let said = state.clusters.get(cluster).and_then(Entry::decisive);
        let Some((source, settings)) = said else { return Default::default() };
        let source = self.sources.get(source.index()).map_or("dns", String::as_str);
        (settings.clone(), Some(source.to_owned()))
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

#[cfg(test)]
impl Inner {
    pub(super) fn cells(&self) -> usize {
        self.services.load().len()
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks.lock().unwrap().len()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
