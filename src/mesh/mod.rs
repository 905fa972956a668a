//! The handle: builds the stack, owns its tasks, describes it, shuts it down.
//!
//! The stack, outermost first (`stack` tells it of each route). Each position has its place for a reason:
//!
//! 1. gRPC status mapping: outside of everything that can fail.
//! 2. the application's call layers: see one call, however many attempts it takes.
//! 3. resolve: the service's cell, or the wait for it.
//! 4. route: before the deadline, since the route sets it.
//! 5. guards, in their order: rules of who may call what, rate limits, adaptive limits, throttling, admission
//!    control, faults of calls. What they refuse costs nothing further on.
//! 6. answer: a redirect or direct response of the route ends the call here.
//! 7. admission: rejects before a body is kept.
//! 8. deadline: bounds everything below, the waits for endpoints and connections too.
//! 9. changes of request and response, and mirrors: of a call, not of its attempts.
//! 10. replay body: only for a call that may be repeated.
//! 11. retry and budget, with the look at a gRPC answer's first frame where its status may be.
//! 12. faults of attempts, hedge.
//! 13. attempt timeout, response timeout, then the application's attempt layers: see each attempt before its pick.
//! 14. drops, queue, failover and breaker of the cluster: they count attempts, not calls.
//! 15. session and balancer: with the request and what it has tried in hand.
//! 16. the application's endpoint layers: long-lived, made at the endpoint's first pick.
//! 17. transport and TLS behind the application's connect layers, or its own leaf.

mod apply;
mod asking;
mod builder;
mod caches;
mod call;
mod check;
mod choosing;
mod client;
mod cluster;
mod code;
mod compile;
mod describe;
mod directory;
mod discovered;
#[cfg(feature = "dns")]
mod discovery;
#[cfg(feature = "dns")]
mod dns;
mod ending;
mod endpoint;
mod explain;
mod gate;
mod guard;
mod hashing;
mod inner;
mod keeper;
#[cfg_attr(not(feature = "_tls"), path = "keys_off.rs")]
mod keys;
mod labels;
mod leaf;
mod limits;
mod listed;
#[cfg(feature = "xds")]
mod loads;
mod loosening;
mod metrics;
mod node;
#[cfg(feature = "orca")]
mod out_of_band;
mod overlay;
mod overriding;
mod own;
mod peers;
#[cfg(feature = "xds")]
mod planes;
mod policies;
#[cfg(feature = "orca")]
mod probing;
mod protect;
mod remark;
mod resolve;
mod runtime;
mod service;
mod settings;
mod spelled;
mod stack;
mod stage;
mod state;
mod supervise;
mod terms;
#[cfg(test)]
mod tests;
mod unheard;
#[cfg(feature = "reqwest-013")]
mod whose;

use std::{fmt, sync::Arc, time::Duration};

use self::inner::Inner;
#[cfg(feature = "reqwest-013")]
pub(crate) use self::whose::Whose;
use crate::{
    config::name::Name,
    core::{Error, ErrorKind, EventStream, Phase},
};

pub use self::{
    builder::{MeshBuilder, UnknownNames},
    call::CallFuture,
    client::Client,
    code::ServiceSettings,
    describe::{
        ClusterDescription, Description, RouteDescription, ServiceDescription, Setting,
        SettingOrigin,
    },
    explain::{
        AnswerExplanation, ClusterExplanation, Explanation, HashExplanation, HashKeyExplanation,
        HeadExplanation, MirrorExplanation, PassedRule, RouteExplanation,
    },
    leaf::LeafEndpoint,
    remark::{CacheInUse, Remark},
    stage::{Next, NextFuture},
};

/// A service mesh inside this process.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_mesh::{Body, Mesh};
///
/// let address: std::net::SocketAddr = "127.0.0.1:8080".parse()?;
/// let mesh = Mesh::builder().endpoints("users.prod", [address]).build()?;
/// let request = http::Request::get("http://users.prod/1").body(Body::empty())?;
/// let reply = mesh.http().send(request).await?;
/// println!("{}", reply.into_body().text().await?);
/// # Ok(())
/// # }
/// ```
///
/// It is cheap to clone. Its background tasks end when [`Mesh::shutdown`] is called, or when
/// the last `Mesh` and the last [`Client`] of it are dropped.
///
/// **Do** build one mesh per process and clone it; wait for [`Mesh::loaded`], and not longer than you
/// want to, before you report ready yourself; call [`Mesh::shutdown`] after you have stopped to accept
/// requests.
///
/// **Do not** put retries of another library around its clients: they multiply.
#[derive(Clone)]
pub struct Mesh {
    inner: Arc<Inner>,
}

