//! From what the user describes to a running mesh.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::runtime::Handle;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Mesh,
    call::{AttemptRest, CallRest},
    code::{Code, ServiceSettings},
    inner::{Inner, Stages},
    leaf::{Leaf, LeafEndpoint},
    stage::{Next, Stage, push},
    supervise,
};
use crate::{
    config::Endpoint,
    core::{Body, BoxError, Epoch, Error, ErrorKind, Events, Origin, Phase, Random},
    discover::{Discover, Publisher, Sink, SourceId, Static},
    transport::{self, Connect, ConnectTarget, Connector, Shared},
};

/// What happens to a name that no source defines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum UnknownNames {
    /// The call fails and says so.
    #[default]
    Refuse,
    /// The system's DNS resolves it, on the name's port or 80. Needs the feature `dns`.
    Dns,
}

/// The connect layers, from what stands behind them to what stands before.
type ConnectStage = Box<dyn FnOnce(Arc<dyn Connect>) -> Arc<dyn Connect> + Send>;

/// Describes a [`Mesh`].
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
/// A layer at a stage is a [`tower_layer::Layer`] over that stage's [`Next`] (over a
/// [`Connector`](crate::transport::Connector) for connections). It must hand the extensions of the
/// request on: they carry the call's context. A stage that is used costs one boxed future per
/// request through it, one that is not costs nothing.
#[must_use = "a builder does nothing until `build`"]
pub struct MeshBuilder {
    sources: Vec<Given>,
    code: Code,
    runtime: Option<Handle>,
    unknown_names: UnknownNames,
    seed: Option<u64>,
    call: Option<Stage>,
    attempt: Option<Stage>,
    endpoint: Option<Stage>,
    leaf: Option<Leaf>,
    connect: Option<ConnectStage>,
}

/// A source, in the order of addition.
enum Given {
    Source(Box<dyn Discover>),
    /// What `endpoints` was called with, until another source is added.
    Endpoints(Static),
}

type StageError<S> = <S as Service<Request<Body>>>::Error;

// === impl MeshBuilder ===

impl MeshBuilder {
    pub(super) fn new() -> Self {
        Self {
            sources: Vec::new(),
            code: Code::default(),
            runtime: None,
            unknown_names: UnknownNames::default(),
            seed: None,
            call: None,
            attempt: None,
            endpoint: None,
            leaf: None,
            connect: None,
        }
    }

    /// Adds the mesh file at `path`, watched for changes: YAML or JSON.
    #[cfg(feature = "file")]
    pub fn config_file(self, path: impl AsRef<std::path::Path>) -> Self {
        self.source(crate::discover::File::new(path.as_ref()))
    }

    /// Adds a source of services and endpoints.
    ///
    /// Where several sources define the same service, the one added first decides; of a cluster,
    /// the first whose settings say anything, for one that only lists endpoints says nothing of
    /// them. Endpoints of a cluster are the union of all.
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

    /// Bounds the wait of a call for the first configuration. Unit: time. Default: 5 s.
    pub fn resolve_timeout(mut self, timeout: Duration) -> Self {
        self.code.resolve_timeout = Some(timeout);
        self
    }

    /// Runs background tasks on this runtime. Default: the one that `build` is called in.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// What happens to a name that no source defines. Default: refused.
    pub fn unknown_names(mut self, unknown: UnknownNames) -> Self {
        self.unknown_names = unknown;
        self
    }

