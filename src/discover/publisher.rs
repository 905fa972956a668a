//! How a source hands its state to the mesh.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

#[cfg(feature = "xds")]
use crate::core::{BoxFuture, Loads, Plane};
use crate::{
    config::{
        Address, Authorization, Cluster, ConfigError, ConfigErrors, Endpoint, IdentityFiles,
        Service,
    },
    core::Instant,
};

/// Publishes what a source knows. Each part takes effect on its own; one that cannot be used is
/// refused with its reason, and its last good state stays.
#[derive(Clone)]
pub struct Publisher {
    sink: Weak<dyn Sink>,
    source: SourceId,
}

/// The names that a source is asked for, from [`Publisher::asked`].
#[derive(Debug)]
pub struct Asked {
    looks: UnboundedReceiver<Look>,
    given_up: Vec<String>,
}

/// What a source that looks names up is told.
#[derive(Debug)]
pub(crate) enum Look {
    /// It is asked for.
    Up(String),
    /// It is not any more.
    NoMore(String),
}

/// Why a name leads nowhere, as far as a source knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Nowhere {
    /// It does not know it.
    Unknown,
    /// It cannot say now whether it knows it.
    Unsaid,
    /// The same, and what it has said of it before counts no more.
    #[cfg_attr(not(feature = "xds"), allow(dead_code, reason = "only xDS takes back so"))]
    Denied,
    /// It knows it, and what it knows cannot be used.
    Refused,
}

/// One source of a mesh, in order of precedence.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SourceId(usize);

/// What receives changes: the mesh.
pub(crate) trait Sink: Send + Sync {
    /// Whether it takes no more changes.
    fn is_closed(&self) -> bool;

    fn apply(&self, source: SourceId, change: Change) -> Result<(), ConfigErrors>;

    /// When the name was last called or asked for.
    fn used(&self, name: &str) -> Option<Instant>;

    /// Whether the application's code says how the connections of the cluster are secured.
    fn secures(&self, cluster: &str) -> bool;

    /// What a cluster counts for its control plane, if there is such a cluster.
    #[cfg(feature = "xds")]
    fn loads(&self, _cluster: &str) -> Option<Arc<dyn Loads>> {
        None
    }

    /// What a control plane's client counts is a part of the metrics.
    #[cfg(feature = "xds")]
    fn plane(&self, _plane: Box<dyn Plane>) {}

    /// The end of the mesh waits for this, for a moment.
    #[cfg(feature = "xds")]
    fn farewell(&self, _said: BoxFuture<()>) {}
}

/// Tells where the words of a source stand.
pub(crate) trait Places: fmt::Debug + Send + Sync {
    /// `line 7 of mesh.yaml`, of a path as in `services.users.policy.timeout`.
    fn place(&self, path: &str) -> Option<String>;
}

/// What becomes of the endpoints of a cluster that a source has published whole, and has changed no more
/// than these of since.
pub(crate) struct Patch {
    /// New ones, or other words of those of the same address.
    pub(crate) put: Vec<Endpoint>,
    pub(crate) gone: Vec<Address>,
    /// The whole, where that is needed.
    pub(crate) whole: Box<dyn FnOnce() -> Cluster + Send>,
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { put, gone, whole: _ } = self;
        f.debug_struct("Patch").field("put", put).field("gone", gone).finish_non_exhaustive()
    }
}

