//! Which route takes a request, where it goes, and what is done to it on the way.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{Destination, checked, unusable};
use crate::{
    config::{self, ClusterChoice, ConfigError, ConfigErrors, Filter, HostRewrite, Policy},
    core::{Body, BoxError, Error, ErrorKind, Phase, Random, grpc},
    route::{Around, Builder, Rule, Seen, Split, Steps, Table},
};

/// Finds the route of each request and the cluster that it goes to, notes both as its [`Destination`], and does
/// what the filters say: edits, rewrites, redirects and direct responses, which are returned to the caller.
///
/// A request that no route takes fails with [`NoRoute`](crate::ErrorKind::NoRoute). The services that one
/// layer makes, and their clones, draw from one sequence. See the [module](super) for an example.
///
/// **Order.** Outermost of all but rules of authorisation: what is below is of one route.
#[derive(Clone)]
pub struct RouteLayer {
    shared: Arc<Shared>,
}

/// A service whose requests are routed, by [`RouteLayer`].
#[derive(Clone)]
pub struct Routing<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// The response of [`Routing`]. Dropping it drops the call below.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct RoutingFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project::pin_project(project = StateProj)]
enum State<F> {
    /// Decided here.
    Here(Option<Here>),
    Called {
        #[pin]
        inner: F,
        steps: Option<Arc<Steps>>,
        seen: Option<Box<Seen>>,
    },
}

/// What is decided here, instead of a call.
type Here = Box<Result<Response<Body>, Error>>;

struct Shared {
    name: Arc<str>,
    said: config::Service,
    labels: BTreeMap<String, String>,
    table: Table<Way>,
    random: Random,
}

/// Where a route leads.
struct Way {
    name: Option<Arc<str>>,
    clusters: Split<Goal>,
    /// Of a route that answers by itself.
    steps: Arc<Steps>,
}

struct Goal {
    cluster: Arc<str>,
    steps: Option<Arc<Steps>>,
}

// === impl RouteLayer ===

impl RouteLayer {
    /// Routes the requests of a service of this name; it is told in errors.
    ///
    /// # Errors
    ///
    /// What is wrong of a route, with its place; and what is not a layer's: policies and the filters of other
    /// layers, choices of a cluster but by weight, subsets, and filters with names.
    pub fn new(name: impl Into<String>, service: &config::Service) -> Result<Self, ConfigErrors> {
        checked(service)?;
        let foreign = foreign(service);
        if !foreign.is_empty() {
            return Err(ConfigErrors(foreign));
        }
        let name: Arc<str> = name.into().into();
        Self::with(name, service.clone(), BTreeMap::new(), Random::default())
    }