// === impl Mesh ===

impl Mesh {
    /// Describes a mesh to build.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::new()
    }

    /// A mesh as the environment describes it: the file that `MESH_CONFIG` names, where this process
    /// runs ([`MeshBuilder::place_from_env`]), and its labels ([`MeshBuilder::labels_from_env`]).
    ///
    /// # Errors
    ///
    /// When `MESH_CONFIG` is not set, and what [`MeshBuilder::build`] refuses.
    #[cfg(feature = "file")]
    pub fn from_env() -> Result<Self, Error> {
        let path = std::env::var_os("MESH_CONFIG").ok_or_else(|| {
            Error::new(ErrorKind::Config, Phase::Resolve)
                .detail(
                    "the environment variable MESH_CONFIG, the path of the mesh file, is not set",
                )
                .check("the environment of this process")
        })?;
        Self::builder().config_file(path).place_from_env().labels_from_env().build()
    }

    /// A client of one service; `[scheme://]name[:port]`.
    ///
    /// # Errors
    ///
    /// A name that does not fit the grammar; once all sources have delivered, one that none
    /// defines ([`UnknownService`](ErrorKind::UnknownService)), and one whose definition was
    /// refused with no earlier one to fall back to ([`Config`](ErrorKind::Config)): it is not run
    /// on defaults. Before that, the call waits and tells.
    pub fn client(&self, name: &str) -> Result<Client, Error> {
        let name = Name::parse(name).map_err(|reason| {
            Error::new(ErrorKind::InvalidRequest, Phase::Resolve)
                .detail(reason)
                .check("the name that is given to `client`")
        })?;
        let cell = self.inner.lookup(&name)?;
        Ok(Client::new(Arc::clone(&self.inner), Some(cell), name.https))
    }

    /// One client for many services: each request's authority names its service.
    #[must_use]
    pub fn http(&self) -> Client {
        Client::new(Arc::clone(&self.inner), None, false)
    }

    /// Waits until every source has delivered its first state, or has ended without one, and fails if
    /// any part of it is refused. There is no bound: a source that never answers is waited for.
    ///
    /// It is for tests, CI and tools, where a refused part should stop the run. A service that waits
    /// for it before it takes traffic does not start because of a part that it may never call: use
    /// [`Mesh::loaded`] there.
    ///
    /// # Errors
    ///
    /// When a part of the configuration is refused now, with field, value and allowed range; when
    /// a service names a cluster, or the code a service, that no source defines; when a source
    /// ended without a first state. The other parts work all the same. When the mesh
    /// is shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), Error> {
        self.inner.ready().await
    }

    /// Waits until every source has delivered its first state, or has ended without one, and returns the
    /// parts that are refused now, each with the reason: what [`Mesh::ready`] fails with. The other parts
    /// work. There is no bound but the caller's:
    ///
    /// ```
    /// # async fn example() -> Result<(), tower_mesh::Error> {
    /// use std::time::Duration;
    /// use tower_mesh::Mesh;
    ///
    /// # let users: std::net::SocketAddr = "127.0.0.1:80".parse().unwrap();
    /// let mesh = Mesh::builder().endpoints("users", [users]).build()?;
    /// match tokio::time::timeout(Duration::from_secs(10), mesh.loaded()).await {
    ///     Ok(refused) => {
    ///         for reason in refused? {
    ///             eprintln!("mesh: {reason}"); // the other parts work: go on
    ///         }
    ///     }
    ///     // Calls wait for it, 5 s each.
    ///     Err(_) => eprintln!("mesh: a source has not answered in 10 s"),
    /// }
    /// # Ok(())
    /// # }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(example()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// When the mesh is shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn loaded(&self) -> Result<Vec<Remark>, Error> {
        self.inner.loaded().await
    }

    /// How old what the mesh runs on is, if a source uses what an earlier process has left on disk
    /// (`control::xds::Xds::cache`): how long ago the oldest of that was last known to be so. `None`: no
    /// source does. [`Mesh::ready`] succeeds with it, so ask here whether that is good enough to go by.
    #[must_use]
    pub fn cache_age(&self) -> Option<Duration> {
        self.inner.caches().into_iter().map(|cache| cache.age).max()
    }

    /// The assembled stack in order, and every setting with its origin.
    #[must_use]
    pub fn describe(&self) -> Description {
        Description::of(&self.inner)
    }

    /// What becomes of a call at this moment, and why nothing else: the rule that takes it and why those
    /// before it did not, its policies with their origins, the split, what is sent after edits and
    /// rewrites, who gets copies, what is answered here, and who would be picked. Nothing is sent, counted
    /// or connected, no random word is drawn, and whose turn it is stays.
    ///
    /// The request's authority (or `host` header) names its service, as for [`Mesh::http`]; what a
    /// [`Call`](crate::Call) in its extensions asks for is heeded. It is the first attempt that is
    /// explained. Linear in the number of endpoints: ask it of a call that you wonder about, not of each.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_mesh::Mesh;
    ///
    /// let address: std::net::SocketAddr = "127.0.0.1:8080".parse()?;
    /// let mesh = Mesh::builder().endpoints("users.prod", [address]).build()?;
    /// mesh.ready().await?;
    /// let explanation = mesh.explain(&http::Request::get("http://users.prod/1").body(())?)?;
    /// assert!(explanation.to_string().contains("127.0.0.1:8080"));
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// In a test of a mesh file, without a network ([`MeshBuilder::dry_run`]):
    ///
    /// ```
    /// # #[cfg(feature = "file")]
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_mesh::Mesh;
    ///
    /// let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/mesh/canary.yaml");
    /// let mesh = Mesh::builder().config_file(file).dry_run().build()?;
    /// mesh.ready().await?; // fails where the file is refused, with its line
    ///
    /// let request = http::Request::get("http://shop/cart").header("x-canary", "yes").body(())?;
    /// let found = mesh.explain(&request)?;
    /// assert_eq!(found.route.name.as_deref(), Some("testers"));
    /// assert_eq!((&*found.clusters[0].name, found.clusters[0].share), ("shop-v2", 1.0));
    /// # Ok(())
    /// # }
    /// # #[cfg(feature = "file")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// A request that is to go to one service under another authority is explained by that service's
    /// client: [`Client::explain`].
    ///
    /// # Errors
    ///
    /// Those of a call that fails before it has a cluster: a name that no source defines, no route
    /// that matches, a request that names no service, a mesh that is shut down. Where a call would wait
    /// for a source, or ask DNS for a name, the error says so. That nothing can be picked is no
    /// error here: the explanation tells it.
    pub fn explain<B>(&self, request: &http::Request<B>) -> Result<Explanation, Error> {
        Explanation::of(&self.inner, request)
    }

    /// Sets a runtime key over what sources say of it: the share of every fraction and mirror that names
    /// it ([`RuntimeFraction::key`](crate::config::RuntimeFraction::key)). Calls that begin afterwards
    /// obey it. Unit: percent. Names are compared without case.
    ///
    /// # Errors
    ///
    /// A share that is not in 0..=100, a key without a name, and a mesh that is shut down.
    pub fn set_runtime_key(
        &self,
        key: &str,
        percent: f64,
    ) -> Result<(), crate::config::ConfigErrors> {
        self.inner.set_runtime_key(key, Some(percent))
    }

    /// Takes back what the code has set: what sources say of the key counts again, else what each field
    /// says itself.
    ///
    /// # Errors
    ///
    /// A key without a name, and a mesh that is shut down.
    pub fn clear_runtime_key(&self, key: &str) -> Result<(), crate::config::ConfigErrors> {
        self.inner.set_runtime_key(key, None)
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.inner.events.listen()
    }

    /// Refuses new calls, lets those that have begun end within `grace`, closes every connection.
    ///
    /// A call has begun when its future was first polled; one that has not fails with
    /// [`ErrorKind::Shutdown`]. One that has goes on as ever to the end of its body, whatever it waits
    /// for: a connection, a stream, a queue, a retry, an own leaf; sources go on as long. What is left
    /// when `grace` is over fails with [`ErrorKind::Shutdown`], its body, too; but the body that an own
    /// leaf has given is the leaf's, and is waited for no longer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait alone: new calls stay refused, calls that have begun end by
    /// themselves, and sources and connections end after them.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.shut_down(grace).await;
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("sources", &self.inner.sources).finish_non_exhaustive()
    }
}
