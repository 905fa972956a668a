//! The layer and its service.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Queue, future::ResponseFuture};
use crate::{
    config,
    core::{BoxError, Epoch},
};

/// Calls wait for a service that is not ready, and fail at once after too long: see the
/// [module](super).
///
/// The services that one layer makes, and their clones, share one queue.
#[derive(Clone, Debug)]
pub struct FailFastLayer {
    settings: config::Queue,
    epoch: Epoch,
    queue: Arc<Queue>,
}

/// A service whose calls wait in a bounded queue, by [`FailFastLayer`].
#[derive(Clone, Debug)]
pub struct FailFast<S> {
    inner: S,
    epoch: Epoch,
    queue: Arc<Queue>,
}

// === impl FailFastLayer ===

impl FailFastLayer {
    /// Calls fail once the service has not been ready for so long. Linkerd's default is 3 s.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let settings = config::Queue { failfast_timeout: Some(timeout), capacity: None };
        let queue = Queue::new(&settings);
        Self { settings, epoch: Epoch::now(), queue }
    }

    /// So many calls may wait; one more fails at once. Default: 10000 (Linkerd). Zero: none may wait.
    #[must_use]
    pub fn capacity(mut self, calls: u32) -> Self {
        self.settings.capacity = Some(calls);
        self.queue = Queue::new(&self.settings);
        self
    }
}

impl<S> Layer<S> for FailFastLayer {
    type Service = FailFast<S>;

    fn layer(&self, inner: S) -> FailFast<S> {
        FailFast { inner, epoch: self.epoch, queue: Arc::clone(&self.queue) }
    }
}

// === impl FailFast ===

impl<S, R> Service<R> for FailFast<S>
where
    S: Service<R> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, R>;

    /// Always: the waiting is in the call.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture::new(self.inner.clone(), request, Arc::clone(&self.queue), self.epoch)
    }
}
