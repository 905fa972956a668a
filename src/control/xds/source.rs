//! The source: it asks for the names that the mesh is asked for, and publishes what they lead to.

mod addresses;
mod apart;
#[cfg(test)]
#[cfg(feature = "testing")]
mod chaos;
mod context;
mod join;
mod laid;
mod leftover;
mod loads;
mod lookups;
mod names;
mod pace;
mod publish;
#[cfg(any(test, fuzzing))]
pub(super) mod whole;

use std::{
    collections::BTreeSet,
    future::poll_fn,
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

pub(super) use self::{context::context, publish::identities};
use self::{
    leftover::Leftover,
    loads::Reported,
    lookups::{LookedUp, Lookups},
    names::{Elsewhere, Found, Names},
    pace::Pace,
    publish::{Publish, Silent},
};
use super::{
    bootstrap::Bootstrap,
    cache,
    client::{Cause, Client, Trouble, Watched},
    graph::{Do, Graph, Id, Lack, Why},
    kind::Kind,
    resource::{Decoder, Resource},
    status::Status,
    stream::{Batch, Registry, Subscriber},
};
use crate::{
    config::ConfigErrors,
    core::{Figures, Instant, Plane, earliest},
    discover::{Discover, Publisher},
};

/// A control plane that speaks xDS, as a source of a mesh.
///
/// What is called is looked up at its first call: its listener, and all that this leads to. A name
/// that is not called for half an hour is forgotten, and looked up anew at its next call; one that leads
/// nowhere, after a minute. While the control plane is away nothing is forgotten that leads somewhere.
///
/// ```no_run
/// use tower_mesh::{Mesh, control::xds::Xds};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // What `GRPC_XDS_BOOTSTRAP` or `GRPC_XDS_BOOTSTRAP_CONFIG` say.
/// let mesh = Mesh::builder().source(Xds::from_env()?).build()?;
/// let users = mesh.client("users.prod:8080")?;
/// mesh.ready().await?;
/// # drop(users);
/// # Ok(())
/// # }
/// ```
///
/// All meshes of a process that have the same bootstrap share one stream to each of its servers.
/// Settings of services and clusters that the control plane is silent about may come from the code
/// or from another source: `docs/TRAFFIC.md` says who decides.
#[derive(Clone, Debug)]
#[must_use = "a source does nothing until it is given to a mesh"]
pub struct Xds {
    bootstrap: Arc<Bootstrap>,
    names: Names,
    unused: Duration,
    cache: Option<PathBuf>,
    cache_max_age: Option<Duration>,
    plaintext: bool,
}

/// How long a name that nobody calls is followed.
const UNUSED: Duration = Duration::from_secs(30 * 60);
/// Less than this is no time to be asked and answered in.
const LEAST_UNUSED: Duration = Duration::from_secs(1);
/// How long one is followed that leads nowhere: it may be made up.
const NOWHERE: Duration = Duration::from_secs(60);

/// The clients of this process.
static REGISTRY: Registry<Decoder> = Registry::new();

/// What a mesh's side of the stream keeps.
struct Running {
    bootstrap: Arc<Bootstrap>,
    names: Names,
    subscriber: Subscriber<Decoder>,
    graph: Graph,
    publish: Publish,
    reported: Reported,
    publisher: Publisher,
    leftover: Leftover,
    /// What reports call the source.
    part: String,
    /// Its stream has ended, which is reported.
    is_lost: bool,
    /// The names that are asked for.
    asked: BTreeSet<Arc<str>>,
    /// The resources whose server cannot be asked now.
    away: BTreeSet<Id>,
    unused: Duration,
    sweep_at: Instant,
    /// News of endpoints that nothing else follows from.
    pace: Pace,
    /// The hosts whose addresses are looked up.
    lookups: Lookups,
}

// === impl Xds ===

impl Xds {
    /// With this bootstrap.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self {
            bootstrap: Arc::new(bootstrap),
            names: Names::default(),
            unused: UNUSED,
            plaintext: false,
            cache: None,
            cache_max_age: None,
        }
    }

    /// With the bootstrap that gRPC's variables name: [`Bootstrap::from_env`].
    ///
    /// # Errors
    ///
    /// Those of [`Bootstrap::from_env`].
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Ok(Self::new(Bootstrap::from_env()?))
    }

    /// What a service of the mesh is called by the control plane: `users.prod:8080`,
    /// `xds:///users.prod:8080`, or `xds://authority/users.prod` for a name of another authority
    /// (gRFC A47). Without it a service is asked for by the name that is called.
    ///
    /// In [`Dialect::Envoy`](super::Dialect::Envoy) what begins with `xds:` names the listener alone (`xds:///listener_0`), and the
    /// virtual host is that of the service's own name; of a name without `xds:` it is that of this name.
    pub fn service(mut self, name: &str, target: &str) -> Self {
        self.names.add(name, target);
        self
    }

    /// How long a name is followed that nobody calls. Default: 30 minutes. Less than a second is a
    /// second.
    pub fn unused_after(mut self, unused: Duration) -> Self {
        self.unused = unused.max(LEAST_UNUSED);
        self
    }

    /// Keeps the last good resources in this file, for a process that begins while its control planes
    /// cannot be reached. Default: none.
    ///
    /// What is in use is written a moment after it changes: whole, and for nobody else to read. A mesh
    /// that begins later and finds no live server to ask, or none that says a word within 3 s, uses what it
    /// finds there of the names that it is asked for. Each resource is judged as one that a server sends,
    /// is asked for all the same, and gives way to the first word of a server: another resource, or that
    /// there is none. What was written for another node, other control planes or another version of this
    /// file is not used, nor is a damaged file, a link, or a file that others own or may write.
    ///
    /// While any of it is in use, `Mesh::ready` succeeds, and
    /// [`Mesh::cache_age`](crate::Mesh::cache_age), `Mesh::describe`, the event `CacheUsed` and the metric
    /// `mesh.client.discovery.cache.age` say so. What is wrong with the file is told by the event
    /// `ConfigRefused` and by `Mesh::describe`; it fails nothing.
    ///
    /// Trade-off: calls may go by what was true when the control plane was last heard, which may be long
    /// ago: see [`cache_max_age`](Self::cache_max_age). Give each process a path of its own, on a disk that
    /// outlives it.
    pub fn cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache = Some(path.into());
        self
    }

    /// What of the [`cache`](Self::cache) was last known to be so longer ago is not taken into use; what is
    /// in use stays. Default: none, as for the
    /// last good state that a process holds: it is there for the long outage, and the age is shown.
    pub fn cache_max_age(mut self, max_age: Duration) -> Self {
        self.cache_max_age = Some(max_age);
        self
    }

    /// Whether a cluster is meant to be plaintext of which istiod says nothing else. Default: false, and
    /// such a cluster is refused.
    ///
    /// It is of istiod in its dialect for clients of gRPC alone ([`Dialect::Proxyless`](super::Dialect::Proxyless)), which leaves the
    /// TLS modes `SIMPLE` and `MUTUAL` of a `DestinationRule` out: the cluster looks as if it were
    /// plaintext. What the code says of a cluster's security counts before it. Clusters that are
    /// plaintext by it are told by [`Mesh::describe`](crate::Mesh::describe) and
    /// [`Event::ConfigNoted`](crate::Event::ConfigNoted). Source: gRFC A29, by which the application says what
    /// is spoken where the control plane says nothing.
    pub fn plaintext(mut self, is_meant: bool) -> Self {
        self.plaintext = is_meant;
        self
    }

    /// What is known of every resource that meshes with this bootstrap need, and of every server that is
    /// asked: now, without asking anybody.
    pub async fn status(&self) -> Status {
        Self::status_of(&self.bootstrap).await.unwrap_or_else(|| Status::idle(&self.bootstrap))
    }

    async fn status_of(bootstrap: &Arc<Bootstrap>) -> Option<Status> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let own = Arc::clone(bootstrap);
        // Nobody is there to be told when the caller has left.
        let look = move |client: &Client<Decoder>| drop(tell.send(Status::of(client, &own)));
        if !REGISTRY.inspect(bootstrap, look) {
            return None;
        }
        match tokio::time::timeout(TELLS_WITHIN, told).await {
            Ok(told) => told.ok(),
            Err(_) => Some(Status::mute(bootstrap)),
        }
    }

    /// The status of every client of the process.
    pub(super) async fn all() -> Vec<Status> {
        let mut all = Vec::new();
        for bootstrap in REGISTRY.bootstraps() {
            all.extend(Self::status_of(&bootstrap).await);
        }
        all
    }

    fn decoder(bootstrap: &Bootstrap) -> Decoder {
        Decoder::new(context(bootstrap))
    }
}

