//! Edits of headers, and rewrites.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{Destination, checked, unusable};
use crate::{
    config::{self, ConfigError, ConfigErrors, Filter, HostRewrite, PathRewrite},
    core::BoxError,
    resilience::admitting::Admission,
    route::{Around, Seen, Steps},
};

/// Edits the headers of requests and of their responses, and rewrites path and host.
///
/// Values may have Envoy's operators (`%REQ(x-a)%`, `%PROTOCOL%`, …); `%UPSTREAM_HOST%` comes to nothing,
/// for a layer sees no endpoints, and `%ROUTE_NAME%` and `%UPSTREAM_CLUSTER%` to what the
/// [`Destination`] of the request says.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_mesh::{BoxError, config::{Filter, HeaderEdit, PathRewrite, Rewrite}, traffic::EditLayer};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut edit = HeaderEdit::default();
/// edit.set = [("x-from".to_owned(), "%REQ(:path)%".to_owned())].into();
/// let mut rewrite = Rewrite::default();
/// rewrite.path = Some(PathRewrite::Full("/new".into()));
/// let layer = EditLayer::new(&[Filter::RequestHeaders(edit), Filter::Rewrite(rewrite)]).unwrap();
/// let echo = service_fn(async |request: Request<()>| {
///     let told = format!("{} {}", request.uri().path(), request.headers()["x-from"].to_str()?);
///     Ok::<_, BoxError>(Response::new(told))
/// });
/// let mut service = ServiceBuilder::new().layer(layer).service(echo);
/// let request = Request::get("http://shop/old").body(()).unwrap();
/// let response = service.ready().await.unwrap().call(request).await.unwrap();
/// assert_eq!(response.body(), "/new /old");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct EditLayer {
    steps: Arc<Steps>,
}

/// A service whose requests and responses are edited, by [`EditLayer`].
#[derive(Clone, Debug)]
pub struct Edit<S> {
    inner: S,
    steps: Arc<Steps>,
}

/// The response of [`Edit`]. Dropping it drops the call below.
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct EditFuture<F> {
    #[pin]
    state: Admission<F, Option<Box<Seen>>>,
    steps: Arc<Steps>,
}

// === impl EditLayer ===

impl EditLayer {
    /// What these filters say, in their order; a response meets them the other way round.
    ///
    /// # Errors
    ///
    /// What is wrong of a filter, with its place; a filter that is no edit, and what needs a route or an
    /// endpoint: a new prefix or template of the path, and the host of an endpoint.
    pub fn new(filters: &[Filter]) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        for (place, filter) in filters.iter().enumerate() {
            let reason = match filter {
                Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) => continue,
                Filter::Rewrite(rewrite) => match (&rewrite.path, &rewrite.host) {
                    (Some(PathRewrite::Prefix(_) | PathRewrite::Template(_)), _) => {
                        "needs the match of a route: say it of a `RouteLayer`"
                    }
                    (_, Some(HostRewrite::Endpoint)) => "a layer sees no endpoints",
                    _ => continue,
                },
                _ => "is no edit: it has a layer of its own",
            };
            errors.push(ConfigError::new(format!("filters[{place}]"), filter.name(), reason));
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let steps = Arc::new(Steps::default().then(filters));
        let filters = filters.to_vec();
        checked(&config::Service { filters, ..config::Service::default() })?;
        Ok(Self { steps })
    }
}

impl<S> Layer<S> for EditLayer {
    type Service = Edit<S>;

    fn layer(&self, inner: S) -> Edit<S> {
        Edit { inner, steps: Arc::clone(&self.steps) }
    }
}

impl<S, B, T> Service<Request<B>> for Edit<S>
where
    S: Service<Request<B>, Response = Response<T>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<T>;
    type Error = BoxError;
    type Future = EditFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let steps = Arc::clone(&self.steps);
        let destination = request.extensions().get::<Destination>().cloned();
        let around = Around {
            route: destination.as_ref().and_then(Destination::route),
            cluster: destination.as_ref().map(Destination::cluster),
            started: None,
        };
        let state = match steps.change(&mut request, None, &around) {
            Err(what) => Admission::Refused { error: unusable(what) },
            Ok(()) => {
                let seen = steps.asks().then(|| Box::new(Seen::of(&request, &around)));
                Admission::Admitted { inner: self.inner.call(request), pass: seen }
            }
        };
        EditFuture { state, steps }
    }
}

impl<F, T, E> Future for EditFuture<F>
where
    F: Future<Output = Result<Response<T>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<T>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (result, seen) = ready!(this.state.poll(cx));
        Poll::Ready(result.map(|mut response| {
            this.steps.respond(&mut response, seen.as_deref(), None);
            response
        }))
    }
}

impl<F> fmt::Debug for EditFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.state.is_refused();
        f.debug_struct("EditFuture").field("refused", &refused).finish_non_exhaustive()
    }
}
