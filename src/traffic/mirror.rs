//! Copies of requests for another client: nobody waits for them.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, header::UPGRADE};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tower_layer::Layer;
use tower_service::Service;

use super::{Destination, checked};
use crate::{
    config::{self, ConfigError, ConfigErrors, Filter},
    core::{Body, BoxError, Outgoing, Random, tee},
    resilience::limit::Limiter,
    route::{self, Around, BEHIND, IN_FLIGHT, TIMEOUT},
};

/// Sends copies of requests to another client. Its answers are dropped, and nobody waits for them.
///
/// At most 100 copies of one layer are under way, each for at most 15 s and 64 KiB of the body behind;
/// beyond that none is made. What asks for an upgrade is not copied, nor is anything outside of a tokio
/// runtime. The service below gets the request with a [`Body`].
///
/// ```
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_mesh::{Body, BoxError, config::Mirror, traffic::MirrorLayer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let (copied, mut copies) = tokio::sync::mpsc::unbounded_channel();
/// let shadow = service_fn(move |request: Request<Body>| {
///     let copied = copied.clone();
///     async move {
///         let host = request.uri().host().unwrap_or_default().to_owned();
///         copied.send(host).unwrap();
///         Ok::<_, BoxError>(Response::new(Body::empty()))
///     }
/// });
/// let answer = service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Body::empty())));
/// let layer = MirrorLayer::new(&Mirror::default(), shadow).unwrap();
/// let service = ServiceBuilder::new().layer(layer).service(answer);
/// let request = Request::get("http://shop/").body(Body::empty()).unwrap();
/// service.oneshot(request).await.unwrap();
/// assert_eq!(copies.recv().await.unwrap(), "shop-shadow");
/// # });
/// ```
#[derive(Clone)]
pub struct MirrorLayer<C> {
    copies: C,
    shared: Arc<Shared>,
}

/// A service of whose requests others get copies, by [`MirrorLayer`].
#[derive(Clone)]
pub struct Mirror<S, C> {
    inner: S,
    copies: C,
    shared: Arc<Shared>,
}

struct Shared {
    said: config::Mirror,
    mirror: route::Mirror,
    limit: Arc<Limiter>,
    random: Random,
}

// === impl MirrorLayer ===

impl<C> MirrorLayer<C> {
    /// Sends what this mirror copies to `copies`; its `cluster` is a name, and need not be said.
    ///
    /// # Errors
    ///
    /// What is wrong of the mirror; and its `key`: a layer asks no runtime key.
    pub fn new(mirror: &config::Mirror, copies: C) -> Result<Self, ConfigErrors> {
        let mut said = mirror.clone();
        said.cluster.get_or_insert_with(|| "copies".to_owned());
        let filters = vec![Filter::Mirror(said.clone())];
        checked(&config::Service { filters, ..config::Service::default() })?;
        if let Some(key) = &said.key {
            let reason = "a layer asks no runtime key";
            return Err(ConfigErrors(vec![ConfigError::new("mirror.key", key, reason)]));
        }
        Ok(Self { copies, shared: Arc::new(Shared::new(said, Random::default())) })
    }

    /// Draws from this seed, so that a test meets the same choices each time. Default: at random.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let said = self.shared.said.clone();
        Self { shared: Arc::new(Shared::new(said, Random::seeded(seed))), ..self }
    }
}

impl Shared {
    fn new(said: config::Mirror, random: Random) -> Self {
        let mirror = route::Mirror::new(&said);
        Self { said, mirror, limit: Arc::new(Limiter::new(IN_FLIGHT)), random }
    }

    /// The copy of a request that is to be sent, with its place among those under way.
    fn copy(&self, request: &mut Request<Outgoing>) -> Option<(Request<Body>, crate::core::Held)> {
        let is_meant = !request.headers().contains_key(UPGRADE);
        if !is_meant || !self.mirror.takes(self.random.next()) {
            return None;
        }
        let held = Limiter::hold(&self.limit)?;
        let destination = request.extensions().get::<Destination>();
        let around = Around {
            route: destination.and_then(Destination::route),
            cluster: self.said.cluster.as_deref(),
            started: None,
        };
        let (uri, headers) = self.mirror.head(request, &around);
        let (body, copies) = tee(std::mem::take(request.body_mut()), 1, BEHIND);
        *request.body_mut() = body;
        let mut copy = Request::new(Body::from(copies.into_iter().next()?));
        *copy.method_mut() = request.method().clone();
        *copy.version_mut() = request.version();
        (*copy.uri_mut(), *copy.headers_mut()) = (uri, headers);
        Some((copy, held))
    }
}

impl<S, C: Clone> Layer<S> for MirrorLayer<C> {
    type Service = Mirror<S, C>;

    fn layer(&self, inner: S) -> Mirror<S, C> {
        Mirror { inner, copies: self.copies.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, C, B, T> Service<Request<B>> for Mirror<S, C>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    S: Service<Request<Body>>,
    C: Service<Request<Body>, Response = Response<T>> + Clone + Send + 'static,
    C::Future: Send,
    C::Error: Send,
    T: http_body::Body + Send,
    T::Data: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let mut request = request.map(Outgoing::new);
        if let Ok(runtime) = Handle::try_current()
            && let Some((copy, held)) = self.shared.copy(&mut request)
        {
            let mut copies = self.copies.clone();
            drop(runtime.spawn(async move {
                let whole = async {
                    if std::future::poll_fn(|cx| copies.poll_ready(cx)).await.is_err() {
                        return;
                    }
                    let Ok(response) = copies.call(copy).await else { return };
                    let mut body = std::pin::pin!(response.into_body());
                    // To its end, so that its connection can be used again.
                    while let Some(Ok(_)) = body.frame().await {}
                };
                let _over = tokio::time::timeout(TIMEOUT, whole).await;
                drop(held);
            }));
        }
        self.inner.call(request.map(Body::from))
    }
}

impl<C> fmt::Debug for MirrorLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorLayer").field("mirror", &self.shared.said).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Mirror<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("inner", &self.inner).finish_non_exhaustive()
    }
}