/// The client of a bootstrap, for the metrics.
struct Asking(Arc<Bootstrap>);

impl Plane for Asking {
    fn figures(&self) -> Figures {
        REGISTRY.figures(&self.0)
    }
}

impl Discover for Xds {
    fn name(&self) -> String {
        let servers: BTreeSet<&str> =
            self.bootstrap.every_server().into_iter().map(|server| &*server.uri).collect();
        format!("xds {}", servers.into_iter().collect::<Vec<_>>().join(", "))
    }

    fn asks_by_port(&self) -> bool {
        self.bootstrap.listens_by_port()
    }

    fn run(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let part = self.name();
            let Self { bootstrap, names, unused, plaintext, cache, cache_max_age: max_age } = *self;
            let cache = cache.map(|path| cache::Settings { path, max_age });
            let file = cache.as_ref().map(|cache| format!("cache {}", cache.path.display()));
            let silent = Silent::of(&bootstrap, plaintext);
            let publish = Publish::new(publisher.clone(), silent);
            publish.bootstrap(&part, &bootstrap.notes());
            publish.identities(&bootstrap.certificate_providers);
            let mut asked = publisher.asked();
            let joining = join::join(&bootstrap, cache.as_ref(), &publisher, &part, &mut asked);
            let Some((subscriber, first)) = joining.await else { return };
            publisher.synced();
            let mut reported = Reported::default();
            if cache.is_some() {
                reported.awaited(&publisher, &subscriber);
            }
            publisher.plane(Box::new(Asking(Arc::clone(&bootstrap))));
            let mut running = Running {
                bootstrap,
                names,
                subscriber,
                graph: Graph::default(),
                publish,
                reported,
                publisher,
                leftover: Leftover::new(file),
                part,
                is_lost: false,
                asked: BTreeSet::new(),
                away: BTreeSet::new(),
                unused,
                sweep_at: Instant::now() + sweep(unused),
                pace: Pace::default(),
                lookups: Lookups::new(),
            };
            first.into_iter().for_each(|name| running.ask(name));
            let mut names_first = false;
            loop {
                // Neither keeps the other waiting, however much there is of it.
                names_first = !names_first;
                let event = {
                    let mut name = pin!(asked.next());
                    let mut told = pin!(running.subscriber.next());
                    let lookups = &mut running.lookups;
                    let news = poll_fn(|cx| {
                        if let Poll::Ready(found) = lookups.poll_next(cx) {
                            return Poll::Ready(Some(Event::LookedUp(found)));
                        }
                        for names in [names_first, !names_first] {
                            let event = if names {
                                name.as_mut().poll(cx).map(|name| name.map(Event::Asked))
                            } else {
                                told.as_mut().poll(cx).map(|batch| Some(Event::Told(batch)))
                            };
                            if event.is_ready() {
                                return event;
                            }
                        }
                        Poll::Pending
                    });
                    let wake_at = earliest(Some(running.sweep_at), running.pace.wake_at());
                    match tokio::time::timeout_at(wake_at.unwrap_or(running.sweep_at), news).await {
                        Ok(Some(event)) => Some(event),
                        Ok(None) => return,
                        Err(_) => None,
                    }
                };
                for name in asked.given_up() {
                    running.give_up(&name);
                }
                if let Some(event) = event {
                    running.on(event);
                }
                let now = Instant::now();
                if now >= running.sweep_at {
                    running.sweep();
                }
                if running.pace.is_due(now) {
                    running.work();
                }
            }
        })
    }
}

