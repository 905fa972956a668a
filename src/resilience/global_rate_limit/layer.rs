//! The layer and its service.

use std::{
    fmt,
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, uri::Authority};
use tower_layer::Layer;
use tower_service::Service;

use super::{Asker, Failure, Said, future::ResponseFuture, read};
use crate::{
    config,
    core::{Body, BoxError, BoxFuture, uri::with_authority},
    resilience::Descriptor,
};

/// Asks a service about each call: see the [module](super).
///
/// `C` is a client of the service: anything that takes an `http::Request<Body>` of HTTP/2 and
/// answers it, such as a [`Client`](crate::Client). `D` describes a request.
///
/// The services that one layer makes, and their clones, share the quotas that the service has granted.
#[derive(Clone)]
pub struct GlobalRateLimitLayer<C, D> {
    limit: config::GlobalRateLimit,
    asker: Arc<Asker>,
    authority: Option<Authority>,
    client: C,
    describe: D,
}

/// A service of whose calls another one is asked, by [`GlobalRateLimitLayer`].
#[derive(Clone)]
pub struct GlobalRateLimit<S, C, D> {
    inner: S,
    asker: Arc<Asker>,
    authority: Option<Authority>,
    client: C,
    describe: D,
}

// === impl GlobalRateLimitLayer ===

impl<C, D> GlobalRateLimitLayer<C, D> {
    /// Asks by this client, in this domain of the service's limits, about requests that are
    /// described so.
    #[must_use]
    pub fn new<B>(client: C, domain: impl Into<String>, describe: D) -> Self
    where
        D: Fn(&Request<B>) -> Vec<Descriptor>,
    {
        let limit = config::GlobalRateLimit::new("", domain);
        let asker = Arc::new(Asker::new(&limit));
        Self { limit, asker, authority: None, client, describe }
    }

    /// How long an answer is waited for. Default: 20 ms (Envoy).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit.timeout = Some(timeout);
        self.compiled()
    }

    /// Whether calls fail when the service does not answer. Default: false (Envoy).
    #[must_use]
    pub fn fail_closed(mut self, fail_closed: bool) -> Self {
        self.limit.fail_closed = Some(fail_closed);
        self.compiled()
    }

    /// Whether responses and refusals have `x-ratelimit-*` headers. Default: false (Envoy).
    #[must_use]
    pub fn limit_headers(mut self, limit_headers: bool) -> Self {
        self.limit.limit_headers = Some(limit_headers);
        self.compiled()
    }

    /// The authority of the questions, for clients that call whom a request names. Default: none,
    /// so that the client says it.
    #[must_use]
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    fn compiled(mut self) -> Self {
        self.asker = Arc::new(Asker::new(&self.limit));
        self
    }
}

impl<S, C: Clone, D: Clone> Layer<S> for GlobalRateLimitLayer<C, D> {
    type Service = GlobalRateLimit<S, C, D>;

    fn layer(&self, inner: S) -> Self::Service {
        GlobalRateLimit {
            inner,
            asker: Arc::clone(&self.asker),
            authority: self.authority.clone(),
            client: self.client.clone(),
            describe: self.describe.clone(),
        }
    }
}

impl<C, D> fmt::Debug for GlobalRateLimitLayer<C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalRateLimitLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

// === impl GlobalRateLimit ===

impl<S, C, D, B, T, A> Service<Request<B>> for GlobalRateLimit<S, C, D>
where
    S: Service<Request<B>, Response = Response<T>> + Clone,
    S::Error: Into<BoxError>,
    C: Service<Request<Body>, Response = Response<A>> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    A: http_body::Body + Send,
    A::Data: Send,
    A::Error: Into<BoxError>,
    D: Fn(&Request<B>) -> Vec<Descriptor>,
{
    type Response = Response<T>;
    type Error = BoxError;
    type Future = ResponseFuture<S, Request<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The readied service serves this call; its clone is readied for the next one.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let asker = Arc::clone(&self.asker);
        let mut descriptors = (self.describe)(&request);
        descriptors.retain(|it| !it.is_empty());
        if descriptors.is_empty() || !asker.asks_about(request.headers()) {
            return ResponseFuture::unasked(inner, request, asker);
        }
        if let Some(answer) = asker.remembered(&descriptors) {
            return ResponseFuture::answered(inner, request, asker, answer);
        }
        let mut question = asker.question(&descriptors);
        if let Some(authority) = &self.authority {
            let uri = mem::take(question.uri_mut());
            *question.uri_mut() = with_authority(uri, authority.clone());
        }
        let (client, by) = (self.client.clone(), Arc::clone(&asker));
        let said: BoxFuture<Said> = Box::pin(async move {
            let result = match tokio::time::timeout(by.waits, ask(client, question)).await {
                Ok(result) => result,
                Err(_) => Err(Failure::late(by.waits)),
            };
            by.decide(&descriptors, result, |_| {})
        });
        ResponseFuture::asking(inner, request, asker, said)
    }
}

async fn ask<C, A>(mut client: C, question: Request<Body>) -> Result<super::answer::Answer, Failure>
where
    C: Service<Request<Body>, Response = Response<A>>,
    C::Error: Into<BoxError>,
    A: http_body::Body,
    A::Error: Into<BoxError>,
{
    let failed = |error: C::Error| Failure::caused("cannot be asked", error);
    poll_fn(|cx| client.poll_ready(cx)).await.map_err(failed)?;
    read(client.call(question).await.map_err(failed)?).await
}

impl<S: fmt::Debug, C, D> fmt::Debug for GlobalRateLimit<S, C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalRateLimit")
            .field("inner", &self.inner)
            .field("asker", &self.asker)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_of_one_layer_share_what_was_granted() {
        let describe = |_: &Request<()>| Vec::new();
        let layer = GlobalRateLimitLayer::new((), "shop", describe).fail_closed(true);
        let (one, other) = (layer.layer(()), layer.clone().layer(()));
        assert!(Arc::ptr_eq(&one.asker, &other.asker) && one.asker.fail_closed);
    }
}
