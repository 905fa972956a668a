//! The running mesh: what its clients, sources and tasks share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

use super::{
    builder::Unknown,
    cluster::Cluster,
    code::Code,
    directory::Directory,
    leaf::Leaf,
    metrics::Telemetry,
    overlay::{self, Whose},
    peers::Peers,
    remark::Remark,
    runtime::Runtime,
    service::{Service, ServiceCell},
    stage::{Erased, Stage},
    state::{Entry, State},
};
use crate::{
    balance::Wanted,
    config,
    core::{BoxFuture, Epoch, Error, ErrorKind, Events, Origin, Phase, Random},
    discover::SourceId,
    observe::{Hub, trace::Tracing},
    transport::{Connect, Shared},
};

/// Everything that clients, sources and tasks of one mesh share.
pub(crate) struct Inner {
    pub(crate) epoch: Epoch,
    pub(crate) events: Arc<Events>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) telemetry: Telemetry,
    /// Where this process runs.
    pub(crate) place: Arc<config::Place>,
    pub(crate) peers: Arc<Peers>,
    /// The clusters that requests may name.
    pub(crate) directory: Directory,
    pub(crate) random: Arc<Random>,
    /// Made when it is first asked for.
    channel: OnceLock<u64>,
    pub(crate) stages: Stages,
    pub(crate) tracing: Tracing,
    pub(crate) resolve_timeout: Duration,
    pub(crate) code: Code,
    pub(crate) sources: Vec<String>,
    pub(crate) transport: Arc<Shared>,
    pub(crate) unknown_names: super::UnknownNames,
    /// How DNS is asked for them.
    #[cfg(feature = "dns")]
    pub(super) unknown_dns: config::DnsDiscovery,
    /// The source that says so, by its place.
    pub(super) unknown_source: Option<usize>,
    /// A source tells `https://users`, which is `users:443` to it, from `http://users`.
    pub(super) asks_by_port: bool,
    /// It explains and calls nobody.
    pub(crate) is_dry: bool,
    #[cfg(feature = "dns")]
    pub(super) resolvers: crate::discover::dns::Resolvers,
    /// Itself, for the tasks that it starts.
    #[cfg(feature = "dns")]
    pub(super) this: std::sync::Weak<Self>,
    /// Those that are defined, and, empty, those whose definition was refused.
    pub(super) services: ArcSwap<HashMap<Arc<str>, Arc<ServiceCell>>>,
    /// What the sources have said. Locked by updaters only, never by a call.
    state: Mutex<State>,
    changed: Notify,
    /// How often it was notified.
    changes: AtomicU64,
    synced: AtomicBool,
    /// Every source has spoken, and could be read when it did.
    heard: AtomicBool,
    /// Who this process is.
    pub(super) own: super::own::Own,
    /// Clusters of sources whose first discovery is awaited.
    pub(super) awaited: AtomicUsize,
    /// The tasks of the sources; they hold this weakly.
    tasks: Mutex<JoinSet<()>>,
    /// The clients of control planes, for the metrics.
    #[cfg(feature = "xds")]
    pub(super) planes: Mutex<Vec<Box<dyn crate::core::Plane>>>,
    /// What sources still say when they have ended.
    #[cfg(feature = "xds")]
    pub(super) farewells: Mutex<Vec<BoxFuture<()>>>,
}

/// The user's layers and leaves.
pub(crate) struct Stages {
    pub(crate) call: Option<Arc<dyn Erased>>,
    pub(crate) attempt: Option<Arc<dyn Erased>>,
    pub(crate) endpoint: Option<Stage>,
    pub(crate) leaf: Option<Leaf>,
    pub(crate) connector: Arc<dyn Connect>,
    /// There are connect layers around the connector.
    pub(crate) connects: bool,
}

// === impl Inner ===