enum Event {
    Asked(String),
    Told(Batch<Resource>),
    LookedUp(LookedUp),
}

/// How often unused names are looked for.
fn sweep(unused: Duration) -> Duration {
    unused.clamp(LEAST_UNUSED, NOWHERE) / 4
}

// === impl Running ===

impl Running {
    fn on(&mut self, event: Event) {
        match event {
            Event::Asked(name) => self.ask(name),
            Event::LookedUp((name, found)) => {
                self.graph.found(&name, found);
                self.work();
            }
            Event::Told(batch) => {
                self.hear(batch.lost.as_deref());
                if let Some(flaw) = &batch.cache {
                    self.leftover.flaw(&self.publisher, flaw);
                }
                let mut ambient = Vec::new();
                for told in &batch.told {
                    self.note_away(told.kind, &told.name, &told.watched);
                    self.leftover.told(told);
                    let now = match &told.watched {
                        Watched::Cached { resource, .. } => Ok(resource.clone()),
                        Watched::Resource { resource, .. } => Ok(resource.clone()),
                        // Nobody can be asked, of the stream that was begun anew.
                        Watched::Missing(trouble)
                            if why(trouble) == Why::Away
                                && self.graph.knows(told.kind, &told.name) =>
                        {
                            ambient.push(Arc::clone(trouble));
                            continue;
                        }
                        Watched::Missing(trouble) => Err(lack(trouble)),
                        Watched::Ambient(trouble) => {
                            ambient.push(Arc::clone(trouble));
                            continue;
                        }
                    };
                    self.publish.mended(told.kind, &told.name);
                    let notes = now.as_ref().map_or(&[][..], Resource::notes);
                    self.publish.noted(told.kind, &told.name, notes);
                    self.graph.told(told.kind, &told.name, now);
                }
                for trouble in ambient {
                    self.publish.ambient(&trouble);
                }
                // Before what follows from it: whoever sees that, sees this.
                self.leftover.say(&self.publisher);
                if self.pace.take_now(Instant::now(), self.graph.is_pressing()) {
                    self.work();
                }
                // What follows from it is asked for: the stream may be read on.
                drop(batch);
            }
        }
    }

