//! The layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Limiter, future::ResponseFuture};
use crate::{
    core::{BoxError, Error, ErrorKind, Phase},
    resilience::exchange::Answer,
};

/// Bounds the number of concurrent calls: see the [module](super).
///
/// The services that one layer makes, and their clones, share one limit.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitLayer {
    limit: Arc<Limiter>,
}

/// A service whose concurrent calls are bounded, by [`ConcurrencyLimitLayer`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    limit: Arc<Limiter>,
}

// === impl ConcurrencyLimitLayer ===

impl ConcurrencyLimitLayer {
    /// Allows `max` calls at a time, from `call` to the end of the response body.
    ///
    /// Zero fails every call.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { limit: Arc::new(Limiter::new(max)) }
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit { inner, limit: Arc::clone(&self.limit) }
    }
}

// === impl ConcurrencyLimit ===

impl<S, R> Service<R> for ConcurrencyLimit<S>
where
    S: Service<R>,
    S::Response: Answer,
    S::Error: Into<BoxError>,
{
    type Response = <S::Response as crate::resilience::exchange::sealed::Answer>::Held;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match Limiter::hold(&self.limit) {
            Some(held) => ResponseFuture::admitted(self.inner.call(request), held),
            None => {
                let detail = format!("{} concurrent calls are allowed", self.limit.limit());
                let error = Error::new(ErrorKind::Overloaded, Phase::Admission).detail(detail);
                ResponseFuture::refused(error)
            }
        }
    }
}