    /// A label of this process, for the matches that ask for it.
    ///
    /// # Errors
    ///
    /// None that [`new`](Self::new) has not found.
    pub fn label(
        self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, ConfigErrors> {
        let Shared { name: service, said, labels, random, table: _ } = &*self.shared;
        let mut labels = labels.clone();
        labels.insert(name.into(), value.into());
        Self::with(Arc::clone(service), said.clone(), labels, random.copied())
    }

    /// Draws shares and clusters from this seed, so that a test meets the same choices each time. Default:
    /// at random.
    ///
    /// # Errors
    ///
    /// None that [`new`](Self::new) has not found.
    pub fn seed(self, seed: u64) -> Result<Self, ConfigErrors> {
        let Shared { name, said, labels, .. } = &*self.shared;
        Self::with(Arc::clone(name), said.clone(), labels.clone(), Random::seeded(seed))
    }

    fn with(
        name: Arc<str>,
        said: config::Service,
        labels: BTreeMap<String, String>,
        random: Random,
    ) -> Result<Self, ConfigErrors> {
        let of_service = Steps::default().then(&said.filters);
        let plain = config::Route {
            clusters: said.cluster.iter().map(config::WeightedCluster::new).collect(),
            ..config::Route::default()
        };
        let plain = [plain];
        let routes = if said.routes.is_empty() { &plain[..] } else { &said.routes };
        let mut builder = Builder::new(said.order, &labels);
        for (place, route) in routes.iter().enumerate() {
            let steps = of_service.then(&route.filters);
            let goals = route.clusters.iter().map(|target| {
                let steps = steps.of_cluster(&target.filters, target.invalid.is_some());
                let steps = steps.if_any().map(Arc::new);
                (target.weight, Goal { cluster: target.name.as_str().into(), steps })
            });
            let clusters = if steps.answers() { Split::new([]) } else { Split::new(goals) };
            let name = route.name.as_deref().map(Arc::from);
            let way = Way { name, clusters, steps: Arc::new(steps) };
            builder.add(&route.hosts, &route.matches, way).map_err(|reason| {
                ConfigErrors(vec![ConfigError::new(format!("routes[{place}]"), "", reason)])
            })?;
        }
        let table = builder.build();
        Ok(Self { shared: Arc::new(Shared { name, said, labels, table, random }) })
    }
}

/// What a service says that no layer of routes does.
fn foreign(service: &config::Service) -> Vec<ConfigError> {
    const ELSEWHERE: &str = "has a layer of its own";
    const OF_MESH: &str = "is of a mesh alone: a layer does not do it";
    let mut found = Vec::new();
    let mut refuse = |is_said: bool, path: String, reason: &'static str| {
        if is_said {
            found.push(ConfigError::new(path, "", reason));
        }
    };
    let nowhere = service.routes.is_empty() && service.cluster.is_none();
    refuse(nowhere, "routes".to_owned(), "must say a route, or a `cluster`");
    refuse(service.policy != Policy::default(), "policy".to_owned(), ELSEWHERE);
    refuse(!service.overrides.is_empty(), "overrides".to_owned(), OF_MESH);
    let of_filters =
        |path: &str, filters: &[Filter], refuse: &mut dyn FnMut(bool, String, &'static str)| {
            for (place, filter) in filters.iter().enumerate() {
                let path = format!("{path}filters[{place}].{}", filter.name());
                match filter {
                    Filter::RequestHeaders(_)
                    | Filter::ResponseHeaders(_)
                    | Filter::Redirect(_)
                    | Filter::DirectResponse(_) => {}
                    Filter::Rewrite(rewrite) => {
                        let is_said = rewrite.host == Some(HostRewrite::Endpoint);
                        refuse(is_said, format!("{path}.host"), "a layer sees no endpoints");
                    }
                    Filter::Named(_) | Filter::Session(_) | Filter::Extension(_) => {
                        refuse(true, path, OF_MESH);
                    }
                    _ => refuse(true, path, ELSEWHERE),
                }
            }
        };
    of_filters("", &service.filters, &mut refuse);
    for (place, route) in service.routes.iter().enumerate() {
        let path = format!("routes[{place}].");
        refuse(route.policy != Policy::default(), format!("{path}policy"), ELSEWHERE);
        for (is_said, field) in [
            (route.choice != ClusterChoice::Weighted, "choice"),
            (route.choice_header.is_some(), "choice_header"),
            (route.cluster_header.is_some(), "cluster_header"),
            (!route.subset.is_empty(), "subset"),
            (!route.overrides.is_empty(), "overrides"),
            (!route.upgrades.is_empty(), "upgrades"),
        ] {
            refuse(is_said, format!("{path}{field}"), OF_MESH);
        }
        // A share is asked, the key that would change it is not.
        for (number, rule) in route.matches.iter().enumerate() {
            let has_key = rule.fraction.as_ref().is_some_and(|share| share.key.is_some());
            refuse(has_key, format!("{path}matches[{number}].fraction.key"), OF_MESH);
        }
        of_filters(&path, &route.filters, &mut refuse);
        for (number, target) in route.clusters.iter().enumerate() {
            let path = format!("{path}clusters[{number}].");
            refuse(!target.subset.is_empty(), format!("{path}subset"), OF_MESH);
            refuse(!target.overrides.is_empty(), format!("{path}overrides"), OF_MESH);
            of_filters(&path, &target.filters, &mut refuse);
        }
    }
    found
}