    /// The stream's task has ended before its time, for this reason, or says something again.
    fn hear(&mut self, lost: Option<&str>) {
        match lost {
            Some(reason) => self.publisher.refused(&*self.part, reason),
            None if self.is_lost => self.publisher.accepted(&*self.part),
            None => {}
        }
        self.is_lost = lost.is_some();
    }

    fn note_away(&mut self, kind: Kind, name: &Arc<str>, watched: &Watched<Resource>) {
        let id = (kind, Arc::clone(name));
        let is_away = match watched {
            Watched::Resource { .. } => false,
            // Nobody could be asked.
            Watched::Cached { .. } => true,
            Watched::Missing(trouble) | Watched::Ambient(trouble) => why(trouble) == Why::Away,
        };
        if is_away {
            self.away.insert(id)
        } else {
            self.away.remove(&id)
        };
    }

    fn ask(&mut self, name: String) {
        let found = self.names.find(&self.bootstrap, &name);
        match found {
            Ok(Found { listener, authority, elsewhere }) => {
                self.graph.ask(&name, &listener, &authority);
                match elsewhere {
                    Elsewhere::Nowhere => {}
                    Elsewhere::Listener(other) => self.graph.found(&name, Ok(vec![other])),
                    Elsewhere::Host(..) => self.graph.has_addresses(&name),
                }
                self.asked.insert(name.into());
                self.work();
            }
            // It is meant for this control plane, which cannot be asked for it.
            Err(error) => self.publisher.unavailable(&name, error.to_string()),
        }
    }

