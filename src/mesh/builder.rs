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
    keys::{Given as GivenKeys, Keys},
    leaf::{Leaf, LeafEndpoint},
    metrics::Telemetry,
    stage::{Next, Stage, push},
    supervise,
};
use crate::{
    config::{self, Endpoint, Locality, Place},
    core::{Body, BoxError, Epoch, Error, ErrorKind, Events, Origin, Phase, Random},
    discover::{Discover, Publisher, Sink, SourceId, Static},
    observe::{Hub, Propagation, trace::Tracing},
    transport::{self, Connect, ConnectTarget, Connector, Shared},
};

#[cfg(feature = "otel-033")]
use super::metrics;
#[cfg(feature = "otel-033")]
use crate::observe::otel::Exporter;
#[cfg(feature = "_tls")]
use crate::security::{CryptoProvider, Identity, Verify};

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

    /// Who the mesh is: the key and certificate that it shows in mutual TLS, followed while it runs.
    /// Default: `identities.default` of the mesh file, else none.
    #[cfg(feature = "_tls")]
    pub fn identity(self, identity: impl Identity) -> Self {
        self.named_identity("default", identity)
    }

    /// The same for the clusters that name it (`security.certificate`).
    #[cfg(feature = "_tls")]
    pub fn named_identity(mut self, name: &str, identity: impl Identity) -> Self {
        self.keys.identities.insert(name.to_owned(), Box::new(identity));
        self
    }

    /// Whom the mesh trusts: the roots that vouch for endpoints, followed while it runs. Default:
    /// `identities.default` of the mesh file, else nobody.
    #[cfg(feature = "_tls")]
    pub fn trust(self, trust: impl Verify) -> Self {
        self.named_trust("default", trust)
    }

    /// The same for the clusters that name it (`security.roots`, `security.bundles`).
    #[cfg(feature = "_tls")]
    pub fn named_trust(mut self, name: &str, trust: impl Verify) -> Self {
        self.keys.trust.insert(name.to_owned(), Box::new(trust));
        self
    }

    /// The cryptography of TLS. Default: see [`CryptoProvider`].
    #[cfg(feature = "_tls")]
    pub fn crypto_provider(mut self, provider: impl Into<CryptoProvider>) -> Self {
        self.keys.provider = Some(provider.into());
        self
    }

    /// Bounds the wait of a call for the first configuration. Unit: time. Default: 5 s. Range: over
    /// 0 and at most 365 days; anything else fails [`build`](Self::build).
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
    /// ([`Match::caller`](crate::config::Match::caller)). Default: none.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.code.labels.insert(name.into(), value.into());
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
    /// [`Mesh::from_env`] does this, too.
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

    /// What happens to a name that no source defines. Default: refused.
    pub fn unknown_names(mut self, unknown: UnknownNames) -> Self {
        self.unknown_names = unknown;
        self
    }

    /// How endpoints learn which trace a request is a part of. Default: W3C Trace Context.
    ///
    /// Without a tracer, a trace context is only passed on: a `traceparent` in the request's
    /// headers, or a [`TraceContext`](crate::TraceContext) in its extensions. Where there is none,
    /// nothing is sent.
    pub fn propagate(mut self, propagation: Propagation) -> Self {
        self.tracing.propagation = Some(propagation);
        self
    }

    /// Records calls and attempts as spans of this OpenTelemetry provider. Default: none.
    ///
    /// A call's parent is, in this order: the `traceparent` of the request's headers, a
    /// [`TraceContext`](crate::TraceContext) or an `opentelemetry::Context` in its extensions, the
    /// current `Context` when the call is first polled. Whose parent is not sampled is not
    /// recorded, and the provider not asked; of every other call its sampler decides, by trace id
    /// and name: attributes come after. A call that is not recorded allocates nothing but the
    /// header that says so.
    ///
    /// A call is one span and a child for each attempt, by OpenTelemetry's semantic conventions
    /// 1.44: see `docs/TRACING.md`. HTTP's end with the response head, gRPC's with the status.
    #[cfg(feature = "otel-033")]
    pub fn tracer_provider<P>(mut self, provider: &P) -> Self
    where
        P: opentelemetry::trace::TracerProvider,
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as opentelemetry::trace::Tracer>::Span: Send + Sync + 'static,
    {
        self.tracing.tracer = Some(crate::observe::trace::tracer(provider));
        self
    }

    /// Records calls and attempts as spans of `tracing`, too. Default: no.
    ///
    /// Their target is `tower_mesh`. A call is a span `call` of level INFO, a child of the span
    /// that is current when it is first polled; each attempt is a child `attempt` of level DEBUG.
    /// The fields have the names of OpenTelemetry's attributes. While no subscriber is interested,
    /// a call pays for asking alone.
    #[cfg(feature = "tracing")]
    pub fn tracing_spans(mut self) -> Self {
        self.tracing.spans = Some(Arc::new(crate::observe::trace::Spans));
        self
    }

    /// Makes every random choice follow from this seed. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether [`Mesh::metrics`](super::Mesh::metrics) has samples for every endpoint that was
    /// called, beside those of its cluster. Default: true.
    ///
    /// Each such endpoint has up to five samples; with thousands of them a reader may want none.
    /// Nothing is saved in a call.
    pub fn endpoint_metrics(mut self, wanted: bool) -> Self {
        self.telemetry.endpoint_metrics = Some(wanted);
        self
    }

    /// Takes the metrics to this meter provider as well. Default: none.
    ///
    /// Only the API of `opentelemetry` 0.33 is used: the SDK, its reader and its exporter are the
    /// application's. What that exporter meets, no call waits for or learns of. Each duration is
    /// recorded through it once more: `docs/METRICS.md` tells what that costs.
    #[cfg(feature = "otel-033")]
    pub fn meter_provider(
        mut self,
        provider: &(impl opentelemetry::metrics::MeterProvider + ?Sized),
    ) -> Self {
        self.exporter = Some(Exporter::new(provider));
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
    ///
    /// An endpoint whose connections must be secured is refused: see
    /// [`tls_leaf`](Self::tls_leaf).
    pub fn leaf<F, S, B>(mut self, make: F) -> Self
    where
        F: Fn(&LeafEndpoint) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.leaf = Some(Leaf::new(make, false));
        self
    }

    /// The same for a client that secures its connections itself, as [`LeafEndpoint::mode`],
    /// [`LeafEndpoint::server_name`] and [`LeafEndpoint::identities`] ask for.
    ///
    /// Nothing here checks that it does.
    pub fn tls_leaf<F, S, B>(mut self, make: F) -> Self
    where
        F: Fn(&LeafEndpoint) -> S + Send + Sync + 'static,
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.leaf = Some(Leaf::new(make, true));
        self
    }

    /// Makes a mesh that only explains ([`Mesh::explain`], [`Mesh::describe`]): sources are read, but no
    /// name is asked of DNS, no endpoint is probed or connected to, and calls fail. For tests and CI, which
    /// check a configuration where nothing runs. Default: no.
    pub fn dry_run(mut self) -> Self {
        self.is_dry = true;
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
                .check("the settings that are given to the builder")
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
        let names: Vec<String> = sources.iter().map(|source| source.name()).collect();
        let (epoch, events) = (Epoch::now(), Arc::new(Events::default()));
        let random = Arc::new(self.seed.map_or_else(Random::default, Random::seeded));
        let transport = Arc::new(Shared::new(runtime, Arc::clone(&random), epoch));
        let stages = Stages {
            call: self.call.map(|stage| stage(Next::new(CallRest))),
            attempt: self.attempt.map(|stage| stage(Next::new(AttemptRest))),
            endpoint: self.endpoint,
            leaf: self.leaf.filter(|_| !self.is_dry),
            connector: match self.connect {
                _ if self.is_dry => transport::dry_connector(),
                Some(connect) => connect(transport::default_connector()),
                None => transport::default_connector(),
            },
        };
        let unknown = self.unknown_names;
        #[cfg(feature = "otel-033")]
        let sinks = self.exporter.as_ref().map(Exporter::sinks);
        #[cfg(not(feature = "otel-033"))]
        let sinks = None;
        let hub = Arc::new(Hub::new(events, epoch, &names, sinks));
        let telemetry = self.telemetry;
        let inner = Arc::new_cyclic(|_this| {
            Inner::new(
                #[cfg(feature = "dns")]
                _this,
                epoch,
                hub,
                random,
                stages,
                self.tracing,
                self.code,
                names,
                transport,
                unknown,
                telemetry,
                self.place,
                self.is_dry,
            )
        });
        #[cfg(feature = "otel-033")]
        if let Some(exporter) = &self.exporter {
            let read = Arc::downgrade(&inner);
            exporter.observe(move |metric| match read.upgrade() {
                Some(inner) => metrics::samples(&inner, metric),
                None => Vec::new(),
            });
        }
        // The user's code is not called under the lock.
        let keys = Keys::start(&inner, self.keys);
        let mut state = inner.state();
        state.keys = keys;
        state.secured = inner.code.secured();
        inner.look_at_own(&state);
        drop(state);
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