impl Inner {
    #[expect(clippy::too_many_arguments, reason = "the builder's parts, given once")]
    pub(crate) fn new(
        #[cfg(feature = "dns")] this: &std::sync::Weak<Self>,
        epoch: Epoch,
        hub: Arc<Hub>,
        random: Arc<Random>,
        stages: Stages,
        tracing: Tracing,
        code: Code,
        sources: Vec<String>,
        transport: Arc<Shared>,
        unknown: Unknown,
        asks_by_port: bool,
        telemetry: Telemetry,
        place: config::Place,
        is_dry: bool,
    ) -> Self {
        let keys = Runtime::of(&code.runtime);
        Self {
            epoch,
            events: Arc::clone(&hub.events),
            hub,
            telemetry,
            place: Arc::new(place),
            peers: Arc::default(),
            directory: Directory::default(),
            random,
            channel: OnceLock::new(),
            stages,
            tracing,
            resolve_timeout: code.resolve_timeout.unwrap_or(config::DEFAULT_RESOLVE_TIMEOUT),
            code,
            synced: AtomicBool::new(sources.is_empty()),
            heard: AtomicBool::new(sources.is_empty()),
            own: super::own::Own::default(),
            sources,
            transport,
            unknown_names: unknown.names,
            #[cfg(feature = "dns")]
            unknown_dns: unknown.dns,
            unknown_source: unknown.source,
            asks_by_port,
            is_dry,
            #[cfg(feature = "dns")]
            resolvers: crate::discover::dns::Resolvers::default(),
            #[cfg(feature = "dns")]
            this: std::sync::Weak::clone(this),
            services: ArcSwap::default(),
            state: Mutex::new(State { runtime: keys, ..State::default() }),
            changed: Notify::new(),
            changes: AtomicU64::new(0),
            awaited: AtomicUsize::new(0),
            tasks: Mutex::default(),
            #[cfg(feature = "xds")]
            planes: Mutex::default(),
            #[cfg(feature = "xds")]
            farewells: Mutex::default(),
        }
    }

    /// A random number of this mesh: what gRPC calls the id of a channel (gRFC A42).
    pub(crate) fn channel(&self) -> u64 {
        *self.channel.get_or_init(|| self.random.next())
    }

    /// The same, if it was asked for before.
    pub(crate) fn known_channel(&self) -> Option<u64> {
        self.channel.get().copied()
    }