    /// The mesh does not ask for it any more.
    fn give_up(&mut self, name: &str) {
        self.asked.remove(name);
        self.graph.forget(name);
        self.lookups.forget(name);
        self.work();
    }

    /// Forgets names that nobody calls any more.
    fn sweep(&mut self) {
        self.sweep_at = Instant::now() + sweep(self.unused);
        let gone: Vec<Arc<str>> =
            self.asked.iter().filter(|name| self.is_over(name)).cloned().collect();
        for name in gone {
            self.asked.remove(&name);
            self.graph.forget(&name);
            self.lookups.forget(&name);
            // Whoever calls it from now on asks anew.
            self.publisher.forget(&name);
        }
        // Addresses change, and whoever knows them may have been away.
        for name in self.graph.astray() {
            if let Some((host, port)) = self.host(&name) {
                self.lookups.again(Instant::now(), &name, host, port);
            }
        }
        self.work();
    }

    /// The host whose addresses a name may be at, and the port.
    fn host(&self, name: &str) -> Option<(String, u16)> {
        match self.names.find(&self.bootstrap, name).ok()?.elsewhere {
            Elsewhere::Host(host, port) => Some((host, port)),
            Elsewhere::Nowhere | Elsewhere::Listener(_) => None,
        }
    }

    /// Whether the name need not be followed any more.
    fn is_over(&self, name: &str) -> bool {
        // The mesh does not know it any more.
        let Some(idle) = self.publisher.idle(name) else { return true };
        if !self.graph.is_answered(name) {
            return false;
        }
        match self.graph.serves(name) {
            None => idle >= self.unused.min(NOWHERE),
            // What is known of it would not come again.
            Some(needs) => idle >= self.unused && self.away.is_disjoint(needs),
        }
    }

    /// Does what the graph wants done.
    fn work(&mut self) {
        let mut is_any = false;
        while let Some(wanted) = self.graph.next() {
            match wanted {
                Do::Watch((kind, name)) => self.subscriber.watch(kind, &name),
                Do::Unwatch((kind, name)) => {
                    self.publish.mended(kind, &name);
                    self.leftover.forget(kind, &name);
                    self.publish.noted(kind, &name, &[]);
                    self.subscriber.unwatch(kind, &name);
                    self.away.remove(&(kind, name));
                }
                other => {
                    is_any = true;
                    let of = loads::cluster_of(&other);
                    if let Err(reason) = self.publish.publish(other) {
                        self.graph.refused(&reason);
                    }
                    if let Some((name, cluster)) = of {
                        let (publisher, subscriber) = (&self.publisher, &mut self.subscriber);
                        self.reported.set(publisher, subscriber, &name, cluster.as_deref());
                    }
                }
            }
        }
        for name in self.graph.seeks() {
            if let Some((host, port)) = self.host(&name) {
                self.lookups.seek(Instant::now(), &name, host, port);
            }
        }
        self.pace.done(Instant::now(), is_any);
        self.leftover.say(&self.publisher);
    }
}

/// A client says so soon what it knows, unless its runtime is driven by nobody.
const TELLS_WITHIN: Duration = Duration::from_secs(1);

fn lack(trouble: &Trouble) -> Lack {
    Lack { reason: trouble.to_string().into(), why: why(trouble) }
}

fn why(trouble: &Trouble) -> Why {
    match trouble.cause {
        // gRPC's NOT_FOUND, then PERMISSION_DENIED; its other codes say nothing about the resource (gRFC A88).
        Cause::Absent(_) | Cause::Removed | Cause::Expired | Cause::Denied { code: 5, .. } => {
            Why::Absent
        }
        Cause::Denied { code: 7, .. } | Cause::Name(_) => Why::Denied,
        Cause::Denied { .. } | Cause::Unanswered(_) | Cause::Unreachable(_) | Cause::Spared(_) => {
            Why::Away
        }
        Cause::Refused(_) => Why::Refused,
    }
}