// === impl Shared ===

impl Shared {
    /// Decides about a request, which is changed and told its destination, unless it is answered here.
    fn decide<B>(
        &self,
        request: &mut Request<B>,
    ) -> Result<(Option<Arc<Steps>>, Option<Box<Seen>>), Here> {
        let Some(found) = self.table.find(request, &self.random) else {
            let error = Error::new(ErrorKind::NoRoute, Phase::Route);
            return Err(Box::new(Err(error.service(&self.name))));
        };
        let (way, rule) = (found.route, found.rule);
        let place = match &way.clusters {
            one if one.is_single() => 0,
            several => several.place(self.random.next()),
        };
        let Some(goal) = way.clusters.get(place) else {
            let around = Around { route: way.name.as_deref(), ..Around::default() };
            let answer = self.answer(&way.steps, request, rule, &around);
            return Err(Box::new(answer.unwrap_or_else(|| {
                let detail = "every cluster of the route has weight 0";
                Err(Error::new(ErrorKind::Config, Phase::Route).detail(detail).service(&self.name))
            })));
        };
        let around = Around {
            route: way.name.as_deref(),
            cluster: Some(&goal.cluster),
            ..Around::default()
        };
        let mut seen = None;
        if let Some(steps) = &goal.steps {
            if let Some(answer) = self.answer(steps, request, rule, &around) {
                return Err(Box::new(answer));
            }
            steps
                .change(request, rule, &around)
                .map_err(|what| Box::new(Err(unusable(what).service(&self.name))))?;
            seen = steps.asks().then(|| Box::new(Seen::of(request, &around)));
        }
        let (route, cluster) = (way.name.clone(), Arc::clone(&goal.cluster));
        request.extensions_mut().insert(Destination { route, cluster });
        let steps = goal.steps.as_ref().filter(|steps| steps.edits_responses());
        Ok((steps.map(Arc::clone), seen))
    }

    fn answer<B>(
        &self,
        steps: &Steps,
        request: &Request<B>,
        rule: Option<&Rule>,
        around: &Around<'_>,
    ) -> Option<Result<Response<Body>, Error>> {
        let is_grpc = grpc::is_grpc(request.headers());
        let answer = steps.answer(request, rule, is_grpc, around)?;
        Some(answer.map_err(|what| unusable(what).service(&self.name)))
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Routing<S>;

    fn layer(&self, inner: S) -> Routing<S> {
        Routing { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<S, B, T> Service<Request<B>> for Routing<S>
where
    S: Service<Request<B>, Response = Response<T>>,
    S::Error: Into<BoxError>,
    T: http_body::Body<Data = Bytes> + Send + 'static,
    T::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = RoutingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let state = match self.shared.decide(&mut request) {
            Ok((steps, seen)) => State::Called { inner: self.inner.call(request), steps, seen },
            Err(here) => State::Here(Some(here)),
        };
        RoutingFuture { state }
    }
}

impl<F, T, E> Future for RoutingFuture<F>
where
    F: Future<Output = Result<Response<T>, E>>,
    T: http_body::Body<Data = Bytes> + Send + 'static,
    T::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Here(here) => match here.take() {
                Some(here) => Poll::Ready((*here).map_err(Into::into)),
                None => Poll::Pending,
            },
            StateProj::Called { inner, steps, seen } => {
                let response = ready!(inner.poll(cx)).map_err(Into::into)?;
                let mut response = response.map(Body::new);
                if let Some(steps) = steps {
                    steps.respond(&mut response, seen.as_deref(), None);
                }
                Poll::Ready(Ok(response))
            }
        }
    }
}

impl fmt::Debug for RouteLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLayer").field("service", &self.shared.name).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for Routing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routing").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for RoutingFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_here = matches!(self.state, State::Here(_));
        f.debug_struct("RoutingFuture").field("answered_here", &is_here).finish_non_exhaustive()
    }
}
