//! From what the user describes to a running mesh.

mod build;
#[cfg(feature = "_tls")]
mod keys;
mod layers;
mod telemetry;
mod unknown;

use std::{fmt, sync::Arc, time::Duration};

use tokio::runtime::Handle;

pub(super) use self::unknown::Unknown;
use super::{
    code::{Code, ServiceSettings},
    keys::Given as GivenKeys,
    labels,
    leaf::Leaf,
    metrics::Telemetry,
    stage::Stage,
};
#[cfg(feature = "otel-033")]
use crate::observe::otel::Exporter;
use crate::{
    config::{self, Endpoint, Locality, Place},
    discover::{Discover, Static},
    observe::trace::Tracing,
    transport::Connect,
};

/// What happens to a name that no source defines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum UnknownNames {
    /// The call fails and says so.
    #[default]
    Refuse,
    /// DNS resolves it, on the name's port or 80: the system's, or as the source says that is there for
    /// such names (`Dns` without a name). Needs the feature `dns`.
    Dns,
}

/// The connect layers, from what stands behind them to what stands before.
type ConnectStage = Box<dyn FnOnce(Arc<dyn Connect>) -> Arc<dyn Connect> + Send>;

/// Describes a [`Mesh`](crate::Mesh).
///
/// Setters cannot fail; [`MeshBuilder::build`] checks everything once and does no I/O.
///
/// ```no_run
/// # async fn example() -> Result<(), tower_mesh::Error> {
/// use std::time::Duration;
/// use tower_mesh::{Mesh, Retry, config};
///
/// let mesh = Mesh::builder()
///     .endpoints("users.prod", ["10.0.0.1:80".parse::<config::Address>().unwrap()])
///     .service("users.prod", |s| {
///         s.timeout(Duration::from_secs(2))
///             .attempt_timeout(Duration::from_millis(500))
///             .retry(Retry::standard().attempts(4))
///             .balancer(config::Balancer::LeastRequest)
///     })
///     .call_layer(tower::util::MapRequestLayer::new(|request| request))
///     .build()?;
/// mesh.ready().await?;
/// println!("{}", mesh.describe());
/// # Ok(())
/// # }
/// ```
///
/// Each setting has one owner, in this order: the call ([`Call`](crate::Call)), the code
/// ([`MeshBuilder::service`]), the first source that says anything of it, the default.
///
/// A layer at a stage is a [`tower_layer::Layer`] over that stage's [`Next`](crate::Next) (over a
/// [`Connector`](crate::transport::Connector) for connections). It must hand the extensions of the
/// request on: they carry the call's context. A stage that is used costs one boxed future per
/// request through it, one that is not costs nothing.
#[must_use = "a builder does nothing until `build`"]
pub struct MeshBuilder {
    sources: Vec<Given>,
    code: Code,
    runtime: Option<Handle>,
    unknown_names: Option<UnknownNames>,
    seed: Option<u64>,
    call: Option<Stage>,
    attempt: Option<Stage>,
    endpoint: Option<Stage>,
    leaf: Option<Leaf>,
    connect: Option<ConnectStage>,
    keys: GivenKeys,
    telemetry: Telemetry,
    #[cfg(feature = "otel-033")]
    exporter: Option<Exporter>,
    tracing: Tracing,
    place: Place,
    is_dry: bool,
}

/// A source, in the order of addition.
enum Given {
    Source(Box<dyn Discover>),
    /// What `endpoints` was called with, until another source is added.
    Endpoints(Static),
}

// === impl MeshBuilder ===

impl MeshBuilder {
    pub(super) fn new() -> Self {
        Self {
            sources: Vec::new(),
            code: Code::default(),
            runtime: None,
            unknown_names: None,
            seed: None,
            call: None,
            attempt: None,
            endpoint: None,
            leaf: None,
            connect: None,
            keys: GivenKeys::default(),
            telemetry: Telemetry::default(),
            #[cfg(feature = "otel-033")]
            exporter: None,
            tracing: Tracing::default(),
            place: Place::default(),
            is_dry: false,
        }
    }

    /// Adds the mesh file at `path`, watched for changes: YAML or JSON.
    #[cfg(feature = "file")]
    pub fn config_file(self, path: impl AsRef<std::path::Path>) -> Self {
        self.source(crate::discover::File::new(path.as_ref()))
    }

    /// Adds a source of services and endpoints.
    ///
    /// Where several sources speak of the same service or cluster, each field is decided by the first that
    /// says it; the routes of a service are one field, and so is how a cluster is secured.
    /// Endpoints of a cluster are the union of all; of one that several list, the first decides,
    /// and where that says nothing of its security, the first that asks for TLS.
    pub fn source(mut self, source: impl Discover) -> Self {
        self.sources.push(Given::Source(Box::new(source)));
        self
    }