/// One change of the configuration.
#[derive(Debug)]
pub(crate) enum Change {
    Service(String, Box<Service>),
    RemoveService(String),
    Cluster(String, Box<Cluster>),
    #[cfg_attr(not(feature = "xds"), allow(dead_code, reason = "only xDS compares lists"))]
    Patch(String, Box<Patch>),
    RemoveCluster(String),
    Endpoints(String, Vec<Endpoint>),
    Upsert(String, Vec<Endpoint>),
    Remove(String, Vec<Address>),
    Identity(String, Box<IdentityFiles>),
    RemoveIdentity(String),
    Runtime(String, f64),
    RemoveRuntime(String),
    Authorize(String, Box<Authorization>),
    RemoveAuthorize(String),
    Refused {
        part: String,
        reason: String,
    },
    Accepted {
        part: String,
    },
    /// Something is said of a part that is no failure; nothing: it is over.
    Noted {
        part: String,
        note: String,
    },
    Synced,
    /// Names are looked up from now on: those that are asked for come here.
    Looks(UnboundedSender<Look>),
    /// The service leads nowhere, for this reason: what the source has said of it is over.
    NoService {
        name: String,
        why: Nowhere,
        reason: String,
    },
    /// The cluster cannot be used, for this reason: what the source has said of it is over.
    NoCluster {
        name: String,
        reason: String,
    },
    /// It is looked up no more.
    Forget(String),
    Confirmed,
    /// What it has published is partly what an earlier process knew, so old, for this reason; or no
    /// more.
    #[cfg_attr(not(feature = "xds"), allow(dead_code, reason = "only xDS keeps a cache"))]
    Cached(Option<(Duration, String)>),
    /// What is wrong with the place where that is kept; or nothing any more.
    #[cfg_attr(not(feature = "xds"), allow(dead_code, reason = "only xDS keeps a cache"))]
    CacheTrouble(String, Option<String>),
    /// Where what comes next stands.
    #[cfg_attr(not(feature = "file"), allow(dead_code, reason = "only files have lines"))]
    Places(Arc<dyn Places>),
}

// === impl SourceId ===

impl SourceId {
    /// Names that only DNS knows; behind every real source.
    pub(crate) const DNS: Self = Self(usize::MAX);

    /// Endpoints that a cluster's own discovery has found; behind every real source.
    pub(crate) const DISCOVERY: Self = Self(usize::MAX - 1);

    /// Identities and roots, which report by themselves.
    pub(crate) const KEYS: Self = Self(usize::MAX - 2);

    pub(crate) fn new(index: usize) -> Self {
        Self(index)
    }

    pub(crate) fn index(self) -> usize {
        self.0
    }
}

// === impl Publisher ===

impl Publisher {
    pub(crate) fn new(sink: &Arc<dyn Sink>, source: SourceId) -> Self {
        Self { sink: Arc::downgrade(sink), source }
    }

    fn apply(&self, change: Change) -> Result<(), ConfigErrors> {
        let Some(sink) = self.sink.upgrade() else {
            return Err(ConfigErrors(vec![ConfigError::new("mesh", "gone", "the mesh has ended")]));
        };
        sink.apply(self.source, change)
    }

