//! The choice of a cluster by weight.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::{Destination, checked};
use crate::{
    config::{self, ConfigError, ConfigErrors, WeightedCluster},
    core::Random,
    route,
};

/// Chooses a cluster for each request, by weight, and notes it as its [`Destination`].
///
/// The services that one layer makes, and their clones, draw from one sequence. A route that an outer
/// layer has noted stays.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_mesh::{BoxError, config::WeightedCluster, traffic::{Clusters, SplitLayer}};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let named = |name: &'static str| {
///     service_fn(move |_: Request<()>| async move { Ok::<_, BoxError>(Response::new(name)) })
/// };
/// let weights = [WeightedCluster::new("v1").weight(0), WeightedCluster::new("v2").weight(100)];
/// let mut service = ServiceBuilder::new()
///     .layer(SplitLayer::new(&weights).unwrap())
///     .service(Clusters::new([("v1", named("one")), ("v2", named("two"))]));
/// let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
/// assert_eq!(*response.body(), "two");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct SplitLayer {
    shared: Arc<Shared>,
}

/// A service of whose requests each has a cluster, by [`SplitLayer`].
#[derive(Clone, Debug)]
pub struct Split<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clusters: Vec<WeightedCluster>,
    split: route::Split<Arc<str>>,
    random: Random,
}

// === impl SplitLayer ===

impl SplitLayer {
    /// Shares requests out among these clusters by their weights.
    ///
    /// # Errors
    ///
    /// No cluster, weights that are all 0 or over their range, and what is more than a name and a weight:
    /// that is of a [`RouteLayer`](super::RouteLayer).
    pub fn new(clusters: &[WeightedCluster]) -> Result<Self, ConfigErrors> {
        let route = config::Route { clusters: clusters.to_vec(), ..config::Route::default() };
        let service = config::Service { routes: vec![route], ..config::Service::default() };
        checked(&service)?;
        let more = clusters
            .iter()
            .enumerate()
            .filter(|(_, it)| **it != WeightedCluster::new(it.name.clone()).weight(it.weight));
        let more = more.map(|(place, it)| {
            let reason = "a split knows names and weights alone: say it of a route";
            ConfigError::new(format!("clusters[{place}]"), &it.name, reason)
        });
        let more: Vec<_> = more.collect();
        if !more.is_empty() {
            return Err(ConfigErrors(more));
        }
        Ok(Self::with(clusters.to_vec(), Random::default()))
    }

    /// Draws from this seed, so that a test meets the same choices each time. Default: at random.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self::with(self.shared.clusters.clone(), Random::seeded(seed))
    }

    fn with(clusters: Vec<WeightedCluster>, random: Random) -> Self {
        let split = clusters.iter().map(|it| (it.weight, Arc::from(it.name.as_str())));
        let split = route::Split::new(split);
        Self { shared: Arc::new(Shared { clusters, split, random }) }
    }
}

impl<S> Layer<S> for SplitLayer {
    type Service = Split<S>;

    fn layer(&self, inner: S) -> Split<S> {
        Split { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<S, B> Service<Request<B>> for Split<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let Shared { split, random, .. } = &*self.shared;
        let place = if split.is_single() { 0 } else { split.place(random.next()) };
        if let Some(cluster) = split.get(place) {
            let before = request.extensions_mut().remove::<Destination>();
            let route = before.and_then(|before| before.route);
            request.extensions_mut().insert(Destination { route, cluster: Arc::clone(cluster) });
        }
        self.inner.call(request)
    }
}