    /// Adds a source of a cluster, and the service of the same name, with these endpoints.
    pub fn endpoints<E: Into<Endpoint>>(
        mut self,
        name: &str,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Self {
        let before = self.sources.pop();
        let statics = match before {
            Some(Given::Endpoints(statics)) => statics,
            other => {
                self.sources.extend(other);
                Static::default()
            }
        };
        self.sources.push(Given::Endpoints(statics.endpoints(name, endpoints)));
        self
    }

    /// Sets what the code says of a service, over every source.
    pub fn service(
        mut self,
        name: &str,
        edit: impl FnOnce(ServiceSettings) -> ServiceSettings,
    ) -> Self {
        self.code.edit(name, edit);
        self
    }

    /// Bounds the wait of a call for the first configuration. Unit: time. Default: 5 s. Range: over
    /// 0 and at most 365 days; anything else fails [`build`](Self::build).
    ///
    /// A call that has waited so long fails with [`ErrorKind::Config`](crate::ErrorKind::Config)
    /// (`UNAVAILABLE`, 503); one whose own deadline has passed by then, with
    /// [`Timeout`](crate::ErrorKind::Timeout).
    pub fn resolve_timeout(mut self, timeout: Duration) -> Self {
        self.code.resolve_timeout = Some(timeout);
        self
    }

    /// Where this process runs: region, zone and part of the zone. Default: not known.
    ///
    /// What a cluster keeps near (`balancing.prefer`, `balancing.locality.zone_aware`) is by this.
    pub fn locality(mut self, locality: Locality) -> Self {
        self.place.locality = locality;
        self
    }

    /// The node that this process runs on, for clusters that prefer it. Default: not known.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.place.node = Some(node.into());
        self
    }

    /// A label of this process, for routes that take the calls of some callers only
    /// ([`Match::caller`](crate::config::Match::caller)), for rules of authorisation and for limits that go
    /// by it. One that is there already is replaced. Default: none.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.code.labels.insert(name.into(), value.into());
        self
    }

    /// The labels of this process that the environment has: `MESH_LABELS`, a list `name=value,name=value` in
    /// which `%2C` stands for a comma, as in `OTEL_RESOURCE_ATTRIBUTES`. They replace what
    /// [`label`](Self::label) said of the same names before. Default: those of the code alone.
    ///
    /// [`Mesh::from_env`](crate::Mesh::from_env) does this, too. A list with an error fails
    /// [`build`](Self::build): half of one would choose other routes than the whole.
    pub fn labels_from_env(mut self) -> Self {
        match labels::read(std::env::var(labels::VARIABLE)) {
            Ok(labels) => self.code.labels.extend(labels),
            Err(error) => self.code.wrong_labels = Some(error),
        }
        self
    }

    /// Sets a runtime key from the start, over what sources say of it
    /// ([`RuntimeFraction::key`](crate::config::RuntimeFraction::key)); `Mesh::set_runtime_key` changes
    /// it later. Unit: percent. Range: 0..=100. Default: what sources say, else the field itself.
    pub fn runtime_key(mut self, key: impl Into<String>, percent: f64) -> Self {
        self.code.runtime.insert(key.into(), percent);
        self
    }

    /// Judges all calls of this process by these rules, whichever service they call, before any other
    /// rules. Default: none.
    ///
    /// A [permission](crate::config::Permission::Service) of a rule says for which services it is. Copies for
    /// mirrors are not judged: the calls that are copied are.
    pub fn authorize(mut self, authorization: config::Authorization) -> Self {
        self.code.filters.push(config::Filter::Authorize(authorization));
        self
    }

    /// Where this process runs, as the environment has it: `cloud.region`,
    /// `cloud.availability_zone` and `k8s.node.name` of `OTEL_RESOURCE_ATTRIBUTES`. What is not there
    /// stays as it was.
    ///
    /// [`Mesh::from_env`](crate::Mesh::from_env) does this, too.
    pub fn place_from_env(mut self) -> Self {
        let list = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let Place { locality, node } = Place::of_resource_attributes(&list);
        let keep = |here: &mut String, there: String| {
            if !there.is_empty() {
                *here = there;
            }
        };
        keep(&mut self.place.locality.region, locality.region);
        keep(&mut self.place.locality.zone, locality.zone);
        self.place.node = node.or(self.place.node);
        self
    }

    /// Runs background tasks on this runtime. Default: the one that `build` is called in.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// What happens to a name that no source defines. Default: refused, unless a source is there for
    /// such names (`Dns` without a name); beside one, [`UnknownNames::Refuse`] fails
    /// [`build`](Self::build).
    pub fn unknown_names(mut self, unknown: UnknownNames) -> Self {
        self.unknown_names = Some(unknown);
        self
    }

    /// Makes every random choice follow from this seed. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes a mesh that only explains ([`Mesh::explain`](crate::Mesh::explain), [`Mesh::describe`](crate::Mesh::describe)): sources are read, but no
    /// name is asked of DNS, no endpoint is probed or connected to, and calls fail. For tests and CI, which
    /// check a configuration where nothing runs. Default: no.
    pub fn dry_run(mut self) -> Self {
        self.is_dry = true;
        self
    }
}

impl fmt::Debug for MeshBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |given: &Given| match given {
            Given::Source(source) => source.name(),
            Given::Endpoints(statics) => statics.name(),
        };
        let sources: Vec<String> = self.sources.iter().map(name).collect();
        f.debug_struct("MeshBuilder").field("sources", &sources).finish_non_exhaustive()
    }
}