    /// Whether the mesh is shut down or gone: it takes nothing any more.
    ///
    /// A source need not ask while it is in [`run`](super::Discover::run), which is dropped then;
    /// a thread that a source has started does.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sink.upgrade().is_none_or(|sink| sink.is_closed())
    }

    /// Defines a service, or replaces its definition.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used; the last good definition stays.
    pub fn service(&self, name: &str, service: Service) -> Result<(), ConfigErrors> {
        self.apply(Change::Service(name.to_owned(), Box::new(service)))
    }

    /// Takes this source's definition of a service back.
    pub fn remove_service(&self, name: &str) {
        drop(self.apply(Change::RemoveService(name.to_owned())));
    }

    /// Defines a cluster with its settings and its whole set of endpoints.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used; the last good definition stays.
    pub fn cluster(&self, name: &str, cluster: Cluster) -> Result<(), ConfigErrors> {
        self.apply(Change::Cluster(name.to_owned(), Box::new(cluster)))
    }

    /// The same of a cluster that was published well before, and whose settings are the same: the cost is
    /// that of the change, where the order of endpoints does not count and nobody else has a say.
    ///
    /// # Errors
    ///
    /// As those of [`cluster`](Self::cluster).
    #[cfg(feature = "xds")]
    pub(crate) fn patch(&self, name: &str, patch: Patch) -> Result<(), ConfigErrors> {
        self.apply(Change::Patch(name.to_owned(), Box::new(patch)))
    }

    /// Takes this source's definition of a cluster, and its endpoints, back.
    pub fn remove_cluster(&self, name: &str) {
        drop(self.apply(Change::RemoveCluster(name.to_owned())));
    }

    /// Replaces this source's endpoints of a cluster. An unknown cluster is made with defaults.
    ///
    /// # Errors
    ///
    /// Every endpoint that cannot be used; the last good set stays.
    pub fn endpoints<E: Into<Endpoint>>(
        &self,
        cluster: &str,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<(), ConfigErrors> {
        let endpoints = endpoints.into_iter().map(Into::into).collect();
        self.apply(Change::Endpoints(cluster.to_owned(), endpoints))
    }

    /// Adds endpoints, or changes those of the same address; the cost is that of the change.
    ///
    /// # Errors
    ///
    /// Every endpoint that cannot be used; then none of these takes effect.
    pub fn upsert_endpoints<E: Into<Endpoint>>(
        &self,
        cluster: &str,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<(), ConfigErrors> {
        let endpoints = endpoints.into_iter().map(Into::into).collect();
        self.apply(Change::Upsert(cluster.to_owned(), endpoints))
    }

    /// Removes endpoints; what is in flight to them goes on.
    pub fn remove_endpoints(&self, cluster: &str, addresses: &[Address]) {
        drop(self.apply(Change::Remove(cluster.to_owned(), addresses.to_vec())));
    }

    /// Names the files of an identity or of roots, which are followed from now on; clusters that
    /// use the name use them.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used; the last good files stay. What is wrong with the content
    /// of a file is reported by its own name.
    pub fn identity(&self, name: &str, files: IdentityFiles) -> Result<(), ConfigErrors> {
        self.apply(Change::Identity(name.to_owned(), Box::new(files)))
    }

    /// Removes what this source has said of an identity or of roots: they vouch no more, and
    /// clusters that use the name are refused unless another source or the code gives it.
    pub fn remove_identity(&self, name: &str) {
        drop(self.apply(Change::RemoveIdentity(name.to_owned())));
    }

    /// Sets a runtime key: the share of every fraction and mirror that names it
    /// ([`RuntimeFraction::key`](crate::config::RuntimeFraction::key)), unless the code sets it. Unit:
    /// percent. Range: 0..=100.
    ///
    /// # Errors
    ///
    /// A share out of its range; the last good one stays.
    pub fn runtime(&self, key: &str, percent: f64) -> Result<(), ConfigErrors> {
        self.apply(Change::Runtime(key.to_owned(), percent))
    }

    /// Takes this source's word of a runtime key back.
    pub fn remove_runtime(&self, key: &str) {
        drop(self.apply(Change::RemoveRuntime(key.to_owned())));
    }

    /// Judges all calls by these rules, whichever service they call, behind those of the code
    /// ([`MeshBuilder::authorize`](crate::MeshBuilder::authorize)). The name is this source's own; each list must
    /// let a call go on.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used; the last good rules stay, and without any every call is denied.
    pub fn authorize(&self, name: &str, rules: Authorization) -> Result<(), ConfigErrors> {
        self.apply(Change::Authorize(name.to_owned(), Box::new(rules)))
    }

    /// Takes such rules back.
    pub fn remove_authorize(&self, name: &str) {
        drop(self.apply(Change::RemoveAuthorize(name.to_owned())));
    }

    /// Reports a part that could not even be read; its last good state stays.
    ///
    /// A report of `service NAME`, `cluster NAME` or `endpoints of cluster NAME` ends when that is
    /// published well, any other by [`accepted`](Self::accepted).
    ///
    /// A part `service NAME` or `cluster NAME` of which this source has published no good state
    /// fails the calls to it, as if its definition had been refused here; and of `authorize NAME` all calls.
    pub fn refused(&self, part: impl Into<String>, reason: impl Into<String>) {
        drop(self.apply(Change::Refused { part: part.into(), reason: reason.into() }));
    }

    /// Takes this source's definition of a service back and refuses the name for this reason, both at
    /// once: no call sees a name that nobody has ever defined, and no other source's word or DNS takes
    /// its place in between.
    pub fn withdraw_service(&self, name: &str, reason: impl Into<String>) {
        self.no_service(name, Nowhere::Refused, reason.into());
    }

    /// Takes this source's definition of a cluster, and its endpoints, back and refuses the cluster for
    /// this reason, both at once: it is at no time run on what other sources say of it alone.
    pub fn withdraw_cluster(&self, name: &str, reason: impl Into<String>) {
        let (name, reason) = (name.to_owned(), reason.into());
        drop(self.apply(Change::NoCluster { name, reason }));
    }

    fn no_service(&self, name: &str, why: Nowhere, reason: String) {
        drop(self.apply(Change::NoService { name: name.to_owned(), why, reason }));
    }

    /// Takes a report of [`refused`](Self::refused) back.
    pub fn accepted(&self, part: impl Into<String>) {
        drop(self.apply(Change::Accepted { part: part.into() }));
    }

    /// Says something of a part that is no failure, and that somebody should know: what of it the
    /// mesh does not do, or does otherwise. It stands in [`Mesh::describe`](crate::Mesh::describe), and is
    /// told by [`Event::ConfigNoted`](crate::Event::ConfigNoted) when it is said first or changes;
    /// [`Mesh::ready`](crate::Mesh::ready) succeeds all the same. An empty note takes it back, and so does the next
    /// one of the same part.
    pub fn noted(&self, part: impl Into<String>, note: impl Into<String>) {
        drop(self.apply(Change::Noted { part: part.into(), note: note.into() }));
    }

    /// Whether the application's code says how the connections of the cluster are secured.
    #[cfg_attr(not(feature = "xds"), allow(dead_code, reason = "only xDS asks"))]
    pub(crate) fn secured_by_code(&self, cluster: &str) -> bool {
        self.sink.upgrade().is_some_and(|sink| sink.secures(&cluster.to_ascii_lowercase()))
    }

    /// What this source has published is still so, as far as it knows: it has looked, and found
    /// nothing new. It sets the metric `mesh.client.discovery.age` back, as everything does that a
    /// source publishes.
    pub fn confirmed(&self) {
        drop(self.apply(Change::Confirmed));
    }

    /// What this source has published is partly what an earlier process knew, the oldest of it so old, for
    /// this reason; or, with nothing, it is no more.
    #[cfg(feature = "xds")]
    pub(crate) fn cached(&self, since: Option<(Duration, String)>) {
        drop(self.apply(Change::Cached(since)));
    }

    /// Reports what is wrong with the place where a source keeps what it knows for a later process, or
    /// takes the report back. Neither calls nor `Mesh::ready` suffer from it.
    #[cfg(feature = "xds")]
    pub(crate) fn cache_trouble(&self, part: String, reason: Option<String>) {
        drop(self.apply(Change::CacheTrouble(part, reason)));
    }

    /// From now on this source looks names up: those that are asked for come out of here, and those that
    /// were asked for already. It is for sources that cannot list what they know.
    ///
    /// To each there is one of four answers: [`service`](Self::service), [`refused`](Self::refused)
    /// with the part `service NAME`, [`unknown`](Self::unknown), or [`unavailable`](Self::unavailable).
    /// Calls, and `Mesh::ready`, wait for it; calls no longer than their deadline. **Answer each time**:
    /// a name may be asked for again, for example after [`forget`](Self::forget), and is waited for
    /// again then, whether or not there is news of it. What is said may change later. The clusters that it
    /// publishes are not callable as the services of their names, as those of other sources are: a
    /// name means what the answer to it says, and `name:port` is another one than `name`.
    ///
    /// At most 10,000 names are asked for at a time. When there are more, those that nobody knows make
    /// room: [`Asked::given_up`] tells which.
    ///
    /// Say so before [`synced`](Self::synced), which this source may say at once then.
    #[must_use]
    pub fn asked(&self) -> Asked {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        drop(self.apply(Change::Looks(sender)));
        Asked { looks: receiver, given_up: Vec::new() }
    }

    /// A name that was asked for is not there, as far as this source knows now, and why it thinks so:
    /// calls to it that no other source defines say it. What it has said of it before is over.
    pub fn unknown(&self, name: &str, reason: impl Into<String>) {
        self.no_service(name, Nowhere::Unknown, reason.into());
    }

    /// This source cannot say now whether it knows a name that it was asked for, and why: whom it asks is
    /// not there, or lets nobody in. Another source's definition of the name stays in use. Without
    /// one, calls to it fail with [`ErrorKind::Config`](crate::ErrorKind::Config) and the reason, and it
    /// is not asked of DNS.
    ///
    /// If it has defined the name before, nothing changes: the last good state stays.
    pub fn unavailable(&self, name: &str, reason: impl Into<String>) {
        self.no_service(name, Nowhere::Unsaid, reason.into());
    }

    /// The same of a name of which it may not say anything any more: what it has defined before is over.
    #[cfg(feature = "xds")]
    pub(crate) fn denied(&self, name: &str, reason: impl Into<String>) {
        self.no_service(name, Nowhere::Denied, reason.into());
    }

    /// How long a name that was asked for has not been called, to about a second; nothing if it was
    /// not asked for.
    #[must_use]
    pub fn idle(&self, name: &str) -> Option<Duration> {
        Some(self.sink.upgrade()?.used(name)?.elapsed())
    }

    /// Takes this source's definition of a service back, and looks the name up no more: it is asked for
    /// anew should it be called again.
    pub fn forget(&self, name: &str) {
        drop(self.apply(Change::Forget(name.to_owned())));
    }

    /// Reports of what comes next tell its place.
    #[cfg(feature = "file")]
    pub(crate) fn places(&self, places: Arc<dyn Places>) {
        drop(self.apply(Change::Places(places)));
    }

    /// What a cluster counts for its control plane, if there is such a cluster.
    #[cfg(feature = "xds")]
    pub(crate) fn loads(&self, cluster: &str) -> Option<Arc<dyn Loads>> {
        self.sink.upgrade()?.loads(cluster)
    }

    /// What a control plane's client counts is a part of the metrics.
    #[cfg(feature = "xds")]
    pub(crate) fn plane(&self, plane: Box<dyn Plane>) {
        if let Some(sink) = self.sink.upgrade() {
            sink.plane(plane);
        }
    }

    /// The end of the mesh waits for this, for a moment.
    #[cfg(feature = "xds")]
    pub(crate) fn farewell(&self, said: BoxFuture<()>) {
        if let Some(sink) = self.sink.upgrade() {
            sink.farewell(said);
        }
    }

    /// The first state of this source is complete.
    ///
    /// Until every source has said so, clusters of others are not called in clear unless somebody says that
    /// they may. A source that could not be read, and has [refused](Self::refused) its own name, says it
    /// again when it can be, or [accepts](Self::accepted) its name, behind what it says.
    pub fn synced(&self) {
        drop(self.apply(Change::Synced));
    }
}

// === impl Asked ===

impl Asked {
    /// The next name, in lower case, as it was called: `users.prod` or `users.prod:8080`; nothing once
    /// the mesh has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no name.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            match self.looks.recv().await? {
                Look::Up(name) => return Some(name),
                Look::NoMore(name) => self.given_up.push(name),
            }
        }
    }

    /// The names that are not asked for any more, though this source has not forgotten them, up to the
    /// last one of [`next`](Self::next): it need not follow them, and they come again should they be
    /// called. Look at it before the name that `next` gave, which may be one of them.
    pub fn given_up(&mut self) -> Vec<String> {
        std::mem::take(&mut self.given_up)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("source", &self.source).finish_non_exhaustive()
    }
}
