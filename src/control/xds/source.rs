//! The source: it asks for the names that the mesh is asked for, and publishes what they lead to.

mod names;
mod publish;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::runtime::Handle;

use self::{
    names::Names,
    publish::{Publish, Silent},
};
use super::{
    bootstrap::{Bootstrap, Dialect},
    client::{Cause, Trouble, Watched},
    graph::{Do, Graph, Lack},
    kind::Kind,
    resource::{self, Context, Decoder, Resource},
    stream::{Batch, Registry, Subscriber},
};
use crate::{
    config::ConfigErrors,
    core::Instant,
    discover::{Discover, Publisher},
};

/// A control plane that speaks xDS, as a source of a mesh.
///
/// What is called is looked up at its first call: its listener, and all that this leads to. A name
/// that is not called for half an hour is forgotten, and looked up anew at its next call.
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
    plaintext: bool,
}

/// How long a name that nobody calls is followed.
const UNUSED: Duration = Duration::from_secs(30 * 60);

/// The clients of this process.
static REGISTRY: Registry<Decoder> = Registry::new();

/// What a mesh's side of the stream keeps.
struct Running {
    bootstrap: Arc<Bootstrap>,
    names: Names,
    subscriber: Subscriber<Decoder>,
    graph: Graph,
    publish: Publish,
    publisher: Publisher,
    /// The names that are asked for, and the listener of each.
    asked: BTreeMap<Arc<str>, Arc<str>>,
    unused: Duration,
    sweep_at: Instant,
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
    pub fn service(mut self, name: &str, target: &str) -> Self {
        self.names.add(name, target);
        self
    }

    /// How long a name is followed that nobody calls. Default: 30 minutes.
    pub fn unused_after(mut self, unused: Duration) -> Self {
        self.unused = unused;
        self
    }

    /// Whether a cluster is meant to be plaintext of which istiod says nothing else. Default: false, and
    /// such a cluster is refused.
    ///
    /// It is of istiod in its dialect for clients of gRPC alone ([`Dialect::Proxyless`]), which leaves the
    /// TLS modes `SIMPLE` and `MUTUAL` of a `DestinationRule` out: the cluster looks as if it were
    /// plaintext. What the code says of a cluster's security counts before it. Clusters that are
    /// plaintext by it are told by [`Mesh::describe`](crate::Mesh::describe) and
    /// [`Event::ConfigNoted`](crate::Event::ConfigNoted). Source: gRFC A29, by which the application says what
    /// is spoken where the control plane says nothing.
    pub fn plaintext(mut self, is_meant: bool) -> Self {
        self.plaintext = is_meant;
        self
    }

    fn decoder(bootstrap: &Bootstrap) -> Decoder {
        let providers = bootstrap.certificate_providers.iter();
        let providers: BTreeMap<String, String> = providers
            .map(|(instance, files)| (instance.clone(), publish::identity(instance, files)))
            .collect();
        let dialect = match bootstrap.dialect {
            Dialect::Proxyless => resource::Dialect::Proxyless,
            Dialect::Sidecar => resource::Dialect::Sidecar,
        };
        // What Istio calls the secrets that its agent serves.
        let secrets = providers.get("default").filter(|_| dialect == resource::Dialect::Sidecar);
        let secrets =
            secrets.map(|files| ["default", "ROOTCA"].map(|it| (it.into(), files.clone())));
        Decoder::new(Context {
            dialect,
            trusted: bootstrap.every_server().iter().all(|server| server.features.trusted),
            providers,
            secrets: secrets.into_iter().flatten().collect(),
        })
    }
}

impl Discover for Xds {
    fn name(&self) -> String {
        let servers: BTreeSet<&str> =
            self.bootstrap.every_server().into_iter().map(|server| &*server.uri).collect();
        format!("xds {}", servers.into_iter().collect::<Vec<_>>().join(", "))
    }

