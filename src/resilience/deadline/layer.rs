//! The layer and its service.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Scope, decision, future::ResponseFuture};
use crate::{
    core::{BoxError, Instant, earliest, grpc},
    resilience::exchange::{Answer, Exchange},
};

/// Bounds calls in time: see the [module](super).
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer {
    scope: Scope,
}

/// A service whose calls are bounded in time, by [`DeadlineLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Deadline<S> {
    inner: S,
    scope: Scope,
}

// === impl DeadlineLayer ===

impl DeadlineLayer {
    /// Bounds each call to its response head, besides any explicit deadline of the call.
    ///
    /// Unit: time. Zero fails every call.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { scope: Scope { timeout: Some(timeout), whole_response: false } }
    }

    /// Bounds only the calls that carry an explicit deadline.
    #[must_use]
    pub fn explicit() -> Self {
        Self { scope: Scope::default() }
    }

    /// Whether the configured timeout covers the body and trailers too.
    ///
    /// Default: no, so that streams live. Explicit deadlines always do.
    #[must_use]
    pub fn whole_response(mut self, whole: bool) -> Self {
        self.scope.whole_response = whole;
        self
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, scope: self.scope }
    }
}

// === impl Deadline ===

impl<S, R> Service<R> for Deadline<S>
where
    R: Exchange,
    S: Service<R>,
    S::Response: Answer,
    S::Error: Into<BoxError>,
{
    type Response = <S::Response as crate::resilience::exchange::sealed::Answer>::Timed;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let now = Instant::now();
        let mut bounds = decision::of(request.headers(), request.call(), self.scope, now);
        if let Some(own) = request.timeout().and_then(|own| now.checked_add(own)) {
            bounds.head = earliest(bounds.head, Some(own));
            bounds.body = earliest(bounds.body, Some(own));
        }
        if bounds.expired(now) {
            return ResponseFuture::expired(now, bounds);
        }
        let is_grpc = grpc::is_grpc(request.headers());
        bounds.write(request.headers_mut(), is_grpc, now);
        // The header of a gRPC call tells the bound of its body alone.
        if let Some(at) = bounds.head.filter(|_| is_grpc && bounds.head != bounds.body) {
            request.note_head_by(at);
        }
        ResponseFuture::new(self.inner.call(request), now, bounds, is_grpc)
    }
}