    /// Whether every source has delivered its first state.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether every source has once said all that it has to say: none may still secure a cluster that
    /// is plaintext because nobody has said anything of it.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    pub(super) fn set_heard(&self) {
        self.heard.store(true, Ordering::Release);
    }

    /// Runs a source's task until the mesh ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.transport.handle)
    }

    pub(super) fn end_tasks(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Whether nothing more is on its way that a call to this cluster should wait for.
    pub(crate) fn is_settled(&self, cluster: &Arc<Cluster>) -> bool {
        self.is_synced() && cluster.line().all(|cluster| !cluster.discovered.is_awaited())
    }

    /// Whether every source has spoken, also of the names that were asked for, and every discovery
    /// of theirs has come to something.
    fn is_ready(&self) -> bool {
        self.is_synced()
            && self.awaited.load(Ordering::Acquire) == 0
            && !self.state().asking.is_any_awaited()
    }

    /// Wakes whoever waits for configuration.
    pub(super) fn notify(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Every source has delivered its first state.
    pub(super) fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the service of the cell's name is there, or no source has still to speak of it.
    pub(crate) fn changed(self: &Arc<Self>, cell: &Arc<ServiceCell>) -> BoxFuture<()> {
        let (inner, cell) = (Arc::clone(self), Arc::clone(cell));
        Box::pin(async move {
            inner
                .wait_until(|inner| {
                    inner.find_named(&cell.name).is_some()
                        || (inner.is_synced() && !inner.is_asked(&cell.name))
                        || inner.is_closed()
                })
                .await;
        })
    }

    /// How often anything has changed that somebody may wait for.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Ends when the cluster has endpoints of these labels that may be called, or none are on their
    /// way. Who has `seen` so many changes, and has found nothing by them, waits for another.
    pub(crate) fn endpoints(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        wanted: Option<&Arc<Wanted>>,
        seen: Option<u64>,
    ) -> BoxFuture<()> {
        let (inner, cluster, wanted) = (Arc::clone(self), Arc::clone(cluster), wanted.cloned());
        Box::pin(async move {
            inner
                .wait_until(|inner| {
                    let is_callable =
                        |it: Arc<Cluster>| it.core.load().balancer.is_callable(wanted.as_deref());
                    (seen != Some(inner.changes()) && cluster.line().any(is_callable))
                        || inner.is_settled(&cluster)
                        || inner.is_closed()
                })
                .await;
        })
    }

    /// Waits for the first state of every source; says what is refused.
    pub(crate) async fn loaded(&self) -> Result<Vec<Remark>, Error> {
        self.wait_until(|inner| inner.is_ready() || inner.is_closing()).await;
        let keys = self.state().keys.awaited();
        keys.await;
        if self.is_closing() {
            return Err(Error::new(ErrorKind::Shutdown, Phase::Resolve));
        }
        Ok(self.refused_parts())
    }

    /// Waits for the first state of every source, of which nothing may be refused.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let refused = self.loaded().await?;
        if refused.is_empty() {
            return Ok(());
        }
        let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
        Err(Error::new(ErrorKind::Config, Phase::Resolve)
            .with_origin(Origin::Control)
            .detail(refused.join("; ")))
    }

    pub(super) async fn wait_until(&self, done: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if done(self) {
                return;
            }
            changed.await;
        }
    }

    /// The parts that are refused now, with their reasons.
    pub(crate) fn refused_parts(&self) -> Vec<Remark> {
        self.state().reports()
    }

    /// What is said of parts now that is no failure.
    pub(crate) fn noted_parts(&self) -> Vec<Remark> {
        self.state().noted()
    }

    /// What of each service is run and does nothing.
    pub(crate) fn doubtful_parts(&self) -> Vec<Remark> {
        let state = self.state();
        let told = state.doubts.iter().flat_map(|(service, doubts)| {
            doubts.iter().map(move |doubt| Remark::new(&format!("service {service}"), doubt))
        });
        told.collect()
    }

    /// The same of one.
    pub(crate) fn doubts_of(&self, service: &str) -> Vec<String> {
        self.state().doubts.get(service).cloned().unwrap_or_default()
    }

    /// When the service was last called, to about a second; nothing if it is not defined.
    pub(super) fn called(&self, service: &str) -> Option<crate::core::Instant> {
        let service = self.services.load().get(service)?.current.load_full()?;
        Some(self.epoch.at(service.used()))
    }

    /// The name of a source; what none gives has come by DNS, as the source says that is there for such
    /// names.
    pub(super) fn source_name(&self, source: SourceId) -> &str {
        let place =
            if source == SourceId::DNS { self.unknown_source } else { Some(source.index()) };
        place.and_then(|place| self.sources.get(place)).map_or("dns", String::as_str)
    }

    /// The layers of a cluster's settings that count, nearest first.
    pub(super) fn cluster_layers(&self, cluster: &str) -> Vec<(Whose, config::Cluster)> {
        let state = self.state();
        let said = state.clusters.get(cluster).into_iter().flat_map(Entry::said);
        overlay::clusters(cluster, self.code.cluster(cluster), said).layers
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

    #[cfg(feature = "dns")]
    pub(super) fn tasks(&self) -> usize {
        self.tasks.lock().unwrap().len()
    }
}

#[cfg(feature = "_tls")]
impl crate::security::Reports for Inner {
    fn report(&self, part: &Arc<str>, report: crate::security::Report) {
        use crate::{
            discover::{Change, Sink},
            security::Report,
        };

        let part = part.to_string();
        let (change, accepted) = match report {
            Report::Accepted => (Change::Accepted { part: part.clone() }, Some(part)),
            Report::Refused(reason) => (Change::Refused { part, reason: reason.to_string() }, None),
        };
        // It fails only when the mesh has ended.
        drop(self.apply(SourceId::KEYS, change));
        // Only now: who is told finds nothing refused.
        if let Some(part) = accepted {
            self.applied(part);
        }
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