    fn run(self: Box<Self>, publisher: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let name = self.name();
            let Self { bootstrap, names, unused, plaintext } = *self;
            let joined =
                REGISTRY.subscribe(Arc::clone(&bootstrap), Handle::current(), Self::decoder);
            let subscriber = match joined {
                Ok(subscriber) => subscriber,
                Err(errors) => {
                    publisher.refused(name, errors.to_string());
                    publisher.synced();
                    return;
                }
            };
            let silent = match (bootstrap.drops_tls_modes(), plaintext) {
                (false, _) => Silent::Plaintext,
                (true, false) => Silent::Refused,
                (true, true) => Silent::Told,
            };
            let publish = Publish::new(publisher.clone(), silent);
            publish.bootstrap(&name, bootstrap.notes());
            publish.identities(&bootstrap.certificate_providers);
            let mut asked = publisher.asked();
            publisher.synced();
            let mut running = Running {
                bootstrap,
                names,
                subscriber,
                graph: Graph::default(),
                publish,
                publisher,
                asked: BTreeMap::new(),
                unused,
                sweep_at: Instant::now() + sweep(unused),
            };
            loop {
                let event = {
                    let name = std::pin::pin!(asked.next());
                    let told = std::pin::pin!(running.subscriber.next());
                    let news = std::pin::pin!(select(name, told));
                    match tokio::time::timeout_at(running.sweep_at, news).await {
                        Ok(Either::Left((Some(name), _))) => Event::Asked(name),
                        Ok(Either::Left((None, _))) => return,
                        Ok(Either::Right((batch, _))) => Event::Told(batch),
                        Err(_) => Event::Sweep,
                    }
                };
                running.on(event);
            }
        })
    }
}

enum Event {
    Asked(String),
    Told(Batch<Resource>),
    Sweep,
}

/// How often unused names are looked for.
fn sweep(unused: Duration) -> Duration {
    (unused / 4).clamp(Duration::from_millis(10), Duration::from_secs(60))
}

// === impl Running ===

impl Running {
    fn on(&mut self, event: Event) {
        match event {
            Event::Asked(name) => self.ask(name),
            Event::Told(batch) => {
                let mut ambient = Vec::new();
                for told in &batch.told {
                    let now = match &told.watched {
                        Watched::Resource { resource, .. } => Ok(resource.clone()),
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
                self.work();
                // What follows from it is asked for: the stream may be read on.
                drop(batch);
            }
            Event::Sweep => self.sweep(),
        }
    }

    fn ask(&mut self, name: String) {
        let found = self.names.find(&self.bootstrap, &name);
        match found {
            Ok(names::Found { listener, authority }) => {
                self.graph.ask(&name, &listener, &authority);
                self.asked.insert(name.into(), listener.into());
                self.work();
            }
            Err(error) => self.publisher.unknown(&name, error.to_string()),
        }
    }

    /// Forgets names that nobody calls any more.
    fn sweep(&mut self) {
        self.sweep_at = Instant::now() + sweep(self.unused);
        let idle =
            |name: &Arc<str>| self.publisher.idle(name).is_none_or(|unused| unused >= self.unused);
        let gone: Vec<Arc<str>> = self.asked.keys().filter(|name| idle(name)).cloned().collect();
        for name in gone {
            self.asked.remove(&name);
            self.graph.forget(&name);
            // Whoever calls it from now on asks anew.
            self.publisher.forget(&name);
        }
        self.work();
    }

    /// Does what the graph wants done.
    fn work(&mut self) {
        while let Some(wanted) = self.graph.next() {
            match wanted {
                Do::Watch((kind, name)) => self.subscriber.watch(kind, &name),
                Do::Unwatch((kind, name)) => {
                    self.publish.mended(kind, &name);
                    self.publish.noted(kind, &name, &[]);
                    self.subscriber.unwatch(kind, &name);
                }
                other => self.publish.publish(other),
            }
        }
    }
}

fn lack(trouble: &Trouble) -> Lack {
    let does_not_exist = matches!(
        trouble.cause,
        // gRPC's NOT_FOUND.
        Cause::Absent(_) | Cause::Removed | Cause::Expired | Cause::Denied { code: 5, .. }
    );
    let is_transient = matches!(trouble.cause, Cause::Unanswered(_) | Cause::Unreachable(_));
    Lack { reason: trouble.to_string().into(), does_not_exist, is_transient }
}