    /// Makes every random choice follow from this seed. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Wraps every call, once; the layer added first is the outermost.
    pub fn call_layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        StageError<L::Service>: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.call = Some(push(self.call.take(), layer));
        self
    }

    /// Wraps every attempt of every call, before its endpoint is picked.
    pub fn attempt_layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        StageError<L::Service>: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.attempt = Some(push(self.attempt.take(), layer));
        self
    }

    /// Wraps every endpoint: long-lived, made at the endpoint's first pick.
    pub fn endpoint_layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Next> + Send + Sync + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        StageError<L::Service>: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.endpoint = Some(push(self.endpoint.take(), layer));
        self
    }

    /// Wraps the making of connections: what it returns is spoken HTTP over. The layer added first
    /// is the outermost.
    pub fn connect_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Connector> + Send + 'static,
        L::Service: Service<ConnectTarget> + Clone + Send + Sync + 'static,
        <L::Service as Service<ConnectTarget>>::Response: transport::Io + 'static,
        <L::Service as Service<ConnectTarget>>::Error: Into<BoxError>,
        <L::Service as Service<ConnectTarget>>::Future: Send,
    {
        // The layer given first is the outermost, as at the other stages.
        let outer = self.connect.take();
        self.connect = Some(Box::new(move |inner| {
            let connect = transport::erase(layer.layer(Connector::new(inner)));
            match outer {
                Some(outer) => outer(connect),
                None => connect,
            }
        }));
        self
    }

    /// Brings your own client: `make` is called once per endpoint, and its service takes the
    /// place of our connections.
    pub fn leaf<F, S, B>(mut self, make: F) -> Self
    where
        F: Fn(&LeafEndpoint) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.leaf = Some(Leaf::new(make));
        self
    }

    /// Builds the mesh and starts its sources. No I/O happens here.
    ///
    /// # Errors
    ///
    /// When there is no runtime; when a setting is out of its range; when there is no source,
    /// unless plain DNS is allowed for unknown names; when it is, without the feature `dns`.
    pub fn build(self) -> Result<Mesh, Error> {
        let config_error =
            || Error::new(ErrorKind::Config, Phase::Resolve).with_origin(Origin::Local);
        let runtime = match self.runtime {
            Some(handle) => handle,
            None => Handle::try_current().map_err(|error| {
                config_error()
                    .detail("no tokio runtime: build inside one, or give its handle to `.runtime`")
                    .check("that `build` is called in a tokio runtime")
                    .caused_by(error)
            })?,
        };
        self.code.validate().map_err(|errors| {
            config_error()
                .detail(errors.to_string())
                .check("the settings that are given to `service`")
        })?;
        #[cfg(not(feature = "dns"))]
        if self.unknown_names == UnknownNames::Dns {
            return Err(config_error()
                .detail("`unknown_names(UnknownNames::Dns)` needs the feature `dns`")
                .check("the features of `tower-mesh` in Cargo.toml"));
        }
        if self.sources.is_empty() && self.unknown_names == UnknownNames::Refuse {
            return Err(config_error()
                .detail("no source defines any service")
                .check("that the builder has `config_file`, `endpoints` or `source`"));
        }
        let sources: Vec<Box<dyn Discover>> = self
            .sources
            .into_iter()
            .map(|given| match given {
                Given::Source(source) => source,
                Given::Endpoints(statics) => Box::new(statics),
            })
            .collect();
        let names = sources.iter().map(|source| source.name()).collect();
        let (epoch, events) = (Epoch::now(), Arc::new(Events::default()));
        let random = Arc::new(self.seed.map_or_else(Random::default, Random::seeded));
        let transport =
            Arc::new(Shared::new(runtime, Arc::clone(&events), Arc::clone(&random), epoch));
        let stages = Stages {
            call: self.call.map(|stage| stage(Next::new(CallRest))),
            attempt: self.attempt.map(|stage| stage(Next::new(AttemptRest))),
            endpoint: self.endpoint,
            leaf: self.leaf,
            connector: match self.connect {
                Some(connect) => connect(transport::default_connector()),
                None => transport::default_connector(),
            },
        };
        let unknown = self.unknown_names;
        let inner = Arc::new_cyclic(|_this| {
            Inner::new(
                #[cfg(feature = "dns")]
                _this,
                epoch,
                events,
                random,
                stages,
                self.code,
                names,
                transport,
                unknown,
            )
        });
        for (index, source) in sources.into_iter().enumerate() {
            let sink: Arc<dyn Sink> = Arc::<Inner>::clone(&inner);
            let id = SourceId::new(index);
            let publisher = Publisher::new(&sink, id);
            drop(inner.spawn(supervise::run(Arc::downgrade(&inner), id, source, publisher)));
        }
        Ok(Mesh { inner })
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
