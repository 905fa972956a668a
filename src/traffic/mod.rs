//! Routing around any client: which route takes a request, which cluster it goes to, what is changed of it on
//! the way, and who gets a copy.
//!
//! The layers decide by the same compiled tables, splits and edits as the mesh's own stack, and take the same
//! configuration. They work on `http::Request`s; a layer tells the services below where a request goes by
//! a [`Destination`] in its extensions, which [`Clusters`] follows.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_mesh::{
//!     Body, BoxError,
//!     config::{Match, PathMatch, Route, Service as Said, WeightedCluster},
//!     traffic::{Clusters, RouteLayer},
//! };
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut cart = Route::default();
//! let mut path = Match::default();
//! path.path = Some(PathMatch::Prefix("/cart".into()));
//! cart.matches = vec![path];
//! cart.clusters = vec![WeightedCluster::new("shop-v2")];
//! let mut rest = Route::default();
//! rest.clusters = vec![WeightedCluster::new("shop-v1")];
//! let mut said = Said::default();
//! said.routes = vec![cart, rest];
//!
//! // Any clients: here, services that say their names.
//! let named = |name: &'static str| {
//!     let answer = move || Ok::<_, BoxError>(Response::new(Body::from(name)));
//!     service_fn(move |_: Request<Body>| async move { answer() })
//! };
//! let clusters = Clusters::new([("shop-v1", named("one")), ("shop-v2", named("two"))]);
//! let mut shop =
//!     ServiceBuilder::new().layer(RouteLayer::new("shop", &said).unwrap()).service(clusters);
//! let request = Request::get("http://shop/cart/7").body(Body::empty()).unwrap();
//! let response = shop.ready().await.unwrap().call(request).await.unwrap();
//! assert_eq!(response.into_body().text().await.unwrap(), "two");
//! # });
//! ```
//!
//! | layer | what it does | of the configuration |
//! |---|---|---|
//! | [`RouteLayer`] | finds the route and its cluster; edits, rewrites, redirects and direct responses | [`Service`](crate::config::Service) |
//! | [`SplitLayer`] | chooses a cluster by weight | [`WeightedCluster`](crate::config::WeightedCluster) |
//! | [`EditLayer`] | edits headers of requests and responses, rewrites path and host | [`Filter`](crate::config::Filter) |
//! | [`MirrorLayer`] | sends copies elsewhere | [`Mirror`](crate::config::Mirror) |
//!
//! Failures are [`Error`]s inside of a [`BoxError`](crate::BoxError); nothing is reported by
//! `poll_ready` but what the service below does.
//!
//! **Do not** wrap them around a [`Client`](crate::Client): the mesh does all of this inside.

mod clusters;
mod edit;
mod mirror;
mod routing;
mod split;

use std::sync::Arc;

use crate::{
    config::{self, ConfigError, ConfigErrors},
    core::{Error, ErrorKind, Phase},
    route::Unusable,
};

pub use self::{
    clusters::{Clusters, ClustersFuture},
    edit::{Edit, EditFuture, EditLayer},
    mirror::{Mirror, MirrorLayer},
    routing::{RouteLayer, Routing, RoutingFuture},
    split::{Split, SplitLayer},
};

/// Where a request goes: an extension of the request, which [`RouteLayer`] and [`SplitLayer`] leave for the
/// services below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    route: Option<Arc<str>>,
    cluster: Arc<str>,
}

impl Destination {
    /// The name of the route that has taken the request, if it has one.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }

    /// The name of the cluster that it goes to.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }
}

/// A rewrite that makes no valid request of this one.
fn unusable(what: Unusable) -> Error {
    let what = match what {
        Unusable::Host => "host",
        Unusable::Path => "path",
    };
    Error::new(ErrorKind::InvalidRequest, Phase::Route)
        .detail(format!("a rewrite or redirect made no valid {what} of it"))
}

/// What a service of these routes has wrong, each at its place below `services.layer`.
fn checked(service: &config::Service) -> Result<(), ConfigErrors> {
    let Err(ConfigErrors(errors)) = service.validate("layer") else { return Ok(()) };
    let placed = errors.into_iter().map(|error| {
        let path = error.path.strip_prefix("services.layer.").unwrap_or(&error.path).to_owned();
        ConfigError { path, ..error }
    });
    Err(ConfigErrors(placed.collect()))
}
